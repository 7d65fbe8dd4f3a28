"""Random histories of a repository, with fleet killed in between: nothing is lost."""
