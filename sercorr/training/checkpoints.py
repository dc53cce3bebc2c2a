"""SpeechBrain's checkpoints, made safe against a kill at any moment."""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.filesize import decimal
from speechbrain.utils.checkpoints import Checkpoint, Checkpointer

from sercorr.errors import InputError

_UNFINISHED = "unfinished"


class AtomicCheckpointer(Checkpointer):
    """A `Checkpointer` whose checkpoints are whole or absent.

    SpeechBrain writes a checkpoint file by file in its final folder, and removes it
    so: a process killed meanwhile leaves a folder that looks like a checkpoint but
    cannot be loaded. Here a checkpoint is written elsewhere and renamed, and one that
    lacks a file that it once had (a removal cut short) does not count.

    Nothing is written before the first checkpoint is saved: a settings file may
    construct this for a folder that another run owns.

    Arguments
    ---------
    checkpoints_dir : path
        Where the checkpoints are; made when the first one is saved.
    recoverables : mapping
        Names and objects to save.

    Example
    -------
    >>> import tempfile, torch
    >>> layer = torch.nn.Linear(1, 1)
    >>> checkpointer = AtomicCheckpointer(tempfile.mkdtemp(), {"layer": layer})
    >>> _ = checkpointer.save_checkpoint({"valid_wa": 50.0})
    >>> len(checkpointer.list_checkpoints())
    1
    """

    def __init__(
        self, checkpoints_dir: str | os.PathLike, recoverables: Mapping | None = None
    ):
        super().__init__(os.curdir, recoverables)  # it makes the folder it is given
        self.checkpoints_dir = Path(checkpoints_dir)

    def move_to_temporary_folder(self) -> None:
        """Keep checkpoints in a folder that is removed with this object."""
        self.tempdir = tempfile.TemporaryDirectory()
        self.checkpoints_dir = Path(self.tempdir.name)

    def remove_leftovers(self) -> None:
        """Remove what a killed process left half written or half removed."""
        shutil.rmtree(self.checkpoints_dir / _UNFINISHED, ignore_errors=True)
        whole = {checkpoint.path for checkpoint in self.list_checkpoints()}
        for folder in self.checkpoints_dir.glob("CKPT+*"):
            if folder not in whole:
                shutil.rmtree(folder)

    def save_checkpoint(
        self,
        meta: Mapping = {},
        end_of_epoch: bool = True,
        name: str | None = None,
        verbosity: int = logging.INFO,
    ) -> Checkpoint | None:
        """Save everything under a new name; see SpeechBrain's `Checkpointer`.

        `InputError` if it cannot be written, as on a full disk.
        """
        meta = {**meta, "recoverables": sorted(self.recoverables)}
        final, unfinished = self.checkpoints_dir, self.checkpoints_dir / _UNFINISHED
        name = name or f"{time.time_ns()}"
        unfinished.mkdir(parents=True, exist_ok=True)
        self.checkpoints_dir = unfinished
        try:
            saved = super().save_checkpoint(meta, end_of_epoch, name, verbosity)
        except RuntimeError as error:
            if "inline_container" not in str(error):
                raise
            # torch's writer of files, which hides the system's reason
            free = decimal(shutil.disk_usage(unfinished).free)
            raise InputError(
                f"{final}: a checkpoint cannot be written ({free} are free there); "
                "make room and run the same command again to go on"
            ) from error
        finally:
            self.checkpoints_dir = final
        if saved is None:  # not the main process
            return None
        path = final / Path(saved.path).name
        os.replace(saved.path, path)
        shutil.rmtree(unfinished)
        files = {key: path / file.name for key, file in saved.paramfiles.items()}
        return Checkpoint(path, saved.meta, files)

    def list_checkpoints(self) -> list[Checkpoint]:
        """List the checkpoints that are whole."""
        if not self.checkpoints_dir.is_dir():
            return []
        return [
            checkpoint
            for checkpoint in super().list_checkpoints()
            if set(checkpoint.meta.get("recoverables", ()))
            <= set(checkpoint.paramfiles)
        ]


def best_first(rate: str) -> Callable[[Checkpoint], tuple[float, int]]:
    """Make a sort key: the highest validation rate, then the earliest epoch.

    ``rate`` is one of `sercorr.evaluation.metrics.RATES`, such as ``wa``.
    """
    return lambda checkpoint: (
        checkpoint.meta[f"valid_{rate}"],
        -checkpoint.meta["epoch"],
    )


def is_scored(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint was made after a validation."""
    return "valid_wa" in checkpoint.meta
