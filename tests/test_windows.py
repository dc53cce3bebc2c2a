"""Long recordings and live signals: windows answer as their samples do as files."""

import numpy as np
import pytest
import soundfile
import torch
from recognizers import RATE, make_noise, make_recognizer, write

from sercorr.errors import InputError
from sercorr.inference import EmotionRecognizer, Segment, pieces
from sercorr.inference.windows import cut_windows, level, window_samples


@pytest.fixture(scope="module")
def fbank() -> EmotionRecognizer:
    return make_recognizer(stored="float16")


@pytest.fixture(scope="module")
def wavlm(tiny_models) -> EmotionRecognizer:
    return make_recognizer(tiny_models["wavlm", "layer"])


def values(record) -> tuple:
    """All of a record but its file."""
    return record.start, record.end, record.label, record.scores, record.attention


def plan(length: int, window: int, hop: int, minimum: int) -> list[tuple[int, int]]:
    """Windows by the rule as it is said: from 0, every hop, until the end is reached.

    A window whose end lies within ``minimum`` of the end is the last.
    """
    found = []
    for start in range(0, length, hop):
        if length - (start + window) < minimum:
            return [*found, (start, length)]
        found.append((start, start + window))
    raise AssertionError("the end was not reached")


@pytest.mark.parametrize(
    "length", [1, 399, 400, 999, 1000, 1399, 1400, 1401, 5000, 7654]
)
@pytest.mark.parametrize(("window", "hop"), [(1000, 1000), (1000, 300), (500, 499)])
def test_windows_cover_a_stream_however_it_is_cut(length, window, hop):
    samples = np.arange(length, dtype=np.float32)
    generator = np.random.default_rng(0)
    cuts = np.sort(generator.integers(0, length + 1, 5))
    for blocks in ([samples], np.split(samples, cuts), np.split(samples, length)):
        found = list(cut_windows(blocks, window, hop, 400))
        spans = [(start, start + len(wave)) for start, wave in found]
        assert spans == plan(length, window, hop, 400)
        for (first, last), (_, wave) in zip(spans, found, strict=True):
            assert np.array_equal(wave, samples[first:last])
    assert list(cut_windows([], window, hop, 400)) == []


@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.02, 1.03, 2.75])
def test_a_window_answers_as_its_samples_do_as_a_file(wavlm, tmp_path, seconds):
    samples = make_noise(seconds)
    path = write(tmp_path / "long.wav", samples)
    found = list(wavlm.predict(path, window=1.0, hop=0.4))
    spans = plan(len(samples), RATE, 6400, 400)
    assert [(r.start, r.end) for r in found] == [(a / RATE, b / RATE) for a, b in spans]
    for record, (first, last) in zip(found, spans, strict=True):
        part = write(tmp_path / "part.wav", samples[first:last])
        (alone,) = wavlm.predict(part)
        assert record.scores == alone.scores
        times, weights = zip(*record.attention, strict=True)
        own_times, own_weights = zip(*alone.attention, strict=True)
        assert weights == own_weights
        assert times == pytest.approx(np.array(own_times) + record.start)
        assert (record.file, record.label) == (str(path), alone.label)


def test_windows_of_another_rate_end_with_the_file(fbank, tmp_path):
    # 40,001 samples at 16 kHz last longer than the file
    noise = make_noise(2.6, 0, 44100)[:110251]
    path = write(tmp_path / "a.flac", noise, 44100, subtype="PCM_16")
    found = list(fbank.predict(path, 1.0, 0.5))
    assert [record.start for record in found] == [0.0, 0.5, 1.0, 1.5]
    assert [record.end for record in found] == [1.0, 1.5, 2.0, 110251 / 44100]
    samples, _ = soundfile.read(path, dtype="float32")
    of_pair = list(fbank.predict((samples, 44100), 1.0, 0.5))
    assert [values(record) for record in of_pair] == [values(r) for r in found]


def test_windows_of_a_part(fbank, tmp_path):
    samples = make_noise(4.0)
    path = write(tmp_path / "a.wav", samples)
    part = write(tmp_path / "part.wav", samples[8000:48000])
    found = list(fbank.predict([Segment(path, 0.5, 3.0)], 1.0, 0.5))
    alone = list(fbank.predict(part, 1.0, 0.5))
    assert [record.scores for record in found] == [record.scores for record in alone]
    assert [record.start for record in found] == [0.5, 1.0, 1.5, 2.0]
    assert (found[-1].end, alone[-1].end) == (3.0, 2.5)


@pytest.mark.parametrize(
    ("window", "hop", "message"),
    [
        (None, 1.0, "hop is 1.0, but there is no window"),
        (0.02, None, "window is 0.02 s; it must be between 0.025 and 120 s"),
        (np.nan, None, "window is nan s"),
        (121.0, 1.0, "window is 121.0 s"),
        (1.0, 1.5, r"hop is 1.5 s.*at most the window, 1.0 s"),
        (1.0, 0.0, "hop is 0.0 s; it must be at least 0.01 s"),
    ],
)
def test_windows_that_do_not_work(fbank, window, hop, message):
    with pytest.raises(InputError, match=message):
        fbank.predict("a.wav", window, hop)  # at once, not at the first answer


@pytest.mark.parametrize("gate", [0.0, 3.0, np.nan])
def test_a_gate_that_leaves_nothing(fbank, gate):
    for call in (fbank.predict, fbank.stream):
        with pytest.raises(
            InputError, match=f"silence is {gate} dB; full scale is 0 dB"
        ):
            call(np.zeros(8000), silence=gate)


def test_the_gate_leaves_quiet_windows_out(fbank, tmp_path):
    loud = make_noise(4.0)
    loud[RATE : 2 * RATE] = 0.003  # -50.5 dB
    loud[2 * RATE : 3 * RATE] = 0.0
    path = write(tmp_path / "a.wav", loud)
    every = list(fbank.predict(path, 1.0))
    assert [record.silent for record in every] == [False, False, True, False]
    for gate, kept in ((-90, [0, 1, 3]), (-51, [0, 1, 3]), (-50, [0, 3])):
        found = list(fbank.predict(path, 1.0, silence=gate))
        assert [record.start for record in found] == kept
        assert [record.scores for record in found] == [every[i].scores for i in kept]
        streamed = fbank.stream(np.split(loud, 8), RATE, 1.0, 1.0, silence=gate)
        assert [record.start for record in streamed] == kept
    assert level(np.full(9, 0.003, np.float32)) == pytest.approx(20 * np.log10(0.003))


def test_a_silent_recording_is_warned_of_once(fbank, tmp_path, caplog):
    path = write(tmp_path / "a.wav", np.zeros(3 * RATE, np.float32))
    assert len(list(fbank.predict(path, 1.0, 0.5))) == 5
    assert caplog.messages == [f"{path}: silent (-inf dB); its label says nothing"]


def test_damage_is_reported_where_it_is_reached(fbank, tmp_path):
    samples = make_noise(40.0)
    samples[35 * RATE] = np.nan
    bad = write(tmp_path / "bad.wav", samples)
    good = write(tmp_path / "good.wav", samples[:RATE])
    seen = []
    found = list(
        fbank.predict(
            [bad, good],
            5.0,
            on_error=lambda source, error: seen.append((source, error)),
        )
    )
    assert [record.file for record in found] == [str(bad)] * 5 + [str(good)]
    ((source, error),) = seen
    assert source == bad
    assert "not finite" in str(error)


def test_a_long_recording_is_never_held(fbank, tmp_path, monkeypatch):
    path = write(tmp_path / "long.wav", make_noise(120.0, 0, 8000), 8000)
    read, answered = 0, 0  # samples
    ahead = []
    blocks_of = pieces.read_blocks

    def counted(*given, **options):
        nonlocal read
        for block in blocks_of(*given, **options):
            read += len(block)
            yield block

    def answer(waves, embedding=False):
        nonlocal answered
        ahead.append(read - answered)
        answered += RATE
        return type(fbank).answer(fbank, waves, embedding)

    monkeypatch.setattr(pieces, "read_blocks", counted)
    monkeypatch.setattr(fbank, "answer", answer)
    found = list(fbank.predict(path, 4.0, 1.0))
    assert len(found) == 117
    assert read == 120 * RATE
    assert max(ahead) <= 17 * RATE  # a window, a hop, a block of 10 s, and their rests


@pytest.mark.parametrize("sizes", [1000, 16000, 70000, 23])
def test_a_stream_gives_what_the_file_gives(fbank, tmp_path, sizes):
    samples = make_noise(3.3)
    path = write(tmp_path / "a.wav", samples)
    blocks = np.split(samples, range(sizes, len(samples), sizes))
    streamed = list(fbank.stream(blocks, RATE, 1.0, 0.3, embedding=True))
    of_file = list(fbank.predict(path, 1.0, 0.3, embedding=True))
    assert [values(record) for record in streamed] == [values(r) for r in of_file]
    assert len(streamed) == 9
    for one, other in zip(streamed, of_file, strict=True):
        assert np.array_equal(one.embedding, other.embedding)
        assert one.file is None


def test_a_stream_of_another_rate_and_kind(fbank, tmp_path):
    signal = np.stack([make_noise(2.2, seed, 48000) for seed in (0, 1)], axis=1)
    path = write(tmp_path / "a.wav", signal, 48000)
    tensors = torch.from_numpy(signal).split(4800)
    streamed = fbank.stream(tensors, 48000, 1.0, 0.5)
    of_file = list(fbank.predict(path, 1.0, 0.5))
    for one, other in zip(streamed, of_file, strict=True):
        assert one.scores == other.scores
        assert (one.start, one.end) == pytest.approx((other.start, other.end))


@pytest.mark.parametrize(("rate", "latency"), [(16000, 0.025), (48000, 0.026)])
def test_a_stream_speaks_before_it_ends(fbank, rate, latency):
    samples = make_noise(4.0, 0, rate)
    given, millisecond = 0, rate // 1000

    def live():
        nonlocal given
        for block in np.split(samples, len(samples) // millisecond):
            given += len(block)
            yield block

    found = fbank.stream(live(), rate, 1.0, 0.5)
    for number in range(5):
        record = next(found)
        assert record.start == number / 2
        heard = given / rate
        assert heard <= record.end + latency + 1e-9
        assert heard > record.end  # it cannot know before
    assert len(list(found)) == 2
    assert given == len(samples)


def test_streams_that_do_not_work(fbank):
    with pytest.raises(InputError, match="the signal: too short: 100 samples at 16000"):
        list(fbank.stream([np.zeros(100)]))
    with pytest.raises(InputError, match="a signal at 44100.5 Hz cannot be resampled"):
        list(fbank.stream([np.zeros(100)], 44100.5))
    with pytest.raises(InputError, match="the signal has the type int16"):
        list(fbank.stream([np.zeros(100, np.int16)]))
    assert list(fbank.stream([])) == []
    assert window_samples(1 / 3, None, 400) == (5333, 5333)
