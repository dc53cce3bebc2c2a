"""Which clips are computed together: the same groups in every run and process.

The last bits of a clip's features depend on the clips that it was computed with.
Groups are therefore planned over the whole corpus, whatever is in the store already
and however many processes share the work, so that a run which was interrupted ends
with the same bytes as one that was not (on one kind of machine, with one version of
torch and one number of threads: these, too, decide about last bits).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sercorr import SAMPLE_RATE
from sercorr.data.audio import Part, read_header, require_one_frame


class Clip(NamedTuple):
    """A clip of the corpus: its digest, where it is, its length at 16 kHz."""

    digest: str
    part: Part
    samples: int


def plan_groups(
    digests: Mapping[str, str], parts: Mapping[str, Part], max_seconds: float
) -> list[list[Clip]]:
    """Put clips of similar length together, longest first; equal ones once.

    ``digests`` and ``parts`` are of the whole corpus, by id. What comes out depends on
    the clips' contents alone, not on ids, order or places.
    """
    first: dict[str, Part] = {}
    for identity, digest in digests.items():
        first.setdefault(digest, parts[identity])
    clips = []
    for digest, part in sorted(first.items()):
        info = part.of(read_header(part.file))
        require_one_frame(part, info)
        clips.append(Clip(digest, part, info.samples))
    limit = round(max_seconds * SAMPLE_RATE)
    groups = length_groups([clip.samples for clip in clips], limit)
    return [[clips[index] for index in group] for group in groups]


def length_groups(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Put clips of similar length together, longest first, as indices.

    A padded group has at most ``limit`` samples; a longer clip is a group of its own.

    Example
    -------
    >>> length_groups([5, 1, 4, 2], limit=10)
    [[0, 2], [3, 1]]
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= limit:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
