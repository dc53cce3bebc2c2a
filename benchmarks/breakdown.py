"""Where the time of an update from memory goes, against its bare arithmetic."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from benchmarks.arithmetic import (
    BILLION,
    PRODUCTS,
    square_products,
    update_operations,
)
from benchmarks.common import Bench, Times, print_table, timed
from benchmarks.corpus import Trainer
from sercorr.functional import (
    correlation_matrix,
    mix_clips,
    strict_upper_triangle,
    weighted_moments,
)
from sercorr.lengths import absolute_to_relative
from sercorr.lobes.head import EmotionHead

WHOLE = "update"


def break_down(bench: Bench, trainer: Trainer) -> dict[str, Any]:
    """Measure the parts of an update one by one, and print them.

    Arguments
    ---------
    bench : Bench
        Sizes.
    trainer : Trainer
        With its features in memory.

    Returns
    -------
    dict
        Seconds and GFLOP of the parts, the floor in seconds.
    """
    batch = next(trainer.batches)
    clips = trainer.features.clips(batch)
    head = trainer.brain.raw_modules["head"].train()
    shape = bench.scale
    square = square_products(shape.matrix)
    cases = {
        **parts(head, clips),
        WHOLE: timed(trainer.update),
        PRODUCTS: timed(square[1]),
    }
    times = Times(cases, 2 * shape.rounds, "parts of an update")

    frames = [clip.shape[1] for clip in clips]
    layers, _, width = clips[0].shape
    size, heads = shape.projection_size, head.pooling.attention.queries.out_features
    operations = update_operations(frames, layers, width, size, heads)
    rate = square[0] / times[PRODUCTS]
    seconds = times.medians()
    del seconds[PRODUCTS]
    update = seconds.pop(WHOLE)
    seconds["rest"] = max(update - sum(seconds.values()), 0.0)
    floor = sum(operations.values()) / rate
    rows = [
        [
            name,
            value,
            operations[name] / BILLION if name in operations else "",
            operations[name] / rate if name in operations else "",
        ]
        for name, value in seconds.items()
    ]
    rows.append([WHOLE, update, sum(operations.values()) / BILLION, floor])
    print_table(
        f"parts of an update from memory, forward and backward "
        f"({rate / BILLION:.0f} GFLOP/s in matrix products)",
        ["part", "seconds", "GFLOP", "floor in s"],
        rows,
    )
    return {
        "seconds": {**seconds, WHOLE: update},
        "gflop": {name: count / BILLION for name, count in operations.items()},
        "gflop_per_second": rate / BILLION,
        "floor_seconds": floor,
        "frames": sum(frames),
        "padded_frames": len(frames) * max(frames),
    }


def parts(
    head: EmotionHead, clips: Sequence[torch.Tensor]
) -> dict[str, Callable[[], float]]:
    """Make functions that time the parts of an update of an attentive head."""
    frames = [clip.shape[1] for clip in clips]
    gammas = head.layer_mix.gammas.detach().unsqueeze(0)
    (mixed,) = mix_clips(clips, gammas)
    projected = head.projection(mixed).detach()
    padded = pad_sequence(projected.split(frames), batch_first=True)
    lengths = absolute_to_relative(torch.tensor(frames), max(frames))
    pooling = head.pooling
    weights = pooling.attention(padded, lengths).detach()
    _, covariance = weighted_moments(padded, weights, "covariance")
    targets = torch.zeros(len(clips), dtype=torch.long)
    noise = torch.randn_like(mixed)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.0)

    def mix_backward() -> float:
        leaf = gammas.clone().requires_grad_()
        (output,) = mix_clips(clips, leaf)
        return timed(lambda: output.backward(noise))()

    def both_ways(
        function: Callable[..., torch.Tensor], *inputs: torch.Tensor
    ) -> Callable[[], float]:
        def run() -> None:
            head.zero_grad()
            leaves = [tensor.detach().requires_grad_() for tensor in inputs]
            output = function(*leaves)
            output.backward(torch.ones_like(output))

        return timed(run)

    def classify(covariance: torch.Tensor) -> torch.Tensor:
        features = strict_upper_triangle(correlation_matrix(covariance, pooling.eps))
        return F.cross_entropy(head.classifier(features), targets)

    def step() -> float:
        for parameter in head.parameters():
            parameter.grad = torch.ones_like(parameter)

        def clip_and_step() -> None:
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()

        return timed(clip_and_step)()

    return {
        "mix forward": timed(lambda: mix_clips(clips, gammas)),
        "mix backward": mix_backward,
        "projection": both_ways(head.projection, mixed),
        "attention": both_ways(lambda x: pooling.attention(x, lengths), padded),
        "covariance": both_ways(
            lambda x, w: weighted_moments(x, w, "covariance")[1], padded, weights
        ),
        "correlation to loss": both_ways(classify, covariance),
        "clipping and Adam": step,
    }
