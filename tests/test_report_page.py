"""``sercorr report``: the page has the numbers, the sounds and the names, as text."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
import soundfile
from browsing import Visitor, open_browser
from made_up_results import make_run, snapshot
from report_pages import report
from spoken_runs import write_spoken_run
from test_layout import Cells

from sercorr.cli import make_parser
from sercorr.data.audio import read_samples
from sercorr.errors import InputError
from sercorr.evaluation.hardest import most_confident_errors, rarest_successes
from sercorr.evaluation.runs import read_heads
from sercorr.inference import EmotionRecognizer, Segment
from sercorr.inference.report_clips import Listener
from sercorr.reporting.page.sections import choose_head

pytestmark = pytest.mark.filterwarnings("error:constrained_layout")

ODD = "<script>alert('1')</script>"


def table_with(text: str, *headings: str) -> dict[str, list[str]]:
    """The first table with these headings: its rows by their first cells."""
    for rows in Cells(text).tables:
        if set(headings) <= set(rows[0]):
            return {row[0]: row for row in rows}
    raise AssertionError(f"no table has {headings}")


def test_the_numbers_are_those_of_the_folds(tmp_path):
    for seed in (1, 2):
        make_run(tmp_path / f"runs/a/seed_{seed}", seed=seed)
        make_run(tmp_path / f"runs/b/seed_{seed}", (1, 2), seed=10 + seed)
    text = report(tmp_path / "runs", tmp_path / "r.html", "--clips", 0)
    for name, folds in (("a", range(1, 6)), ("b", (1, 2))):
        wa = np.array(
            [
                [
                    json.loads(
                        (
                            tmp_path / f"runs/{name}/seed_{s}/fold_{f}/metrics.json"
                        ).read_text()
                    )["wa"]
                    for f in folds
                ]
                for s in (1, 2)
            ]
        )
        results = table_with(text, "run", "WA % (folds, seeds)")
        shown = results[name][results["run"].index("WA % (folds, seeds)")]
        deviations = wa.std(axis=1).mean(), wa.mean(axis=1).std(ddof=1)
        numbers = (wa.mean(), *deviations)
        assert shown == "{:.2f} ({:.2f}, {:.2f})".format(*numbers)
        row = table_with(text, "head", "fold 1")[name]
        cells = [f"{rate:.2f}" for rate in wa.mean(axis=0)]
        assert row[1:] == cells + [""] * (5 - len(cells))
    assert "fold 3, 4, 5: b (seed 1); b (seed 2)." in text
    assert "Left out: --clips is 0." in text
    for suffix in (".md", ".tex"):
        beside = (tmp_path / "r.html").with_suffix(suffix).read_text()
        assert "Results of runs" in beside
        assert results["a"][-1] in beside


def test_speakers_are_means_over_their_clips(tmp_path):
    for seed in (1, 2):
        write_spoken_run(tmp_path / f"r/a/seed_{seed}", seed=seed)
        write_spoken_run(tmp_path / f"r/b/seed_{seed}", seed=5 + seed, sharper=2.0)
    text = report(tmp_path / "r", tmp_path / "r.html", "--clips", 0)
    rows = table_with(text, "head", "Ses01F")
    for name in "ab":
        right: dict[str, list[bool]] = {}
        for path in (tmp_path / f"r/{name}").rglob("predictions.csv"):
            for line in path.read_text().splitlines()[1:]:
                cells = line.split(",")
                right.setdefault(cells[-2], []).append(cells[1] == cells[2])
        for place, speaker in enumerate(rows["head"][1:], 1):
            assert rows[name][place] == f"{100 * np.mean(right[speaker]):.1f}"
    assert "better than" in text or "not apart" in text


def test_validation_chooses_the_head_and_test_clips_do_not(tmp_path):
    for name, seed, shift in (("good", 3, 0.0), ("bad", 4, 7.0), ("few", 5, 30.0)):
        make_run(
            tmp_path / name, (1, 2, 3) if name == "few" else range(1, 6), seed=seed
        )
        for path in (tmp_path / name).rglob("run.json"):
            record = json.loads(path.read_text())
            record["tested"]["valid_wa"] += shift
            path.write_text(json.dumps(record))
    heads = read_heads(tmp_path)
    name, why = choose_head(heads)
    assert name == "bad"
    assert "best mean WA on the validation clips (65.00 %)" in why
    assert choose_head(heads, "good")[0] == "good"
    with pytest.raises(InputError, match="--head none: it is not there; name one of"):
        choose_head(heads, "none")


def test_names_are_text(tmp_path):
    name = "<img src=x onerror=alert(1)>"
    for head in (name, "b"):
        make_run(tmp_path / "r" / head)
        for path in (tmp_path / "r" / head).rglob("predictions.csv"):
            text = path.read_text().replace("Ses01F_impro01", ODD)
            path.write_text(text.replace("{data_root}/", "{data_root}/<b>"))
    for path in (tmp_path / "r").rglob("run.json"):
        record = json.loads(path.read_text())
        record["command"] = ["run.py", f"--output_folder={ODD}"]
        record["corpus"] = "</style></title>" + ODD
        path.write_text(json.dumps(record))
    text = report(tmp_path / "r", tmp_path / "r.html", "--clips", 40)
    tags = Cells(text).tags
    assert tags.count("script") == tags.count("style") == 1
    assert "img" not in tags
    assert "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;" in text
    with open_browser() as browser:
        visitor = Visitor(browser, (tmp_path / "r.html").as_uri())
        assert visitor.page.get_by_text(ODD).first.count() == 1
        assert visitor.errors + visitor.strangers == []


def test_nothing_is_loaded_and_no_id_is_there_twice(report_page):
    text = report_page.read_text(encoding="utf-8")
    for link in re.findall(r'\b(?:src|href|data|action)="([^"]*)"', text):
        assert link.startswith(("#", "data:")), link
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) > 100
    assert len(set(ids)) == len(ids)
    used = re.findall(r'(?:href="|url\()#([^")]*)', text)
    assert set(used) <= set(ids)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src 'none'" in policy[1]
    assert "script-src 'sha256-" in policy[1]


def test_the_same_folder_gives_the_same_bytes(trained_heads, report_page, tmp_path):
    options = ("--head", "attentive_corr", "--clips", 3)
    assert (
        report(trained_heads[0], tmp_path / "again.html", *options)
        == report_page.read_text()
    )
    for suffix in (".md", ".tex"):
        again = (tmp_path / "again").with_suffix(suffix).read_bytes()
        assert again == report_page.with_suffix(suffix).read_bytes()


def test_clips_are_heard_as_they_were_tested(trained_heads, report_page):
    runs = read_heads(trained_heads[0])["attentive_corr"]
    clips = most_confident_errors(runs, 3) + rarest_successes(runs, 3)
    assert clips
    players = re.findall(r"data:audio/flac;base64,([^\"]*)", report_page.read_text())
    assert len(players) == len(clips)
    for clip, player in zip(clips, players, strict=True):
        file = clip.file.replace("{data_root}", str(trained_heads[1]))
        played, rate = soundfile.read(io.BytesIO(base64.b64decode(player)))
        assert rate == 16000
        assert np.abs(played - read_samples(file)).max() <= 1 / 2**15
        sound, notes = Listener(runs[0], 10**9).hear(clip)
        assert notes == []
        model = EmotionRecognizer.from_run(runs[0].folder, 1, device="cpu")
        (expected,) = model.predict(file)
        both = np.array(sound.attention), np.array(expected.attention)
        assert both[0] == pytest.approx(both[1], abs=1e-6)
        assert sound.seconds == sound.played == len(played) / 16000


def test_the_drawn_attention_is_that_of_the_head(trained_heads, report_page):
    runs = read_heads(trained_heads[0])["attentive_corr"]
    clip = (most_confident_errors(runs, 3) + rarest_successes(runs, 3))[0]
    times, weights = np.array(Listener(runs[0], 10**9).hear(clip)[0].attention).T
    text = report_page.read_text()
    path = re.search(r'class="attention" d="M([^"]*)"', text)[1]
    drawn = np.array([pair.split() for pair in path.split("L")], dtype=float)
    seconds = float(re.search(r'data-seconds="([^"]*)"', text)[1])
    mean = float(re.search(r'class="mean" d="M0 ([0-9.]*)H', text)[1])
    assert drawn[:, 0] / 1000 * seconds == pytest.approx(times, abs=0.001)
    # heights above the bottom, 120, against that of the mean
    heights = (120 - drawn[:, 1]) / (120 - mean)
    assert heights == pytest.approx(weights / weights.mean(), abs=0.01)


def test_what_cannot_be_heard_is_said(trained_heads, tmp_path):
    runs, release = tmp_path / "runs", trained_heads[1]
    shutil.copytree(trained_heads[0] / "attentive_corr" / "seed_1", runs)
    path = runs / "fold_1" / "run.json"
    record = json.loads(path.read_text())
    record["places"]["{data_root}"] = str(tmp_path / "moved")
    path.write_text(json.dumps(record))
    text = report(runs, tmp_path / "r.html")
    assert "there is no such file; say where the recordings are with" in text
    assert "<audio" not in text
    assert '<article class="clip' in text
    text = report(runs, tmp_path / "r.html", "--data-folder", release)
    assert "<audio" in text
    whole = len(text.encode())
    for megabytes in (0.15, whole / 1.3e6):
        options = ("--data-folder", release, "--max-mb", megabytes)
        text = report(runs, tmp_path / "r.html", *options)
        assert "Not embedded: the file would become larger than --max-mb." in text
        assert ("<audio" in text) == (megabytes > 0.15)
        assert len(text.encode()) < max(1e6 * megabytes, 200_000)
    (runs / "fold_1" / "head.safetensors").unlink()
    text = report(runs, tmp_path / "r.html", "--data-folder", release)
    assert "No attention: " in text
    assert "<audio" in text


def test_a_part_of_a_file_is_cut_and_other_samples_get_no_attention(
    trained_heads, tmp_path, monkeypatch
):
    shutil.copytree(trained_heads[0] / "attentive_corr" / "seed_1", tmp_path / "run")
    manifests = tmp_path / "manifests"
    shutil.copytree(trained_heads[0].parent / "manifests", manifests)
    path = tmp_path / "run" / "fold_1" / "run.json"
    record = json.loads(path.read_text())
    record["places"]["manifest_folder"] = str(manifests)
    path.write_text(json.dumps(record))
    (run,) = read_heads(tmp_path / "run")["."]
    clip = (most_confident_errors([run], 1) or rarest_successes([run], 1))[0]
    test = manifests / "fold_1" / "test.json"
    entries = json.loads(test.read_text())
    entries[clip.id] |= {"start": 0.125, "end": 0.375}
    test.write_text(json.dumps(entries))
    sound, notes = Listener(run, 10**9).hear(clip)
    file = clip.file.replace("{data_root}", str(trained_heads[1]))
    played, _ = soundfile.read(io.BytesIO(sound.audio))
    assert np.abs(played - read_samples(file, 0.125, 0.375)).max() <= 1 / 2**15
    assert sound.attention is None
    assert notes[0].startswith("No attention: the head gives other probabilities now")
    monkeypatch.setattr("sercorr.inference.report_clips._TOLERANCE", 1.0)
    sound, notes = Listener(run, 10**9).hear(clip)
    model = EmotionRecognizer.from_run(run.folder, 1, device="cpu")
    (expected,) = model.predict(Segment(file, 0.125, 0.375))
    both = np.array(sound.attention), np.array(expected.attention)
    assert both[0] == pytest.approx(both[1] - [0.125, 0], abs=1e-6)
    assert notes == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--outfile", "a.htm"], "--outfile is a.htm; its name must end with .html"),
        (["--clips", "-1"], "--clips is -1; it must be 0 or more"),
        (["--max-mb", "nan"], "--max-mb is nan; it must be more than 0"),
        (["--data-folder", "nowhere"], "--data-folder nowhere: no such folder"),
        (["--head", "x"], "--head x: it is not there"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    tmp_path, options, said
):
    make_run(tmp_path, (1,))
    before = snapshot(tmp_path)
    given = make_parser().parse_args(["report", str(tmp_path), *options])
    with pytest.raises(InputError, match=re.escape(said)):
        given.run(given)
    assert snapshot(tmp_path) == before
