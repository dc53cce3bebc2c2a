"""Made-up corpora, stores of random features, and real trainings on them."""

import dataclasses
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import speechbrain as sb
import torch

from sercorr import SAMPLE_RATE
from sercorr.data.digests import hash_clips
from sercorr.data.utterances import Corpus, Utterance
from sercorr.features import LiveFeatures, StoredFeatures
from sercorr.features.store import FeatureStore
from sercorr.lengths import conv_frames
from sercorr.lobes import Upstream
from sercorr.training import EmotionBrain
from sercorr.training.dataio import (
    dataio_prepare,
    open_run_features,
    plan_data,
    read_fold,
)
from sercorr.training.program import parse_arguments

LABELS = ("neu", "hap", "ang", "sad")
RECIPE = Path(__file__).parents[1] / "recipes" / "IEMOCAP" / "emotion_corr"


@dataclasses.dataclass(frozen=True)
class NoiseCorpus:
    """Clips of noise with one fold."""

    folder: Path  # holds wavs and, once they are made, manifests and cache
    samples: dict[str, int]  # id -> length at 16 kHz
    model: Path  # folder of the upstream

    @property
    def wavs(self) -> dict[str, Path]:
        """Id -> audio file."""
        return {name: self.folder / "wavs" / f"{name}.wav" for name in self.samples}

    def arguments(self, output: Path, **changes: Any) -> list[str]:
        """Write the command line of ``train.py`` for this corpus."""
        given = {
            "data_folder": self.folder,
            "corpus": "!name:benchmarks.corpus.read_noise "
            "{data_folder: !ref <data_folder>}",
            "fold_by": "official",
            "n_folds": 1,
            "manifest_folder": self.folder / "manifests",
            "cache_folder": self.folder / "cache",
            "output_folder": output,
            "upstream_source": self.model,
            "device": "cpu",
            **changes,
        }
        words = [f"--{key}={value}" for key, value in given.items()]
        return [str(RECIPE / "hparams" / "train.yaml"), *words, "--noprogressbar"]

    def entries(self) -> list[Path]:
        """Files of the store."""
        return sorted((self.folder / "cache").rglob("*.safetensors"))

    def warm(self) -> None:
        """Read the entries, so that the system has them in memory."""
        for path in self.entries():
            path.read_bytes()

    def evict(self) -> None:
        """Ask the system to forget the entries: the next reading is from the disk."""
        for path in self.entries():
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def make_corpus(
    folder: Path, samples: Sequence[int], model: Path, held_out: int = len(LABELS)
) -> NoiseCorpus:
    """Write clips of noise for training, and short ones for validation and testing.

    What is there already is not written again.
    """
    rng = np.random.default_rng(0)
    rest = [min(samples)] * held_out
    lengths = {
        f"{split}{index:04d}": size
        for split, sizes in (("train", samples), ("valid", rest), ("test", rest))
        for index, size in enumerate(sizes)
    }
    corpus = NoiseCorpus(folder, lengths, model)
    if not folder.exists():
        (folder / "wavs").mkdir(parents=True)
        for name, path in corpus.wavs.items():
            sound = 0.1 * rng.standard_normal(lengths[name])
            soundfile.write(path, sound, SAMPLE_RATE, subtype="PCM_16")
    return corpus


def read_noise(data_folder: str | os.PathLike) -> Corpus:
    """Parse what `make_corpus` has written, as a prepare file does."""
    clips = []
    for path in Path(data_folder).glob("wavs/*.wav"):
        split, index = path.stem[:-4], int(path.stem[-4:])
        session = "Ses01" if split == "test" else "Ses02"
        label = LABELS[index % len(LABELS)]
        wav = f"wavs/{path.name}"
        clips.append(
            Utterance(path.stem, wav, label, f"{session}F", session, split=split)
        )
    return Corpus("noise", data_folder, clips)


def fill_cache(corpus: NoiseCorpus) -> None:
    """Write entries of random features in float16, once, as an extraction would."""
    cache = corpus.folder / "cache"
    if cache.exists():
        return
    upstream = Upstream(corpus.model)
    store = FeatureStore(cache, upstream.info)
    digests = hash_clips(corpus.wavs, progress=False)
    store.open_for_writing(torch.get_num_threads())
    longest = max(corpus.samples.values())
    (drawn,) = random_clips([longest], upstream.num_layers, upstream.output_size)
    for name, samples in corpus.samples.items():
        layers = drawn[:, : frames_of(samples)]
        store.write(digests[name], layers, samples)


def frames_of(samples: int) -> int:
    """Count frames; all models here have the same kernels and strides."""
    return conv_frames(samples, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))


def random_clips(
    samples: Sequence[int], num_layers: int, size: int
) -> list[torch.Tensor]:
    """Draw float16 features (L, T_i, D) for clips of some lengths."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(num_layers, frames_of(length), size) for length in samples]
    return [torch.randn(shape, generator=generator).half() for shape in shapes]


class Trainer:
    """What ``train.py`` does, or ``run_grid.py`` with several heads, by the update.

    Nothing is written to the run's folder. ``features`` may be another training's;
    ``changes`` are settings and run options.
    """

    def __init__(
        self,
        corpus: NoiseCorpus,
        output: Path,
        heads: int = 1,
        features: StoredFeatures | LiveFeatures | None = None,
        **changes: Any,
    ):
        changes = {"updates_per_epoch": 100_000, **changes}
        settings = parse_arguments(corpus.arguments(output, **changes))
        run_opts = settings.run_opts
        members = {f"head{number}": settings.load() for number in range(heads)}
        hparams = members["head0"]
        manifests = plan_data(hparams)
        manifests.write()
        splits = read_fold(hparams, manifests)
        self.features = features or open_run_features(
            hparams, run_opts, manifests.clips
        )
        for own in members.values():
            own["features"] = self.features
        self.loader = dataio_prepare(hparams, run_opts, splits, self.features)["train"]
        self.brain = EmotionBrain.side_by_side(members, run_opts)
        # what `fit` does before the first batch
        self.brain.train_sampler = self.loader.batch_sampler
        self.brain.on_fit_start()
        self.brain.on_stage_start(sb.Stage.TRAIN, 1)
        self.brain.modules.train()
        self.batches = iter(self.loader)

    def update(self, batch: Any = None) -> None:
        """Make one update, by default on the next batch."""
        batch = next(self.batches) if batch is None else batch
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
