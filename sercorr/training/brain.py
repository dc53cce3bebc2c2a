"""Training of one head, or of several on one stream of batches: SpeechBrain's Brain."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import speechbrain as sb
import torch
import torch.nn.functional as F
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from torch.utils.data import DataLoader
from tqdm import tqdm

from sercorr.data.batches import UpdateSampler, update_seed
from sercorr.errors import InputError
from sercorr.evaluation.metrics import rate_name
from sercorr.lobes.head import project_clips, shares_projection
from sercorr.training.heads import HeadInTraining
from sercorr.training.stopping import StopRequest


class EmotionBrain(sb.Brain):
    """Train an `EmotionHead` on the features of a frozen upstream.

    It is built, fitted and evaluated as every Brain of SpeechBrain. With
    `side_by_side` it trains several heads: each has its own optimiser in
    ``optimizers_dict``, random state, loss, schedule, best epoch and checkpoints, and
    ends with exactly what it gets alone; they share the reading of the features. What
    differs from SpeechBrain, and why:

    - Every update draws its dropout from a state of its own, made of the seed and the
      update's number: a resumed run and a head among others draw what a lone,
      uninterrupted one does.
    - A checkpoint within an epoch is made only after an update: between two of them,
      ``--grad_accumulation_factor`` has gradients that no checkpoint holds.
    - Clipping covers all parameter groups of an optimiser, SpeechBrain's the first.
      A ``max_grad_norm`` of 0 or less switches it off; SpeechBrain's would turn the
      gradients around.
    - The tested checkpoint is the earliest of equally good ones, by the validation
      rate ``select_by``.
    - A loss that is not finite stops the head at once.
    - One progress bar covers the whole run.
    - Ctrl-C and SIGTERM stop it after the update at hand, and save a checkpoint.

    The upstream belongs to ``features``: it is neither trained, nor switched to
    training mode, nor saved.

    Arguments
    ---------
    modules : dict
        ``head``, and what a subclass needs besides.
    opt_class : callable
        Parameters -> optimiser.
    hparams : dict
        ``labels``, ``seed``, ``features`` (see `sercorr.features.open_features`) and,
        as they are there, what `HeadInTraining` takes.
    run_opts : speechbrain.utils.run_opts.RunOptions or dict
        Device, precision, ...
    checkpointer : AtomicCheckpointer or None
        With the head and the epoch counter.
    heads : sequence of HeadInTraining or None
        Several heads, see `side_by_side`.
    """

    def __init__(
        self,
        modules: Mapping[str, torch.nn.Module],
        opt_class: Any = None,
        hparams: Mapping[str, Any] = {},
        run_opts: Any = None,
        checkpointer: Any = None,
        heads: Sequence[HeadInTraining] | None = None,
    ):
        super().__init__(modules, opt_class, hparams, run_opts)
        if heads is None:
            if "head" not in modules:
                raise InputError("modules: there is no `head` among them; add it")
            head = self.modules["head"]
            heads = [HeadInTraining("head", head, hparams, opt_class, checkpointer)]
        self.heads = list(heads)
        self.checkpointer = self.heads[0].checkpointer
        self._losses: dict[str, torch.Tensor] = {}
        self._bar: Any = None
        self._stop = StopRequest()
        for head in self.heads:
            if isinstance(head.loss, torch.nn.Module):
                head.loss.to(self.device)
            saved = head.checkpointer
            if saved is not None and self.scaler.is_enabled():
                saved.add_recoverable("scaler", self.scaler, optional_load=True)
            if saved is not None and self.debug and not self.debug_persistently:
                saved.move_to_temporary_folder()

    @classmethod
    def side_by_side(
        cls, members: Mapping[str, dict[str, Any]], run_opts: Any
    ) -> "EmotionBrain":
        """Make a Brain of several heads that see the same batches.

        Arguments
        ---------
        members : mapping
            Name -> ``hparams`` of one head, as for the constructor, with ``modules``
            (``head`` alone), ``opt_class`` and ``checkpointer``. They must agree in
            the seed, the sizes of batches and epochs and the run options, and stand
            at the same update.
        run_opts : speechbrain.utils.run_opts.RunOptions
            Of all.
        """
        heads = [
            HeadInTraining(
                name, own["modules"]["head"], own, own["opt_class"], own["checkpointer"]
            )
            for name, own in members.items()
        ]
        # numbered: a module's name cannot hold a dot, as in lr0.001
        modules = {str(number): head.module for number, head in enumerate(heads)}
        return cls(modules, None, heads[0].hparams, run_opts, heads=heads)

    # One batch

    def compute_forward(self, batch: Any, stage: sb.Stage) -> dict[str, torch.Tensor]:
        """Return the logits (B, K) of each head by its name; a lone one is ``head``."""
        clips = self.hparams.features.clips(batch.to(self.device))
        heads = self.live_heads
        modules: list[Any] = [head.module for head in heads]
        shared = len(heads) > 1 and all(map(shares_projection, modules))
        counts = [clip.shape[1] for clip in clips]
        projected = project_clips(clips, modules) if shared else []
        logits = {}
        for number, (head, module) in enumerate(zip(heads, modules, strict=True)):
            self._seed(head, stage)
            logits[head.name] = (
                module.classify(projected[number], counts) if shared else module(clips)
            )
        return logits

    def compute_objectives(
        self, predictions: Mapping[str, torch.Tensor], batch: Any, stage: sb.Stage
    ) -> torch.Tensor:
        """Return the sum of the heads' losses.

        In training it is each head's own (`HeadInTraining.training_loss`): by default
        the cross-entropy with label smoothing, equation (9). Validation and test report
        the plain cross-entropy against the labels, so that all heads can be compared.

        Raises
        ------
        InputError
            No head has a finite loss; one of several is left out, with a message.
        """
        targets = torch.as_tensor(batch.target, device=self.device)
        losses = {}
        for head in self.live_heads:
            logits = predictions[head.name].float()
            if stage == sb.Stage.TRAIN:
                loss = head.training_loss(logits, batch)
            else:
                loss = F.cross_entropy(logits, targets)
            if torch.isfinite(loss):
                losses[head.name] = loss
            else:
                self._leave_out(head, loss, batch.id, stage)
        if not losses:
            raise self.heads[-1].error or InputError("there is no loss")
        self._losses = {name: loss.detach().cpu() for name, loss in losses.items()}
        return torch.stack(list(losses.values())).sum()

    @property
    def live_heads(self) -> list[HeadInTraining]:
        """The heads that were not left out."""
        return [head for head in self.heads if head.error is None]

    def fit_batch(self, batch: Any) -> torch.Tensor:
        """Train on one batch from a random state of its own."""
        self._seed(self.heads[0], sb.Stage.TRAIN)
        try:
            loss = super().fit_batch(batch)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"the memory of {self.device} does not suffice for an update: add "
                "--preload False, or a smaller --batch_size with "
                "--grad_accumulation_factor"
            ) from error
        self._average(loss)
        if self._bar is not None:
            self._bar.update()
            if self.step % 10 == 0:
                self._describe()
        return loss

    @torch.no_grad()
    def evaluate_batch(self, batch: Any, stage: sb.Stage) -> torch.Tensor:
        """Evaluate one batch and keep what each head says about it."""
        if self._stop.requested and stage == sb.Stage.VALID:
            self._save_before_validation()  # which ends the run
        with self.evaluation_ctx:
            predictions = self.compute_forward(batch, stage=stage)
            loss = self.compute_objectives(predictions, batch, stage=stage)
        for head in self.live_heads:
            targets = torch.as_tensor(batch.target)
            head.see(batch.id, targets, predictions[head.name])
        loss = loss.detach().cpu()
        self._average(loss)
        return loss

    def optimizers_step(self) -> None:
        """Clip each head's gradients as a whole, then step its optimiser."""
        active = self.freeze_optimizers(self.optimizers_dict)
        steps = [
            (head, active[head.name]) for head in self.live_heads if head.name in active
        ]
        for _, optimizer in steps:
            self.scaler.unscale_(optimizer)
            if self.max_grad_norm > 0:
                parameters = [
                    p for group in optimizer.param_groups for p in group["params"]
                ]
                torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        if not self.scaler.is_enabled() and self.skip_nonfinite_grads:
            self.check_gradients()
        for _, optimizer in steps:
            self.scaler.step(optimizer)
        self.scaler.update()
        self.optimizer_step += 1
        for head, optimizer in steps:
            optimizer.zero_grad(set_to_none=True)
            head.schedule.after_update(self.optimizer_step)

    # The run

    def fit(
        self,
        epoch_counter: Iterable[int],
        train_set: DataLoader,
        valid_set: DataLoader | None = None,
        progressbar: bool | None = None,
        train_loader_kwargs: Mapping[str, Any] = {},
        valid_loader_kwargs: Mapping[str, Any] = {},
    ) -> None:
        """Train, or go on from the latest checkpoint; see SpeechBrain's ``fit``.

        ``train_set`` must draw from an `UpdateSampler`, as ``dataio_prepare`` makes it:
        SpeechBrain's own loaders would skip batches twice after resuming. The loaders
        are made already, so their ``kwargs`` are not used.
        """
        sampler = getattr(train_set, "batch_sampler", None)
        if not isinstance(sampler, UpdateSampler):
            raise ValueError("train_set must be a loader with an UpdateSampler")
        self.train_sampler = sampler
        dataset: Any = train_set.dataset
        for remark in {head.prepare(dataset.data) for head in self.heads} - {""}:
            print(f"note: {remark}")
        self._bar = tqdm(
            total=len(train_set) * getattr(epoch_counter, "limit", 1),
            desc="training" if len(self.heads) == 1 else f"{len(self.heads)} heads",
            unit="update",
            dynamic_ncols=True,
            disable=self.noprogressbar if progressbar is None else not progressbar,
        )
        with self._bar, StopRequest() as self._stop:
            epochs = self._epochs(epoch_counter)
            super().fit(epochs, train_set, valid_set, progressbar=False)
        self._bar = None

    def init_optimizers(self) -> None:
        """Make one optimiser for each head."""
        self.optimizers_dict = {}
        for head in self.heads:
            alone = len(self.heads) == 1
            head.make_optimizer(
                self.modules if alone else head.module, self.remove_vector_weight_decay
            )
            self.optimizers_dict[head.name] = head.optimizer
        self.optimizer = self.heads[0].optimizer

    def on_fit_start(self) -> None:
        """Make the optimisers; resume from the latest checkpoints."""
        self.init_optimizers()
        for head in self.heads:
            head.resume()
        positions = {tuple(head.position.items()) for head in self.heads}
        if len(positions) > 1:
            raise ValueError(f"the heads stand at different updates: {positions}")
        self.step = self.heads[0].position["step"]
        self.optimizer_step = self.heads[0].position["optimizer_step"]
        self.train_sampler.skip(self.step)

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Start a stage of each head."""
        for head in self.heads:
            head.start_stage()
            if stage == sb.Stage.TRAIN:
                head.start_epoch(resumed=self.step > 0)
            else:
                head.average_loss = 0.0

    def on_stage_end(
        self, stage: sb.Stage, stage_loss: float, epoch: int | None = None
    ) -> None:
        """Log an epoch and save its checkpoint, or keep what a test found."""
        for head in self.live_heads:
            if stage == sb.Stage.TRAIN:
                head.train_loss = head.average_loss
            elif stage == sb.Stage.TEST:
                head.collect()
            else:
                head.end_epoch(int(epoch or 0), self.step, self.optimizer_step)
        if stage == sb.Stage.VALID and self._bar is not None:
            self._describe()

    def on_evaluate_start(
        self, max_key: str | None = None, min_key: str | None = None
    ) -> None:
        """Load each head's best checkpoint."""
        for head in self.live_heads:
            head.tested = head.load_best()

    # Parts

    def _epochs(self, epoch_counter: Iterable[int]) -> Iterator[int]:
        resumed = True
        for epoch in epoch_counter:
            for head in self.heads:
                # each head's own counter is what its checkpoint saves
                counter = head.hparams.get("epoch_counter", epoch_counter)
                if counter is not epoch_counter:
                    counter.current = epoch
            if resumed:  # what was done before does not count for the estimate
                done = (epoch - 1) * len(self.train_sampler) + self.step
                self._bar.n = self._bar.initial = done
                resumed = False
            yield epoch

    def _seed(self, head: HeadInTraining, stage: sb.Stage) -> None:
        if stage == sb.Stage.TRAIN:
            number = self.train_sampler.first_batch + self.step - 1
            torch.manual_seed(update_seed(head.hparams["seed"], number))

    def _average(self, loss: torch.Tensor) -> None:
        """Add a batch to each head's average loss."""
        if len(self.heads) == 1:  # a subclass may have computed it in its own way
            self._losses = {self.heads[0].name: loss}
        for head in self.live_heads:
            head.average_loss = self.update_average(
                self._losses[head.name], head.average_loss
            )

    def _leave_out(
        self, head: HeadInTraining, loss: torch.Tensor, ids: list[str], stage: sb.Stage
    ) -> None:
        shown = ", ".join(ids[:5]) + (" ..." if len(ids) > 5 else "")
        head.error = InputError(
            f"the {stage.name.lower()} loss is {loss.item()} after "
            f"{self.optimizer_step} updates (clips {shown}); try a lower --lr, "
            "--precision fp32, or check these clips. What was saved before stays as "
            "it is"
        )
        if len(self.heads) > 1:
            print(f"error: {head.name}: {head.error}", file=sys.stderr)

    def _should_save_intra_epoch_ckpt(
        self, last_ckpt_time: float, steps_since_ckpt: int
    ) -> bool:
        if self.step % self.grad_accumulation_factor:
            return False
        return self._stop.requested or super()._should_save_intra_epoch_ckpt(
            last_ckpt_time, steps_since_ckpt
        )

    def _save_intra_epoch_ckpt(self) -> None:
        epoch = self.train_sampler.first_batch // len(self.train_sampler) + 1
        meta = {
            INTRA_EPOCH_CKPT_FLAG: True,
            "epoch": epoch,
            "updates": self.optimizer_step,
        }
        for head in self.live_heads:
            head.save(self.step, self.optimizer_step, meta)
        if self._stop.requested:
            raise KeyboardInterrupt

    def _save_before_validation(self) -> None:
        """Save the end of the epoch's training, to validate after resuming; stop."""
        for head in self.live_heads:
            head.average_loss = head.train_loss
        self.step = len(self.train_sampler)
        self._save_intra_epoch_ckpt()

    def _describe(self) -> None:
        heads = self.live_heads
        average = sum(head.average_loss for head in heads) / max(len(heads), 1)
        shown = {"loss": f"{average:.3f}"}
        best: dict[str, float] = {}
        for head in heads:
            if head.best_rate is not None:
                name = f"best valid {rate_name(head.select_by)}"
                best[name] = max(head.best_rate, best.get(name, head.best_rate))
        shown |= {name: f"{rate:.1f} %" for name, rate in best.items()}
        self._bar.set_postfix(shown, refresh=False)
