"""The command line: signatures, and the way from an error to an exit code.

Bodies call one `app` function and one `render` function; nothing is decided here. Typer and the
signatures are all that a start imports: whatever else a command needs, it imports when it runs.

    0 done   1 no   2 usage or invalid documents   3 a bug   124 wait timed out   130 interrupted
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper

EXIT_BUG = 3
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Runs one command line and returns its exit code."""
    from fleet.errors import FleetError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _check_in(argv) if _asks_for_check_in(argv) else _typed(argv)
    except FleetError as error:
        return _told(error)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second one changes nothing
        sys.stderr.write("interrupted; what runs goes on\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as bug:  # noqa: BLE001 - the last door: a bug is said with where its trace lies
        return _usage(bug) if hasattr(bug, "format_message") else _bug(bug)


def _typed(argv: Sequence[str]) -> int:
    import typer

    from fleet.cli import (  # noqa: F401 - they add commands
        flowing,
        overview,
        planning,
        running,
        serving,
        talking,
        watching,
        withdrawing,
    )
    from fleet.cli.door import door_for

    try:
        found = door_for(argv)(args=list(argv), prog_name="fleet", standalone_mode=False)
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        return EXIT_INTERRUPTED
    return found if isinstance(found, int) else 0


def _asks_for_check_in(argv: Sequence[str]) -> bool:
    """Whether this is `[-C DIR] status --json`, which programs ask every second: Typer would take
    half of its time.
    """
    return list(argv[2 * (argv[:1] == ["-C"]) :]) == ["status", "--json"]


def _check_in(argv: Sequence[str]) -> int:
    import gc
    import json
    from pathlib import Path

    gc.disable()  # the process ends before there is anything to collect

    from fleet.app.place import find_place
    from fleet.app.watching import status

    found = status(find_place(Path(argv[1]) if argv[0] == "-C" else None))
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    return 0


def _usage(wrong: Exception) -> int:
    """Says what is wrong with the words of a command line; Typer's errors format themselves."""
    text = getattr(wrong, "format_message", lambda: str(wrong))()
    context = getattr(wrong, "ctx", None)
    usage = f"{context.get_usage()}\n" if context is not None else ""
    sys.stderr.write(f"{usage}error: {text}\n")
    return 2


def _told(error: object) -> int:
    from fleet.render.errors import error_text

    sys.stderr.write(error_text(error))
    return getattr(error, "exit_code", 1)


def _bug(bug: Exception) -> int:
    import tempfile
    import traceback
    from pathlib import Path

    trace = "".join(traceback.format_exception(bug))
    with tempfile.NamedTemporaryFile("w", prefix="fleet-bug-", suffix=".log", delete=False) as kept:
        kept.write(f"fleet {' '.join(sys.argv[1:])}\n{trace}")
    sys.stderr.write(f"a bug in fleet: {bug!r}\nits trace: {Path(kept.name)}\n")
    return EXIT_BUG
