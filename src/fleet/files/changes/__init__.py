"""What becomes of a plan while it runs: rework, verdicts, edits of the documents, changes, circles.

What follows is worked out here as a patch, and what shows that something has to; nothing here
applies one. `rework` is what all that appends rounds is made of, `proposals` and `submitted` what a
change is, `revise` what an edit comes to; `likeness`, `rounds` and `waiting` see circles.
"""
