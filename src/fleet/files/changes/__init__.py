"""What becomes of a plan while it runs: rework, verdicts, edits of the documents, changes, circles.

Each module works out a patch, or why there is none; nothing here applies one. `rework` is what all
that appends rounds is made of, `proposals` what a change is, `revise` what an edit comes to.
"""
