"""The synthetic corpus: repeatable, IEMOCAP's layout, emotions that can be heard."""

import re
import sys
from pathlib import Path

import demo_script
import make_demo_corpus as demo
import numpy as np
import pytest
import soundfile
from demo_script import SPEAKERS, write_script
from espeak_voice import EspeakSynthesiser, Utterance
from iemocap_prepare import prepare_iemocap
from releases import contents

from sercorr.errors import InputError
from sercorr.files import read_json

pytest.importorskip("espeakng_loader", reason="the demo's synthesiser is missing")

TURNS = 24
SEED = 1
BLOCK = re.compile(r"\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(\S+)\t(\w{3})\t\[.+\]")
ID = re.compile(r"(Ses0([1-5])[FM]_impro\d\d)_([FM])\d{3}")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    assert demo.make_demo_corpus(folder, TURNS, SEED, progress=False)
    return folder


@pytest.fixture(scope="module")
def script() -> dict[str, demo_script.Turn]:
    turns = [t for k in demo.SESSIONS for t in write_script(k, TURNS, SEED)]
    return {turn.name: turn for turn in turns}


def labels(corpus: Path) -> dict[str, tuple[float, float, str]]:
    """Start, end and code of every turn, in the files' order."""
    found = {}
    for path in sorted(corpus.glob("Session*/dialog/EmoEvaluation/*.txt")):
        before = 0.0
        for block in BLOCK.finditer(path.read_text()):
            start, end, name, code = block.groups()
            assert name not in found
            assert float(start) > before  # turns do not overlap
            before = float(end)
            found[name] = (float(start), before, code)
    return found


def wavs(corpus: Path) -> dict[str, Path]:
    return {p.stem: p for p in corpus.glob("Session*/sentences/wav/*/*.wav")}


def test_same_seed_gives_the_same_bytes(corpus, tmp_path):
    demo.make_demo_corpus(tmp_path / "again", TURNS, SEED, progress=False)
    assert contents(tmp_path / "again") == contents(corpus)


def test_seeds_and_sessions_differ():
    first, again, other = (
        [turn.utterance for turn in write_script(1, 50, seed)] for seed in (1, 1, 2)
    )
    assert first == again != other
    voices = [speaker.voice for pair in SPEAKERS for speaker in pair]
    assert len(set(voices)) == 10


def test_layout(corpus, script):
    found = labels(corpus)
    assert set(found) == set(script) == set(wavs(corpus))
    assert len(found) == 5 * TURNS
    for name, path in wavs(corpus).items():
        dialog, session, sex = ID.fullmatch(name).groups()
        assert path.parent.name == dialog
        assert path.relative_to(corpus).parts[0] == f"Session{session}"
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        start, end, code = found[name]
        assert end - start == pytest.approx(info.frames / 16000, abs=2e-4)
        assert 0.8 < end - start < 6
        assert code == script[name].code
        female, male = SPEAKERS[int(session) - 1]
        voice = female.voice if sex == "F" else male.voice
        assert script[name].utterance.voice == voice


def test_every_speaker_acts_every_emotion_about_as_often():
    for session in demo.SESSIONS:
        turns = list(write_script(session, 50, SEED))
        assert len(turns) == 50
        for sex in "FM":
            codes = [t.code for t in turns if t.name.rsplit("_", 1)[1][0] == sex]
            assert len(codes) == 25
            counts = [codes.count(c) for c in ("neu", "ang", "sad")]
            counts.append(codes.count("hap") + codes.count("exc"))
            assert max(counts) - min(counts) <= 1


def test_most_raters_hear_the_label_and_some_doubt():
    turns = [t for k in demo.SESSIONS for t in write_script(k, 50, SEED)]
    doubted = 0
    for turn in turns:
        category = demo_script.CATEGORIES[turn.code]
        agreeing = sum(vote == (category,) for vote in turn.votes)
        assert len(turn.votes) == 3
        assert agreeing >= 2
        doubted += agreeing < 3
    assert 0.2 < doubted / len(turns) < 0.6


def pitch_and_melody(wav: np.ndarray) -> tuple[float, float]:
    """Fundamental frequency by autocorrelation: median in Hz, spread in semitones."""
    frames = np.lib.stride_tricks.sliding_window_view(wav, 800)[::400]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames[np.sqrt(np.mean(frames**2, axis=1)) > 0.02]
    power = np.abs(np.fft.rfft(frames, 1600)) ** 2
    products = np.fft.irfft(power)  # (frames, lags)
    lags = np.arange(40, 230)  # 400 to 70 Hz
    coefficients = products[:, lags] / products[:, :1] * (800 / (800 - lags))
    best = coefficients.max(axis=1, keepdims=True)
    # The shortest lag near the best one, against errors by an octave.
    periods = lags[np.argmax(coefficients > 0.9 * best, axis=1)][best[:, 0] > 0.6]
    low, median, high = np.quantile(16000 / periods, [0.15, 0.5, 0.85])
    return median, 12 * np.log2(high / low)


@pytest.fixture(scope="module")
def cues(corpus, script) -> dict[str, dict[str, np.ndarray]]:
    """Voice -> emotion -> mean of dB, letters a second, Hz, semitones."""
    measured: dict[str, dict[str, list]] = {}
    for name, path in wavs(corpus).items():
        wav, _ = soundfile.read(path)
        said = script[name].utterance
        level = 10 * np.log10(np.mean(wav**2))
        tempo = len(said.text) * 16000 / len(wav)
        emotion = script[name].code.replace("exc", "hap")
        clips = measured.setdefault(said.voice, {}).setdefault(emotion, [])
        clips.append((level, tempo, *pitch_and_melody(wav)))
    return {
        voice: {emotion: np.mean(clips, axis=0) for emotion, clips in emotions.items()}
        for voice, emotions in measured.items()
    }


@pytest.mark.parametrize(
    ("column", "order", "step"),
    [
        pytest.param(0, ("ang", "neu", "sad"), 2.0, id="loudness in dB"),
        pytest.param(1, ("ang", "neu", "sad"), 0.1, id="letters a second"),
        pytest.param(2, ("hap", "neu", "sad"), 5.0, id="pitch in Hz"),
    ],
)
def test_emotions_differ_in_every_voice(cues, column, order, step):
    assert len(cues) == 10
    for voice, emotions in cues.items():
        high, middle, low = (emotions[emotion][column] for emotion in order)
        assert high > middle + step, voice
        assert middle > low + step, voice


def test_joy_is_lively_and_sadness_flat(cues):
    hap, neu, sad = (
        np.mean([voice[emotion][3] for voice in cues.values()])
        for emotion in ("hap", "neu", "sad")
    )
    assert hap > neu + 0.5
    assert neu > sad + 0.5


def test_the_preparation_accepts_it(corpus, script, tmp_path):
    prepare_iemocap(str(corpus), str(tmp_path), seed=1)
    for fold in demo.SESSIONS:
        manifest = read_json(tmp_path / f"fold_{fold}" / "test.json")
        names = {n for n in script if n.startswith(f"Ses{fold:02d}")}
        assert set(manifest) == names
        for name, entry in manifest.items():
            turn = script[name]
            assert entry["code"] == turn.code
            assert entry["emo"] == turn.code.replace("exc", "hap")
            assert entry["votes"] == [list(vote) for vote in turn.votes]
            samples = soundfile.info(wavs(corpus)[name]).frames
            assert entry["duration"] == pytest.approx(samples / 16000)


def test_a_complete_corpus_is_left_alone(corpus):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    assert not demo.make_demo_corpus(corpus, TURNS, SEED, progress=False)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


def test_what_is_refused(corpus, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    cut = tmp_path / "cut"
    wav = cut / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    wav.parent.mkdir(parents=True)
    wav.touch()
    settings = {"version": demo.VERSION, "turns": TURNS, "seed": SEED, "clips": 120}
    demo.write_json(cut / demo.MARKER, settings)
    for folder, turns, seed, message in (
        (corpus, TURNS, SEED + 1, "other settings.*remove the folder"),
        (cut, TURNS, SEED, "holds 1 clips of 120; remove the folder"),
        (tmp_path / "mine", TURNS, SEED, "something other than a demo corpus"),
        (tmp_path / "mine" / "thesis.txt", TURNS, SEED, "is a file, not a folder"),
        (tmp_path / "new", 3, SEED, "turns is 3; it must be at least 16"),
    ):
        with pytest.raises(InputError, match=message):
            demo.make_demo_corpus(folder, turns, seed, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "mine"]
    assert contents(tmp_path / "mine") == {"thesis.txt": b"mine"}


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(utterances):
        for _ in utterances[:3]:
            yield np.zeros(22050, np.int16), 22050
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "speak_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.make_demo_corpus(tmp_path / "corpus", TURNS, SEED, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_synthesiser_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(InputError, match="pip install espeakng-loader"):
        EspeakSynthesiser()


@pytest.mark.parametrize(("name", "value"), [("rate", 20), ("volume", 0)])
def test_a_manner_outside_the_limits_is_refused(name, value):
    manner = {"rate": 175, "pitch": 50, "pitch_range": 50, "volume": 100, name: value}
    with pytest.raises(ValueError, match=rf"{name} must be from .* \(got {value}\)"):
        Utterance("Good morning.", "en-us+f2", **manner)
