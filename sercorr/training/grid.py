"""Many heads side by side on one stream of batches, each as if it were alone.

Reading the features and converting them to float32 is done once for all heads. Every
head has its own parameters, random state, optimiser, gradient clipping, checkpoints
and files, and ends with exactly what ``train.py`` gives it with the same settings.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import speechbrain as sb
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from sercorr.errors import InputError
from sercorr.features.live import FeatureSource
from sercorr.lobes.head import longest_first, project_clips
from sercorr.training.brain import EmotionBrain
from sercorr.training.experiment import Fold, prepare, start_log
from sercorr.training.folds import settings_of_folds
from sercorr.training.grid_files import read_grid, report_grid
from sercorr.training.settings import Settings, digest, load_settings


class Member:
    """One head of a grid in one fold.

    Arguments
    ---------
    name : str
        Its name in the grid.
    settings : Settings
        Its own.
    """

    def __init__(self, name: str, settings: Settings):
        self.name = name
        self.settings = settings
        self.fold = Fold(settings)
        self.fold.claim()
        self.error: InputError | None = None
        self.brain: EmotionBrain | None = None
        self.counter: Any = None

    def stream(self) -> str:
        """Sign what decides the batches: heads of one stream train side by side."""
        keys = ("seed", "batch_size", "updates_per_epoch")
        return digest(
            [*(self.settings[key] for key in keys), self.fold.record()["data"]]
        )

    def start(self, features: FeatureSource) -> None:
        """Build the head and load its latest checkpoint."""
        start_log(self.fold)
        self.brain = self.fold.make_brain(features, self.fold.make_sampler())
        self.counter = self.brain.hparams.epoch_counter
        self.brain.noprogressbar = True
        self.brain.on_fit_start()

    @property
    def done(self) -> int:
        """Updates made so far."""
        updates_per_epoch = self.settings["updates_per_epoch"]
        return self.counter.current * updates_per_epoch + self.brain.step

    @property
    def total(self) -> int:
        """Updates of the whole run."""
        return self.settings["number_of_epochs"] * self.settings["updates_per_epoch"]


def train_members(members: Sequence[Member], features: FeatureSource) -> None:
    """Train heads of one stream side by side, then test each.

    A head whose loss is no longer finite is left behind with its error.

    Arguments
    ---------
    members : sequence of Member
        All of one `Member.stream`.
    features : FeatureSource
        Gives the layers of their batches.
    """
    for member in members:
        member.start(features)
    fold = members[0].fold
    sampler = fold.make_sampler()
    train = fold.make_loader(features, "train", sampler)
    valid = fold.make_loader(features, "valid")
    bar = tqdm(
        total=max(m.total for m in members),
        initial=min(m.done for m in members),
        desc=f"fold {fold.settings['fold']}, {len(members)} heads",
        unit="update",
        dynamic_ncols=True,
        disable=fold.settings.run_opts.noprogressbar,
    )
    first = min(m.counter.current for m in members) + 1
    last = max(m.settings["number_of_epochs"] for m in members)
    with bar:
        for epoch in range(first, last + 1):
            # an epoch is finished with its validation, not with its last update
            part = [
                m
                for m in members
                if m.error is None
                and m.counter.current < epoch <= m.settings["number_of_epochs"]
            ]
            if part:
                _train_epoch(part, epoch, features, train, sampler, bar)
            part = [m for m in part if m.error is None]
            if part:
                _evaluate(part, features, valid, sb.Stage.VALID, epoch)
    members = [member for member in members if member.error is None]
    for member in members:
        member.brain.on_evaluate_start()
    _evaluate(members, features, fold.make_loader(features, "test"), sb.Stage.TEST)
    for member in members:
        if member.error is None:
            member.fold.write(member.brain)


def _train_epoch(
    members: list[Member],
    epoch: int,
    features: FeatureSource,
    loader: DataLoader,
    sampler: Any,
    bar: tqdm,
) -> None:
    for member in members:
        next(member.counter)
        member.brain.begin_epoch(epoch)
    first = min(member.brain.step for member in members)
    sampler.set_position(epoch, first)
    for step, batch in enumerate(loader, start=first):
        part = [m for m in members if m.error is None and m.brain.step == step]
        if part:
            update_members(part, batch, features)
        bar.update()
    for member in members:
        if member.error is None:
            member.brain.end_training_epoch(epoch)


def update_members(
    members: Sequence[Member], batch: Any, features: FeatureSource
) -> None:
    """Make one update of each head from one reading of the batch.

    The heads take turns, each forward and backward, so that the memory for one head's
    activations serves them all; only the projected frames are kept for each.

    Arguments
    ---------
    members : sequence of Member
        Started, and all at this update. One whose loss is not finite gets an error.
    batch : object
        From the loader.
    features : FeatureSource
        Gives its layers.
    """
    with members[0].brain.training_ctx:
        projected, counts, order = _project(members, batch, features)
    losses, leaves = [], []
    for member, packed in zip(members, projected, strict=True):
        brain, leaf = member.brain, packed.detach().requires_grad_()
        brain.begin_update()
        with brain.training_ctx:
            head = brain.raw_modules["head"]
            logits = head.classify_projected(leaf, counts, order)
        try:
            loss, scaled = brain.training_loss(logits, batch)
        except InputError as error:
            _leave_behind(member, error)
            continue
        scaled.backward()
        losses.append((member, loss))
        leaves.append((packed, leaf.grad))
    if losses:
        torch.autograd.backward(*zip(*leaves, strict=True))
    for member, loss in losses:
        member.brain.finish_update(loss)


def _project(
    members: Sequence[Member], batch: Any, features: FeatureSource
) -> tuple[list[torch.Tensor], list[int], list[int]]:
    """Average the layers of a batch and project them, for each head."""
    clips = features.clips(batch.to(members[0].brain.device))
    order = longest_first(clips)
    clips = [clips[place] for place in order]
    projected = project_clips(clips, [m.brain.raw_modules["head"] for m in members])
    return projected, [clip.shape[1] for clip in clips], order


def _evaluate(
    members: list[Member],
    features: FeatureSource,
    loader: DataLoader,
    stage: sb.Stage,
    epoch: int | None = None,
) -> None:
    averages = dict.fromkeys((member.name for member in members), 0.0)
    for member in members:
        member.brain.on_stage_start(stage, epoch)
        member.brain.modules.eval()
    with torch.no_grad():
        for number, batch in enumerate(loader, start=1):
            alive = [member for member in members if member.error is None]
            if not alive:
                return
            with alive[0].brain.evaluation_ctx:
                projected, counts, order = _project(alive, batch, features)
            for member, packed in zip(alive, projected, strict=True):
                brain = member.brain
                brain.step = number
                with brain.evaluation_ctx:
                    head = brain.raw_modules["head"]
                    logits = head.classify_projected(packed, counts, order)
                try:
                    loss = brain.compute_objectives(logits, batch, stage)
                except InputError as error:
                    _leave_behind(member, error)
                    continue
                averages[member.name] = brain.update_average(
                    loss.detach().cpu(), averages[member.name]
                )
    for member in members:
        if member.error is None:
            member.brain.step = 0
            member.brain.on_stage_end(stage, averages[member.name], epoch)


def _leave_behind(member: Member, error: InputError) -> None:
    member.error = error
    print(f"error: {member.name}: {error}", file=sys.stderr)


def run_grid(arguments: Sequence[str], grid_file: str | Path) -> int:
    """Train and test all heads of a grid that are not finished, fold by fold.

    Arguments
    ---------
    arguments : sequence of str
        What ``run_folds.py`` takes.
    grid_file : path
        See `read_grid`.

    Returns
    -------
    int
        0, or 1 if a head failed; the others are trained all the same.
    """
    grid = read_grid(grid_file)
    by_fold, rest = settings_of_folds(arguments)
    root = Path(next(iter(by_fold.values()))["output_folder"])
    members = {
        (fold, name): load_settings(
            rest, {**overrides, "fold": fold, "output_folder": str(root / name)}
        )
        for fold in by_fold
        for name, overrides in grid.items()
    }
    for number, name in enumerate(grid):
        with contextlib.redirect_stdout(sys.stdout if number == 0 else None):
            prepare(members[next(iter(by_fold)), name])
    failed: list[str] = []
    features: FeatureSource | None = None
    for fold in by_fold:
        waiting = [Member(name, members[fold, name]) for name in grid]
        waiting = [member for member in waiting if not member.fold.is_finished()]
        print(f"fold {fold}: {len(waiting)} of {len(grid)} heads to train", flush=True)
        streams: dict[str, list[Member]] = {}
        for member in waiting:
            streams.setdefault(member.stream(), []).append(member)
        for side_by_side in streams.values():
            if features is None:
                features = side_by_side[0].fold.make_features()
            train_members(side_by_side, features)
        failed += [f"{m.name} (fold {fold})" for m in waiting if m.error is not None]
    settings = {name: members[next(iter(by_fold)), name] for name in grid}
    report_grid(root, settings)
    if failed:
        print(
            f"error: failed: {', '.join(failed)}. Their messages stand above; the "
            "others are finished",
            file=sys.stderr,
        )
        return 1
    return 0
