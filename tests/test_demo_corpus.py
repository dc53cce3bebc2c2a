"""The synthetic corpus: repeatable, IEMOCAP's layout, emotions that can be heard."""

import re
import sys
from pathlib import Path

import make_demo_corpus as demo
import numpy as np
import pytest
import soundfile
from demo_script import SPEAKERS, STYLES, Turn, write_script
from espeak_voice import EspeakSynthesiser
from iemocap_prepare import prepare_iemocap
from releases import contents

from sercorr.errors import InputError
from sercorr.files import read_json, write_json

pytest.importorskip("espeakng_loader", reason="the demo's synthesiser is missing")

TURNS, SEED = 24, 1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    assert demo.make_demo_corpus(folder, TURNS, SEED, progress=False)
    return folder


@pytest.fixture(scope="module")
def script() -> dict[str, Turn]:
    turns = [t for k in demo.SESSIONS for t in write_script(k, TURNS, SEED)]
    return {turn.name: turn for turn in turns}


@pytest.fixture(scope="module")
def wavs(corpus) -> dict[str, Path]:
    return {p.stem: p for p in corpus.glob("Session*/sentences/wav/*/*.wav")}


def test_same_seed_gives_the_same_bytes(corpus, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    demo.make_demo_corpus(tmp_path / "again", TURNS, SEED, progress=False)
    assert contents(tmp_path / "again") == contents(corpus)
    # a complete corpus is left alone
    assert not demo.make_demo_corpus(corpus, TURNS, SEED, progress=False)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
    one, other = ([t.utterance for t in write_script(1, 50, seed)] for seed in (1, 2))
    assert one != other


def test_layout_as_the_preparation_reads_it(corpus, script, wavs, tmp_path):
    assert set(script) == set(wavs)
    assert len(script) == 5 * TURNS
    prepare_iemocap(str(corpus), str(tmp_path), seed=1)
    for fold in demo.SESSIONS:
        manifest = read_json(tmp_path / f"fold_{fold}" / "test.json")
        assert set(manifest) == {n for n in script if n.startswith(f"Ses{fold:02d}")}
        for name, entry in manifest.items():
            turn, path = script[name], wavs[name]
            assert path.relative_to(corpus).parts[0] == f"Session{fold}"
            assert path.parent.name == turn.dialog == name.rpartition("_")[0]
            emo = turn.code.replace("exc", "hap")
            assert (entry["code"], entry["emo"]) == (turn.code, emo)
            assert entry["votes"] == [list(vote) for vote in turn.votes]
            speaker = SPEAKERS[fold - 1]["FM".index(entry["speaker"][-1])]
            assert turn.utterance.voice == speaker.voice
            info = soundfile.info(path)
            found = (info.samplerate, info.channels, info.subtype)
            assert found == (16000, 1, "PCM_16")
            assert entry["duration"] == pytest.approx(info.frames / 16000)
            assert 0.8 < entry["duration"] < 6
    for path in corpus.glob("Session*/dialog/EmoEvaluation/*.txt"):
        times = re.findall(r"^\[([\d.]+) - ([\d.]+)\]", path.read_text(), re.MULTILINE)
        spoken = [float(second) for turn in times for second in turn]
        assert spoken == sorted(set(spoken))  # turns do not overlap


def test_speakers_act_every_emotion_and_raters_mostly_hear_it():
    doubted = []
    for session in demo.SESSIONS:
        turns = list(write_script(session, 50, SEED))
        for sex in "FM":
            codes = [t.code for t in turns if t.name.rsplit("_", 1)[1][0] == sex]
            assert len(codes) == 25
            counts = [codes.count(c) for c in ("neu", "ang", "sad")]
            counts.append(codes.count("hap") + codes.count("exc"))
            assert max(counts) - min(counts) <= 1
        for turn in turns:
            agreeing = turn.votes.count((STYLES[turn.code].category,))
            assert len(turn.votes) == 3
            assert agreeing >= 2
            doubted.append(agreeing < 3)
    assert 0.2 < np.mean(doubted) < 0.6


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


def test_emotions_can_be_heard(script, wavs):
    """Loudness, tempo and pitch differ in every voice, the melody on average."""
    measured: dict[str, dict[str, list]] = {}
    for name, path in wavs.items():
        wav, _ = soundfile.read(path)
        said, emotion = script[name].utterance, script[name].code.replace("exc", "hap")
        level = 10 * np.log10(np.mean(wav**2))
        tempo = len(said.text) * 16000 / len(wav)
        clips = measured.setdefault(emotion, {}).setdefault(said.voice, [])
        clips.append((level, tempo, *pitch_and_melody(wav)))
    cues = {
        emotion: np.array([np.mean(voices[voice], axis=0) for voice in sorted(voices)])
        for emotion, voices in measured.items()
    }  # (voices, cues)
    neu, hap, ang, sad = (cues[emotion] for emotion in ("neu", "hap", "ang", "sad"))
    assert neu.shape == (10, 4)
    for column, high, step in ((0, ang, 2.0), (1, ang, 0.1), (2, hap, 5.0)):
        assert (high[:, column] > neu[:, column] + step).all(), column
        assert (neu[:, column] > sad[:, column] + step).all(), column
    assert hap[:, 3].mean() > neu[:, 3].mean() + 0.5 > sad[:, 3].mean() + 1


def test_what_is_refused(corpus, tmp_path, monkeypatch):
    note = tmp_path / "mine" / "thesis.txt"
    note.parent.mkdir()
    note.write_text("mine")
    cut = tmp_path / "cut"
    write_json(cut / demo.MARKER, read_json(corpus / demo.MARKER))
    for folder, turns, seed, message in (
        (corpus, TURNS, SEED + 1, "other settings.*remove it or choose"),
        (cut, TURNS, SEED, "holds 0 clips of 120; remove the folder"),
        (note.parent, TURNS, SEED, "something other than a demo corpus"),
        (note, TURNS, SEED, "something other than a demo corpus"),
        (tmp_path / "new", 3, SEED, "turns is 3; it must be at least 16"),
    ):
        with pytest.raises(InputError, match=message):
            demo.make_demo_corpus(folder, turns, seed, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "mine"]
    assert contents(note.parent) == {"thesis.txt": b"mine"}
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(InputError, match="pip install espeakng-loader"):
        EspeakSynthesiser()


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(utterances):
        for _ in utterances[:3]:
            yield np.zeros(22050, np.int16), 22050
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "speak_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.make_demo_corpus(tmp_path / "corpus", TURNS, SEED, progress=False)
    assert list(tmp_path.iterdir()) == []
