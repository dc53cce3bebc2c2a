"""The counts of a release: by session and class, and against those of the full one."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from iemocap_labels import SESSIONS, Turn

COLUMNS = ("ang", "hap", "exc", "sad", "neu")
FULL_DIALOGS, FULL_TURNS, FULL_CLIPS = 151, 10_039, 5_531
FULL_COUNTS = {
    1: (229, 135, 143, 194, 384),
    2: (137, 117, 210, 197, 362),
    3: (240, 135, 151, 305, 320),
    4: (327, 65, 238, 143, 258),
    5: (170, 143, 299, 245, 384),
}
"""Clips of the full release, by session and raw code in the order of COLUMNS."""


@dataclass(frozen=True)
class Preparation:
    """What `prepare_iemocap` found.

    Arguments
    ---------
    dialogs, turns : int
        Label files and labelled turns of the release.
    counts : dict
        Session -> number of clips in the manifests by raw code, in the order of
        ``COLUMNS``.
    skipped : int
        Clips of the four classes that were left out as unusable.
    fresh : bool
        False where the manifests were already there and nothing was written.
    """

    dialogs: int
    turns: int
    counts: dict[int, tuple[int, ...]]
    skipped: int
    fresh: bool

    @property
    def clips(self) -> int:
        """Number of clips in the manifests, all sessions together."""
        return sum(map(sum, self.counts.values()))


def count_codes(turns: Iterable[Turn]) -> dict[int, tuple[int, ...]]:
    """Count turns by session and raw code, in the order of ``COLUMNS``.

    Example
    -------
    >>> count_codes([Turn("Ses02F_impro01_M000", "exc", (), "line 1")])[2]
    (0, 0, 1, 0, 0)
    """
    found = Counter((turn.session, turn.code) for turn in turns)
    return {
        session: tuple(found[session, code] for code in COLUMNS) for session in SESSIONS
    }


def print_table(done: Preparation) -> None:
    """Print the clips of each session by class, and their sums."""
    print(f"{'session':<8}{'ang':>6}{'hap + exc':>14}{'sad':>6}{'neu':>6}{'all':>7}")
    total = tuple(map(sum, zip(*done.counts.values(), strict=True)))
    for name, row in (*done.counts.items(), ("all", total)):
        ang, hap, exc, sad, neu = row
        both = f"{hap} + {exc}"
        print(f"{name:<8}{ang:>6}{both:>14}{sad:>6}{neu:>6}{sum(row):>7}")


def print_remarks(done: Preparation, skipped_file: Path) -> None:
    """Print what was left out, and whether the release is the full one.

    Arguments
    ---------
    done : Preparation
        The counts.
    skipped_file : pathlib.Path
        Where the clips that were left out are listed.
    """
    if done.skipped:
        print(f"note: {done.skipped} clips left out, listed in {skipped_file}")
    found = (
        f"{done.dialogs} dialogs, {done.turns} turns, {done.clips} clips in four "
        "classes"
    )
    if done.dialogs != FULL_DIALOGS:
        print(f"note: not the full IEMOCAP release: {found}")
        return
    if (done.turns, done.counts) == (FULL_TURNS, FULL_COUNTS):
        return
    print(
        f"warning: the full IEMOCAP release has {FULL_TURNS} turns, {FULL_CLIPS} clips "
        f"in four classes, but here are {found}; results will not compare"
    )
    for session, row in done.counts.items():
        for code, count, full in zip(COLUMNS, row, FULL_COUNTS[session], strict=True):
            if count != full:
                print(f"warning: session {session}, {code}: {count}, expected {full}")
