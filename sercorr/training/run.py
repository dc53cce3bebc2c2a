"""A fold's folder: whose run it is, who is at it, and what has come of it.

A run is signed by all that decides its numbers (`Run.identity`). A folder that holds
another run is refused, whether that is finished, interrupted or to be evaluated.
"""

import contextlib
import functools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from sercorr import __version__, fast
from sercorr.data.manifests import ManifestPlan
from sercorr.data.vote_shares import count_unvoted, vote_shares
from sercorr.errors import InputError
from sercorr.evaluation.metrics import class_recalls
from sercorr.evaluation.predictions import PREDICTIONS, VALIDATION
from sercorr.evaluation.results import write_fold
from sercorr.features import require_precision
from sercorr.files import (
    atomic_path,
    json_digest,
    read_json,
    require_writable,
    write_json,
    write_text,
)
from sercorr.lobes.described import describe_head
from sercorr.reporting.report import describe_fold, plot_fold
from sercorr.threads import use_threads
from sercorr.training.checkpoints import is_scored
from sercorr.training.dataio import Splits, device_of, refuse_torchrun, require
from sercorr.training.heads import HeadInTraining
from sercorr.training.locks import hold, timestamp
from sercorr.training.parts import check_parts
from sercorr.training.provenance import git_state, installed_versions
from sercorr.training.settings import Settings

METRICS, RECORD = "metrics.json", "run.json"

_DATA = {"data": "its clips or their labels are others", "audio": "its audio is other"}
_MOST_SHOWN = 5


class Run:
    """One head on one fold, in its folder ``<output_folder>/fold_K``.

    Arguments
    ---------
    settings : Settings
        What the command was given.
    hparams : dict
        What `Settings.load` made of it.
    manifests : ManifestPlan
        The folds.
    tried : bool
        The same head was tried for another fold or seed: it is not tried again.

    Raises
    ------
    InputError
        The folder holds another run, or the settings make no head that works. Nothing
        has been written then.
    """

    def __init__(
        self,
        settings: Settings,
        hparams: dict[str, Any],
        manifests: ManifestPlan,
        tried: bool = False,
    ):
        refuse_torchrun()
        self.settings = settings
        self.hparams = hparams
        self.manifests = manifests
        self.fold: int = require(hparams, "fold")
        self.folder = Path(require(hparams, "fold_folder"))
        self.device = device_of(settings.run_opts)
        self.epochs: int = require(hparams, "epoch_counter").limit
        if not tried:
            check_parts(hparams)
        self._require_votes()
        self.identity = self._sign()
        self._check_folder()

    @property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says; empty if there is none."""
        path = self.folder / RECORD
        return read_json(path) if path.exists() else {}

    @property
    def is_finished(self) -> bool:
        """Whether the fold has been trained for all its epochs and tested."""
        record = self.record
        return (
            (self.folder / METRICS).exists()
            and record.get("identity") == self.identity
            and (record.get("tested") or {}).get("epochs") == self.epochs
        )

    @property
    def trained_epochs(self) -> int:
        """Epochs that were trained and validated so far."""
        checkpoints = filter(is_scored, self.hparams["checkpointer"].list_checkpoints())
        epochs = [checkpoint.meta["epoch"] for checkpoint in checkpoints]
        tested = self.record.get("tested") or {}
        return max([0, *epochs, *[tested.get("epochs", 0)] * bool(epochs)])

    @property
    def threads(self) -> int:
        """Threads of torch: as set, or as the training began, or what torch takes.

        Another number would give other last bits.
        """
        begun = self.record.get("threads") if self._has_something() else None
        return self.hparams.get("threads") or begun or torch.get_num_threads()

    @contextlib.contextmanager
    def locked(self) -> Iterator["Run"]:
        """Hold the folder while training or testing in it.

        Raises
        ------
        InputError
            Another process holds it; the message says which.
        """
        require_writable(self.folder)
        who = "process {pid} on {host} (since {since})"
        with hold(self.folder, "running.json", self.folder, who, "another process"):
            self._check_folder()  # it may have changed while the data was prepared
            self.hparams["checkpointer"].remove_leftovers()
            with use_threads(self.threads):
                yield self

    def start(self) -> None:
        """Write ``run.json`` and the merged settings as ``hyperparams.yaml``."""
        before = self.record
        same = bool(before) and self._has_something()
        if not same:  # at most what --debug has left
            shutil.rmtree(self.hparams["checkpoint_folder"], ignore_errors=True)
            for name in (METRICS, PREDICTIONS, VALIDATION, "history.json"):
                (self.folder / name).unlink(missing_ok=True)
        if isinstance(self.hparams.get("train_logger"), functools.partial):
            # a logger that makes files of its own, written as !name: for that
            self.hparams["train_logger"] = self.hparams["train_logger"]()
        write_text(self.folder / "hyperparams.yaml", self.settings.text())
        other = self.manifests.test_corpus
        write_json(
            self.folder / RECORD,
            {
                "identity": self.identity,
                "upstream_source": self.hparams["upstream"].info.source,
                "upstream_revision": self.hparams["upstream"].info.revision,
                "settings_files": [str(f.resolve()) for f in self.settings.files],
                "corpus": self.manifests.corpus.name,
                **({"test_corpus": other.name} if other else {}),
                "speakers": self.manifests.record["speakers"][str(self.fold)],
                "manifests": json_digest(self.manifests.record["files"]),
                "places": {
                    "manifest_folder": os.path.abspath(self.manifests.folder),
                    **self.manifests.roots,
                },
                "labels": list(self.hparams["labels"]),
                "fold": self.fold,
                "n_folds": self.hparams["n_folds"],
                "number_of_epochs": self.epochs,
                "started": before.get("started") if same else timestamp(),
                "resumes": before.get("resumes", 0) + 1 if same else 0,
                "command": list(self.settings.command or sys.argv),
                "device": self.device,
                "threads": torch.get_num_threads(),
                "fast": fast.enabled(),
                "git": git_state(),
                "versions": installed_versions(),
                "tested": before.get("tested") if same else None,
            },
        )

    def finish(
        self, head: HeadInTraining, splits: Splits, epochs: int | None = None
    ) -> dict[str, Any]:
        """Write a tested head and what it said; return the content of ``metrics.json``.

        ``epochs`` were trained; None: all that the settings ask for.
        """
        self._write_head(head)
        outcome = head.outcome
        metrics = write_fold(
            self.folder,
            self.fold,
            outcome.ids,
            outcome.truth,
            outcome.probabilities,
            head.labels,
            splits["test"],
        )
        record = self.record
        record["clips"] = {part: len(clips) for part, clips in splits.items()}
        recalls = class_recalls(metrics["confusion"])
        before = record.get("tested")
        record["tested"] = {
            **head.tested,
            "epochs": self.epochs if epochs is None else epochs,
            "recalls": dict(zip(head.labels, recalls, strict=True)),
            "at": timestamp(),
            # the test set was opened before: the later result has seen it
            "before": [*before.pop("before", []), before] if before else [],
        }
        if head.by_votes:
            clips = splits["train"]
            unvoted = count_unvoted(clips, head.labels)
            record["votes"] = {"training_clips": len(clips), "without_votes": unvoted}
        write_json(self.folder / RECORD, record)
        plot_fold(self.folder)
        return metrics

    def report(self) -> str:
        """Describe the finished fold in a line or two."""
        return describe_fold(self.folder)

    def _write_head(self, head: HeadInTraining) -> None:
        tensors = {k: t.detach().cpu() for k, t in head.module.state_dict().items()}
        about = {
            "labels": head.labels,
            "settings": self.identity["settings"],
            "features": self.identity["features"],
            "upstream": self.identity["upstream"],
            "head": describe_head(head.module),
        }
        # one key: several come in random order and make different bytes
        metadata = {"sercorr": json.dumps(about, sort_keys=True)}
        with atomic_path(self.folder / "head.safetensors") as path:
            path.write_bytes(save(tensors, metadata))
        mix = getattr(head.module, "layer_mix", None)
        if mix is not None:
            weights = {"weights": mix.gammas.tolist()}
            layers = self.identity["upstream"].get("layers")
            if layers is not None:  # not 0, 1, 2, ...
                weights["layers"] = layers
            write_json(self.folder / "layer_weights.json", weights)

    def _sign(self) -> dict[str, Any]:
        hparams = self.hparams
        folder = hparams.get("cache_folder")
        precision = hparams.get("extract_precision", "fp32")
        require_precision(precision, folder)
        features = {
            "stored": hparams.get("cache_dtype", "float16")
            if folder is not None
            else None,
            "precision": precision,
        }
        identity = {
            **self.settings.identity(),
            "sercorr": __version__,
            "upstream": hparams["upstream"].info.at_precision(precision).identity(),
            "features": features,
            "data": self.manifests.digests[self.fold],
            "audio": self.manifests.audio,
        }
        return json.loads(json.dumps(identity))  # as it will be read again

    def _require_votes(self) -> None:
        """Refuse to train towards the votes of a corpus that has none."""
        clips, labels = self.manifests.used, list(self.hparams["labels"])
        if self.hparams.get("targets", "labels") == "votes" and not any(
            vote_shares(clip.vote_counts, labels) for clip in clips
        ):
            raise InputError(
                f"targets is votes, but no clip of {self.manifests.corpus.name} has a "
                f"rater's vote for any of {', '.join(labels)}; a table needs columns "
                "such as votes_sad, a prepare file vote_counts; or use --targets labels"
            )

    def _has_something(self) -> bool:
        """Whether there is a result or a checkpoint that another run would mix with."""
        debugged = self.record.get("identity", {}).get("options", {}).get("debug")
        there = (self.folder / METRICS).exists() or self._checkpoint_epoch() > 0
        return there and not debugged

    def _checkpoint_epoch(self) -> int:
        """Epoch that the latest checkpoint was made in; 0 without one."""
        latest = self.hparams["checkpointer"].find_checkpoint()
        return latest.meta.get("epoch", 0) if latest else 0

    def _check_folder(self) -> None:
        if not self._has_something():
            return
        record = self.record
        if "identity" not in record:
            raise InputError(
                f"{self.folder}: it has results or checkpoints but no {RECORD} that "
                "says of what; choose another --output_folder, or remove that folder"
            )
        old, new = (dict(one) for one in (record["identity"], self.identity))
        changed = [k for k in _DATA if old.pop(k, None) != new.pop(k, None)]
        differences = _differences(old, new) + [_DATA[key] for key in changed]
        if differences:
            more = len(differences) - _MOST_SHOWN
            shown = differences[:_MOST_SHOWN] + [f"{more} more"] * (more > 0)
            raise InputError(
                f"{self.folder} holds another run ({'; '.join(shown)}); "
                "choose another --output_folder, or remove that folder"
            )
        epochs = max(
            self._checkpoint_epoch(), (record.get("tested") or {}).get("epochs", 0)
        )
        if epochs > self.epochs and not self.is_finished:
            raise InputError(
                f"{self.folder} holds a run of {epochs} epochs; number_of_epochs is "
                f"{self.epochs}: it can grow, but not shrink; choose another "
                "--output_folder"
            )


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(old.keys() | new.keys()):
            inner = f"{name}.{key}" if name else key
            found += _differences(old.get(key), new.get(key), inner)
        return found
    if old == new:
        return []
    if name.startswith("sources."):
        how = "has changed" if old and new else "is part of one of them only"
        return [f"the code of {name.removeprefix('sources.')} {how}"]
    return [f"{name.removeprefix('settings.')}: {old} there, {new} here"]
