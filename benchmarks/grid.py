"""One update of K heads side by side, against one."""

from typing import Any

import torch

from benchmarks.arithmetic import PRODUCTS, square_products, update_operations
from benchmarks.common import NO_AMX, Bench, Times, has_amx, print_table, timed
from benchmarks.corpus import Corpus
from benchmarks.update import update_corpus
from sercorr import grid as sercorr_grid


def run(bench: Bench) -> dict[str, Any]:
    """Measure grids; see benchmarks/README.md."""
    corpus = update_corpus(bench)
    kinds, skipped = [("cpu", "fp32")], []
    if has_amx():
        kinds.append(("cpu", "bf16"))
    else:
        skipped.append(f"bf16 on the CPU {NO_AMX}")
    if torch.cuda.is_available():
        kinds += [("cuda", "fp32"), ("cuda", "bf16")]
    else:
        skipped.append("on a GPU skipped: there is none")
    counts = bench.scale.growth
    seconds, ratios, floors = {}, {}, {}
    for device, precision in kinds:
        times, share = measure(bench, corpus, bench.scale.rounds, device, precision)
        for count in counts:
            name = f"{precision} on {device}, {count} heads"
            seconds[name] = times[count]
            ratios[name] = times.ratio(count, min(counts))
            if PRODUCTS in times.seconds:
                floors[name] = count * share * times.ratio(PRODUCTS, min(counts))
    print_table(
        f"grid of attentive heads: {bench.scale.clips} clips an update",
        ["heads", "seconds", "of one head's", "arithmetic alone", "a head, s"],
        [
            [
                name,
                value,
                ratios[name],
                floors.get(name, ""),
                value / int(name.split()[-2]),
            ]
            for name, value in seconds.items()
        ],
    )
    for reason in skipped:
        print(reason)
    return {
        "seconds": seconds,
        "ratios": ratios,
        "arithmetic_alone": floors,
        "skipped": skipped,
    }


def measure(
    bench: Bench,
    corpus: Corpus,
    rounds: int,
    device: str = "cpu",
    precision: str = "fp32",
) -> tuple[Times, float]:
    """Time updates of 1, 2, 4, ... heads, and beside them matrix products.

    Returns
    -------
    times : Times
        The keys are the numbers of heads and, in float32 on a CPU, `PRODUCTS`.
    share : float
        Arithmetic of one head by that of the products.
    """
    scale = bench.scale
    members = [
        sercorr_grid.Member(
            f"head{number}",
            corpus.settings(
                bench.folder / "grid" / f"{device}-{precision}" / str(number),
                batch_size=scale.clips,
                projection_size=scale.projection_size,
                pooling="attentive_corr",
                lr=1e-4 * (1 + number),
                preload=True,
                device=device,
                precision=precision,
            ),
        )
        for number in range(max(scale.growth))
    ]
    fold = members[0].fold
    features, sampler = fold.make_features(), fold.make_sampler()
    sampler.set_position(1)
    batches = iter(fold.make_loader(features, "train", sampler))
    batch = next(batches)
    for member in members:
        member.brain = member.fold.make_brain(features, fold.make_sampler())
        member.brain.on_fit_start()
        member.brain.begin_epoch(1)

    def update(count: int) -> None:
        # Members are at different updates here; the work does not depend on it.
        sercorr_grid.update_members(members[:count], batch, features)

    cases: dict[Any, Any] = {
        count: timed(lambda count=count: update(count)) for count in scale.growth
    }
    square = square_products(scale.matrix)
    if (device, precision) == ("cpu", "fp32"):
        cases[PRODUCTS] = timed(square[1])
    clips = features.clips(batch)
    operations = update_operations(
        [clip.shape[1] for clip in clips],
        len(clips[0]),
        clips[0].shape[2],
        scale.projection_size,
    )
    times = Times(cases, rounds, f"grid, {precision} on {device}")
    return times, sum(operations.values()) / square[0]
