"""Where the time of an update from memory goes, against its bare arithmetic."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from benchmarks.arithmetic import BILLION, PRODUCTS, matrix_product, update_operations
from benchmarks.common import Bench, Times, print_table, timed
from benchmarks.corpus import Trainer
from sercorr import functional
from sercorr.lengths import absolute_to_relative
from sercorr.lobes import EmotionHead
from sercorr.lobes.layer_mix import mix_clips

WHOLE = "update"


def break_down(bench: Bench, trainer: Trainer) -> dict[str, Any]:
    """Measure the parts of an update one by one; the features are in memory."""
    clips = trainer.features.clips(next(trainer.batches))
    head = trainer.brain.heads[0].module.train()
    shape = bench.scale
    work, product = matrix_product(*[shape.matrix] * 3)
    cases = {
        **parts(head, clips),
        WHOLE: timed(trainer.update),
        PRODUCTS: timed(product),
    }
    times = Times(cases, 2 * shape.rounds, "parts of an update")

    frames = [clip.shape[1] for clip in clips]
    layers, _, width = clips[0].shape
    operations = update_operations(frames, layers, width, shape.projection_size)
    seconds = times.medians()
    rate = work / seconds.pop(PRODUCTS)
    update = seconds.pop(WHOLE)
    seconds["rest"] = max(update - sum(seconds.values()), 0.0)
    seconds[WHOLE] = update
    gflop = {name: count / BILLION for name, count in operations.items()}
    gflop[WHOLE] = sum(gflop.values())
    floors = {name: count * BILLION / rate for name, count in gflop.items()}
    print_table(
        f"parts of an update from memory, forward and backward "
        f"({rate / BILLION:.0f} GFLOP/s in matrix products)",
        ["part", "seconds", "GFLOP", "floor in s"],
        [
            [name, value, gflop.get(name, ""), floors.get(name, "")]
            for name, value in seconds.items()
        ],
    )
    return {
        "seconds": seconds,
        "gflop": gflop,
        "gflop_per_second": rate / BILLION,
        "floor_seconds": floors[WHOLE],
        "frames": sum(frames),
        "padded_frames": len(frames) * max(frames),
    }


def parts(
    head: EmotionHead, clips: Sequence[torch.Tensor]
) -> dict[str, Callable[[], float]]:
    """Make functions that time the parts of an update of an attentive head."""
    frames = [clip.shape[1] for clip in clips]
    with torch.no_grad():
        (mixed,) = mix_clips(clips, [head.layer_mix])
        projected = head.projection(mixed)
        padded = pad_sequence(projected.split(frames), batch_first=True)
        lengths = absolute_to_relative(torch.tensor(frames), max(frames))
        pooling = head.pooling
        weights = pooling.attention(padded, lengths)
        covariance = functional.weighted_covariance(padded, weights)
    targets = torch.zeros(len(clips), dtype=torch.long)
    noise = torch.randn_like(mixed)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.0)

    def mix() -> torch.Tensor:
        return mix_clips(clips, [head.layer_mix])[0]

    def mix_backward() -> float:
        output = mix()
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
        correlations = functional.correlation_matrix(covariance, pooling.eps)
        features = functional.strict_upper_triangle(correlations)
        return F.cross_entropy(head.classifier(features), targets)

    def step() -> float:
        for parameter in head.parameters():
            parameter.grad = torch.ones_like(parameter)

        def clip_and_step() -> None:
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()

        return timed(clip_and_step)()

    return {
        "mix forward": timed(torch.no_grad()(mix)),
        "mix backward": mix_backward,
        "projection": both_ways(head.projection, mixed),
        "attention": both_ways(lambda x: pooling.attention(x, lengths), padded),
        "covariance": both_ways(functional.weighted_covariance, padded, weights),
        "correlation to loss": both_ways(classify, covariance),
        "clipping and Adam": step,
    }
