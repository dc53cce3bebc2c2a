"""Training and scoring of a head: SpeechBrain's Brain around the project's parts."""

import time
from typing import Any, NamedTuple

import numpy as np
import speechbrain as sb
import torch
import torch.nn.functional as F
from speechbrain.dataio.batch import PaddedBatch
from tqdm import tqdm

from sercorr.data.sampling import UpdateSampler, update_seed
from sercorr.errors import InputError
from sercorr.evaluation.history import record_epoch
from sercorr.evaluation.metrics import classification_metrics
from sercorr.features.live import FeatureSource
from sercorr.training.checkpoints import AtomicCheckpointer, best_first, is_scored


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


class EmotionBrain(sb.Brain):
    """Train an `EmotionHead` on the features of a frozen upstream.

    ``modules`` holds ``head`` alone: the upstream belongs to ``features`` and is
    neither trained, nor switched to training mode, nor saved.

    Every update starts from a random state of its own, made of the seed and the
    update's number. So a resumed run draws the same dropout as one that was never
    interrupted, and a head trained beside others the same as one trained alone.

    Arguments
    ---------
    modules : dict
        ``head``: an `EmotionHead`.
    opt_class : callable
        Takes parameters, returns an optimiser.
    hparams : dict
        ``labels``, ``label_smoothing``, ``seed``, ``number_of_epochs``,
        ``updates_per_epoch``, ``fold_folder``, ``train_loggers`` (a list), and run
        options such as ``max_grad_norm``.
    run_opts : speechbrain.utils.run_opts.RunOptions
        Device, precision, ...
    checkpointer : AtomicCheckpointer or None
        With the head and the epoch counter.
    features : FeatureSource
        Gives the layers of a batch.
    sampler : UpdateSampler or None
        The training batches; needed by ``fit`` alone.
    """

    def __init__(
        self,
        modules: dict[str, torch.nn.Module],
        opt_class: Any,
        hparams: dict[str, Any],
        run_opts: Any = None,
        checkpointer: AtomicCheckpointer | None = None,
        *,
        features: FeatureSource,
        sampler: UpdateSampler | None = None,
    ):
        super().__init__(modules, opt_class, hparams, run_opts, checkpointer)
        self.features = features
        self.sampler = sampler
        self.outcome: Outcome | None = None
        self._seen: list[tuple[list[str], torch.Tensor, torch.Tensor]] = []
        self._train_loss = 0.0
        self._epoch, self._epoch_start = 0, 0.0
        self._saved_at, self._since_saved = 0.0, 0
        self._best: float | None = None
        self._bar: tqdm | None = None

    # One batch

    def compute_forward(self, batch: PaddedBatch, stage: sb.Stage) -> torch.Tensor:
        """Return logits (B, K) for a batch."""
        batch = batch.to(self.device)
        return self.modules.head.classify_clips(self.features.clips(batch))

    def compute_objectives(
        self, predictions: torch.Tensor, batch: PaddedBatch, stage: sb.Stage
    ) -> torch.Tensor:
        """Return the cross-entropy: with label smoothing, equation (9), in training.

        Raises
        ------
        InputError
            The loss is not finite.
        """
        logits = predictions.float()
        targets = batch.target.to(logits.device)
        smoothing = self.hparams.label_smoothing if stage == sb.Stage.TRAIN else 0.0
        loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
        if not torch.isfinite(loss):
            shown = ", ".join(batch.id[:5]) + (" ..." if len(batch.id) > 5 else "")
            raise InputError(
                f"the {stage.name.lower()} loss is {loss.item()} at update "
                f"{self.optimizer_step} (clips {shown}); try a lower --lr, "
                "--precision fp32, or check these clips. "
                "What was saved before stays as it is"
            )
        if stage != sb.Stage.TRAIN:
            self._seen.append((batch.id, targets.cpu(), logits.detach().cpu()))
        return loss

    def on_fit_batch_start(self, batch: PaddedBatch, should_step: bool) -> None:
        """Start the update from its own random state."""
        del batch, should_step
        torch.manual_seed(update_seed(self.hparams.seed, self._update()))

    def on_fit_batch_end(
        self, batch: PaddedBatch, outputs: Any, loss: torch.Tensor, should_step: bool
    ) -> None:
        """Move the progress bar."""
        del batch, outputs, loss, should_step
        if self._bar is not None:
            self._bar.update()
            if self.step % 10 == 0:
                self._describe()

    # Stages

    def fit_updates(self, epoch_counter: Any, train_set: Any, valid_set: Any) -> None:
        """Train with one progress bar over all the updates of the run.

        Arguments
        ---------
        epoch_counter : speechbrain.utils.epoch_loop.EpochCounter
            Counts epochs from 1; one of the checkpointer's objects.
        train_set, valid_set : torch.utils.data.DataLoader
            The first draws from ``sampler``.
        """
        try:
            self.fit(epoch_counter, train_set, valid_set, progressbar=False)
        finally:
            if self._bar is not None:
                self._bar.close()

    def on_fit_start(self) -> None:
        """Resume from the latest checkpoint, if there is one."""
        super().on_fit_start()
        best = None
        if self.checkpointer is not None:
            best = self.checkpointer.find_checkpoint(
                importance_key=best_first, ckpt_predicate=is_scored
            )
        self._best = best.meta["valid_wa"] if best else None
        self._bar = tqdm(
            total=self.hparams.number_of_epochs * self.hparams.updates_per_epoch,
            initial=self.optimizer_step,
            desc="training",
            unit="update",
            dynamic_ncols=True,
            disable=self.noprogressbar,
        )

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Forget the last stage; place the sampler where training goes on."""
        self._seen = []
        if stage == sb.Stage.TRAIN:
            self._epoch, self._epoch_start = epoch, time.monotonic()
            if self.sampler is not None:
                self.sampler.set_position(epoch, self.step)

    def on_stage_end(
        self, stage: sb.Stage, stage_loss: float, epoch: int | None = None
    ) -> None:
        """Log an epoch, save its checkpoint; keep what a test found."""
        if stage == sb.Stage.TRAIN:
            self._train_loss = float(stage_loss)
            return
        self.outcome = self._collect()
        if stage == sb.Stage.VALID:
            self._end_epoch(float(stage_loss), epoch)

    def on_evaluate_start(
        self, max_key: str | None = None, min_key: str | None = None
    ) -> None:
        """Load the checkpoint of the best validation accuracy, the earliest of equals.

        Raises
        ------
        InputError
            There is none.
        """
        del max_key, min_key
        if self.checkpointer is None:
            return
        found = self.checkpointer.recover_if_possible(
            importance_key=best_first, ckpt_predicate=is_scored
        )
        if found is None:
            raise InputError(
                f"{self.checkpointer.checkpoints_dir}: no checkpoint with a validation "
                "accuracy; train this fold first"
            )

    # The steps of `fit`, for a loop that drives several brains at once

    def begin_epoch(self, epoch: int) -> None:
        """Start training in an epoch, counted from 1."""
        self.on_stage_start(sb.Stage.TRAIN, epoch)
        self.modules.train()
        self.zero_grad()
        self._saved_at, self._since_saved = time.time(), 0

    def begin_update(self) -> None:
        """Start an update from its own random state."""
        self.step += 1
        self.on_fit_batch_start(None, True)

    def training_loss(
        self, logits: torch.Tensor, batch: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss, and the loss as it is to be differentiated."""
        with self.training_ctx:
            loss = self.compute_objectives(logits, batch, sb.Stage.TRAIN)
        return loss.detach().cpu(), self.scaler.scale(loss)

    def finish_update(self, loss: torch.Tensor) -> None:
        """Clip the gradients, step the optimiser, save when it is time to."""
        self.optimizers_step()
        self.avg_train_loss = self.update_average(loss, self.avg_train_loss)
        self._since_saved += 1
        if self._should_save_intra_epoch_ckpt(self._saved_at, self._since_saved):
            self._save_intra_epoch_ckpt()
            self._saved_at, self._since_saved = time.time(), 0

    def end_training_epoch(self, epoch: int) -> None:
        """End training in an epoch; validation comes next."""
        self.zero_grad(set_to_none=True)
        self.on_stage_end(sb.Stage.TRAIN, self.avg_train_loss, epoch)
        self.avg_train_loss, self.step = 0.0, 0

    # Parts

    def _update(self) -> int:
        """Number of the current update, counted from 0 over the whole run."""
        return (self._epoch - 1) * self.hparams.updates_per_epoch + self.step - 1

    def _collect(self) -> Outcome:
        labels = self.hparams.labels
        ids = [identity for batch, _, _ in self._seen for identity in batch]
        truth = [labels[i] for _, targets, _ in self._seen for i in targets.tolist()]
        logits = torch.cat([logits for _, _, logits in self._seen])
        return Outcome(ids, truth, torch.softmax(logits.double(), dim=-1).numpy())

    def _end_epoch(self, valid_loss: float, epoch: int) -> None:
        labels = self.hparams.labels
        predicted = [labels[i] for i in self.outcome.probabilities.argmax(axis=1)]
        scores = classification_metrics(self.outcome.truth, predicted, labels)
        train = {"loss": self._train_loss}
        valid = {"loss": valid_loss, "wa": scores["wa"], "ua": scores["ua"]}
        updates = epoch * self.hparams.updates_per_epoch
        for train_logger in self.hparams.train_loggers:
            train_logger.log_stats(
                {"epoch": epoch, "updates": updates}, train, valid, verbose=False
            )
        record_epoch(
            f"{self.hparams.fold_folder}/history.json",
            {
                "epoch": epoch,
                "updates": updates,
                "train_loss": self._train_loss,
                "valid_loss": valid_loss,
                "valid_wa": scores["wa"],
                "valid_ua": scores["ua"],
                "lr": self.optimizer.param_groups[0]["lr"],
                "seconds": time.monotonic() - self._epoch_start,
            },
        )
        if self._best is None or scores["wa"] > self._best:
            self._best = scores["wa"]
        if self._bar is not None:
            self._describe(scores["wa"])
        if self.checkpointer is not None:
            self.checkpointer.save_and_keep_only(
                meta={"epoch": epoch, "valid_wa": scores["wa"]},
                importance_keys=[best_first],
                ckpt_predicate=is_scored,
            )

    def _describe(self, valid_wa: float | None = None) -> None:
        shown = {"loss": f"{self.avg_train_loss or self._train_loss:.3f}"}
        if valid_wa is not None:
            shown["valid WA"] = f"{valid_wa:.1f} %"
        if self._best is not None:
            shown["best"] = f"{self._best:.1f} %"
        self._bar.set_postfix(shown, refresh=False)
