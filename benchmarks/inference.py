"""Classifying files: against transformers' pipeline with the same weights, and ONNX."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers

from benchmarks.common import (
    NO_AMX,
    Bench,
    Times,
    clip_samples,
    has_amx,
    in_new_process,
    peak_megabytes,
    print_table,
    timed,
)
from benchmarks.corpus import LABELS, make_corpus
from sercorr import SAMPLE_RATE
from sercorr.fast.memory import keep_freed_memory
from sercorr.inference.onnx_export import export_onnx
from sercorr.inference.onnx_model import OnnxRecognizer
from sercorr.inference.parts import ModelParts
from sercorr.inference.predictor import Predictor
from sercorr.inference.recognizer import EmotionRecognizer
from sercorr.inference.transformers_export import export_transformers
from sercorr.lobes import EmotionHead, Upstream, make_pooling

ROUNDS = 3
BATCH = 8
WINDOW, HOP = 4.0, 4.0
PIPELINE, SERCORR, HALF, ONNX = "pipeline", "sercorr", "sercorr in bf16", "onnxruntime"


def run(bench: Bench) -> dict[str, Any]:
    """Measure inference; see benchmarks/README.md."""
    scale = bench.scale
    folder = bench.folder / "inference"
    samples = clip_samples(scale.clips, scale.seconds)
    corpus = make_corpus(folder / "corpus", samples, bench.model(), held_out=0)
    files = [str(path) for path in corpus.wavs.values()]
    parts = make_parts(bench.model(), scale.projection_size)
    exported, graph = folder / "transformers", folder / "model.onnx"
    if not graph.exists():
        export_transformers(parts, exported)
        export_onnx(parts, graph)
    recognizer = EmotionRecognizer(parts, "cpu")
    onnx = OnnxRecognizer(graph)
    pipeline = transformers.pipeline(
        "audio-classification", model=str(exported), device="cpu", top_k=None
    )
    one = [files[len(files) // 2]]
    cases: dict[str, Callable[[], Any]] = {
        f"{PIPELINE}, one file": through(pipeline, one),
        f"{SERCORR}, one file": predicting(recognizer, one),
        f"{ONNX}, one file": predicting(onnx, one),
        f"{PIPELINE}, folder": through(pipeline, files),
        f"{PIPELINE}, folder in batches of {BATCH}": through(pipeline, files, BATCH),
        f"{SERCORR}, folder": predicting(recognizer, files),
        f"{ONNX}, folder": predicting(onnx, files),
    }
    if has_amx():
        half = {**parts.features, "precision": "bf16"}
        quick = EmotionRecognizer(dataclasses.replace(parts, features=half), "cpu")
        cases[f"{HALF}, folder"] = predicting(quick, files)
    times = Times(
        {name: timed(case) for name, case in cases.items()},
        min(ROUNDS, scale.rounds),
        "inference",
    )
    heard = {"one file": samples[len(files) // 2] / SAMPLE_RATE}
    heard["folder"] = sum(samples) / SAMPLE_RATE
    speeds = {
        name: heard[name.split(", ")[1].removesuffix(f" in batches of {BATCH}")]
        / times[name]
        for name in cases
    }
    ratios = {}
    for name in cases:
        who, what = name.split(", ")
        base = f"{PIPELINE}, {what.removesuffix(f' in batches of {BATCH}')}"
        if name != base:
            ratios[f"{who} to the pipeline, {what}"] = times.ratio(base, name)
    print_table(
        f"{scale.clips} files, {heard['folder']:.1f} s of audio; one of "
        f"{heard['one file']:.1f} s",
        ["what", "seconds", "audio-s/s", "real-time factor"],
        [[n, times[n], speeds[n], 1 / speeds[n]] for n in cases],
    )
    if not has_amx():
        print(f"bf16: {NO_AMX}")
    print_table("speed", ["what", "times"], list(ratios.items()))

    peaks = {}
    minutes = scale.long_minutes
    for source, lengths in ((str(bench.model()), minutes[:2]), ("fbank", minutes[1:])):
        for length in lengths:
            name = f"{Path(source).name}, {length:g} minutes"
            print(f"timeline: {name} ...", flush=True)
            path = folder / f"long{length:g}.wav"
            write_long(path, files, length)
            size = scale.projection_size
            peaks[name] = in_new_process(predict_and_look, source, size, path)
    print_table(
        f"peak memory, windows of {WINDOW:g} s",
        ["what", "MB"],
        [[name, f"{peak:.0f}"] for name, peak in peaks.items()],
    )
    return {
        "seconds": times.medians(),
        "audio_seconds_per_second": speeds,
        "ratios": ratios,
        "peak_megabytes": peaks,
        "skipped": [] if has_amx() else [f"bf16 {NO_AMX}"],
    }


def make_parts(source: str | Path, size: int) -> ModelParts:
    """Make a mean head of random weights, which transformers can hold as well."""
    upstream = Upstream(source)
    torch.manual_seed(0)
    head = EmotionHead(
        upstream.num_layers,
        upstream.output_size,
        make_pooling("mean", size),
        len(LABELS),
        0.0,
        size,
    )
    features = {"stored": None, "precision": "fp32"}
    return ModelParts("benchmark", list(LABELS), upstream, [head], features)


def predicting(model: Predictor, files: Sequence[str]) -> Callable[[], list]:
    """Make a function that classifies files, from the disk."""
    return lambda: list(model.predict(files))


def through(
    pipeline: Any, files: Sequence[str], batch_size: int = 1
) -> Callable[[], list]:
    """Make a function that classifies files by transformers' pipeline.

    soundfile reads them, since the pipeline itself would want ffmpeg.
    """

    def read() -> Any:
        for file in files:
            signal, rate = soundfile.read(file, dtype="float32")
            yield {"raw": signal, "sampling_rate": rate}

    return lambda: list(pipeline(read(), batch_size=batch_size))


def write_long(path: Path, files: Sequence[str], minutes: float) -> None:
    """Write clips one after the other until the file is long enough."""
    left = round(minutes * 60 * SAMPLE_RATE)
    clips = [soundfile.read(file, dtype="float32")[0] for file in files]
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as out:
        while left > 0:
            for clip in clips:
                out.write(np.asarray(clip[:left]))
                left = max(left - len(clip), 0)


def predict_and_look(source: str, size: int, path: Path) -> float:
    """Classify the windows of a file; return this process's peak, in MB."""
    keep_freed_memory()
    recognizer = EmotionRecognizer(make_parts(source, size), "cpu")
    for _ in recognizer.predict(str(path), window=WINDOW, hop=HOP):
        pass
    return peak_megabytes()
