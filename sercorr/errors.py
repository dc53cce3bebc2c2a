"""The one exception for input that the user can mend, and how programs report it."""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType


class InputError(ValueError):
    """Input that a person can mend: a file, a setting, a folder.

    The message names the file or key, the value that was found and the remedy.
    Programs print it without a traceback and exit with status 2.

    Example
    -------
    >>> raise InputError("fold is 9; it must be one of 1, 2, 3, 4, 5")
    Traceback (most recent call last):
    ...
    sercorr.errors.InputError: fold is 9; it must be one of 1, 2, 3, 4, 5
    """


def describe_error(error: BaseException) -> str:
    """Describe an error of somebody's code in one line: kind, place and message.

    The place is the last one outside this package and installed libraries.

    Example
    -------
    >>> describe_error(ValueError("too large"))
    'ValueError: too large'
    """
    frames = traceback.extract_tb(error.__traceback__)
    here, libraries = str(Path(__file__).parent), (sys.prefix, sys.base_prefix)
    own = [f for f in frames if not f.filename.startswith((here, *libraries, "<"))]
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{place}" + (f": {text}" if text else "")


def run_program(main: Callable[[], int | None]) -> None:
    """Run a program's ``main`` and turn what it raises into an exit status.

    Status 0 is success, 2 is bad input (`InputError`) or a file that the system
    refuses (`OSError`), 130 is an interruption from the keyboard or by SIGTERM.
    Anything else is a defect and keeps its traceback (status 1).

    Arguments
    ---------
    main : callable
        Takes nothing; returns an exit status, or None for 0.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = main()
    except InputError as error:
        # a loader's worker puts its traceback before the message
        status = _report(str(error).rpartition(f"{__name__}.InputError: ")[2].strip())
    except BrokenPipeError:  # whoever read the output has gone: `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        status = _report(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("\ninterrupted: run the same command again to go on", file=sys.stderr)
        status = 130
    sys.exit(status or 0)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    # Schedulers send it to every process, and who started this one passes it on: the
    # second must not cut short what the first has begun.
    signal.signal(number, lambda _number, _frame: None)
    raise KeyboardInterrupt


def _report(message: str) -> int:
    logging.getLogger(__name__).debug("stopped by", exc_info=True)
    print(f"error: {message}", file=sys.stderr)
    return 2
