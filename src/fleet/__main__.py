"""The one door for `fleet` and `python -m fleet`: hands the arguments on, exits with the code.

Nothing is decided here; what a command means is in `cli`, and how errors become exit codes as well.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command line and exits with its code (0, 1, 2, 3, 124 or 130)."""
    from fleet.cli import EXIT_INTERRUPTED
    from fleet.cli import main as run

    code = run(sys.argv[1:])
    if code == EXIT_INTERRUPTED:
        # An interrupt that came inside an exec, as in the making of a dataclass, lets Python end by
        # SIGINT however it was caught; the exit code is a promise, so nothing may come after it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
