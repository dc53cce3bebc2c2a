"""One fold of an experiment: prepare, train, score, write. Shared by all recipes."""

import os
from pathlib import Path
from typing import Any

import speechbrain as sb
import torch
from safetensors.torch import save_file
from speechbrain.utils.epoch_loop import EpochCounter
from speechbrain.utils.train_logger import (
    FileTrainLogger,
    TensorboardLogger,
    TrainLogger,
)
from torch.utils.data import DataLoader

from sercorr import __version__
from sercorr.data.manifests import Manifest, read_splits
from sercorr.data.sampling import UpdateSampler
from sercorr.errors import InputError
from sercorr.evaluation.results import write_fold
from sercorr.features.cached import CachedFeatures
from sercorr.features.extraction import clips_of_folds, ensure_cached
from sercorr.features.live import FeatureSource, LiveFeatures
from sercorr.files import (
    atomic_path,
    make_folder,
    read_json,
    require_writable,
    write_json,
)
from sercorr.lobes.head import EmotionHead
from sercorr.lobes.upstream import load_upstream, upstream_info
from sercorr.training.brain import EmotionBrain
from sercorr.training.checkpoints import AtomicCheckpointer
from sercorr.training.run import file_digest, library_versions, require_same_run
from sercorr.training.settings import Settings


class Fold:
    """What one fold needs, built from settings in the order that errors come cheap.

    Arguments
    ---------
    settings : Settings
        From `load_settings`.

    Attributes
    ----------
    folder : pathlib.Path
        ``<output_folder>/fold_K``.
    labels : list of str
        The classes, in order.
    splits : dict
        Manifests ``train``, ``valid``, ``test``.
    upstream : UpstreamInfo
        What is known of the upstream without loading it.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.folder = require_writable(settings["fold_folder"])
        self.labels = list(settings["labels"])
        self.manifests = Path(settings["manifest_folder"]) / f"fold_{settings['fold']}"
        self.splits = read_splits(self.manifests, settings["data_folder"], self.labels)
        self.upstream = upstream_info(*settings.upstream())

    def record(self) -> dict[str, Any]:
        """What decides this fold's result: settings, upstream, data."""
        return {
            "versions": {"sercorr": __version__, **library_versions()},
            "labels": self.labels,
            "settings": self.settings.identity(),
            "upstream": self.upstream.describe(),
            "data": {
                name: {
                    "clips": len(self.splits[name]),
                    "sha256": file_digest(self.manifests / f"{name}.json"),
                }
                for name in self.splits
            },
        }

    def claim(self) -> None:
        """Write ``run.json``, or check that this folder's run is the same one.

        A run that stopped before its first checkpoint leaves nothing to protect: its
        folder may be claimed with other settings.

        Raises
        ------
        InputError
            The folder holds a run of other settings, another upstream or other data.
        """
        self.make_head()  # settings of which no head can be made claim nothing
        path, record = self.folder / "run.json", self.record()
        checkpoints = Path(self.settings["checkpoint_folder"]).glob("CKPT*")
        if path.exists() and (self.is_finished() or any(checkpoints)):
            require_same_run(path, record)
        else:
            write_json(path, record)

    def is_finished(self) -> bool:
        """Whether the fold has been tested."""
        return (self.folder / "metrics.json").exists()

    def make_head(self) -> EmotionHead:
        """Build the head; its first parameters depend on the seed alone."""
        torch.manual_seed(self.settings["seed"])
        return self.settings["make_head"](
            num_layers=self.upstream.num_layers,
            input_size=self.upstream.output_size,
            pooling=self.settings["make_pooling"](),
            n_classes=len(self.labels),
        )

    def make_features(self) -> FeatureSource:
        """Open the feature cache, filling it if need be, or load the upstream."""
        settings = self.settings
        device = settings.run_opts.device or sb.utils.distributed.infer_device()
        if settings["cache_folder"] is not None:
            wavs = clips_of_folds(settings)
            return CachedFeatures(
                ensure_cached(settings, self.upstream, wavs),
                list(wavs),
                device,
                settings["preload"],
                progress=not settings.run_opts.noprogressbar,
            )
        upstream = load_upstream(*settings.upstream())
        return LiveFeatures(upstream.to(device), settings["max_batch_seconds"])

    def make_sampler(self) -> UpdateSampler:
        """Make the order of the training clips."""
        return UpdateSampler(
            len(self.splits["train"]),
            self.settings["batch_size"],
            self.settings["updates_per_epoch"],
            self.settings["seed"],
        )

    def make_loader(
        self, features: FeatureSource, split: str, sampler: UpdateSampler | None = None
    ) -> DataLoader:
        """Make the loader of a split: in the sampler's order, or sorted by length."""
        manifest = self.splits[split]
        order: dict[str, Any] = {"batch_sampler": sampler}
        if sampler is None:
            manifest = _by_duration(manifest)
            order = {"batch_size": self.settings["batch_size"]}
        workers = features.workers(self.settings["num_workers"])
        return DataLoader(
            features.dataset(manifest, self.labels),
            collate_fn=features.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            **order,
        )

    def make_brain(
        self, features: FeatureSource, sampler: UpdateSampler | None = None
    ) -> EmotionBrain:
        """Put head, features, optimiser and checkpoints together.

        Without a sampler, the brain is for testing alone and logs nothing.
        """
        settings, head = self.settings, self.make_head()
        counter = EpochCounter(settings["number_of_epochs"])
        checkpointer = AtomicCheckpointer(
            make_folder(settings["checkpoint_folder"]),
            {"head": head, "counter": counter},
        )
        loggers = settings["make_train_loggers"]() if sampler is not None else []
        return EmotionBrain(
            modules={"head": head},
            opt_class=settings["opt_class"],
            hparams={
                **settings.hparams,
                "train_loggers": loggers,
                "epoch_counter": counter,
            },
            run_opts=settings.run_opts,
            checkpointer=checkpointer,
            features=features,
            sampler=sampler,
        )

    def write(self, brain: EmotionBrain) -> dict[str, Any]:
        """Write the tested head and what it said about the test set."""
        head = brain.raw_modules["head"]
        with atomic_path(self.folder / "head.safetensors") as path:
            tensors = {key: t.cpu() for key, t in head.state_dict().items()}
            save_file(tensors, path)
        gammas = head.layer_mix.gammas.tolist()
        write_json(self.folder / "layer_weights.json", {"weights": gammas})
        outcome = brain.outcome
        return write_fold(
            self.folder,
            self.settings["fold"],
            outcome.ids,
            outcome.truth,
            outcome.probabilities,
            self.labels,
        )


def prepare(settings: Settings) -> None:
    """Run the recipe's data preparation: the callable ``prepare`` of the settings."""
    settings["prepare"]()


def make_train_loggers(
    folder: str | os.PathLike, use_tensorboard: bool = False
) -> list[TrainLogger]:
    """Make the loggers of a run: a text file, and TensorBoard on request.

    Arguments
    ---------
    folder : path
        Gets ``train_log.txt`` and, for TensorBoard, ``tensorboard/``.
    use_tensorboard : bool
        Whether to write for TensorBoard, too.
    """
    loggers: list[TrainLogger] = [FileTrainLogger(f"{folder}/train_log.txt", 4)]
    if use_tensorboard:
        loggers.append(TensorboardLogger(f"{folder}/tensorboard"))
    return loggers


def train_fold(settings: Settings) -> dict[str, Any]:
    """Train one fold, or finish it, and test its best checkpoint once.

    Arguments
    ---------
    settings : Settings
        Of the fold.

    Returns
    -------
    dict
        The content of ``metrics.json``.
    """
    fold = Fold(settings)
    fold.claim()
    if fold.is_finished():
        return read_json(fold.folder / "metrics.json")
    start_log(fold)
    features, sampler = fold.make_features(), fold.make_sampler()
    brain = fold.make_brain(features, sampler)
    brain.fit_updates(
        brain.hparams.epoch_counter,
        fold.make_loader(features, "train", sampler),
        fold.make_loader(features, "valid"),
    )
    return _test(fold, brain)


def evaluate_fold(settings: Settings) -> dict[str, Any]:
    """Test the best checkpoint of a fold again, without training.

    Arguments
    ---------
    settings : Settings
        Those that the fold was trained with.

    Returns
    -------
    dict
        The content of ``metrics.json``.
    """
    fold_folder = Path(settings["fold_folder"])
    if not (fold_folder / "run.json").exists():
        raise InputError(f"{fold_folder}: no run is there; train this fold first")
    fold = Fold(settings)
    fold.claim()
    return _test(fold, fold.make_brain(fold.make_features()))


def _test(fold: Fold, brain: EmotionBrain) -> dict[str, Any]:
    brain.evaluate(fold.make_loader(brain.features, "test"))
    return fold.write(brain)


def start_log(fold: Fold) -> None:
    """Keep SpeechBrain's records of the run in its folder."""
    sb.create_experiment_directory(
        experiment_directory=str(fold.folder),
        hyperparams_to_save=fold.settings.file,
        overrides=fold.settings.overrides,
        save_env_desc=False,  # it takes seconds; run.json has the versions that count
        log_config=str(Path(__file__).with_name("log-config.yaml")),
    )


def _by_duration(manifest: Manifest) -> Manifest:
    order = sorted(manifest, key=lambda identity: manifest[identity]["duration"])
    return {identity: manifest[identity] for identity in order}
