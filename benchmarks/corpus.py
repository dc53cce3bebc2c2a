"""Made-up corpora, caches of random features, and real trainings on them."""

import dataclasses
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from sercorr import SAMPLE_RATE
from sercorr.features.plan import hash_files
from sercorr.features.store import FeatureStore
from sercorr.files import write_json
from sercorr.lengths import conv_frames
from sercorr.lobes.upstream import upstream_info
from sercorr.training.experiment import Fold
from sercorr.training.settings import Settings, load_settings

LABELS = ("neu", "hap", "ang", "sad")
SETTINGS_FILE = (
    Path(__file__).parents[1]
    / "recipes"
    / "IEMOCAP"
    / "emotion_corr"
    / "hparams"
    / "train.yaml"
)
CONVOLUTIONS = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
"""Kernels and strides of all models here: one frame every 320 samples."""


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Clips of noise with manifests of one fold.

    Attributes
    ----------
    folder : pathlib.Path
        Holds ``wavs``, ``manifests`` and, once it is filled, ``cache``.
    wavs : dict
        Id -> path; the training clips first.
    samples : dict
        Id -> length at 16 kHz.
    model : pathlib.Path
        Folder of the upstream.
    """

    folder: Path
    wavs: dict[str, Path]
    samples: dict[str, int]
    model: Path

    def settings(self, output: Path, **changes: Any) -> Settings:
        """Load the recipe's settings for a training on this corpus."""
        arguments = [str(SETTINGS_FILE), "--noprogressbar", "--device"]
        device = changes.pop("device", "cpu")
        precision = changes.pop("precision", None)
        options = ["--precision", precision] if precision else []
        given = {
            "data_folder": str(self.folder),
            "manifest_folder": str(self.folder / "manifests"),
            "cache_folder": str(self.folder / "cache"),
            "output_folder": str(output),
            "upstream_source": str(self.model),
            "n_folds": 1,
            "updates_per_epoch": 100_000,
            **changes,
        }
        return load_settings([*arguments, device, *options], given)

    def entries(self) -> list[Path]:
        """Files of the cache."""
        return sorted((self.folder / "cache").rglob("*.safetensors"))

    def warm(self) -> None:
        """Read the entries, so that the system has them in memory."""
        for path in self.entries():
            path.read_bytes()

    def evict(self) -> None:
        """Ask the system to forget the entries: the next reading is from the disk."""
        for path in self.entries():
            file = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def frames_of(samples: int) -> int:
    """Frames of a clip."""
    return conv_frames(samples, *CONVOLUTIONS)


def make_corpus(
    folder: Path, samples: Sequence[int], model: Path, held_out: int = len(LABELS)
) -> Corpus:
    """Write clips of noise for training, and short ones for validation and testing."""
    rng = np.random.default_rng(0)
    wavs, lengths = {}, {}
    rest = [min(samples)] * held_out
    for split, sizes in (("train", samples), ("valid", rest), ("test", rest)):
        manifest = {}
        session = 1 if split == "test" else 2
        for index, size in enumerate(sizes):
            name = f"Ses0{session}F_{split}_F{index:04d}"
            path = folder / "wavs" / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            sound = 0.1 * rng.standard_normal(size)
            soundfile.write(path, sound, SAMPLE_RATE, subtype="PCM_16")
            wavs[name], lengths[name] = path, size
            label = LABELS[index % len(LABELS)]
            manifest[name] = {
                "wav": f"{{data_root}}/wavs/{name}.wav",
                "duration": size / SAMPLE_RATE,
                "emo": label,
                "code": label,
                "speaker": f"Ses0{session}F",
                "session": session,
                "votes": [],
            }
        write_json(folder / "manifests" / "fold_1" / f"{split}.json", manifest)
    return Corpus(folder, wavs, lengths, model)


def fill_cache(corpus: Corpus) -> FeatureStore:
    """Write entries of random features in float16, as an extraction would."""
    info = upstream_info(str(corpus.model))
    store = FeatureStore(corpus.folder / "cache", info, "float16")
    store.open_for_writing()
    digests = hash_files(corpus.wavs, progress=False)
    longest = max(corpus.samples.values())
    drawn = random_clips([longest], info.num_layers, info.output_size)[0]
    for name, digest in digests.items():
        frames = frames_of(corpus.samples[name])
        layers = drawn[:, :frames].contiguous()
        store.write(digest, layers, corpus.samples[name])
    return store


def random_clips(
    samples: Sequence[int], num_layers: int, size: int
) -> list[torch.Tensor]:
    """Draw float16 features (L, T_i, D) for clips of some lengths."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(num_layers, frames_of(length), size) for length in samples]
    return [torch.randn(shape, generator=generator).half() for shape in shapes]


class Trainer:
    """A training as `sercorr.training.experiment.train_fold` starts it, update by update.

    Arguments
    ---------
    settings : Settings
        From `Corpus.settings`.
    """

    def __init__(self, settings: Settings):
        fold = Fold(settings)
        self.features, sampler = fold.make_features(), fold.make_sampler()
        self.brain = fold.make_brain(self.features, sampler)
        self.loader = fold.make_loader(self.features, "train", sampler)
        self.brain.on_fit_start()
        self.brain.begin_epoch(1)
        self.batches = iter(self.loader)

    def update(self) -> None:
        """Read a batch and make one update."""
        batch = next(self.batches)
        self.brain.step += 1
        self.brain.fit_batch(batch)

    def close(self) -> None:
        """End the loader's processes."""
        del self.batches, self.loader


def bytes_read() -> int:
    """Bytes that this process and its loader processes have read from disks."""
    processes = [os.getpid(), *(p.pid for p in multiprocessing.active_children())]
    total = 0
    for process in processes:
        text = Path(f"/proc/{process}/io").read_text(encoding="ascii")
        total += int(text.split("read_bytes:")[1].split()[0])
    return total
