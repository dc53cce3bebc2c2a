"""What each piece of `sercorr.fast` gains in what a user waits for."""

import os
from functools import partial
from statistics import median
from typing import Any

from benchmarks.common import (
    Bench,
    Times,
    clip_samples,
    in_new_process,
    peak_megabytes,
    print_table,
    timed,
)
from benchmarks.corpus import make_corpus
from benchmarks.extraction import to_entries
from benchmarks.update import make_trainer, update_corpus
from sercorr.fast.memory import keep_freed_memory
from sercorr.fast.packed_linear import pack_linear_layers
from sercorr.fast.wavlm_attention import use_fused_attention
from sercorr.lobes import load_upstream

ROUNDS = 3

NOTHING = "nothing"
MIX = "layer mix"
LINEAR = "packed linear layers"
ATTENTION = "fused attention"
MEMORY = "memory settings"
EVERYTHING = "everything"


def run(bench: Bench) -> dict[str, Any]:
    """Measure the pieces; see benchmarks/README.md."""
    update_corpus(bench)  # before the processes start
    waits = {
        "update, 1 head": (update, 1, [MIX, MEMORY]),
        "update, 8 heads": (update, 8, [MIX]),
        "extraction, HuBERT": (extraction, "hubert", [LINEAR, MEMORY]),
        "extraction, WavLM": (extraction, "wavlm", [LINEAR, ATTENTION]),
    }
    seconds, megabytes, gains, rows = {}, {}, {}, []
    for what, (measure, setting, pieces) in waits.items():
        peaks: dict[str, list[float]] = {}
        cases = {
            missing: partial(_in_new_process, measure, bench, setting, missing, peaks)
            for missing in (NOTHING, *pieces, EVERYTHING)
        }
        times = Times(cases, min(ROUNDS, bench.scale.rounds), what, warm_up=0)
        for missing in cases:
            name = f"{what}, without {missing}"
            seconds[name], megabytes[name] = times[missing], median(peaks[missing])
            if missing == NOTHING:
                usual = name
                continue
            gains[name] = 100 * (times.ratio(missing, NOTHING) - 1)
            counts = (gains[name], megabytes[usual], megabytes[name])
            cells = [f"{what}: {missing}", seconds[usual], seconds[name]]
            rows.append([*cells, *(f"{count:.0f}" for count in counts)])
    print_table(
        "pieces of sercorr.fast, each taken away from all the others",
        [
            "what a user waits for: piece",
            "with, s",
            "without, s",
            "gain, %",
            "with, peak MB",
            "without, peak MB",
        ],
        rows,
    )
    return {"seconds": seconds, "peak_megabytes": megabytes, "gain_percent": gains}


def _in_new_process(
    measure: Any, bench: Bench, setting: Any, missing: str, peaks: dict
) -> float:
    seconds, peak = in_new_process(measure, bench, setting, missing)
    peaks.setdefault(missing, []).append(peak)
    return seconds


def update(bench: Bench, heads: int, missing: str) -> tuple[float, float]:
    """Make updates from memory without a piece: seconds of one, and peak megabytes."""
    _start(missing, MIX)
    trainer = make_trainer(bench, heads=heads, preload=True)
    batch = next(trainer.batches)
    one = timed(lambda: trainer.update(batch))
    one()  # the first fetches memory and starts threads
    return median(one() for _ in range(bench.scale.updates)), peak_megabytes()


def extraction(bench: Bench, family: str, missing: str) -> tuple[float, float]:
    """Extract a quarter of a batch without a piece: seconds, and peak megabytes."""
    _start(missing, LINEAR, ATTENTION)
    scale, model = bench.scale, bench.model(family)
    samples = clip_samples(max(scale.clips // 4, 1), scale.seconds)
    corpus = make_corpus(bench.folder / f"pieces-{family}", samples, model, held_out=0)
    upstream = load_upstream(model)
    if missing == LINEAR and family == "wavlm":
        use_fused_attention(upstream.model)
    if missing == ATTENTION:
        pack_linear_layers(upstream.model)
    whole = timed(to_entries(corpus, upstream))
    whole()
    return whole(), peak_megabytes()


def _start(missing: str, *switched: str) -> None:
    """Set this process up; where a piece that computes is missing, all such are off."""
    if missing not in (MEMORY, EVERYTHING):
        keep_freed_memory()
    off = missing in (EVERYTHING, *switched)
    os.environ["SERCORR_FAST"] = "0" if off else "1"
