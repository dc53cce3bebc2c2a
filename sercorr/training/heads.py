"""What training keeps of one head beside its module: optimiser, scores, checkpoints."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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

from sercorr.data.vote_shares import count_unvoted
from sercorr.errors import InputError
from sercorr.evaluation.history import record_epoch
from sercorr.evaluation.metrics import RATES, classification_metrics
from sercorr.evaluation.predictions import (
    VALIDATION,
    predicted_labels,
    write_predictions,
)
from sercorr.training.checkpoints import AtomicCheckpointer, best_first, is_scored
from sercorr.training.schedules import Schedule
from sercorr.training.setting_checks import check_settings

_OWN = ("class_weights", "targets", "select_by")  # settings with few choices


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
        ``class_weights``, ``targets``, ``select_by``, ``lr_annealing``,
        ``train_logger``, ``fold_folder``, ``epoch_counter``.
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
        check_settings({key: hparams[key] for key in _OWN if key in hparams})
        self.loss: Callable[..., torch.Tensor] = (
            hparams.get("loss") or torch.nn.functional.cross_entropy
        )
        self.by_votes = hparams.get("targets", "labels") == "votes"
        self.weighs = hparams.get("class_weights", "none") == "balanced"
        self.select_by: str = hparams.get("select_by", "wa")
        self.error: InputError | None = None
        """Why it was left out of training, if it was."""
        self.average_loss = 0.0
        self.train_loss = 0.0
        self.best_rate: float | None = None
        """The best validation rate so far, of ``select_by``."""
        self.outcome: Outcome  # from `collect`
        self.optimizer: torch.optim.Optimizer  # from `make_optimizer`
        self.schedule: Schedule
        self.tested: dict[str, Any] = {}
        self._position = {"step": 0, "optimizer_step": 0}
        self._loss_options: dict[str, torch.Tensor] = {}
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

    def prepare(self, clips: Mapping[str, Mapping[str, Any]]) -> str:
        """Take from the training set what the loss needs; return a remark, or nothing.

        ``clips`` is a manifest: id -> at least ``emo`` and, where known,
        ``vote_counts``.

        Raises
        ------
        InputError
            ``class_weights`` are to be balanced, and a class has no clip.
        """
        if self.weighs:
            emotions = [entry["emo"] for entry in clips.values()]
            weights = balanced_weights(emotions, self.labels)
            self._loss_options = {"weight": torch.tensor(weights)}
        unvoted = count_unvoted(clips, self.labels) if self.by_votes else 0
        remark = (
            f"{unvoted} of {len(clips)} training clips have no rater's vote for any of "
            f"{', '.join(self.labels)}: their label is their target"
        )
        return remark if unvoted else ""

    def training_loss(self, logits: torch.Tensor, batch: Any) -> torch.Tensor:
        """Compute the loss of logits (B, K): ``loss(logits, targets)``.

        Targets are class numbers (B,) or, with ``targets: votes``, distributions (B, K)
        of the raters' votes. With ``class_weights: balanced`` the loss is given
        ``weight`` (K,), too.

        torch's cross-entropy divides the sum over the batch by the sum of the weights
        of the clips' classes where the targets are numbers, and by the number of clips
        where they are distributions. Label smoothing is put upon either kind.

        Raises
        ------
        InputError
            The loss is not one number.
        """
        given = batch.soft_target if self.by_votes else batch.target
        targets = torch.as_tensor(given, device=logits.device)
        options = {key: t.to(logits.device) for key, t in self._loss_options.items()}
        loss = self.loss(logits, targets, **options)
        if loss.dim() > 0:
            raise InputError(
                f"loss: it returns a tensor of shape {tuple(loss.shape)}; it must "
                "return one number"
            )
        return loss

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
            importance_key=best_first(self.select_by), ckpt_predicate=is_scored
        )
        self.best_rate = best.meta[f"valid_{self.select_by}"] if best else None

    def load_best(self) -> dict[str, Any]:
        """Load the checkpoint of the best validation rate, the earliest of equals.

        Returns
        -------
        dict
            Its ``epoch``, its validation rates (``valid_wa``, ...), and ``select_by``,
            the one that chose it.

        Raises
        ------
        InputError
            There is none.
        """
        if self.checkpointer is None:
            return {}
        found = self.checkpointer.recover_if_possible(
            importance_key=best_first(self.select_by), ckpt_predicate=is_scored
        )
        if found is None:
            raise InputError(
                f"{self.checkpointer.checkpoints_dir}: no checkpoint with a validation "
                "accuracy; train this fold first"
            )
        keys = ["epoch", *(f"valid_{rate}" for rate in RATES)]
        known = {key: found.meta[key] for key in keys if key in found.meta}
        return {**known, "select_by": self.select_by}

    def save(self, step: int, optimizer_step: int, meta: Mapping[str, Any]) -> None:
        """Save a checkpoint and remove those that are not needed any more.

        Kept are the best one by validation and the latest one of either kind. ``step``
        batches of this epoch and ``optimizer_step`` updates of the run are done;
        ``meta`` has the validation rates (``valid_wa``, ...) after a validation.
        """
        if self.checkpointer is None:
            return
        self._position = {"step": step, "optimizer_step": optimizer_step}
        scored = "valid_wa" in meta
        self.checkpointer.save_and_keep_only(
            meta=meta,
            end_of_epoch=scored,
            importance_keys=[best_first(self.select_by)] if scored else [],
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
        predicted = predicted_labels(outcome.probabilities, self.labels)
        scores = classification_metrics(outcome.truth, predicted, self.labels)
        rate = self.optimizer.param_groups[0]["lr"]
        self._log(epoch, updates, rate, valid_loss, scores)
        self.schedule.after_epoch(epoch, scores["wa"], valid_loss)
        chosen = scores[self.select_by]
        if self.best_rate is None or chosen > self.best_rate:
            self.best_rate = chosen
            # before the checkpoint: a run that is stopped between the two makes both
            self._write_validation(outcome)
        rates = {f"valid_{name}": scores[name] for name in RATES}
        self.save(step, updates, {"epoch": epoch, "updates": updates, **rates})

    def _log(
        self, epoch: int, updates: int, rate: float, valid_loss: float, scores: dict
    ) -> None:
        if (logger := self.hparams.get("train_logger")) is not None:
            logger.log_stats(
                {"epoch": epoch, "updates": updates, "lr": rate},
                {"loss": self.train_loss},
                {"loss": valid_loss, **{name: scores[name] for name in RATES}},
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
                    **{f"valid_{name}": scores[name] for name in RATES},
                    "lr": rate,
                    "seconds": time.monotonic() - self._epoch_start,
                },
            )

    def _write_validation(self, outcome: Outcome) -> None:
        """Keep what the best epoch so far says: temperatures are fitted on it."""
        if (folder := self.hparams.get("fold_folder")) is not None:
            write_predictions(Path(folder) / VALIDATION, *outcome, self.labels)

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


def balanced_weights(emotions: Sequence[str], labels: Sequence[str]) -> list[float]:
    """Weigh each of K classes with n / (K n_k), as scikit-learn's ``balanced`` does.

    Over the n clips the weights have the mean 1.

    Arguments
    ---------
    emotions : sequence of str
        The class of each clip.
    labels : sequence of str
        The classes.

    Raises
    ------
    InputError
        A class has no clip.

    Example
    -------
    >>> balanced_weights(["sad", "sad", "sad", "neu"], ["neu", "sad"])
    [2.0, 0.6666666666666666]
    """
    counts = Counter(emotions)
    if missing := [label for label in labels if not counts[label]]:
        raise InputError(
            f"class_weights balanced: no training clip is {' or '.join(missing)}; "
            "leave it out of labels, or use --class_weights none"
        )
    total = sum(counts[label] for label in labels)
    return [total / (len(labels) * counts[label]) for label in labels]
