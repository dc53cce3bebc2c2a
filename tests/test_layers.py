"""Chosen layers: the same numbers as among all layers, wherever they are read."""

import copy
import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from caches import entry_of, fill, make_store, write_clips
from clips import make_batch, make_clips
from encoders import VARIANTS, build_encoder
from heads import answers, random_parts
from models import build_model
from releases import make_release
from runs import SETTINGS_FILE, evaluate, make_settings, outcome, probabilities, train
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification

from sercorr.errors import InputError
from sercorr.features import compute
from sercorr.features.maintenance import show_info
from sercorr.features.store import FeatureStore
from sercorr.files import read_json, write_json
from sercorr.inference import EmotionRecognizer
from sercorr.inference.export import export_folder
from sercorr.inference.model_card import model_card
from sercorr.inference.transformers_export import export_transformers
from sercorr.lobes import Upstream, load_upstream, upstream_info
from sercorr.reporting.paper import paper_result
from sercorr.reporting.report import report_folder
from sercorr.training.grid import read_grid


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make_release(tmp_path_factory.mktemp("layers") / "release", odd=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A WavLM of three blocks, whose output is normed."""
    return str(build_model(tmp_path_factory.mktemp("m") / "tiny", "wavlm", "layer"))


# What comes out of the upstream


def require_indexed(folder: Path, choices) -> None:
    """Require what all layers, indexed, give: in float32 and in bfloat16."""
    batch = make_batch(make_clips((16000, 9000, 1100)))
    full = load_upstream(folder)
    half = copy.deepcopy(full).use_bfloat16()
    wanted = [each(*batch)[0] for each in (full, half)]
    for layers in choices:
        found = load_upstream(folder, layers=layers)
        assert (found.num_layers, found.output_size) == (len(layers), full.output_size)
        assert found.info.layer_numbers == tuple(layers)
        got, lengths = found(*batch)
        assert torch.equal(got, wanted[0][:, layers])
        assert torch.equal(lengths, full(*batch)[1])
        assert got.untyped_storage().nbytes() == 4 * got.numel()  # no view on others
        assert torch.equal(found.use_bfloat16()(*batch)[0], wanted[1][:, layers])
        blocks = len(found.model.encoder.layers)
        assert blocks == min(layers[-1] + 1, len(full.model.encoder.layers))


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_layers_are_those_among_all(tiny_models, family, norm):
    require_indexed(tiny_models[family, norm], ([0], [0, 2], [1, 3], [3]))


@pytest.mark.parametrize(
    "variant", ["data2vec-audio", "unispeech-sat-layer", "sew", "wav2vec2-bert"]
)
def test_layers_of_newer_families_are_those_among_all(tmp_path, variant):
    assert variant in VARIANTS
    require_indexed(build_encoder(tmp_path, variant), ([0, 2], [1, 3]))


def test_layers_of_whispers_windows_are_those_among_all(tmp_path):
    folder = build_encoder(tmp_path, "whisper")  # windows of one second
    clip = make_clips([40000])[0][None]
    wanted = load_upstream(folder)(clip)[0]
    for layers in ([0, 2], [1, 3]):
        found = load_upstream(folder, layers=layers)(clip)[0]
        assert torch.equal(found, wanted[:, layers])


@pytest.mark.parametrize("given", ["2,0", " 0, 2 ", [2, 0], (0, 2)])
def test_layers_are_given_as_a_list_or_as_text(model, given):
    info = upstream_info(model, layers=given)
    assert info == upstream_info(model, layers=[0, 2])
    assert (info.layers, info.num_layers) == ((0, 2), 2)
    assert json.loads(json.dumps(info.identity())) == info.identity()
    assert info.identity()["layers"] == [0, 2]
    assert info.at_precision("bf16").layers == (0, 2)


def test_all_layers_are_what_they_were(model):
    plain = upstream_info(model)
    for every in ("all", None, "0,1,2,3", [3, 2, 1, 0]):
        assert upstream_info(model, layers=every) == plain
    assert plain.layers is None
    assert plain.layer_numbers == (0, 1, 2, 3)
    assert "layers" not in plain.identity()
    assert upstream_info("fbank", layers=0) == upstream_info("fbank")
    assert upstream_info(model, layers=0).layer_numbers == (0,)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([0, 30], r"^layers is 0,30; .*tiny has the layers 0 to 3: choose among them"),
        (4, r"^layers is 4; .*has the layers 0 to 3"),
        ([-1], r"^layers is -1; .*has the layers 0 to 3"),
        ([0, 2, 0], r"^layers is 0,2,0; give numbers of layers, each once, with comm"),
        ("0,2,0", r"^layers is '0,2,0'; give"),
        ([], r"^layers is \[\]; give numbers"),
        ("", r"^layers is ''; give numbers of layers, .* as in 0,6,12; or all$"),
        ("last", r"^layers is 'last'; give"),
        ("0,", r"^layers is '0,'; give"),
        ([0, "2"], r"^layers is 0,2; give"),
        (True, r"^layers is True; give"),
        (1.5, r"^layers is 1\.5; give"),
        ({"a": 1}, r"^layers is \{'a': 1\}; give"),
    ],
)
def test_layers_that_make_no_sense(model, layers, message):
    with pytest.raises(InputError, match=message):
        Upstream(model, layers=layers)


def test_bands_are_one_layer():
    with pytest.raises(InputError, match=r"layers is 0,6; fbank has one layer, 0: ch"):
        Upstream("fbank", layers=[0, 6])


# In stores


def test_stores_of_all_layers_keep_their_names():
    store = make_store(Path("cache"))
    assert store.folder.name == "fbank-84f3ac1e67df9d69"  # as in version 0.1.0
    assert store.about["layers"] == "all"


def test_a_store_of_chosen_layers(tmp_path, model, capsys):
    wavs = write_clips(tmp_path / "wavs", 5)
    full = fill(tmp_path / "cache", wavs, model)
    some = fill(tmp_path / "cache", wavs, load_upstream(model, layers=[0, 3]))
    assert full.store.folder != some.store.folder
    about = read_json(some.store.folder / "about.json")
    assert about["layers"] == about["upstream"]["layers"] == [0, 3]
    assert read_json(full.store.folder / "about.json")["layers"] == "all"
    for clip in wavs:
        assert torch.equal(some.read(clip), full.read(clip)[[0, 3]])
        sizes = [entry_of(each, clip).stat().st_size for each in (full, some)]
        assert sizes[1] < 0.55 * sizes[0]
        frames = full.read(clip).shape[1]
        assert sizes[1] <= some.store.entry_bytes(frames) < sizes[1] + 512
    others = FeatureStore(tmp_path / "cache", upstream_info(model, layers=[0, 2]))
    assert others.folder not in (full.store.folder, some.store.folder)
    capsys.readouterr()
    show_info(tmp_path / "cache")
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split()[0]: line for line in lines if line.split()}
    assert re.search(
        r"4 x 32, weights \w+ +all +float16", cells[full.store.folder.name]
    )
    assert re.search(
        r"2 x 32, weights \w+ +0,3 +float16", cells[some.store.folder.name]
    )


def test_the_worst_layer_in_bfloat16_has_its_number(tmp_path, model, monkeypatch):
    monkeypatch.setattr(compute, "BF16_LIMIT", 0.0)
    wavs = write_clips(tmp_path / "wavs", 2)
    given = {"extract_precision": "bf16"}
    with pytest.raises(InputError, match="bf16, but it changes layer 2 of the feat"):
        fill(tmp_path / "cache", wavs, load_upstream(model, layers=[2]), **given)


# In runs


def test_live_stored_evaluated_and_read_again(release, tmp_path, model, drawn):
    given = {"upstream_source": model, "layers": "0,2", "lr": 0.01}
    train(release, tmp_path / "live", **given)
    given |= {"cache_folder": tmp_path / "store", "cache_dtype": "float32"}
    train(release, tmp_path / "run", **given)
    torch.testing.assert_close(
        probabilities(tmp_path / "run"),
        probabilities(tmp_path / "live"),
        rtol=0,
        atol=5e-6,
    )
    fold = tmp_path / "run/fold_1"
    assert len(load_file(fold / "head.safetensors")["layer_mix.weight"]) == 2
    before = outcome(tmp_path / "run")
    evaluate(release, tmp_path / "run", **given)
    evaluate(release, tmp_path / "run", **given | {"layers": "[2, 0]"})
    assert outcome(tmp_path / "run") == before
    with open(fold / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wavs = [Path(row["file"].format(data_root=release)) for row in rows]
    moved = shutil.copytree(model, tmp_path / "moved")
    for upstream in (None, moved):
        recognizer = EmotionRecognizer.from_run(
            tmp_path / "run", upstream_source=upstream, device="cpu"
        )
        for found, row in zip(recognizer.predict(wavs), rows, strict=True):
            wanted = [float(row[label]) for label in found.scores]
            assert list(found.scores.values()) == pytest.approx(wanted, abs=2e-6)
    weights = read_json(fold / "layer_weights.json")
    assert weights["layers"] == [0, 2]
    assert sum(weights["weights"]) == pytest.approx(1)
    text = report_folder(tmp_path / "run")
    assert "plots" in text
    axes = next(f.axes[0] for f in drawn if "layer weights" in f.axes[0].get_title())
    assert list(axes.lines[0].get_xdata()) == [0, 2]
    assert list(axes.lines[0].get_ydata()) == weights["weights"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0\ninput", "2"]
    assert "| `layers` | `[0, 2]` |" in (tmp_path / "run/results.md").read_text()
    record = read_json(fold / "run.json")
    for other, message in (
        ("all", r"layers: \[0, 2\] there, None here"),
        ("0,3", r"layers: \[0, 2\] there, \[0, 3\] here"),
    ):
        with pytest.raises(InputError, match=message):
            train(release, tmp_path / "run", **given | {"layers": other})
    assert read_json(fold / "run.json") == record


def test_runs_of_all_layers_are_signed_as_before(release, tmp_path):
    all_layers = make_settings(release, tmp_path).identity()
    assert "layers" not in all_layers["settings"]
    given = all_layers["settings"]["upstream"]["value"]
    assert set(given) == {"source", "revision", "save_path"}
    assert "layers: all" in SETTINGS_FILE.read_text()
    again = make_settings(release, tmp_path, layers="all").identity()
    assert again == all_layers
    some = make_settings(release, tmp_path, layers="12,0").identity()
    assert some["settings"]["layers"] == [0, 12]
    assert some != all_layers


@pytest.mark.parametrize("layers", ["0,9", "0,0", "", "first"])
def test_wrong_layers_are_refused_before_anything_is_written(
    release, tmp_path, model, layers
):
    with pytest.raises(InputError, match="^layers is "):
        train(release, tmp_path / "out", upstream_source=model, layers=layers)
    assert not list(tmp_path.iterdir())


def test_the_heads_of_a_grid_share_their_layers(tmp_path):
    (tmp_path / "grid.yaml").write_text("a: {layers: [0]}")
    with pytest.raises(InputError, match="a: layers is the same for all heads"):
        read_grid(tmp_path / "grid.yaml")


def test_the_papers_number_is_of_all_layers():
    from made_up_results import make_run_json

    record = make_run_json(1, n_heads=4)
    assert paper_result(record).differences == []
    record["identity"]["upstream"] = {"layers": [0, 12]}
    assert paper_result(record).differences == ["layers [0, 12] (paper: all)"]


# Exported


def test_an_exported_folder(tmp_path, model):
    parts = random_parts(Upstream(model, layers=[1, 3]))
    wanted = answers(EmotionRecognizer(parts, device="cpu"))
    every = load_upstream(model)(make_batch(make_clips())[0])[0]
    with pytest.raises(ValueError, match=r"must have shape \(2, T, D\)"):
        parts.heads[0](list(every))  # the head takes two layers
    for inside in (True, False):
        out = tmp_path / str(inside)
        export_folder(parts, out, with_upstream=inside)
        assert read_json(out / "sercorr.json")["upstream"]["layers"] == [1, 3]
        again = EmotionRecognizer.from_pretrained(out, device="cpu")
        assert (answers(again) == wanted).all()
    assert "(wavlm; layers 1, 3 alone, each of 32 channels; digest" in model_card(parts)
    about = read_json(out / "sercorr.json")
    for layers, message in (
        ("1,3", r"sercorr.json: incomplete: upstream.layers is '1,3', not a list"),
        ([1, 9], r"layers is 1,9; .* has the layers 0 to 3"),
        ([1], r"the head takes 2 layers of 32 channels, but .* gives 1 of 32"),
    ):
        about["upstream"]["layers"] = layers
        write_json(out / "sercorr.json", about)
        with pytest.raises(InputError, match=message):
            EmotionRecognizer.from_pretrained(out, device="cpu")


def test_a_classifier_of_transformers(tmp_path, tiny_models):
    folder = tiny_models["hubert", "group"]
    features = {"stored": None, "precision": "fp32"}
    given = {"folds": (1,), "pooling": "mean", "features": features}
    parts = random_parts(Upstream(folder, layers=[0, 2]), **given)
    wanted = answers(EmotionRecognizer(parts, device="cpu"))
    note = export_transformers(parts, tmp_path / "out")
    assert "less than 1e-06 on 4 made-up clips" in note
    written = AutoModelForAudioClassification.from_pretrained(tmp_path / "out")
    gammas = torch.softmax(written.layer_weights, 0)
    assert gammas[[1, 3]].tolist() == [0.0, 0.0]  # exactly
    own = parts.heads[0].layer_mix.gammas
    torch.testing.assert_close(gammas[[0, 2]], own)
    again = EmotionRecognizer.from_pretrained(tmp_path / "out", device="cpu")
    np.testing.assert_allclose(answers(again), wanted, rtol=0, atol=1e-6)
