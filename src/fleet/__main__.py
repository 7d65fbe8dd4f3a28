"""The one door for `fleet` and `python -m fleet`: hands the arguments on, exits with the code.

Nothing is decided here; what a command means is in `cli`, and how errors become exit codes as well.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line and exits with its code (0, 1, 2, 3, 124 or 130)."""
    from fleet.cli import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
