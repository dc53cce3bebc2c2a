"""Bytes, hours and cost of a corpus: arithmetic from what is stated here."""

import dataclasses
import math
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from benchmarks.arithmetic import extraction_operations
from benchmarks.common import print_table
from benchmarks.corpus import frames_of
from sercorr import SAMPLE_RATE

HOUR = 3600

WAVLM_LARGE = AutoConfig.for_model(
    "wavlm",
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
)

LAYERS = {"all": 25, "0,6,12": 3}
"""Stored layers of WavLM Large, as ``--layers`` says, and how many they are."""

UPDATES, BATCH, EPOCHS = 30_000, 32, 30
"""Updates of a run, clips in each, and validations, as in ``train.yaml``."""

HEADS, UPSTREAMS, SIDE_BY_SIDE = 9, 3, 8
"""Heads and upstreams of ``table1.yaml``; most heads that share a reading."""

GPUS = (1, 8)
DISK = 1e9  # bytes a second, where a cost is said
PCIE = 10e9  # as fast is no disk


@dataclasses.dataclass(frozen=True)
class Spoken:
    """A corpus, as far as bytes and hours depend on it."""

    name: str
    clips: int
    hours: float
    folds: int
    valid: int  # clips that a validation reads

    @property
    def samples(self) -> int:
        """Samples of a clip, on average."""
        return round(self.hours * HOUR * SAMPLE_RATE / self.clips)


IEMOCAP = Spoken("IEMOCAP", 5531, 6.99, folds=5, valid=round(0.2 * 0.8 * 5531))
"""The four classes; sessions are folds, a fifth of the others validates."""

MSP_PODCAST = Spoken(
    "MSP-Podcast 2.0", 264_705, 409 * 264_705 / 267_905, folds=1, valid=34_399
)
"""The labelled turns of 267,905, of 409 hours: Busso et al. 2025, arXiv:2509.09791."""

CORPORA = (
    IEMOCAP,
    MSP_PODCAST,
    Spoken("1,000 h like it", round(1000 / 409 * 267_905), 1000, 1, 84_000),
)


@dataclasses.dataclass(frozen=True)
class Assumed:
    """What nobody has measured here: put in your own.

    Attributes
    ----------
    gpu : dict
        Precision -> operations a second of one GPU at its best: an NVIDIA A100's data
        sheet, matrix products in float32 without TF32, and in bfloat16.
    efficiency : dict
        Precision -> share of it that an encoder reaches.
    disk : dict
        What the features are read from -> bytes a second.
    price : float
        Of an hour of one GPU.
    """

    gpu: dict[str, float] = dataclasses.field(
        default_factory=lambda: {"fp32": 19.5e12, "bf16": 312e12}
    )
    efficiency: dict[str, float] = dataclasses.field(
        default_factory=lambda: {"fp32": 0.5, "bf16": 0.25}
    )
    disk: dict[str, float] = dataclasses.field(
        default_factory=lambda: {
            "0.2 GB/s": 0.2e9,  # a shared disk with others at work
            "1 GB/s": 1e9,  # a good shared disk
            "3 GB/s": 3e9,  # a local NVMe disk
            "12 GB/s": 12e9,  # memory, over PCIe to the GPU
        }
    )
    price: float = 2.0


def clip_bytes(samples: int, layers: int, width: int, itemsize: int = 2) -> int:
    """Count the bytes of a clip's features: its entry without its header.

    Example
    -------
    >>> clip_bytes(16_000, layers=25, width=1024)
    2508800
    """
    return layers * frames_of(samples) * width * itemsize


def store_bytes(corpus: Spoken, layers: int, width: int, itemsize: int = 2) -> int:
    """Count the bytes of a store, as if all clips had the mean length."""
    return corpus.clips * clip_bytes(corpus.samples, layers, width, itemsize)


def extraction_work(corpus: Spoken, config: PretrainedConfig = WAVLM_LARGE) -> int:
    """Count the operations that the features of a corpus take."""
    return corpus.clips * sum(extraction_operations(config, corpus.samples).values())


def extraction_hours(
    work: float, size: float, gpus: int, rate: float, disk: float
) -> float:
    """Say how long an extraction takes that computes and writes at the same time.

    Arguments
    ---------
    work : float
        Operations.
    size : float
        Bytes of the store.
    gpus : int
        They share the work, and one disk.
    rate : float
        Operations a second of each.
    disk : float
        Bytes that the disk takes a second.

    Example
    -------
    >>> extraction_hours(7.2e15, 3.6e12, 2, rate=1e12, disk=1e9)
    1.0
    >>> extraction_hours(7.2e15, 3.6e12, 100, rate=1e12, disk=0.5e9)
    2.0
    """
    return max(work / (gpus * rate), size / disk) / HOUR


def readings(heads: int, folds: int, upstreams: int) -> int:
    """Count how often features are read for all updates of a run.

    Heads of one seed share a reading, `SIDE_BY_SIDE` at a time.

    Example
    -------
    >>> readings(1, 5, 1), readings(9, 5, 3)
    (5, 30)
    """
    return math.ceil(heads / SIDE_BY_SIDE) * folds * upstreams


def reading_bytes(
    corpus: Spoken, layers: int, width: int, times: int = 1, itemsize: int = 2
) -> int:
    """Count the bytes that updates and validations read, ``times`` of `readings`."""
    clip = clip_bytes(corpus.samples, layers, width, itemsize)
    return times * (UPDATES * BATCH + EPOCHS * corpus.valid) * clip


def estimate(
    assumed: Assumed, audio_rate: float, one: float, many: float
) -> dict[str, Any]:
    """Print what large corpora take: bytes, hours, cost.

    Arguments
    ---------
    assumed : Assumed
        Of GPUs, disks and prices.
    audio_rate : float
        Seconds of audio that this machine extracts in a second with WavLM Large.
    one, many : float
        Seconds of an update of one head here, and of eight.
    """
    width = WAVLM_LARGE.hidden_size
    stores: dict[str, float] = {}
    rows: list[list[Any]] = []
    for corpus in CORPORA:
        for layers, count in LAYERS.items():
            size = store_bytes(corpus, count, width)
            stores[f"{corpus.name}, layers {layers}"] = size / 1e9
            clip = clip_bytes(corpus.samples, count, width)
            rows.append(
                [
                    f"{corpus.name}, {layers}",
                    f"{corpus.clips:,}",
                    f"{corpus.hours:.4g}",
                    size / 1e9,
                    clip / 1e6,
                ]
            )
    print_table(
        "ARITHMETIC: a store of WavLM Large in float16",
        ["corpus, layers", "clips", "hours", "GB", "MB a clip"],
        rows,
    )
    extraction = _extraction(assumed, audio_rate)
    training = _training(assumed, one, many)
    return {"store_gigabytes": stores, **extraction, **training}


def _extraction(assumed: Assumed, audio_rate: float) -> dict[str, Any]:
    hours: dict[str, float] = {}
    rows: list[list[Any]] = []
    disks = {name: rate for name, rate in assumed.disk.items() if rate < PCIE}
    for corpus in CORPORA:
        work = extraction_work(corpus)
        here = hours[f"{corpus.name}, this machine"] = corpus.hours / audio_rate
        for precision, peak in assumed.gpu.items():
            rate = peak * assumed.efficiency[precision]
            computing = [extraction_hours(work, 0, n, rate, math.inf) for n in GPUS]
            hours[f"{corpus.name}, {precision}, 1 GPU, computing"] = computing[0]
            for layers, count in LAYERS.items():
                size = store_bytes(corpus, count, WAVLM_LARGE.hidden_size)
                whole = extraction_hours(work, size, 1, rate, DISK)
                rows.append(
                    [
                        f"{corpus.name}, {precision}, layers {layers}",
                        here if precision == "fp32" else "",
                        *computing,
                        *[size / disk / HOUR for disk in disks.values()],
                        whole * assumed.price,
                    ]
                )
    print_table(
        "ARITHMETIC: hours of an extraction with WavLM Large: the longer of computing "
        "and writing",
        [
            "corpus",
            "this machine",
            *[f"{n} GPU" + "s" * (n > 1) for n in GPUS],
            *[f"writing, {name}" for name in disks],
            f"cost, 1 GPU, {DISK / 1e9:g} GB/s",
        ],
        rows,
    )
    said = ", ".join(
        f"{precision} {peak / 1e12:g} TFLOP/s x {assumed.efficiency[precision]:g}"
        for precision, peak in assumed.gpu.items()
    )
    print(
        f"ASSUMED, not measured: a GPU of {said}, at {assumed.price:g} an hour. "
        "Not run: a GPU.\n"
    )
    return {"extraction_hours": hours}


def _training(assumed: Assumed, one: float, many: float) -> dict[str, Any]:
    works = [
        ("one run, or 8 heads", IEMOCAP, 1, 1, 1),
        ("five folds", IEMOCAP, 1, IEMOCAP.folds, 1),
        ("Table 1", IEMOCAP, HEADS, IEMOCAP.folds, UPSTREAMS),
        ("one run, or 8 heads", MSP_PODCAST, 1, 1, 1),
        ("Table 1's heads", MSP_PODCAST, HEADS, 1, UPSTREAMS),
    ]
    terabytes: dict[str, float] = {}
    rows: list[list[Any]] = []
    for what, corpus, heads, folds, upstreams in works:
        times = readings(heads, folds, upstreams)
        # eight heads of an update at the price of many, the others at that of one
        eights, ones = divmod(heads, SIDE_BY_SIDE)
        seconds = (eights * many + ones * one) * folds * upstreams * UPDATES
        for layers, count in LAYERS.items():
            size = reading_bytes(corpus, count, WAVLM_LARGE.hidden_size, times)
            name = f"{corpus.name}, {what}, layers {layers}"
            terabytes[name] = size / 1e12
            hours = [size / rate / HOUR for rate in assumed.disk.values()]
            # the update that was measured is IEMOCAP's, with all layers
            here = seconds / HOUR if corpus is IEMOCAP and layers == "all" else ""
            cost = size / DISK / HOUR * assumed.price
            rows.append([name, str(times), size / 1e12, here, *hours, cost])
    print_table(
        f"ARITHMETIC: hours of reading for {UPDATES:,} updates and {EPOCHS} "
        "validations a run, WavLM Large",
        [
            "what",
            "readings",
            "TB",
            "updates, this machine",
            *assumed.disk,
            f"cost, {DISK / 1e9:g} GB/s",
        ],
        rows,
    )
    print(f"cost: hours of one GPU, at {assumed.price:g} an hour (ASSUMED)")
    return {"training_terabytes": terabytes}
