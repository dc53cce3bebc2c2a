"""Learning-rate schedules: SpeechBrain's and torch's, told apart by what they take.

``lr_annealing`` in a settings file is one of SpeechBrain's schedulers (``!new:``) or
one of torch's (``!name:``, since it needs the optimiser, which is made later).
"""

import functools
import inspect
from typing import Any

import torch
from speechbrain.nnet.schedulers import update_learning_rate
from speechbrain.utils.checkpoints import DEFAULT_SAVE_HOOKS, get_default_hook

from sercorr.errors import InputError


class Schedule:
    """One optimiser's learning rate over the updates and epochs.

    Arguments
    ---------
    scheduler : object or None
        From the settings. A scheduler of SpeechBrain is called as its parameters say:
        with ``metric_value`` (NewBob) after each epoch with ``1 - WA / 100``, which
        falls when the model gets better, as an error rate does; with
        ``current_epoch`` after each epoch; with ``opt`` after each update. A class of
        torch is constructed with the optimiser and stepped after each update
        (`torch.optim.lr_scheduler.ReduceLROnPlateau`: after each epoch, with the
        validation loss). None: the rate stays.
    optimizer : torch.optim.Optimizer
        Whose rate it is.

    Raises
    ------
    InputError
        A scheduler that is called in another way.

    Example
    -------
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> half = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    >>> schedule = Schedule(half, optimizer)
    >>> optimizer.step()
    >>> schedule.after_update(1)
    >>> optimizer.param_groups[0]["lr"]
    0.5
    """

    def __init__(self, scheduler: Any, optimizer: torch.optim.Optimizer):
        if isinstance(scheduler, (functools.partial, type)):
            try:
                scheduler = scheduler(optimizer)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"lr_annealing: {error}; write one of SpeechBrain's schedulers as "
                    "!new: and one of torch's as !name:, with all its arguments"
                ) from error
        self.scheduler = scheduler
        self.optimizer = optimizer
        self._takes = _parameters(scheduler)

    def saved(self) -> Any:
        """Return what a checkpoint must save of it, or None.

        Raises
        ------
        InputError
            A scheduler of one's own that SpeechBrain does not know how to save.
        """
        if self.scheduler is None:
            return None
        if get_default_hook(self.scheduler, DEFAULT_SAVE_HOOKS) is not None:
            return self.scheduler
        kind = type(self.scheduler)
        if not kind.__module__.startswith("speechbrain."):  # its own have no state then
            raise InputError(
                f"lr_annealing: {kind.__name__} cannot be saved in a checkpoint; give "
                "it SpeechBrain's hooks (speechbrain.utils.checkpoints, "
                "register_checkpoint_hooks)"
            )
        return None

    def after_update(self, updates: int) -> None:
        """Step a schedule of updates; ``updates`` have been made so far."""
        if self._takes == "torch":
            self.scheduler.step()
        elif self._takes == ("opt",):
            self.scheduler(self.optimizer)
        elif self._takes == ("opt", "num_updates"):
            self.scheduler(self.optimizer, updates)

    def after_epoch(self, epoch: int, valid_wa: float, valid_loss: float) -> None:
        """Step a schedule of epochs with the validation's outcome."""
        if self._takes == "plateau":
            self.scheduler.step(valid_loss)
        elif self._takes == ("optim_list", "current_epoch", "current_loss"):
            _, new = self.scheduler([self.optimizer], epoch, valid_loss)
            update_learning_rate(self.optimizer, new)
        elif self._takes in (("metric_value",), ("current_epoch",)):
            by_metric = self._takes == ("metric_value",)
            _, new = self.scheduler(1 - valid_wa / 100 if by_metric else epoch)
            update_learning_rate(self.optimizer, new)


def _parameters(scheduler: Any) -> str | tuple[str, ...]:
    """Say how a scheduler is called."""
    if scheduler is None:
        return ()
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        return "plateau"
    if isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler):
        return "torch"
    known = (
        ("opt",),
        ("opt", "num_updates"),
        ("metric_value",),
        ("current_epoch",),
        ("optim_list", "current_epoch", "current_loss"),
    )
    found = (
        tuple(inspect.signature(scheduler).parameters) if callable(scheduler) else ()
    )
    if found not in known:
        raise InputError(
            f"lr_annealing is a {type(scheduler).__name__}; it must be called with "
            f"{' or '.join(', '.join(names) for names in known)}, as SpeechBrain's "
            "schedulers are, or be one of torch's, written as !name:"
        )
    return found
