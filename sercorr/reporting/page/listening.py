"""The section of clips to listen to: sure and wrong, or right where few are."""

from collections import Counter
from collections.abc import Callable, Sequence

from sercorr.data.utterances import UNKNOWN
from sercorr.evaluation.hardest import Clip, most_confident_errors, rarest_successes
from sercorr.evaluation.runs import Run
from sercorr.reporting.layout import Table
from sercorr.reporting.page.clips import Sound, clip_html
from sercorr.reporting.page.document import Block, Raw, Section

Hear = Callable[[Clip], tuple[Sound | None, list[str]]]
"""Gives what can be played of a clip, and notes on what cannot."""

_KINDS = (
    (
        "The most confident errors",
        "Wrong clips with the largest probability, the mean over the seeds.",
        most_confident_errors,
    ),
    (
        "The rarest successes",
        "Right clips of a class and a speaker that are rarely right together.",
        rarest_successes,
    ),
)


def listening_section(runs: Sequence[Run], why: str, count: int, hear: Hear) -> Section:
    """Lay out ``count`` clips of each kind of one head, with their players.

    What ``hear`` notes of several clips is said once.
    """
    if count == 0:
        return Section("listen", "Listen", ["Left out: --clips is 0."])
    chosen = {title: choose(runs, count) for title, _, choose in _KINDS}
    found = {
        (clip.fold, clip.id): (clip, *hear(clip))
        for clips in chosen.values()
        for clip in clips
    }
    times = Counter(note for _, _, notes in found.values() for note in set(notes))
    often = {note: n for note, n in times.items() if n > 1}
    content: list[Block] = [why] if why else []
    sounds = [sound for _, sound, _ in found.values() if sound is not None]
    if sounds:
        content.append(_legend(runs, any(sound.attention for sound in sounds)))
    content += [f"{n} of {len(found)} clips: {note}" for note, n in often.items()]
    for title, text, _ in _KINDS:
        content += [f"### {title}", text]
        shown = []
        for clip in chosen[title]:
            _, sound, notes = found[clip.fold, clip.id]
            own = [note for note in notes if note not in often]
            shown.append(_show(clip, len(runs), sound, own))
        rows: Table = [[_row(clip) for clip in chosen[title]]]
        content.append(Raw("\n".join(shown), [rows]) if shown else "There is none.")
    return Section("listen", "Listen", content)


def _legend(runs: Sequence[Run], attention: bool) -> str:
    text = "Grey: the waveform, over seconds."
    if attention:
        seed = f" of seed {runs[0].seed}" if len(runs) > 1 else ""
        text += f" Orange line: the attention{seed}, dashed: its mean."
    else:
        text += " The head's pooling has no attention, or it is not to be had."
    return f"{text} A click or the arrow keys on it seek, space plays."


def _row(clip: Clip) -> dict[str, str]:
    return {
        "clip": clip.id,
        "true": clip.truth,
        "said": clip.prediction,
        "probability %": f"{100 * clip.probability:.1f}",
        "fold": str(clip.fold),
        "speaker": "" if clip.speaker == UNKNOWN else clip.speaker,
        "file": clip.file,
    }


def _show(clip: Clip, seeds: int, sound: Sound | None, notes: Sequence[str]) -> str:
    who = "speaker unknown" if clip.speaker == UNKNOWN else f"speaker {clip.speaker}"
    wrong = f", wrong in {round(clip.wrong * seeds)} of {seeds} seeds"
    facts = [
        f"True: {clip.truth}. Said: {clip.prediction}, {100 * clip.probability:.1f} %"
        f"{wrong if seeds > 1 else ''}. Fold {clip.fold}, {who}.",
        f"Of the {clip.similar} clips of this class"
        f"{'' if clip.speaker == UNKNOWN else ' and speaker'}, "
        f"{100 * clip.similar_right:.0f} % are right.",
    ]
    return clip_html(
        clip.id, facts, clip.probabilities, clip.truth, clip.prediction, sound, notes
    )
