"""One update of K heads side by side, against one."""

from typing import Any

import torch

from benchmarks.arithmetic import PRODUCTS, matrix_product, update_operations
from benchmarks.common import NO_AMX, Bench, Times, has_amx, print_table, timed
from benchmarks.update import make_trainer


def run(bench: Bench) -> dict[str, Any]:
    """Measure grids; see benchmarks/README.md."""
    kinds, skipped = [("cpu", "fp32")], []
    if has_amx():
        kinds.append(("cpu", "bf16"))
    else:
        skipped.append(f"bf16 on the CPU {NO_AMX}")
    if torch.cuda.is_available():
        kinds += [("cuda", "fp32"), ("cuda", "bf16")]
    else:
        skipped.append("on a GPU skipped: there is none")
    seconds, ratios, floors, rows = {}, {}, {}, []
    for device, precision in kinds:
        times, share = measure(bench, bench.scale.rounds, device, precision)
        for count in bench.scale.growth:
            name = f"{precision} on {device}, {count} heads"
            seconds[name] = times[count]
            ratios[name] = times.ratio(count, 1)
            if PRODUCTS in times.seconds:
                floors[name] = count * share * times.ratio(PRODUCTS, 1)
            alone = floors.get(name, "")
            rows.append(
                [name, seconds[name], ratios[name], alone, seconds[name] / count]
            )
    print_table(
        f"grid of attentive heads: {bench.scale.clips} clips an update",
        ["heads", "seconds", "of one head's", "arithmetic alone", "a head, s"],
        rows,
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
    bench: Bench, rounds: int, device: str = "cpu", precision: str = "fp32"
) -> tuple[Times, float]:
    """Time updates of 1, 2, 4, ... heads, in float32 on a CPU `PRODUCTS` as well.

    The number returned is one head's arithmetic by that of the products.
    """
    scale = bench.scale
    given = {"preload": True, "device": device, "precision": precision}
    one = make_trainer(bench, **given)
    batch = next(one.batches)
    trainers = {1: one}
    for count in scale.growth[1:]:
        trainers[count] = make_trainer(
            bench, heads=count, features=one.features, **given
        )
    cases: dict[Any, Any] = {
        count: timed(lambda trainer=trainer: trainer.update(batch))
        for count, trainer in trainers.items()
    }
    work, product = matrix_product(*[scale.matrix] * 3)
    if (device, precision) == ("cpu", "fp32"):
        cases[PRODUCTS] = timed(product)
    clips = one.features.clips(batch)
    frames = [clip.shape[1] for clip in clips]
    layers, _, width = clips[0].shape
    operations = update_operations(frames, layers, width, scale.projection_size)
    times = Times(cases, rounds, f"grid, {precision} on {device}")
    return times, sum(operations.values()) / work
