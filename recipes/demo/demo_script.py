"""What the demo corpus says and how: voices, sentences, emotions, raters' votes.

Everything here is drawn from one seeded generator, without any sound. The emotions
follow what is known of acted speech: anger and joy are higher, livelier, faster and
louder than neutral speech, sadness is lower, flatter, slower and softer. Speakers
differ in the same four things, and an emotion is acted now more, now less strongly;
so the classes overlap, as in real recordings.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from espeak_voice import Utterance


@dataclass(frozen=True)
class Speaker:
    """One of two voices of a session.

    Arguments
    ---------
    voice : str
        espeak-ng's language and variant.
    pitch : float
        Habitual base pitch on espeak-ng's scale (50 is the variant's own).
    rate : float
        Habitual words a minute.
    level : float
        Habitual loudness in dB.
    """

    voice: str
    pitch: float
    rate: float
    level: float


@dataclass(frozen=True)
class Style:
    """How an emotion moves a voice away from its habit when it is acted in full.

    ``pitch`` and ``pitch_range`` are on espeak-ng's scale of 0 to 100, ``rate`` is
    a factor, ``level`` is in dB. ``affect`` is the valence, activation and dominance
    (1 to 5) that a rater would give.
    """

    pitch: float
    pitch_range: float
    rate: float
    level: float
    affect: tuple[int, int, int]


@dataclass(frozen=True)
class Turn:
    """One turn of a dialog: its name, its label, its votes, and what is said."""

    dialog: str
    name: str
    code: str
    votes: tuple[tuple[str, ...], ...]
    affect: tuple[int, int, int]
    utterance: Utterance
    pause: float
    """Seconds of silence before the turn."""


# Session by session, a female and a male voice.
SPEAKERS = (
    (Speaker("en-us+f2", 50, 172, 0.0), Speaker("en-us+m3", 50, 170, 1.0)),
    (Speaker("en+f3", 44, 182, 1.5), Speaker("en+m1", 56, 164, 0.0)),
    (Speaker("en-us+linda", 46, 166, -1.0), Speaker("en-us+m7", 45, 178, -1.0)),
    (Speaker("en-gb-scotland+f4", 55, 176, -0.5), Speaker("en-us+m6", 54, 184, 0.5)),
    (Speaker("en-us+f5", 52, 168, 1.0), Speaker("en+m4", 48, 174, -0.5)),
)

STYLES = {
    "neu": Style(0, 0, 1.00, 0.0, (3, 2, 3)),
    "hap": Style(20, 32, 1.06, 1.5, (4, 3, 3)),
    "exc": Style(25, 38, 1.11, 2.5, (5, 4, 4)),
    "ang": Style(3, 5, 1.20, 6.5, (2, 4, 4)),
    "sad": Style(-18, -30, 0.80, -5.5, (2, 2, 2)),
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

CATEGORIES = {
    "neu": "Neutral state",
    "hap": "Happiness",
    "exc": "Excited",
    "ang": "Anger",
    "sad": "Sadness",
}
# What a rater who does not agree hears instead.
CONFUSIONS = {
    "neu": ("Frustration", "Sadness", "Happiness"),
    "hap": ("Excited", "Neutral state", "Surprise"),
    "exc": ("Happiness", "Surprise"),
    "ang": ("Frustration", "Disgust", "Neutral state"),
    "sad": ("Neutral state", "Frustration"),
}

RATERS = 3
NEUTRAL_LEVEL = -5.0  # dB under espeak-ng's own volume
LONGEST_DIALOG = 14  # turns

# Spread of one turn around its style: how well it is acted, and chance.
INTENSITY = (0.65, 1.2)
PITCH_SPREAD = 4.5
RANGE_SPREAD = 8.0
RATE_SPREAD = 0.05
LEVEL_SPREAD = 1.4  # dB


def write_script(session: int, turns: int, seed: int) -> Iterator[Turn]:
    """Write the dialogs of one session.

    Arguments
    ---------
    session : int
        1 to 5.
    turns : int
        Turns in the session, at least 8; the two speakers alternate.
    seed : int
        The same seed gives the same session.

    Returns
    -------
    iterator of Turn
        In the order in which they are spoken.

    Example
    -------
    >>> turn = next(write_script(1, turns=50, seed=1))
    >>> turn.dialog, turn.name
    ('Ses01F_impro01', 'Ses01F_impro01_F000')
    """
    generator = random.Random(f"{seed}/{session}/{turns}")
    codes = {sex: _shuffled_cycle(CODE_CYCLE, generator) for sex in "FM"}
    sentences = {sex: _shuffled_cycle(SENTENCES, generator) for sex in "FM"}
    n_dialogs = -(-turns // LONGEST_DIALOG)
    spoken = 0
    for number in range(n_dialogs):
        # The name's own letter says who wore the markers, not who speaks.
        dialog = f"Ses{session:02d}{'FM'[number % 2]}_impro{number // 2 + 1:02d}"
        end = turns * (number + 1) // n_dialogs
        for index in range(end - spoken):
            sex = "FM"[spoken % 2]
            code = next(codes[sex])
            intensity = generator.uniform(*INTENSITY)
            yield Turn(
                dialog=dialog,
                name=f"{dialog}_{sex}{index // 2:03d}",
                code=code,
                votes=_votes(code, intensity, generator),
                affect=STYLES[code].affect,
                utterance=_act(
                    SPEAKERS[session - 1]["FM".index(sex)],
                    STYLES[code],
                    intensity,
                    next(sentences[sex]),
                    generator,
                ),
                pause=round(generator.uniform(0.3, 1.2), 2),
            )
            spoken += 1


def _act(
    speaker: Speaker,
    style: Style,
    intensity: float,
    text: str,
    generator: random.Random,
) -> Utterance:
    pitch = speaker.pitch + intensity * style.pitch + generator.gauss(0, PITCH_SPREAD)
    pitch_range = 50 + intensity * style.pitch_range + generator.gauss(0, RANGE_SPREAD)
    rate = speaker.rate * style.rate**intensity * (1 + generator.gauss(0, RATE_SPREAD))
    level = (
        NEUTRAL_LEVEL
        + speaker.level
        + intensity * style.level
        + generator.gauss(0, LEVEL_SPREAD)
    )
    return Utterance(
        text=text,
        voice=speaker.voice,
        rate=_clamp(rate, 110, 260),
        pitch=_clamp(pitch, 0, 99),
        pitch_range=_clamp(pitch_range, 0, 100),
        volume=_clamp(100 * 10 ** (level / 20), 15, 130),
    )


def _votes(
    code: str, intensity: float, generator: random.Random
) -> tuple[tuple[str, ...], ...]:
    """Three raters' categories; weak acting makes one of them doubt.

    The majority always hears what was meant, since the label is the majority's.
    """
    votes: list[tuple[str, ...]] = [(CATEGORIES[code],)] * RATERS
    if generator.random() < 0.85 - 0.5 * intensity:
        other = generator.choice(CONFUSIONS[code])
        both = generator.random() < 0.3
        doubt = (CATEGORIES[code], other) if both else (other,)
        votes[generator.randrange(RATERS)] = doubt
    return tuple(votes)


def _shuffled_cycle(items: tuple[str, ...], generator: random.Random) -> Iterator[str]:
    """Give all items in random order, again and again, each round shuffled anew."""
    while True:
        yield from generator.sample(items, len(items))


def _clamp(value: float, low: int, high: int) -> int:
    return min(max(round(value), low), high)
