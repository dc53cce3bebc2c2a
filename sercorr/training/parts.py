"""The objects of a settings file, tried before anything is written."""

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch

from sercorr.errors import InputError, describe_error
from sercorr.lobes.upstream import FrozenUpstream, Upstream
from sercorr.training.checkpoints import AtomicCheckpointer
from sercorr.training.dataio import require
from sercorr.training.heads import HeadInTraining


def check_parts(hparams: Mapping[str, Any]) -> None:
    """Try the head, the loss, the optimiser and the schedule on made-up frames.

    Raises
    ------
    InputError
        A part is missing, would not be saved, or does not work; it says which.
    """
    modules = require(hparams, "modules")
    if any(isinstance(part, (Upstream, FrozenUpstream)) for part in modules.values()):
        raise InputError(
            "modules: the upstream is among them, but it is frozen here: its features "
            "are computed once and stored; leave it out"
        )
    checkpointer = require(hparams, "checkpointer")
    if not isinstance(checkpointer, AtomicCheckpointer):
        raise InputError(
            f"checkpointer is a {type(checkpointer).__name__}; it must be a "
            "sercorr.training.checkpoints.AtomicCheckpointer"
        )
    saved = [id(part) for part in checkpointer.recoverables.values()]
    counted = {"epoch_counter": require(hparams, "epoch_counter")}
    for name, part in {**modules, **counted}.items():
        if id(part) not in saved:
            raise InputError(
                f"checkpointer: its recoverables lack {name}, which would then not be "
                "resumed or tested; add it there"
            )
    module = require(modules, "head")
    labels, upstream = require(hparams, "labels"), require(hparams, "upstream")
    layers, size = upstream.num_layers, upstream.output_size
    was_training = module.training
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        clips = [torch.randn(layers, frames, size) for frames in (5, 3)]
        try:
            logits = module.eval()(clips)
        except InputError:
            raise
        except Exception as error:  # whatever a class of one's own raises
            raise InputError(
                f"head: it fails on made-up features of {layers} layers of {size} "
                f"channels: {describe_error(error)}; check this class"
            ) from error
        finally:
            module.train(was_training)
    shape = tuple(getattr(logits, "shape", ()))
    if shape != (2, len(labels)):
        raise InputError(
            f"head: for 2 clips it gives logits of shape {shape}; {(2, len(labels))} "
            "are needed, one per clip and label"
        )
    trial = HeadInTraining("head", module, hparams, require(hparams, "opt_class"), None)
    trial.make_optimizer(module, spare_vectors=False)
    trial.loss = copy.deepcopy(trial.loss)  # it may count what it has seen
    _try_loss(trial)


def _try_loss(trial: HeadInTraining) -> None:
    """Try a head's loss on made-up logits, as training calls it."""
    n_classes = len(trial.labels)
    trial.prepare({label: {"emo": label} for label in trial.labels})
    logits = torch.linspace(-1, 1, 2 * n_classes).reshape(2, n_classes)
    shares = [[1 / n_classes] * n_classes] * 2
    batch = SimpleNamespace(target=[0, n_classes - 1], soft_target=shares)
    try:
        with torch.random.fork_rng(devices=[]):
            trial.training_loss(logits.requires_grad_(), batch)
    except InputError:
        raise
    except Exception as error:  # whatever a loss of one's own raises
        kind = "shares of the raters' votes" if trial.by_votes else "class numbers"
        kind += ", and `weight`" if trial.weighs else ""
        raise InputError(
            f"loss: it fails on made-up logits and {kind}: {describe_error(error)}; "
            "check this function, and the settings targets and class_weights"
        ) from error
