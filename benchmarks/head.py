"""Forward and backward of the head: all clips together, against one after the other."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.common import Bench, Times, clip_samples, print_table, timed
from benchmarks.corpus import random_clips
from sercorr.lobes import POOLINGS, EmotionHead, Upstream, make_pooling


def run(bench: Bench) -> dict[str, Any]:
    """Measure heads; see benchmarks/README.md."""
    scale = bench.scale
    upstream = Upstream(bench.model())
    sizes = (upstream.num_layers, upstream.output_size)
    clips = random_clips(clip_samples(scale.clips, scale.seconds), *sizes)
    targets = torch.arange(len(clips)) % 4
    cases, differences = {}, {}
    for name in POOLINGS:
        head = make_head(bench, name, *sizes)
        cases[f"{name}, together"] = timed(
            lambda head=head: train(head, targets, head(clips))
        )
        cases[f"{name}, one by one"] = timed(
            lambda head=head: train(head, targets, one_by_one(head, clips))
        )
        differences[name] = difference(head, clips)
    times = Times(cases, scale.rounds, "heads")
    ratios = {
        name: times.ratio(f"{name}, one by one", f"{name}, together")
        for name in POOLINGS
    }
    print_table(
        f"head, forward and backward: {scale.clips} clips of {scale.seconds} s",
        ["pooling", "together, s", "one by one, s", "ratio", "difference"],
        [
            [
                name,
                times[f"{name}, together"],
                times[f"{name}, one by one"],
                ratios[name],
                f"{differences[name]:.0e}",
            ]
            for name in POOLINGS
        ],
    )
    return {"seconds": times.medians(), "ratios": ratios, "differences": differences}


def make_head(bench: Bench, pooling: str, num_layers: int, size: int) -> EmotionHead:
    """Make the paper's head in training mode."""
    torch.manual_seed(0)
    projection = bench.scale.projection_size
    made = make_pooling(pooling, projection)
    return EmotionHead(num_layers, size, made, 4, 0.25, projection).train()


def one_by_one(head: EmotionHead, clips: Sequence[torch.Tensor]) -> torch.Tensor:
    """Classify clips in a plain loop."""
    return torch.cat([head(clip.unsqueeze(0)) for clip in clips])


def train(head: EmotionHead, targets: torch.Tensor, logits: torch.Tensor) -> None:
    """Compute the gradients of the smoothed loss."""
    head.zero_grad()
    F.cross_entropy(logits, targets, label_smoothing=0.25).backward()


@torch.no_grad()
def difference(head: EmotionHead, clips: Sequence[torch.Tensor]) -> float:
    """Relative difference of the two ways' logits, without dropout."""
    head.eval()
    alone, together = one_by_one(head, clips), head(clips)
    head.train()
    return ((alone - together).norm() / alone.norm()).item()
