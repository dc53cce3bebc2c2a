"""``sercorr app``: what the page says, and the page itself in a headless browser."""

import argparse
import base64
import contextlib
import csv
import io
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import browsing
import numpy as np
import pytest
from browsing import open_browser
from heads import random_parts
from matplotlib import image
from recognizers import make_noise, make_recognizer, write
from runs import script_environment

from sercorr.cli import make_parser
from sercorr.errors import InputError
from sercorr.inference import EmotionRecognizer
from sercorr.inference.app import app_command
from sercorr.inference.export import export_folder
from sercorr.inference.page import Options, analyse, result_html
from sercorr.lobes.upstream import Upstream

LABELS = ["neu", "hap", "ang", "sad"]


def result_of(file, options=None, recognizer=None):
    *shares, result = analyse(
        recognizer or make_recognizer(), str(file), options or Options()
    )
    assert shares == sorted(shares)
    return result, shares


def linked(html, kind):
    """Contents of the data links of a kind."""
    found = re.findall(rf'(?:src|href)="data:{kind}[^,"]*;base64,([^"]*)"', html)
    return [base64.b64decode(text) for text in found]


def table_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_clip_is_answered_as_predict_does(tmp_path):
    file = write(tmp_path / "a.wav", make_noise(8.0))
    recognizer = make_recognizer()
    result, shares = result_of(file, recognizer=recognizer)
    (expected,) = recognizer.predict(file)
    assert result.scores == pytest.approx(expected.scores, abs=1e-12)
    assert (result.hop, shares) == (None, [])
    html = result_html(result)
    (picture,) = linked(html, "image/png")
    assert image.imread(io.BytesIO(picture)).shape[1] == 8 * 192
    assert 'alt="Waveform of a.wav with the attention over it"' in html
    (text,) = linked(html, "text/csv")
    (row,) = table_of(text.decode())
    assert list(row) == ["file", "start", "end", "emotion", *LABELS]
    assert (row["file"], row["emotion"]) == ("a.wav", expected.label)
    assert [float(row["start"]), float(row["end"])] == [0, 8]
    for label, value in expected.scores.items():
        assert float(row[label]) == pytest.approx(value, abs=1e-6)


def test_more_than_two_windows_get_a_timeline(tmp_path):
    file = write(tmp_path / "a.wav", make_noise(8.5))
    recognizer = make_recognizer()
    result, shares = result_of(file, recognizer=recognizer)
    windows = list(recognizer.predict(file, 4.0, 1.0))
    assert result.hop == 1.0
    assert len(shares) == len(windows)
    assert shares[-1] == 1.0
    spans = np.diff([*range(9), 8.5])
    means = []
    for start in range(9):
        over = [w for w in windows if w.start <= start and w.end >= min(start + 1, 8.5)]
        means.append(np.mean([list(w.scores.values()) for w in over], axis=0))
    whole = np.average(means, axis=0, weights=spans)
    assert list(result.scores.values()) == pytest.approx(whole.tolist())
    html = result_html(result)
    rows = table_of(linked(html, "text/csv")[0].decode())
    assert [float(row["end"]) for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8, 8.5]
    for row, mean in zip(rows, means, strict=True):
        assert [float(row[name]) for name in LABELS] == pytest.approx(mean, abs=1e-6)
        assert row["emotion"] == LABELS[mean.argmax()]
    best = np.argmax(means, axis=1)
    shares = [
        f"{n} {100 * sum(spans[best == k]) / 8.5:.0f} %" for k, n in enumerate(LABELS)
    ]
    assert f"Timeline of a.wav: {', '.join(shares)} of the time" in html


def test_silence_is_left_out_of_a_timeline(tmp_path):
    noise = make_noise(12.0)
    noise[16000 * 4 : 16000 * 8] = 0
    file = write(tmp_path / "a.wav", noise)
    result, _ = result_of(file, Options(window=1.0, silence=-60.0))
    assert [row.start for row in result.rows] == [0, 1, 2, 3, 8, 9, 10, 11]


def test_names_are_text_in_the_page(tmp_path):
    name = """<img src=x onerror='a()'> & ".wav"""
    result, _ = result_of(write(tmp_path / name, make_noise(1.0)))
    html = result_html(result)
    assert html.count("<img") == 1
    assert "&lt;img src=x onerror=&#x27;a()&#x27;&gt; &amp; &quot;" in html


@pytest.mark.parametrize(
    ("seconds", "options", "said"),
    [
        (0.02, {}, "too short: 320 samples"),
        (0.0, {}, "its header is whole but it has no samples"),
        (12.5, {"max_minutes": 0.2}, "0.2 minutes (at most 0.2); use sercorr predict"),
    ],
)
def test_what_cannot_be_used_is_said_without_the_folder(
    tmp_path, seconds, options, said
):
    file = write(tmp_path / "a.wav", make_noise(13.0)[: round(seconds * 16000)])
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        result_of(file, Options(**options))
    assert str(caught.value).startswith("a.wav: ")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("seconds", [2.0, 9.0])
@pytest.mark.parametrize("silence", [None, -50.0])
def test_silence_is_refused(tmp_path, seconds, silence):
    quiet = np.full(round(seconds * 16000), 0.0 if silence is None else 1e-3)
    file = write(tmp_path / "a.wav", quiet)
    with pytest.raises(InputError, match=r"a\.wav: silent: .* microphone"):
        result_of(file, Options(silence=silence))


def given(*options: str) -> argparse.Namespace:
    return make_parser().parse_args(["app", "--model", "m", *options])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-megabytes", "0"], "--max-megabytes is 0.0; it must be more than 0"),
        (["--max-minutes", "nan"], "--max-minutes is nan; it must be more than 0"),
        (["--port", "70000"], "127.0.0.1, port 70000: cannot be served"),
        (["--host", "192.0.2.7"], "192.0.2.7, port 7860: cannot be served"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(InputError, match=re.escape(said)):
        app_command(given(*options))


def test_a_port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is in use.*--port 0"):
            app_command(given("--port", str(port)))


def test_without_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")
    with pytest.raises(InputError, match=r"pip install 'sercorr\[app\]'"):
        app_command(given("--port", "0"))


@contextlib.contextmanager
def served(model: Path, *options: str):
    """Run the command; give the page's address."""
    command = [sys.executable, "-m", "sercorr", "app", "--model", str(model)]
    command += ["--port", "0", "--device", "cpu", *options]
    # a proxy that is not there: nothing may be asked of another host
    environment = script_environment() | dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
    )
    environment["TMPDIR"] = str(model.parent)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("http://127.0.0.1:"), line + process.stdout.read()
            yield line.split()[0]
        finally:
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "")
    assert not list(model.parent.glob("sercorr-app-*"))


@pytest.fixture
def browser():
    pytest.importorskip("gradio", reason="the extra app is not installed")
    with open_browser() as browser:
        yield browser


class Visitor(browsing.Visitor):
    """Somebody who looks at the page."""

    def __init__(self, browser, address, **look) -> None:
        super().__init__(browser, address, **look)
        self.page.get_by_text("Drop a file or record something").wait_for()

    def drop(self, file: Path) -> None:
        self.page.set_input_files("input[type=file]", file)

    def label(self) -> tuple[str, dict[str, int]]:
        """Label and percentages, once they are there."""
        self.page.locator("#sercorr img").wait_for()
        name = self.page.get_by_test_id("label-output-value").inner_text()
        lines = self.page.locator("#sercorr dl").all_inner_texts()
        pairs = [re.fullmatch(r"(\w+)\s+(\d+)%", line.strip()) for line in lines]
        return name.strip(), {pair[1]: int(pair[2]) for pair in pairs if pair}

    def clear(self) -> None:
        self.page.get_by_label("Clear").first.click()
        self.page.get_by_text("Drop a file or record something").wait_for()

    def download(self) -> tuple[str, list[dict[str, str]]]:
        with self.page.expect_download() as waiting:
            self.page.locator("a.download").press("Enter")
        text = Path(waiting.value.path()).read_text(encoding="utf-8")
        return waiting.value.suggested_filename, table_of(text)


def test_the_page_in_a_browser(tmp_path, browser):
    model = tmp_path / "model"
    export_folder(random_parts(Upstream("fbank"), folds=(3,)), model)
    recognizer = EmotionRecognizer.from_pretrained(model, device="cpu")
    clip = write(tmp_path / "声 1.wav", make_noise(3.0, 1))
    other = write(tmp_path / "b.flac", make_noise(2.0, 2), subtype="PCM_16")
    long = write(tmp_path / "long.wav", make_noise(30.5, 3))
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no audio at all")
    with served(model, "--max-minutes", "1") as address:
        one = Visitor(browser, address, viewport={"width": 1280, "height": 900})
        two = Visitor(browser, address, viewport={"width": 390, "height": 844})
        assert one.page.get_by_text("not to decide about people").is_visible()
        one.drop(clip)
        two.drop(other)
        for visitor, file in ((one, clip), (two, other)):
            (expected,) = recognizer.predict(file)
            label, percent = visitor.label()
            assert label == expected.label
            scores = {name: 100 * p for name, p in expected.scores.items()}
            assert percent == pytest.approx(scores, abs=0.51)
            name, (row,) = visitor.download()
            assert (name, row["file"]) == (f"{file.stem}.csv", file.name)
            assert row["emotion"] == expected.label
        one.clear()
        assert not one.page.locator("#sercorr img").is_visible()
        one.drop(long)
        one.label()
        assert one.page.get_by_alt_text("Timeline of long.wav").is_visible()
        assert len(one.download()[1]) == 31
        wide = two.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390  # nothing to scroll sideways
        assert one.errors + two.errors + one.strangers + two.strangers == []
        two.clear()
        two.drop(bad)
        problem = two.page.locator("#sercorr .problem")
        assert "bad.wav: not readable as audio" in problem.inner_text()
        assert str(tmp_path) not in problem.inner_text()
        assert not two.page.locator("#sercorr img").is_visible()
        assert two.page.request.get(f"{address}/openapi.json").status == 404
