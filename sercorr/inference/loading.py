"""A model by its place: a run, an exported folder, a hub name or an ONNX file."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sercorr.errors import InputError

if TYPE_CHECKING:
    from sercorr.inference.predictor import Predictor


def load_recognizer(
    model: str | os.PathLike,
    fold: int | Literal["all"] | None = None,
    *,
    revision: str | None = None,
    upstream_source: str | os.PathLike | None = None,
    device: str | None = None,
) -> "Predictor":
    """Load whatever ``model`` is.

    Arguments
    ---------
    model : str or path
        A run's ``output_folder`` or ``fold_K``, a folder that ``sercorr export`` wrote,
        a SUPERB-style head, the hub name of one of these, or an ``.onnx`` file.
    fold : int, str or None
        Of a run: whose head, as for `EmotionRecognizer.from_run`.
    revision : str or None
        Of a hub name.
    upstream_source, device
        As for `EmotionRecognizer.from_run`.

    Returns
    -------
    Predictor
        An `EmotionRecognizer`, or an `OnnxRecognizer`, which needs no torch.

    Raises
    ------
    InputError
        There is no such model, or an option is not for one of its kind.
    """
    path = Path(model)
    is_run = path.is_dir() and not any(
        (path / name).is_file() for name in ("sercorr.json", "config.json")
    )
    if path.suffix == ".onnx":
        options = {"fold": fold, "revision": revision, "upstream": upstream_source}
        given = [name for name, value in options.items() if value is not None]
        if given:
            raise InputError(
                f"{path}: an ONNX file is whole: leave {', '.join(given)} out"
            )
        from sercorr.inference.onnx_model import OnnxRecognizer  # noqa: PLC0415

        return OnnxRecognizer(path)
    from sercorr.inference.recognizer import EmotionRecognizer  # noqa: PLC0415

    if is_run:
        if revision is not None:
            raise InputError(f"{path}: a local run has no revisions: leave it out")
        return EmotionRecognizer.from_run(
            path, fold, upstream_source=upstream_source, device=device
        )
    if fold is not None and not path.exists():
        raise InputError(f"{model}: no such folder, but fold {fold} of a run is wanted")
    if fold is not None:
        raise InputError(
            f"fold is {fold}, but {model} is no run folder, which has several; leave "
            "it out"
        )
    return EmotionRecognizer.from_pretrained(
        os.fspath(model), revision, upstream_source=upstream_source, device=device
    )


def load_chosen(given: argparse.Namespace) -> "Predictor":
    """Load the model that the options of a command name, see `sercorr.cli`."""
    return load_recognizer(
        given.model,
        given.fold,
        revision=given.revision,
        upstream_source=given.upstream,
        device=given.device,
    )
