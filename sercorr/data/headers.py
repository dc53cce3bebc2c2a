"""The headers of a corpus's clips, read in threads, and what is wrong with them."""

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from sercorr import SAMPLE_RATE
from sercorr.data.audio import AudioInfo, read_header, require_one_frame
from sercorr.data.utterances import Utterance
from sercorr.errors import InputError

_MAX_LISTED = 20
_READERS = 8  # threads that read headers: more than cores, as they wait for the disk


@dataclass(frozen=True)
class Headers:
    """What the headers of a corpus's clips say.

    Arguments
    ---------
    clips : list of Utterance
        The usable clips, with their durations.
    problems : dict
        Id -> complaint of every clip that is missing, unreadable, truncated or shorter
        than a frame.
    resampled : str
        A remark on clips that are not 16 kHz mono; empty where all are.
    """

    clips: list[Utterance]
    problems: dict[str, str]
    resampled: str

    def complaint(self) -> str:
        """Return one message on all problems, with the first twenty of them."""
        lines = list(self.problems.values())
        shown = [f"{len(lines)} clips cannot be used:", *lines[:_MAX_LISTED]]
        if len(lines) > _MAX_LISTED:
            shown.append(f"and {len(lines) - _MAX_LISTED} more")
        return "\n".join(
            [*shown, "mend them, or leave them out with --skip_bad_audio True"]
        )


def read_headers(data_folder: Path, utterances: Sequence[Utterance]) -> Headers:
    """Read the header of every clip; a progress bar shows if it takes a while.

    Arguments
    ---------
    data_folder : pathlib.Path
        The corpus.
    utterances : sequence of Utterance
        The clips.

    Returns
    -------
    Headers
        In the order of ``utterances``.
    """

    def read(clip: Utterance) -> AudioInfo | str:
        path = data_folder / clip.wav
        try:
            info = read_header(path)
            require_one_frame(path, info)
        except InputError as error:
            return f"{error}{clip.place and f' (labelled in {clip.place})'}"
        return info

    clips: list[Utterance] = []
    problems: dict[str, str] = {}
    others: list[str] = []
    with contextlib.ExitStack() as stack:
        pool = ThreadPoolExecutor(_READERS)
        stack.callback(pool.shutdown, cancel_futures=True)  # on Ctrl-C, too
        bar = tqdm(
            pool.map(read, utterances),
            desc="reading headers",
            total=len(utterances),
            unit="clip",
            delay=1,
            disable=None,
        )
        for clip, result in zip(utterances, bar, strict=True):
            if isinstance(result, str):
                problems[clip.id] = result
                continue
            clips.append(replace(clip, duration=result.seconds))
            if (result.sample_rate, result.channels) != (SAMPLE_RATE, 1):
                others.append(
                    f"{clip.id} ({result.sample_rate} Hz, {result.channels} channels)"
                )
    resampled = others and (
        f"{len(others)} clips are not {SAMPLE_RATE} Hz mono and will be resampled or "
        f"mixed down when read; the first is {others[0]}"
    )
    return Headers(clips, problems, resampled or "")
