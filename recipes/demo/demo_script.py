"""What the demo corpus says and how: voices, sentences, emotions, raters' votes.

Everything here is drawn from one seeded generator, without any sound. The emotions
follow what is known of acted speech: anger and joy are higher, livelier, faster and
louder than neutral speech, sadness is lower, flatter, slower and softer. Speakers
differ in the same four things, and an emotion is acted now more, now less strongly;
so the classes overlap, as in real recordings.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from espeak_voice import Utterance


class Speaker(NamedTuple):
    """A voice of espeak-ng and its habits: pitch (of 100), words a minute, dB."""

    voice: str
    pitch: float
    rate: float
    level: float


class Style(NamedTuple):
    """How an emotion moves a voice away from its habit when it is acted in full.

    ``pitch`` and ``pitch_range`` are on espeak-ng's scale of 0 to 100, ``rate`` is
    a factor, ``level`` is in dB. ``affect`` is the valence, activation and dominance
    (1 to 5) that a rater would give. A rater hears the ``category``; one who does not
    agree hears one of ``others`` instead.
    """

    pitch: float
    pitch_range: float
    rate: float
    level: float
    affect: tuple[int, int, int]
    category: str
    others: tuple[str, ...]


class Turn(NamedTuple):
    """One turn of a dialog; ``pause`` is the seconds of silence before it."""

    dialog: str
    name: str
    code: str
    votes: list[tuple[str, ...]]
    utterance: Utterance
    pause: float


# Session by session, a female and a male voice.
SPEAKERS = (
    (Speaker("en-us+f2", 50, 172, 0.0), Speaker("en-us+m3", 50, 170, 1.0)),
    (Speaker("en+f3", 44, 182, 1.5), Speaker("en+m1", 56, 164, 0.0)),
    (Speaker("en-us+linda", 46, 166, -1.0), Speaker("en-us+m7", 45, 178, -1.0)),
    (Speaker("en-gb-scotland+f4", 55, 176, -0.5), Speaker("en-us+m6", 54, 184, 0.5)),
    (Speaker("en-us+f5", 52, 168, 1.0), Speaker("en+m4", 48, 174, -0.5)),
)

_FRU, _NEU = "Frustration", "Neutral state"
STYLES = {
    "neu": Style(0, 0, 1, 0, (3, 2, 3), _NEU, (_FRU, "Sadness", "Happiness")),
    "hap": Style(
        *(20, 32, 1.06, 1.5, (4, 3, 3)), "Happiness", ("Excited", _NEU, "Surprise")
    ),
    "exc": Style(25, 38, 1.11, 2.5, (5, 4, 4), "Excited", ("Happiness", "Surprise")),
    "ang": Style(3, 5, 1.20, 6.5, (2, 4, 4), "Anger", (_FRU, "Disgust", _NEU)),
    "sad": Style(-18, -30, 0.80, -5.5, (2, 2, 2), "Sadness", (_NEU, _FRU)),
}

# Equal shares of the four classes; joy is labelled as happiness and excitement.
CODE_CYCLE = ("neu", "hap", "ang", "sad", "neu", "exc", "ang", "sad")

SENTENCES = (
    "I told you that I would be home before seven.",
    "They moved the meeting to the end of the week.",
    "My brother is coming over with his two children.",
    "You never said anything about the money.",
    "We have been waiting here for almost an hour.",
    "She left the letter on the kitchen table.",
    "It looks as if it is going to rain again.",
    "I do not know what you want me to say.",
    "He bought the house on the other side of the river.",
    "There is nothing left to do until tomorrow.",
    "The train to the coast leaves in ten minutes.",
    "This is the third time that they have called today.",
)

RATERS = ("E2", "E3", "E4")
NEUTRAL_LEVEL = -5.0  # dB under espeak-ng's own volume
LONGEST_DIALOG = 14  # turns


def write_script(session: int, turns: int, seed: int) -> Iterator[Turn]:
    """Write the turns of a session (1 to 5) in the order in which they are spoken.

    The two speakers alternate. The same seed gives the same session.

    Example
    -------
    >>> turn = next(write_script(1, turns=50, seed=1))
    >>> turn.dialog, turn.name
    ('Ses01F_impro01', 'Ses01F_impro01_F000')
    """
    draw = random.Random(f"{seed}/{session}/{turns}")
    codes = {sex: _shuffled_cycle(CODE_CYCLE, draw) for sex in "FM"}
    sentences = {sex: _shuffled_cycle(SENTENCES, draw) for sex in "FM"}
    n_dialogs = -(-turns // LONGEST_DIALOG)
    spoken = 0
    for number in range(n_dialogs):
        # The name's own letter says who wore the markers, not who speaks.
        dialog = f"Ses{session:02d}{'FM'[number % 2]}_impro{number // 2 + 1:02d}"
        end = turns * (number + 1) // n_dialogs
        for index in range(end - spoken):
            sex = spoken % 2
            code = next(codes["FM"[sex]])
            style, speaker = STYLES[code], SPEAKERS[session - 1][sex]
            intensity = draw.uniform(0.65, 1.2)
            votes = _votes(style, intensity, draw)
            text = next(sentences["FM"[sex]])
            said = _act(speaker, style, intensity, text, draw)
            name = f"{dialog}_{'FM'[sex]}{index // 2:03d}"
            pause = round(draw.uniform(0.3, 1.2), 2)
            yield Turn(dialog, name, code, votes, said, pause)
            spoken += 1


def _act(
    speaker: Speaker, style: Style, intensity: float, text: str, draw: random.Random
) -> Utterance:
    """Decide how a sentence is said: the habit, the emotion, and chance."""
    pitch = speaker.pitch + intensity * style.pitch + draw.gauss(0, 4.5)
    pitch_range = 50 + intensity * style.pitch_range + draw.gauss(0, 8)
    rate = speaker.rate * style.rate**intensity * (1 + draw.gauss(0, 0.05))
    level = speaker.level + intensity * style.level + draw.gauss(0, 1.4)
    volume = 100 * 10 ** ((NEUTRAL_LEVEL + level) / 20)
    return Utterance(
        text=text,
        voice=speaker.voice,
        rate=_clamp(rate, 110, 260),
        pitch=_clamp(pitch, 0, 99),
        pitch_range=_clamp(pitch_range, 0, 100),
        volume=_clamp(volume, 15, 130),
    )


def _votes(
    style: Style, intensity: float, draw: random.Random
) -> list[tuple[str, ...]]:
    """Draw the raters' categories; weak acting makes one of them doubt, not more."""
    votes: list[tuple[str, ...]] = [(style.category,)] * len(RATERS)
    if draw.random() < 0.85 - 0.5 * intensity:
        other = draw.choice(style.others)
        doubt = (style.category, other) if draw.random() < 0.3 else (other,)
        votes[draw.randrange(len(RATERS))] = doubt
    return votes


def _shuffled_cycle(items: tuple[str, ...], draw: random.Random) -> Iterator[str]:
    """Give all items in random order, again and again, each round shuffled anew."""
    while True:
        yield from draw.sample(items, len(items))


def _clamp(value: float, low: int, high: int) -> int:
    return min(max(round(value), low), high)
