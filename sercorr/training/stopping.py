"""Ctrl-C and SIGTERM during training: stop after the update at hand, and save it."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what ``kill``, Slurm and other schedulers send before they kill."""


class StopRequest:
    """Within it, `SIGNALS` set ``requested`` and let the program go on.

    Training asks for ``requested`` after each update, saves a checkpoint and raises
    ``KeyboardInterrupt``. A second Ctrl-C interrupts at once. Outside of the main
    thread, where Python permits no handlers, nothing is changed.

    Example
    -------
    >>> with StopRequest() as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stop.requested
    True
    """

    def __init__(self) -> None:
        self.requested = False
        self._terminated = False
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._take) for one in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        leaving = self._terminated and kind is KeyboardInterrupt
        for one, handler in self._before.items():
            # a program on its way out is not interrupted by a second SIGTERM
            if not (leaving and one == signal.SIGTERM):
                signal.signal(one, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a loader process: this one ends it
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            print("stopping after this update ...", file=sys.stderr, flush=True)
        self.requested = True
        self._terminated |= number == signal.SIGTERM
