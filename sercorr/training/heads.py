"""What training keeps of one head beside its module: optimiser, scores, checkpoints."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.optimizers import rm_vector_weight_decay

from sercorr.errors import InputError
from sercorr.evaluation.history import record_epoch
from sercorr.evaluation.metrics import classification_metrics
from sercorr.training.checkpoints import AtomicCheckpointer, best_first, is_scored
from sercorr.training.schedules import Schedule


class Outcome(NamedTuple):
    """What a head said about a set of clips.

    Attributes
    ----------
    ids : list of str
        The clips.
    truth : list of str
        Their labels.
    probabilities : numpy.ndarray
        (n, K), float64; rows sum to 1.
    """

    ids: list[str]
    truth: list[str]
    probabilities: np.ndarray


@register_checkpoint_hooks
class HeadInTraining:
    """One head, with all that is its own while several may be trained together.

    Arguments
    ---------
    name : str
        How messages and ``optimizers_dict`` name it.
    module : torch.nn.Module
        The head: layers of clips -> logits (B, K).
    hparams : mapping
        Its settings: ``labels``, ``seed``, and as they are there ``loss``,
        ``lr_annealing``, ``train_logger``, ``fold_folder``, ``epoch_counter``.
    opt_class : callable
        Parameters -> optimiser.
    checkpointer : AtomicCheckpointer or None
        With the head and the epoch counter.
    """

    def __init__(
        self,
        name: str,
        module: torch.nn.Module,
        hparams: Mapping[str, Any],
        opt_class: Any,
        checkpointer: AtomicCheckpointer | None,
    ):
        self.name = name
        self.module = module
        self.hparams = hparams
        self.opt_class = opt_class
        self.checkpointer = checkpointer
        self.labels: list[str] = list(hparams["labels"])
        self.loss = hparams.get("loss") or torch.nn.functional.cross_entropy
        self.error: InputError | None = None
        """Why it was left out of training, if it was."""
        self.average_loss = 0.0
        self.train_loss = 0.0
        self.best_wa: float | None = None
        self.outcome: Outcome  # from `collect`
        self.optimizer: torch.optim.Optimizer  # from `make_optimizer`
        self.schedule: Schedule
        self.tested: dict[str, Any] = {}
        self._position = {"step": 0, "optimizer_step": 0}
        self._seen: list[tuple[list[str], torch.Tensor, torch.Tensor]] = []
        self._epoch_start = time.monotonic()
        if checkpointer is not None:
            checkpointer.add_recoverable("brain", self)
        if isinstance(self.loss, torch.nn.Module) and any(self.loss.parameters()):
            raise InputError(
                f"loss: {type(self.loss).__name__} has trainable parameters, which "
                "no optimiser would train; give a loss without"
            )

    @property
    def position(self) -> dict[str, int]:
        """Batches of the current epoch and updates of the run that are done."""
        return dict(self._position)

    def make_optimizer(self, trained: torch.nn.Module, spare_vectors: bool) -> None:
        """Make optimiser and schedule, and let checkpoints save them.

        The parameters of ``trained`` are trained: of the head, perhaps with other
        modules. ``spare_vectors`` exempts vectors from weight decay (SpeechBrain's
        ``--remove_vector_weight_decay``).
        """
        parameters: Any = trained.parameters()
        if spare_vectors:
            parameters = rm_vector_weight_decay(trained)
        try:
            self.optimizer = self.opt_class(parameters)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"opt_class: {error}; write it as !name: with all its arguments "
                "but the parameters"
            ) from error
        self.schedule = Schedule(self.hparams.get("lr_annealing"), self.optimizer)
        if self.checkpointer is None:
            return
        self.checkpointer.add_recoverable("optimizer", self.optimizer)
        if (scheduler := self.schedule.saved()) is not None:
            self.checkpointer.add_recoverable("lr_annealing", scheduler)

    def resume(self) -> None:
        """Load the latest checkpoint, if there is one."""
        if self.checkpointer is None:
            return
        self.checkpointer.recover_if_possible()
        best = self.checkpointer.find_checkpoint(
            importance_key=best_first, ckpt_predicate=is_scored
        )
        self.best_wa = best.meta["valid_wa"] if best else None

    def load_best(self) -> dict[str, Any]:
        """Load the checkpoint of the best validation accuracy, the earliest of equals.

        Returns
        -------
        dict
            Its ``epoch`` and ``valid_wa``.

        Raises
        ------
        InputError
            There is none.
        """
        if self.checkpointer is None:
            return {}
        found = self.checkpointer.recover_if_possible(
            importance_key=best_first, ckpt_predicate=is_scored
        )
        if found is None:
            raise InputError(
                f"{self.checkpointer.checkpoints_dir}: no checkpoint with a validation "
                "accuracy; train this fold first"
            )
        return {key: found.meta[key] for key in ("epoch", "valid_wa")}

    def save(self, step: int, optimizer_step: int, meta: Mapping[str, Any]) -> None:
        """Save a checkpoint and remove those that are not needed any more.

        Kept are the best one by validation and the latest one of either kind. ``step``
        batches of this epoch and ``optimizer_step`` updates of the run are done;
        ``meta`` has ``valid_wa`` after a validation.
        """
        if self.checkpointer is None:
            return
        self._position = {"step": step, "optimizer_step": optimizer_step}
        scored = "valid_wa" in meta
        self.checkpointer.save_and_keep_only(
            meta=meta,
            end_of_epoch=scored,
            importance_keys=[best_first] if scored else [],
            ckpt_predicate=is_scored if scored else lambda c: not is_scored(c),
        )

    def start_stage(self) -> None:
        """Forget what was seen in the stage before."""
        self._seen = []

    def start_epoch(self, resumed: bool) -> None:
        """Start the clock, and the average loss unless the epoch is resumed."""
        self._epoch_start = time.monotonic()
        if not resumed:
            self.average_loss = 0.0

    def see(self, ids: list[str], targets: torch.Tensor, logits: torch.Tensor) -> None:
        """Keep what the head says about a batch: targets (B,), logits (B, K)."""
        self._seen.append((list(ids), targets.cpu(), logits.detach().float().cpu()))

    def collect(self) -> Outcome:
        """Join what was seen since `start_stage` into an `Outcome`."""
        ids = [identity for batch, _, _ in self._seen for identity in batch]
        targets = [index for _, batch, _ in self._seen for index in batch.tolist()]
        logits = torch.cat([logits for _, _, logits in self._seen])
        self.outcome = Outcome(
            ids,
            [self.labels[index] for index in targets],
            torch.softmax(logits.double(), dim=-1).numpy(),
        )
        return self.outcome

    def end_epoch(self, epoch: int, step: int, updates: int) -> None:
        """Score the validation; log, anneal the learning rate, save a checkpoint."""
        valid_loss = self.average_loss
        outcome = self.collect()
        predicted = [self.labels[i] for i in outcome.probabilities.argmax(axis=1)]
        scores = classification_metrics(outcome.truth, predicted, self.labels)
        rate = self.optimizer.param_groups[0]["lr"]
        self._log(epoch, updates, rate, valid_loss, scores)
        self.schedule.after_epoch(epoch, scores["wa"], valid_loss)
        if self.best_wa is None or scores["wa"] > self.best_wa:
            self.best_wa = scores["wa"]
        meta = {"epoch": epoch, "updates": updates, "valid_wa": scores["wa"]}
        self.save(step, updates, meta)

    def _log(
        self, epoch: int, updates: int, rate: float, valid_loss: float, scores: dict
    ) -> None:
        if (logger := self.hparams.get("train_logger")) is not None:
            logger.log_stats(
                {"epoch": epoch, "updates": updates, "lr": rate},
                {"loss": self.train_loss},
                {"loss": valid_loss, "wa": scores["wa"], "ua": scores["ua"]},
                verbose=False,
            )
        if (folder := self.hparams.get("fold_folder")) is not None:
            record_epoch(
                Path(folder) / "history.json",
                {
                    "epoch": epoch,
                    "updates": updates,
                    "train_loss": self.train_loss,
                    "valid_loss": valid_loss,
                    "valid_wa": scores["wa"],
                    "valid_ua": scores["ua"],
                    "lr": rate,
                    "seconds": time.monotonic() - self._epoch_start,
                },
            )

    @mark_as_saver
    def _save(self, path: Path) -> None:
        state = {**self._position, "average_loss": self.average_loss}
        Path(path).write_text(json.dumps(state), encoding="utf-8")

    @mark_as_loader
    def _recover(self, path: Path, end_of_epoch: bool) -> None:
        state = json.loads(Path(path).read_text(encoding="utf-8"))
        self.average_loss = state.pop("average_loss")
        self._position = state
        if end_of_epoch:
            self._position["step"] = 0
