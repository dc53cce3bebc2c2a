"""A whole model, from waveform to probabilities, as one ONNX graph."""

import contextlib
import dataclasses
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sercorr.errors import InputError, describe_error
from sercorr.files import atomic_path
from sercorr.inference.onnx_graph import ClipGraph
from sercorr.inference.onnx_model import FORMAT_VERSION, METADATA_KEY, OnnxRecognizer
from sercorr.inference.parts import ModelParts
from sercorr.inference.recognizer import EmotionRecognizer

TOLERANCE = 1e-4
"""Most that a probability or a frame's weight may differ from torch's."""

_LARGEST = 2_000_000_000  # bytes of weights; an ONNX file holds 2 GiB at most
_LENGTHS = (5000, 16000, 41237)  # samples of the clips that an export is checked on


def export_onnx(parts: ModelParts, path: str | os.PathLike) -> None:
    """Write upstream and heads as one ONNX graph, and check it with onnxruntime.

    The graph takes ``waveform`` (1, samples), float32 at 16 kHz, and gives

    - ``probabilities`` (1, K), averaged over the heads;
    - ``attention`` (1, frames), averaged over the heads, if all have one;
    - ``embedding`` (1, output_size), the pooled vector, if there is one head.

    It computes in float32, also where the run used bfloat16, and rounds the layers as
    the run stored them. What else is needed to use it lies in the file's metadata.

    Arguments
    ---------
    parts : ModelParts
        The model; it is left as it is.
    path : path
        The file, ``*.onnx``.

    Raises
    ------
    InputError
        A package is not installed; the upstream, the pooling ``log_cov``, or a pooling
        or head of one's own, cannot be exported; the model has more than 2 GB; or
        onnxruntime's answers to made-up clips differ from torch's by more than 1e-4.
        No file is left then.
    """
    _require_packages()
    if Path(path).suffix != ".onnx":
        raise InputError(f"{path}: the name of an ONNX file must end with .onnx")
    features = {**parts.features, "precision": "fp32"}
    recognizer = EmotionRecognizer(dataclasses.replace(parts, features=features), "cpu")
    graph = ClipGraph(recognizer.upstream, recognizer.heads, features["stored"]).eval()
    size = sum(each.numel() * each.element_size() for each in graph.parameters())
    if size > _LARGEST:
        raise InputError(
            f"{parts.name}: its weights are {size / 1e9:.1f} GB, but an ONNX file "
            "holds 2 GB at most: use another format"
        )
    first, second = recognizer.upstream.frame_times(16000)[:2]
    about = {
        "format": FORMAT_VERSION,
        "labels": recognizer.labels,
        "identity": recognizer.identity,
        "min_samples": recognizer.min_samples,
        "first_frame": first,  # seconds to the centre of the first frame
        "frame_step": second - first,
        "output_size": graph.output_size,
    }
    try:
        with _quiet():
            program = _trace(graph)
    except Exception as error:  # of many kinds, some of them private
        reason = describe_error(error)[:300]
        raise InputError(
            f"{parts.name}: cannot be exported to ONNX ({reason}); a pooling or head "
            "of one's own must use tensor operations whose result holds for any length"
        ) from error
    program.model.metadata_props[METADATA_KEY] = json.dumps(about, sort_keys=True)
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)
        _require_equal(path, OnnxRecognizer(temporary), recognizer)


def _trace(graph: ClipGraph) -> Any:
    """Trace a graph for clips of any length; a constant length is an error."""
    clip = torch.from_numpy(_make_clip(_LENGTHS[1]))[None]
    with torch.no_grad():
        traced = torch.export.export(
            graph,
            (clip,),
            dynamic_shapes=({1: torch.export.Dim.DYNAMIC},),
            # Conditions such as "T is not 1" hold in torch's kernels, not in ONNX.
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        program: Any = torch.onnx.export(
            traced,
            (),
            input_names=["waveform"],
            output_names=graph.outputs,
            dynamo=True,
            # onnxscript's rules take + 1e-8 for + 0: correlations would divide by 0.
            # onnxruntime simplifies the graph anyway.
            optimize=False,
            verbose=False,
        )
    _tidy(program.model.graph, graph.outputs)
    return program


def _tidy(graph: Any, outputs: Sequence[str]) -> None:
    """Name the dynamic axes; drop the tracer's notes, which hold paths of this machine.

    Tensors inside are renamed where they have the name of an output.
    """
    graph.metadata_props.clear()
    for node in graph:
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
            if value.name in outputs and value not in graph.outputs:
                value.name = f"inner_{value.name}"
    axes = {"waveform": "samples", "attention": "frames"}
    for value in [*graph.inputs, *graph.outputs]:
        value.metadata_props.clear()
        if value.name in axes:
            value.shape = type(value.shape)([1, axes[value.name]])


def _require_equal(
    path: str | os.PathLike, exported: OnnxRecognizer, recognizer: EmotionRecognizer
) -> None:
    """Compare onnxruntime's answers to made-up clips with torch's."""
    for samples in (recognizer.min_samples, *_LENGTHS):
        clip = _make_clip(samples)
        (found,), (wanted,) = exported.answer([clip]), recognizer.answer([clip])
        error = np.abs(found.probabilities - wanted.probabilities).max()
        if found.attention is not None and wanted.attention is not None:
            same = found.attention.shape == wanted.attention.shape
            gap = np.abs(found.attention - wanted.attention).max() if same else np.inf
            error = max(error, gap)
        if not error <= TOLERANCE:
            raise InputError(
                f"{path}: not written: for {samples} samples of noise onnxruntime's "
                f"answer differs from torch's by {error:.2g} (at most {TOLERANCE} is "
                "accepted); use another format"
            )


def _make_clip(samples: int) -> np.ndarray:
    """Make noise whose loudness changes, (samples,) float32."""
    noise = np.random.default_rng(samples).standard_normal(samples)
    loudness = 0.05 * (1.5 + np.sin(np.arange(samples) / 700))
    return (noise * loudness + 0.01).astype(np.float32)


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401, PLC0415
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed: pip install 'sercorr[onnx]'"
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporter says about itself and about torchvision."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
