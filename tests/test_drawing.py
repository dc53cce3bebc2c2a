"""Pictures of recordings: their numbers, their parts, and names in any script."""

import warnings

import numpy as np
import pytest
from matplotlib import image
from recognizers import make_noise, write

from sercorr.inference import Prediction
from sercorr.inference.drawing import Envelope, draw_recording, plot_recording
from sercorr.inference.drawing import read_envelope as read

LABELS = "angry calm disgust fearful happy neutral sad surprised".split()


def predictions(rows, hop=1.0, window=2.0, end=1e9, start=0.0, attention=None):
    """Windows with the given probabilities."""
    rows = np.asarray(rows, dtype=float)
    labels = LABELS[: rows.shape[1]]
    return [
        Prediction(
            "a.wav",
            start + place * hop,
            min(start + place * hop + window, end),
            labels[row.argmax()],
            dict(zip(labels, row.tolist(), strict=True)),
            attention,
        )
        for place, row in enumerate(rows)
    ]


def outline(start, end, count=50):
    times = np.linspace(start, end, count)
    return Envelope(times, -np.ones(count), np.ones(count), start, end)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def areas(axes):
    """Filled steps: edges, heights and whether they are strong, in drawing order."""
    patches = [patch for patch in axes.patches if hasattr(patch, "get_data")]
    data = [(*patch.get_data(), patch.get_alpha() is None) for patch in patches]
    return [(edges, values - base, strong) for values, edges, base, strong in data]


def rows_axes(figure):
    return next(a for a in figure.axes if a.get_title().startswith("probability"))


@pytest.mark.parametrize(("start", "end"), [(0.0, None), (1.25, 12.513)])
def test_the_outline_has_the_extremes_of_every_piece(tmp_path, start, end):
    noise = make_noise(23.713)
    file = write(tmp_path / "a.wav", noise)
    found = read(file, start, end, columns=100)
    last = len(noise) / 16000 if end is None else end
    part = noise[round(start * 16000) : round(last * 16000)]
    size = -(-len(part) // 100)
    pieces = [part[place : place + size] for place in range(0, len(part), size)]
    assert found.low.tolist() == [piece.min() for piece in pieces]
    assert found.high.tolist() == [piece.max() for piece in pieces]
    assert (found.start, found.end) == (start, last)
    assert found.times[0] == pytest.approx(start + size / 32000)
    assert found.times[-1] <= last


def test_a_very_short_clip_and_another_rate(tmp_path):
    short = write(tmp_path / "a.wav", make_noise(0.025))
    assert len(read(short).times) == 400
    stereo = np.stack([make_noise(5, 1, 48000)] * 2, axis=1)
    found = read(write(tmp_path / "b.wav", stereo, 48000), columns=10)
    assert len(found.times) == 10
    assert found.end == 5.0


def test_a_clip_has_its_probabilities_and_its_attention(tmp_path):
    weights = [0.1, 0.6, 0.3]
    times = [0.5, 1.0, 1.5]
    attention = list(zip(times, weights, strict=True))
    (found,) = predictions([[0.125, 0.625, 0.25]], window=2.0, attention=attention)
    figure = draw_recording(outline(0, 2), [found], title="a.wav")
    assert texts(figure) == ["12.5 %", "62.5 %", "25.0 %"]
    wave, bars, over = figure.axes
    assert [bar.get_width() for bar in bars.patches] == [0.125, 0.625, 0.25]
    assert [t.get_text() for t in bars.get_yticklabels()] == LABELS[:3]
    assert bars.yaxis_inverted()  # the first label is at the top
    assert over.get_ylabel() == "attention (mean: 1)"
    line = over.lines[0]
    assert line.get_xdata().tolist() == times
    assert line.get_ydata() == pytest.approx([0.3, 1.8, 0.9])
    assert over.get_ylim()[1] > 1.8
    assert wave.get_xlim() == over.get_xlim() == (0, 2)
    assert figure.get_suptitle() == "a.wav"


def test_a_clip_without_attention_has_no_axis_for_it():
    (found,) = predictions([[0.2, 0.8]])
    assert len(draw_recording(outline(0, 2), [found]).axes) == 2
    assert len(draw_recording(outline(0, 2), [found], bars=False).axes) == 1


def test_a_timeline_has_the_means_of_the_windows_over_each_cell():
    rows = [[0.9, 0.1], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8]]
    found = predictions(rows, end=4.5)
    figure = draw_recording(outline(0, 4.5), found, hop=1.0)
    means = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.15, 0.85], [0.2, 0.8]])
    first, won, second, won_too = areas(rows_axes(figure))
    for edges, _, _ in (first, won, second, won_too):
        assert edges.tolist() == [0, 1, 2, 3, 4, 4.5]
    assert [strong for *_, strong in (first, won, second, won_too)] == [0, 1, 0, 1]
    assert first[1] == pytest.approx(0.9 * means[:, 0])
    assert second[1] == pytest.approx(0.9 * means[:, 1])
    assert np.isnan(won[1]).tolist() == [False, False, True, True, True]
    assert np.isnan(won_too[1]).tolist() == [True, True, False, False, False]
    assert {"44 %", "56 %"} < set(texts(figure))  # 2 and 2.5 of 4.5 seconds
    assert [t for t in texts(figure) if t in LABELS] == ["angry", "calm"]


def test_silence_is_a_gap_and_no_part_of_the_shares():
    rows = predictions([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]], window=1.0)
    found = [rows[0], rows[3]]
    figure = draw_recording(outline(0, 4), found, hop=1.0)
    values = areas(rows_axes(figure))[0][1]
    assert np.isnan(values).tolist() == [False, True, True, False]
    assert {"50 %"} < set(texts(figure))
    hatched = [c for a in figure.axes for c in a.collections if c.get_hatch()]
    (silence,) = [path.vertices[:, 0] for c in hatched for path in c.get_paths()]
    assert (silence.min(), silence.max()) == (1, 3)
    nothing = draw_recording(outline(0, 4), [], hop=1.0)
    assert texts(nothing) == ["only silence"]


def test_a_part_of_a_file_keeps_the_times_of_the_file():
    found = predictions([[0.9, 0.1], [0.1, 0.9]], start=60.25, window=1, end=62)
    figure = draw_recording(outline(60.25, 62), found, hop=1.0)
    assert areas(rows_axes(figure))[0][0].tolist() == [60.25, 61.25, 62]
    assert rows_axes(figure).get_xlim() == (60.25, 62)


def test_ten_hours_are_drawn_in_steps_that_can_be_seen():
    values = np.random.default_rng(0).dirichlet(np.ones(8), 36000)
    found = predictions(values, window=1.0)
    figure = draw_recording(outline(0, 36000), found, hop=1.0)
    axes = rows_axes(figure)
    _, heights, _ = areas(axes)[0]
    assert len(heights) == 400
    assert heights[7] == pytest.approx(0.9 * values[630:720, 0].mean())
    assert axes.get_title() == "probability, in steps of 90 s"
    assert [t.get_text() for t in axes.get_yticklabels()] == LABELS
    figure.draw_without_rendering()
    ticks = [t.get_text() for t in axes.get_xticklabels()]
    assert "1:00:00" in ticks
    assert len(ticks) <= 16


@pytest.mark.parametrize(("width", "dark"), [(8.0, False), (3.8, True)])
def test_every_letter_has_a_colour_that_is_not_the_ground(width, dark):
    rows = [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]
    attention = [(0.5, 0.5), (1.5, 0.5)]
    one = predictions(rows[:1], attention=attention)
    several = predictions(rows)
    for found, hop in ((one, None), (several, 1.0)):
        figure = draw_recording(outline(0, 3), found, hop, "a", width=width, dark=dark)
        figure.draw_without_rendering()
        assert figure.get_size_inches()[0] == width
        for axes in figure.axes:
            labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
            labels += [axes.xaxis.label, axes.yaxis.label, axes.title]
            inks = {label.get_color() for label in labels if label.get_text()}
            assert inks <= {"#E4E4E7" if dark else "#1F2328"}
            assert axes.get_facecolor()[:3] == figure.get_facecolor()[:3]
        assert sum(figure.get_facecolor()[:3]) == pytest.approx(3.0, abs=0.01) or dark


@pytest.mark.parametrize("suffix", [".png", ".svg"])
@pytest.mark.parametrize("name", ["通话 $1^$ é.wav", "запись.wav", "x" * 200 + ".wav"])
def test_files_of_any_name_are_drawn_without_a_warning(tmp_path, name, suffix):
    file = write(tmp_path / name, make_noise(1.5))
    out = tmp_path / "deep" / f"picture{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_recording(file, predictions([[0.2, 0.8]], window=1.5), out)
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    if suffix == ".png":
        picture = image.imread(out)
        assert picture.shape[1] == 1200
        assert picture[:, [0, 1, -2, -1]].min() == 1  # nothing runs over the edge
    else:
        assert b"<svg" in out.read_bytes()


def test_a_picture_is_whole_or_not_there(tmp_path, monkeypatch):
    file = write(tmp_path / "a.wav", make_noise(1.5))
    out = tmp_path / "pictures" / "a.png"

    def break_off(self, path, **options):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", break_off)
    with pytest.raises(OSError, match="disk full"):
        plot_recording(file, predictions([[0.2, 0.8]]), out)
    assert list(out.parent.iterdir()) == []
