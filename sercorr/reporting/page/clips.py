"""A clip in the page: a player over its waveform, the attention, the probabilities."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_WIDTH, _HEIGHT = 1000, 120  # units of the picture, which is stretched


@dataclass(frozen=True, eq=False)
class Sound:
    """What is heard and seen of a clip.

    Attributes
    ----------
    seconds : float
        Duration of the clip.
    low, high : numpy.ndarray
        (n,): the outline of the waveform, over the whole clip.
    audio : bytes
        A FLAC file of the clip, or of its beginning.
    played : float
        Duration of ``audio``, in seconds.
    attention : sequence of pairs, or None
        Time of each frame, in seconds from the clip's beginning, and its weight.
    """

    seconds: float
    low: np.ndarray
    high: np.ndarray
    audio: bytes
    played: float
    attention: Sequence[tuple[float, float]] | None


def clip_html(
    title: str,
    facts: Sequence[str],
    scores: Mapping[str, float],
    truth: str,
    said: str,
    sound: Sound | None,
    notes: Sequence[str] = (),
) -> str:
    """Lay a clip out.

    Arguments
    ---------
    title : str
        Its name.
    facts, notes : sequence of str
        Sentences above the probabilities, and below the player.
    scores : mapping
        Class -> probability.
    truth, said : str
        The true class and the one that the head gave.
    sound : Sound or None
        None where there is none to play: ``notes`` say why.
    """
    rows = [_score(name, value, truth, said) for name, value in scores.items()]
    wrong = "wrong" if truth != said else "right"
    return "\n".join(
        [
            f'<article class="clip {wrong}">',
            f"<h4>{html.escape(title)}</h4>",
            *(f"<p>{html.escape(fact)}</p>" for fact in facts),
            f'<div class="beside"><dl class="scores">{"".join(rows)}</dl>',
            "" if sound is None else player_html(title, sound),
            "</div>",
            *(f'<p class="note">{html.escape(note)}</p>' for note in notes),
            "</article>",
        ]
    )


def _score(name: str, value: float, truth: str, said: str) -> str:
    pairs = (("true", truth), ("said", said))
    roles = [role for role, label in pairs if label == name]
    marks = f" <b>({', '.join(roles)})</b>" if roles else ""
    return (
        f'<div class="{" ".join(roles)}"><dt>{html.escape(name)}{marks}</dt>'
        f'<dd><span class="bar" style="width:{100 * value:.1f}%"></span>'
        f"<span>{100 * value:.1f} %</span></dd></div>"
    )


def player_html(title: str, sound: Sound) -> str:
    """Lay out the waveform of a clip and its player."""
    link = f"data:audio/flac;base64,{base64.b64encode(sound.audio).decode()}"
    name = html.escape(title)
    marks = "".join(f"<span>{sound.seconds * k / 4:.2f}</span>" for k in range(5))
    return f"""<div class="player">
<div class="wave" data-seconds="{sound.seconds:.3f}" data-played="{sound.played:.3f}">
{_picture(title, sound)}
<div class="cursor"></div>
</div>
<div class="times" aria-hidden="true">{marks}</div>
{_peak(sound)}
<audio controls preload="metadata" src="{link}" aria-label="{name}"></audio>
</div>"""


def _peak(sound: Sound) -> str:
    if sound.attention is None:
        return ""
    weights = [weight for _, weight in sound.attention]
    peak = max(weights) * len(weights)
    return f'<p class="note">Attention: its peak is {peak:.1f} times its mean.</p>'


def _picture(title: str, sound: Sound) -> str:
    """Draw the waveform and over it the attention, relative to its mean."""
    middle = _HEIGHT / 2
    peak = max(float(np.abs([sound.low, sound.high]).max()), 1e-3)
    at = (np.arange(len(sound.low)) + 0.5) * _WIDTH / len(sound.low)
    scale = 0.95 * middle / peak
    upper = _points(at, middle - scale * sound.high)
    lower = _points(at[::-1], middle - scale * sound.low[::-1])
    shapes = [f'<path class="sound" d="M{upper}L{lower}Z"/>']
    what = f"Waveform of {title}"
    if sound.attention is not None:
        what += " with the attention over it"
        times, weights = np.array(sound.attention).T
        relative = weights * len(weights)
        top = 1.15 * max(2.0, float(relative.max()))
        line = _points(times * _WIDTH / sound.seconds, _HEIGHT * (1 - relative / top))
        mean = _HEIGHT * (1 - 1 / top)
        shapes += [
            f'<path class="mean" d="M0 {mean:.1f}H{_WIDTH}"/>',
            f'<path class="attention" d="M{line}"/>',
        ]
    if sound.played < sound.seconds - 0.01:
        start = _WIDTH * sound.played / sound.seconds
        rest = _WIDTH - start
        shapes.append(
            f'<rect class="unplayed" x="{start:.1f}" width="{rest:.1f}" '
            f'height="{_HEIGHT}"/>'
        )
    what = html.escape(what)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{what}"><title>{what}</title>{"".join(shapes)}</svg>'
    )


def _points(across: np.ndarray, down: np.ndarray) -> str:
    pairs = zip(across, down, strict=True)
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in pairs)
