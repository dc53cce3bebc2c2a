"""The one exception for input that the user can mend, and how programs report it."""

import logging
import sys
from collections.abc import Callable


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


def run_program(main: Callable[[], int | None]) -> None:
    """Run a program's ``main`` and turn what it raises into an exit status.

    Status 0 is success, 2 is bad input (`InputError`) or a file that the system
    refuses (`OSError`), 130 is an interruption from the keyboard. Anything else is
    a defect and keeps its traceback (status 1).

    Arguments
    ---------
    main : callable
        Takes nothing; returns an exit status, or None for 0.
    """
    try:
        status = main()
    except InputError as error:
        # a loader's worker puts its traceback before the message
        status = _report(str(error).rpartition(f"{__name__}.InputError: ")[2].strip())
    except OSError as error:
        status = _report(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("\ninterrupted: run the same command again to go on", file=sys.stderr)
        status = 130
    sys.exit(status or 0)


def _report(message: str) -> int:
    logging.getLogger(__name__).debug("stopped by", exc_info=True)
    print(f"error: {message}", file=sys.stderr)
    return 2
