"""Where a self-supervised model's files are: a local folder or the hub's cache.

A hub name is resolved to the folder of its snapshot; from there on both are the same.
Nothing here runs code from a model.
"""

import contextlib
import dataclasses
import hashlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import transformers
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sercorr.errors import InputError
from sercorr.files import read_json

logger = logging.getLogger(__name__)

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where weights may be, in the order in which transformers looks for them."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """A model's folder, after a hub name was resolved.

    Arguments
    ---------
    source : str
        What the user asked for.
    folder : pathlib.Path
        Holds config.json, the weights and, mostly, preprocessor_config.json.
    revision : str or None
        Commit of a hub model.
    weights : tuple of pathlib.Path
        One file, or the shards in the order of their names.
    """

    source: str
    folder: Path
    revision: str | None
    weights: tuple[Path, ...]

    @property
    def name(self) -> str:
        """How messages name the model."""
        return str(self.folder) if self.revision is None else self.source

    def digest(self) -> str:
        """Return the SHA-256 of the weights' bytes, shards one after another."""
        digest = hashlib.sha256()
        for path in self.weights:
            with open(path, "rb") as stream:
                while block := stream.read(1 << 22):
                    digest.update(block)
        return digest.hexdigest()

    def read(self, name: str) -> dict[str, Any] | None:
        """Read a JSON file of the folder; None if there is none."""
        path = self.folder / name
        if not path.is_file():
            return None
        value = read_json(path)
        if not isinstance(value, dict):
            raise InputError(f"{path}: a JSON object was expected; replace the file")
        return value


def find_model(
    source: str, save_path: str | os.PathLike | None, revision: str | None
) -> ModelFiles:
    """Find a model's files, downloading them first if the hub has them.

    Arguments
    ---------
    source : str
        A local folder or a hub name.
    save_path : path or None
        The hub's cache folder; None: the hub's own default.
    revision : str or None
        Commit, tag or branch of a hub model.

    Returns
    -------
    ModelFiles
        A folder with a configuration and weights.

    Raises
    ------
    InputError
        There is no such folder or hub model, or a file is missing.
    """
    path = Path(source).expanduser()
    if source and path.exists():
        if revision is not None:
            raise InputError(
                f"upstream_revision is {revision!r}, but {source} is a local path, "
                "which has no revisions: remove the setting"
            )
        return _in_folder(source, path)
    if source[:1] in ("/", ".", "~") or not _HUB_NAME.fullmatch(source):
        raise InputError(
            f"{source or repr(source)}: no such model folder; give 'fbank', a folder "
            "with config.json and weights, or a hub name such as microsoft/wavlm-large"
        )
    return _Hub(source, save_path, revision).find()


def _in_folder(source: str, folder: Path) -> ModelFiles:
    if not folder.is_dir():
        raise InputError(f"{folder}: a file; give the model's folder")
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder}: no config.json; give a folder that transformers' "
            "save_pretrained wrote"
        )
    for name in WEIGHT_FILES:
        weights = folder / name
        if weights.is_file():
            shards = _shards(weights)
            for shard in shards:
                if not shard.is_file():
                    raise InputError(
                        f"{shard}: no such file, but {name} lists it; complete the "
                        "model folder"
                    )
            return ModelFiles(source, folder, None, shards)
    raise InputError(
        f"{folder}: no weights; put model.safetensors or pytorch_model.bin there"
    )


def _shards(weights: Path) -> tuple[Path, ...]:
    if not weights.name.endswith(".index.json"):
        return (weights,)
    index = read_json(weights)
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not names:
        raise InputError(f"{weights}: no weight_map; replace the file")
    for name in set(names.values()):
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(
                f"{weights}: lists {name!r}, which is not a file beside it; replace it"
            )
    return tuple(weights.parent / name for name in sorted(set(names.values())))


class _Hub:
    """Fetches the files of one hub model into the cache, pinned to one commit."""

    def __init__(
        self, name: str, save_path: str | os.PathLike | None, revision: str | None
    ) -> None:
        self.name = name
        self.save_path = save_path
        self.revision = revision
        self.local_only = False

    def find(self) -> ModelFiles:
        config = self._fetch("config.json")
        if config is None:
            raise InputError(self._missing("config.json"))
        # .../snapshots/<commit>/config.json
        commit = config.parent.name
        self.revision = commit
        self._fetch("preprocessor_config.json")
        for name in WEIGHT_FILES:
            weights = self._fetch(name)
            if weights is None:
                continue
            shards = _shards(weights)
            for shard in shards:
                if shard != weights and self._fetch(shard.name) is None:
                    raise InputError(self._missing(shard.name))
            return ModelFiles(self.name, config.parent, commit, shards)
        raise InputError(self._missing("model.safetensors or pytorch_model.bin"))

    def _fetch(self, file: str) -> Path | None:
        """Return the file's place in the cache, None if it cannot be had."""
        where = f"{self.name}, revision {self.revision or 'main'}"
        try:
            path = huggingface_hub.hf_hub_download(
                self.name,
                file,
                revision=self.revision,
                cache_dir=self.save_path,
                local_files_only=self.local_only,
            )
        except LocalEntryNotFoundError:
            # Neither in the cache nor within reach: do not wait for the network again.
            self.local_only = True
            return None
        except EntryNotFoundError:
            return None
        except GatedRepoError:
            raise InputError(
                f"{where}: the hub asks you to accept its terms; do so on its page, "
                "then run 'hf auth login'"
            ) from None
        except (RepositoryNotFoundError, RevisionNotFoundError):
            raise InputError(
                f"{where}: the hub has no such model or revision; check "
                "upstream_source and upstream_revision"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"{where}: {file} cannot be fetched ({error}); give a local folder"
            ) from error
        return Path(path)

    def _missing(self, file: str) -> str:
        where = f"{self.name}, revision {self.revision or 'main'}"
        if self.local_only or huggingface_hub.constants.HF_HUB_OFFLINE:
            cache = self.save_path or huggingface_hub.constants.HF_HUB_CACHE
            return (
                f"{where}: there is no folder of that name, {file} is not in the "
                f"cache {cache}, and the hub cannot be reached (or is switched off "
                "by HF_HUB_OFFLINE); download the model first, or give its folder "
                "or 'fbank'"
            )
        return f"{where}: the hub has no {file} there; choose another upstream_source"


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
