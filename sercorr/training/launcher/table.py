"""A table of works: what runs where, how far it is, and what failed."""

import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from sercorr.training.launcher.works import (
    DONE,
    FAILED,
    LOST,
    RUNNING,
    STOPPED,
    WAITING,
    Work,
)

_BAR = re.compile(
    r"(?P<what>[^\r\n|]*?):?\s+(?P<percent>\d+)%\|[^|\r\n]*\|"
    r"(?P<counts>[^\[\r\n]*)\[(?P<rest>[^\]\r\n]*)\]"
)
_WORK = re.compile(r"training|\d+ heads|extracting")
_STYLES = {
    RUNNING: "cyan",
    DONE: "green",
    FAILED: "red",
    LOST: "red",
    STOPPED: "yellow",
}
_EVERY = 1.0  # seconds between two tables
_SURE = 0.03  # share of the work after which the time left is estimated


class Bar(NamedTuple):
    """What the last progress bar in a log says."""

    what: str
    """Its title."""
    done: float | None
    """Share of the work that is done; None for bars of what comes before and after."""
    left: str
    """Time left, as the bar has it."""
    says: str
    """What stands behind it, such as the loss."""


def last_bar(text: str) -> Bar | None:
    """Find the last progress bar of a program's log.

    Example
    -------
    >>> last_bar("training:  43%|##  | 43/100 [00:20<00:27, 2.1update/s, loss=1.2]")
    Bar(what='training', done=0.43, left='00:27', says='loss=1.2')
    """
    found = list(_BAR.finditer(text))
    if not found:
        return None
    bar = found[-1]
    parts = [part.strip() for part in bar["rest"].split(",")]
    left = parts[0].partition("<")[2]
    says = ", ".join(parts[2:])
    if not left:  # the bar of an extraction: 3.1 audio-seconds/s [00:20, 00:27 left]
        left = next((p.removesuffix(" left") for p in parts if p.endswith("left")), "")
        says = bar["counts"].strip()
    what = bar["what"].strip()
    done = int(bar["percent"]) / 100 if _WORK.match(what) else None
    return Bar(what, done, left, says)


def works_table(works: Sequence[Work], states: Mapping[str, str] = {}) -> Table:
    """Make a table of works; those that wait are left out if they are many.

    ``states`` maps a job's id to what the cluster's queue says of it.
    """
    table = Table(box=None, pad_edge=False)
    for column in ("work", "state", "done", "left", "where", ""):
        table.add_column(column, overflow="fold" if not column else "ellipsis")
    shown = [work for work in works if work.record["state"] != WAITING]
    waiting = [work for work in works if work.record["state"] == WAITING]
    for work in [*shown, *waiting[: max(20 - len(shown), 3)]]:
        table.add_row(*_row(work, states))
    return table


def _row(work: Work, states: Mapping[str, str]) -> list[Text]:
    record = work.record
    state = record["state"]
    job = record.get("job")
    bar = last_bar(work.log_tail()) if state in (RUNNING, STOPPED) else None
    done, left, says = "", "", record.get("message", "")
    if bar is not None and state == RUNNING:
        done = bar.what if bar.done is None else f"{bar.done:.0%}"
        left, says = bar.left, bar.says
    elif bar is not None and bar.done is not None:
        done = f"{bar.done:.0%}"
    places = [f"{record['host']} {record['pid']}"] if "host" in record else []
    if job is not None:
        places.insert(0, f"job {job}")
        if states.get(job):
            says = f"{states[job]} {says}".strip()
    if record.get("starts", 0) > 1:
        says = f"start {record['starts']} {says}".strip()
    style = _STYLES.get(state, "")
    return [
        Text(work.name),
        Text(state, style),
        # not str: brackets would be styles
        *map(Text, (done, left, " ".join(places), says)),
    ]


def summary(works: Sequence[Work]) -> str:
    """Count works by state: ``3 of 10 done, 2 running, 1 failed``."""
    counts = Counter(work.record["state"] for work in works)
    others = [f"{n} {state}" for state, n in counts.items() if state != DONE]
    return ", ".join([f"{counts[DONE]} of {len(works)} done", *others])


class Progress:
    """A table of works that is kept up to date while they run.

    In a terminal it stays in place; elsewhere there is a line for each work that ends.

    Arguments
    ---------
    works : sequence of Work
        All of the launch.
    enable : bool
        Show it at all; failures are reported in any case.
    """

    def __init__(self, works: Sequence[Work], enable: bool):
        self.works = works
        self._start = self._latest = time.monotonic()
        self._first: float | None = None  # what was done when it started
        self._console = Console(stderr=True)
        self._live: Live | None = None
        if enable and self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._enable = enable

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*error)

    def say(self, text: str) -> None:
        """Print a line above the table."""
        if self._live is not None:
            self._console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def ended(self, work: Work) -> None:
        """Say what became of a work."""
        state = work.record["state"]
        if state == FAILED:
            message = work.record["message"]
            self.say(f"{work.name}: failed: {message} (log: {work.log})")
        elif self._enable:
            self.say(f"{work.name}: {state} ({summary(self.works)})")

    def refresh(self) -> None:
        """Draw the table anew, once a second."""
        now = time.monotonic()
        if self._live is None or now - self._latest < _EVERY:
            return
        self._latest = now
        line = f"{summary(self.works)}{self._estimate(now)}"
        self._live.update(Group(works_table(self.works), line), refresh=True)

    def _estimate(self, now: float) -> str:
        """Estimate the time left from what was done since the start."""
        done = sum(map(_share, self.works)) / len(self.works)
        if self._first is None:
            self._first = done
        gained = done - self._first
        if gained < _SURE:
            return ""
        left = (1 - done) * (now - self._start) / gained
        return f", {tqdm.format_interval(left)} left"


def _share(work: Work) -> float:
    if work.record["state"] != RUNNING:
        return float(work.record["state"] in (DONE, FAILED))
    bar = last_bar(work.log_tail())
    return (bar.done if bar is not None else None) or 0.0
