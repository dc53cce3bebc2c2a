"""Models in ONNX: the same answers, without torch."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from encoders import build_encoder
from models import build_model
from onnx_models import LABELS, WAVES, WIDTH, Case, MaxPooling, make_parts, make_wave

from sercorr.errors import InputError
from sercorr.inference import OnnxRecognizer, load_recognizer
from sercorr.inference.onnx_export import export_onnx
from sercorr.inference.parts import ModelParts
from sercorr.inference.prediction import Answer
from sercorr.inference.recognizer import EmotionRecognizer
from sercorr.lobes import Upstream
from sercorr.lobes.pooling import MeanPooling
from sercorr.lobes.upstream import FrozenUpstream

BANDS = Case(("fbank",), ("attentive_corr",), "float16")
CASES = [
    BANDS,
    Case(("wav2vec2", "group"), ("attentive_corr",), None),
    Case(("wav2vec2", "layer"), ("mean",), "float16", precision="bf16"),
    Case(
        ("hubert", "group"),
        ("attentive_corr", "attentive_corr"),
        "bfloat16",
        changes=(("conv_pos_batch_norm", True),),
    ),
    Case(("hubert", "layer"), ("max",), None),
    Case(("wavlm", "group"), ("mean_std", "attentive_corr"), "float16"),
    Case(
        ("wavlm", "layer"),
        ("attentive_corr",),
        "float16",
        changes=(("do_normalize", False),),
    ),
    Case(("unispeech-sat", "layer"), ("mean",), None, layers=(1,)),
    Case(("data2vec-audio",), ("attentive_corr",), None),
    Case(("fbank",), ("attentive_stats", "mhfa"), None),
    Case(("fbank",), ("mhfa",), "float16"),
    Case(("fbank",), ("mean_corr",), None),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Case -> its parts, its ONNX file, and torch's answers before the export."""
    root = tmp_path_factory.mktemp("onnx")

    @functools.cache
    def export(case: Case) -> tuple[ModelParts, Path, list[Answer]]:
        source: str | Path = "fbank"
        if case.upstream != ("fbank",):
            # WavLM's second layer uses position biases of its first.
            layers = 2 if "wavlm" in case.upstream or case.layers else 1
            changes = {"num_hidden_layers": layers, **dict(case.changes)}
            build = build_encoder if len(case.upstream) == 1 else build_model
            source = build(root / f"{case} model", *case.upstream, **changes)
        parts = make_parts(
            Upstream(source, layers=case.layers),
            *case.poolings,
            stored=case.stored,
            precision=case.precision,
        )
        path = root / f"{case}.onnx"
        before = EmotionRecognizer(parts, "cpu").answer(WAVES[-2:])
        export_onnx(parts, path)
        return parts, path, before

    return export


def largest_gap(found, wanted, field) -> float:
    pairs = [
        (getattr(a, field), getattr(b, field))
        for a, b in zip(found, wanted, strict=True)
    ]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(np.abs(a - b).max() for a, b in pairs)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_answers_are_those_of_torch(exported, case):
    parts, path, _ = exported(case)
    full = dataclasses.replace(parts, features={**parts.features, "precision": "fp32"})
    torch_model, model = EmotionRecognizer(full, "cpu"), OnnxRecognizer(path)
    single = len(case.poolings) == 1
    wanted = torch_model.answer(WAVES, embedding=single)
    found = model.answer(WAVES, embedding=single)
    # Where layers are rounded, the last bit of one may fall to the other side.
    bound = 2e-6 if case.stored is None else 1e-4
    assert largest_gap(found, wanted, "probabilities") < bound
    assert all(answer.probabilities.sum() == pytest.approx(1) for answer in found)
    if set(case.poolings) <= {"attentive_corr", "attentive_stats", "mhfa"}:
        assert largest_gap(found, wanted, "attention") < bound
        assert largest_gap(found, wanted, "times") < 1e-12
    else:
        assert all(answer.attention is answer.times is None for answer in found)
    if single:
        assert largest_gap(found, wanted, "embedding") < 10 * bound
    assert (model.labels, model.min_samples) == (LABELS, 400)


def test_probabilities_are_those_of_the_upstream_and_the_head(exported):
    parts, path, _ = exported(CASES[1])
    found = OnnxRecognizer(path).answer(WAVES[-2:])
    for answer, wave in zip(found, WAVES[-2:], strict=True):
        layers, _ = parts.upstream.load()(torch.from_numpy(wave)[None])
        with torch.no_grad():
            wanted = parts.heads[0](layers).softmax(-1)[0]
        assert answer.probabilities == pytest.approx(wanted.numpy(), abs=2e-6)


def test_layers_are_rounded_as_they_were_stored(exported):
    parts, path, _ = exported(BANDS)
    (found,) = OnnxRecognizer(path).answer(WAVES[-1:], embedding=True)
    gaps = {}
    for stored in ("float16", "bfloat16", None):
        features = {"stored": stored, "precision": "fp32"}
        changed = dataclasses.replace(parts, features=features)
        wanted = EmotionRecognizer(changed, "cpu").answer(WAVES[-1:], embedding=True)
        gaps[stored] = largest_gap([found], wanted, "embedding")
    assert 20 * gaps["float16"] < min(gaps["bfloat16"], gaps[None])


def test_silence_has_no_correlations(exported):
    # Every channel is constant: 0 / (0 + eps), which simplifying must not make 0 / 0.
    _, path, _ = exported(BANDS)
    (found,) = OnnxRecognizer(path).answer([np.zeros(8000, np.float32)], True)
    assert not found.embedding.any()
    assert found.attention == pytest.approx(1 / 51)


def test_the_model_stays_frozen_and_answers_as_before(exported):
    parts, _, before = exported(CASES[1])
    for module in (parts.upstream.load(), *parts.heads):
        assert not any(part.training for part in module.modules())
        assert not any(parameter.requires_grad for parameter in module.parameters())
    after = EmotionRecognizer(parts, "cpu").answer(WAVES[-2:])
    assert largest_gap(after, before, "probabilities") == 0


def test_the_file_says_what_it_takes_and_gives_and_no_path_of_this_machine(exported):
    parts, path, _ = exported(CASES[1])
    model = onnx.load(path)
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in dimensions]
        for value in (*model.graph.input, *model.graph.output)
        for dimensions in [value.type.tensor_type.shape.dim]
    }
    assert shapes == {
        "waveform": [1, "samples"],
        "probabilities": [1, 3],
        "attention": [1, "frames"],
        "embedding": [1, WIDTH * (WIDTH - 1) // 2],
    }
    (about,) = model.metadata_props
    assert about.key == "sercorr"
    assert json.loads(about.value)["identity"] == parts.identity
    for folder in (Path(__file__).parents[1], Path(torch.__file__).parents[1]):
        assert os.fsencode(folder) not in path.read_bytes()


def test_two_exports_are_the_same_file(exported, tmp_path):
    parts, path, _ = exported(BANDS)
    export_onnx(parts, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()
    assert OnnxRecognizer(tmp_path / "again.onnx").identity == (
        OnnxRecognizer(path).identity
    )


PROGRAM = """
import dataclasses, importlib.abc, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchaudio", "transformers", "speechbrain"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from sercorr.inference import load_recognizer
for found in load_recognizer(sys.argv[1]).predict(sys.argv[2], window=1.0, hop=0.5):
    print(json.dumps(dataclasses.asdict(found)))
"""


def test_a_file_is_predicted_where_torch_is_not_installed(exported, tmp_path):
    parts, path, _ = exported(BANDS)
    clip = tmp_path / "a clip.wav"
    soundfile.write(
        clip, np.stack([make_wave(77777, seed) for seed in (1, 2)], 1), 44100
    )
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(clip)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    found = [json.loads(line) for line in result.stdout.splitlines()]
    wanted = list(EmotionRecognizer(parts, "cpu").predict(clip, window=1.0, hop=0.5))
    assert len(found) == len(wanted) > 1
    for mine, theirs in zip(found, wanted, strict=True):
        for name in ("file", "start", "end", "label"):
            assert mine[name] == theirs[name]
        assert mine["scores"] == pytest.approx(theirs.scores, abs=1e-4)
        assert np.array(mine["attention"]) == pytest.approx(
            np.array(theirs.attention), abs=1e-4
        )


def test_several_threads_get_the_same_answers(exported):
    model = OnnxRecognizer(exported(BANDS)[1])
    waves = [make_wave(4000 + 100 * item, item) for item in range(20)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda wave: model.answer([wave])[0], waves))
    assert largest_gap(together, model.answer(waves), "probabilities") < 1e-6


# --- what cannot be read


def fault(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_a_missing_file(tmp_path):
    path = tmp_path / "none.onnx"
    assert (
        fault(lambda: load_recognizer(path))
        == f"{path}: missing: there is no such file"
    )


def test_a_file_that_is_not_onnx(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("not a model\n")
    message = fault(lambda: OnnxRecognizer(path))
    assert message.startswith(f"{path}: onnxruntime cannot load it (")
    assert message.endswith("); export the model again")
    assert "\n" not in message


def test_a_file_that_was_cut_off(exported, tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(exported(BANDS)[1].read_bytes()[:-1000])
    assert "onnxruntime cannot load it (" in fault(lambda: OnnxRecognizer(path))


def change_metadata(source: Path, target: Path, **changes) -> None:
    model = onnx.load(source)
    about = json.loads(model.metadata_props[0].value) | changes
    del model.metadata_props[:]
    if changes:
        model.metadata_props.add(key="sercorr", value=json.dumps(about))
    onnx.save(model, target)


def test_a_model_of_other_origin(exported, tmp_path):
    path = tmp_path / "other.onnx"
    change_metadata(exported(BANDS)[1], path)
    assert fault(lambda: OnnxRecognizer(path)) == (
        f"{path}: a model of other origin, without labels; give a file that `sercorr "
        "export --format onnx` wrote"
    )


def test_a_newer_format(exported, tmp_path):
    path = tmp_path / "newer.onnx"
    change_metadata(exported(BANDS)[1], path, format=2)
    assert fault(lambda: OnnxRecognizer(path)) == (
        f"{path}: its format is 2, but this release of sercorr reads formats up to 1: "
        "install a newer one"
    )


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript", "onnx"])
def test_a_package_that_is_not_installed(exported, tmp_path, monkeypatch, package):
    parts, path, _ = exported(BANDS)
    monkeypatch.setitem(sys.modules, package, None)
    expected = f"{package} is not installed: pip install 'sercorr[onnx]'"
    target = tmp_path / "a.onnx"
    assert fault(lambda: export_onnx(parts, target)) == expected
    if package == "onnxruntime":
        assert fault(lambda: OnnxRecognizer(path)) == f"{path}: {expected}"


def test_embeddings_of_several_heads_are_refused(exported):
    model = OnnxRecognizer(exported(CASES[3])[1])
    message = (
        f"{model.name} has several heads, or one of one's own, and gives no "
        "embeddings: export a single fold"
    )
    assert fault(lambda: model.answer(WAVES, embedding=True)) == message
    assert fault(lambda: model.predict(WAVES, embedding=True)) == message


def test_a_clip_that_overflows_is_refused(exported):
    model = OnnxRecognizer(exported(CASES[1])[1])
    wave = np.full(1000, np.inf, np.float32)
    assert "not finite" in fault(lambda: model.answer([wave]))


# --- what cannot be exported


class PythonPooling(MaxPooling):
    """Looks at its numbers, so that no graph can hold it."""

    def forward(self, x, lengths=None):
        return x.amax(dim=1) if float(x.sum()) > 0 else x.amin(dim=1)


class FickleMean(MeanPooling):
    """Computes something else while it is traced."""

    def forward(self, x, lengths=None):
        return super().forward(x, lengths) + 1.0 * (type(x) is not torch.Tensor)


@pytest.mark.parametrize(
    ("pooling", "start", "end"),
    [
        (
            PythonPooling(),
            "the model: cannot be exported to ONNX (",
            "a pooling or head of one's own must use tensor operations whose result "
            "holds for any length",
        ),
        (
            FickleMean(WIDTH),
            "{path}: not written: for 400 samples of noise onnxruntime's answer "
            "differs from torch's by 0.",
            "(at most 0.0001 is accepted); use another format",
        ),
    ],
    ids=["python", "fickle"],
)
def test_what_cannot_be_exported_leaves_nothing(tmp_path, pooling, start, end):
    path = tmp_path / "model.onnx"
    parts = make_parts(Upstream("fbank"), pooling)
    message = fault(lambda: export_onnx(parts, path))
    assert message.startswith(start.format(path=path))
    assert message.endswith(end)
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


class OwnUpstream(FrozenUpstream):
    """An upstream that the exporter does not know."""

    def frames(self, samples):
        return samples // 400


def test_an_upstream_of_ones_own_is_refused(tmp_path):
    parts = make_parts(OwnUpstream(Upstream("fbank").info), "mean")
    assert fault(lambda: export_onnx(parts, tmp_path / "a.onnx")) == (
        "upstream: OwnUpstream cannot be exported to ONNX; wav2vec2, hubert, wavlm, "
        "data2vec-audio, unispeech, unispeech-sat, fbank can: use another format"
    )


def test_a_model_that_no_onnx_file_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sercorr.inference.onnx_export._LARGEST", 4000)
    parts = make_parts(Upstream("fbank"), "corr")
    assert fault(lambda: export_onnx(parts, tmp_path / "a.onnx")) == (
        "the model: its weights are 0.0 GB, but an ONNX file holds 2 GB at most: use "
        "another format"
    )


def test_a_file_without_the_suffix_is_refused(tmp_path):
    parts = make_parts(Upstream("fbank"), "mean")
    path = tmp_path / "model.bin"
    assert fault(lambda: export_onnx(parts, path)) == (
        f"{path}: the name of an ONNX file must end with .onnx"
    )
