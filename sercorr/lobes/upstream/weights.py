"""A network of transformers with its weights, in float32, ready for inference.

Weights are read as data only (safetensors, or pickle restricted to tensors), and
refused where they leave a part of the network random or were made for another one.
"""

import contextlib
import pickle
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch.nn.utils import parametrize

from sercorr import fast
from sercorr.errors import InputError
from sercorr.fast.packed_linear import pack_linear_layers
from sercorr.lobes.upstream.family import Family
from sercorr.lobes.upstream.model_files import ModelFiles
from sercorr.threads import use_threads


def load_network(files: ModelFiles, family: Family) -> Any:
    """Build a family's network with its weights.

    Arguments
    ---------
    files : ModelFiles
        Where the weights are.
    family : Family
        Says which network it is.

    Returns
    -------
    torch.nn.Module
        The network in float32, whatever the weights are stored in, without the blocks
        that no layer needs.

    Raises
    ------
    InputError
        The weights cannot be read, or do not fit the configuration.
    """
    weights = files.weights
    unreadable = (OSError, ValueError, RuntimeError, EOFError, KeyError)
    try:
        with quiet_transformers():
            model, report = family.network.from_pretrained(
                files.folder,
                config=family.config,
                dtype=torch.float32,
                attn_implementation=family.attention,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # reported below, by name
                output_loading_info=True,
            )
    except (*unreadable, pickle.UnpicklingError, SafetensorError) as error:
        names = ", ".join(path.name for path in weights)
        raise InputError(
            f"{files.name}: the weights in {names} cannot be read ({error}); "
            "fetch the model again"
        ) from error
    _require_fitting_weights(files.name, family, report)
    family.drop_blocks(model)
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            # the weight norm's kernel: once and for all instead of in each call
            with use_threads(1):  # their number decides the last bits of a norm
                parametrize.remove_parametrizations(module, "weight")
    for parameter in model.parameters():
        # Out of the mapped file: there they lie at any byte offset, on which the last
        # bits of results depend, and would change with the file.
        parameter.data = parameter.data.clone()
    if fast.enabled():
        family.speed_up(model)
        pack_linear_layers(model)
    return model


def _require_fitting_weights(name: str, family: Family, report: dict[str, Any]) -> None:
    """Refuse weights that leave a part random or were made for another network."""
    faults = {
        "lack": report["missing_keys"],
        "have another shape:": [
            f"{key} {tuple(found)} instead of {tuple(wanted)}"
            for key, found, wanted in report["mismatched_keys"]
        ],
        "have besides": report["unexpected_keys"],
    }
    for fault, keys in faults.items():
        used = sorted(key for key in keys if family.used_parts.search(key))
        if used:
            raise InputError(
                f"{name}: the weights do not fit the {family.config.model_type} model "
                f"of config.json; they {fault} {', '.join(used[:3])} ({len(used)} in "
                "all): put the weights and the configuration of one model there"
            )


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back transformers' progress bars and loading reports for a while."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(log.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
