"""Where a self-supervised model's files are: a local folder or the hub's cache.

A hub name is resolved to the folder of one commit; from there on both are the same.
The weights are fetched apart from the configuration, when they are needed. Nothing
here runs code from a model.
"""

import dataclasses
import functools
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm.auto import tqdm

from sercorr.errors import InputError
from sercorr.files import file_digest, read_json

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where weights may be, in the order in which transformers looks for them."""

_CONFIGURATION = ("config.json", "preprocessor_config.json")
# With config.json, which is there: the library warns where nothing matches.
_WEIGHTS = (
    ("config.json", *WEIGHT_FILES[:2], "model-*.safetensors"),
    ("config.json", *WEIGHT_FILES[2:], "pytorch_model-*.bin"),
)
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """A model's folder, with its configuration and, once asked for, its weights.

    ``revision`` is the commit of a hub model, None for a local folder, and
    ``save_path`` the hub's cache folder, None for its own default.
    """

    source: str
    folder: Path
    revision: str | None = None
    save_path: str | os.PathLike | None = None

    @property
    def name(self) -> str:
        """How messages name the model."""
        return str(self.folder) if self.revision is None else self.source

    def read(self, name: str) -> dict[str, Any] | None:
        """Read a JSON file of the folder; None if there is none."""
        path = self.folder / name
        if not path.is_file():
            return None
        value = read_json(path)
        if not isinstance(value, dict):
            raise InputError(f"{path}: a JSON object was expected; replace the file")
        return value

    def weights(self) -> list[Path]:
        """Find the weights: one file, or the shards in the order of their names.

        They are downloaded first if the folder is the hub's and lacks them;
        pytorch_model.bin only where there is no model.safetensors.
        """
        found = self._weights_here()
        for patterns in _WEIGHTS if self.revision is not None else ():
            if found and all(path.is_file() for path in found):
                break
            _download(self.source, self.revision, self.save_path, patterns)
            found = self._weights_here()
        if not found:
            names = "model.safetensors or pytorch_model.bin"
            if self.revision is not None:
                raise _not_to_be_had(self.source, self.revision, self.save_path, names)
            raise InputError(f"{self.folder}: no weights; put {names} there")
        for path in found:
            if not path.is_file():
                raise InputError(
                    f"{path}: no such file, but the weights' index lists it; complete "
                    "the model folder"
                )
        return found

    def digest(self) -> str:
        """Return a SHA-256 of the weights' bytes.

        A file is read once per process, as long as it stays the same.
        """
        digests = [_digest_once(path) for path in self.weights()]
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def _weights_here(self) -> list[Path]:
        for name in WEIGHT_FILES:
            path = self.folder / name
            if path.is_file():
                return _shards(path) if name.endswith(".index.json") else [path]
        return []


def find_model(
    source: str,
    save_path: str | os.PathLike | None = None,
    revision: str | None = None,
) -> ModelFiles:
    """Find a model's folder, which has a config.json; of a hub model, download that.

    Arguments are those of `sercorr.lobes.Upstream`. A local folder must have weights as
    well. `InputError` says what is missing.
    """
    path = Path(source).expanduser()
    if source and path.exists():
        if revision is not None:
            raise InputError(
                f"upstream_revision is {revision!r}, but {source} is a local path, "
                "which has no revisions: remove the setting"
            )
        if not path.is_dir():
            raise InputError(f"{path}: a file; give the model's folder")
        if not (path / "config.json").is_file():
            raise InputError(
                f"{path}: no config.json; give a folder that transformers' "
                "save_pretrained wrote"
            )
        files = ModelFiles(source, path)
        files.weights()  # whether they are there is seen at once
        return files
    if source[:1] in ("/", ".", "~") or not _HUB_NAME.fullmatch(source):
        raise InputError(
            f"{source or repr(source)}: no such model folder; give 'fbank', a folder "
            "with config.json and weights, or a hub name such as microsoft/wavlm-large"
        )
    folder = _download(source, revision, save_path, _CONFIGURATION)
    if folder is None or not (folder / "config.json").is_file():
        raise _not_to_be_had(source, revision, save_path, "config.json")
    # .../snapshots/<commit>: the weights will be those of the same commit
    return ModelFiles(source, folder, folder.name, save_path)


class _NoBar(tqdm):
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{**settings, "disable": True})


def _download(
    name: str,
    revision: str | None,
    save_path: str | os.PathLike | None,
    patterns: tuple[str, ...],
) -> Path | None:
    """Fetch files of one commit into the cache; None if it is out of reach.

    The folder may lack the files: where the hub has none of them, and where it cannot
    be reached.
    """
    where = f"{name}, revision {revision or 'main'}"
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision,
                cache_dir=None if save_path is None else Path(save_path),
                allow_patterns=list(patterns),
                tqdm_class=_NoBar if patterns is _CONFIGURATION else None,
            )
        )
    except LocalEntryNotFoundError:
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
            f"{where}: {', '.join(patterns)} cannot be fetched ({error}); give a "
            "local folder"
        ) from error


def _not_to_be_had(
    name: str, revision: str | None, save_path: str | os.PathLike | None, file: str
) -> InputError:
    cache = save_path or huggingface_hub.constants.HF_HUB_CACHE
    return InputError(
        f"{name}, revision {revision or 'main'}: there is no folder of that name, "
        f"{file} is not in the cache {cache}, and the hub cannot be reached (or is "
        "switched off by HF_HUB_OFFLINE) or has no such file; download the model "
        "first, or give its folder or 'fbank'"
    )


def _shards(index: Path) -> list[Path]:
    values = read_json(index)
    names = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(names, dict) or not names:
        raise InputError(f"{index}: no weight_map; replace the file")
    for name in set(names.values()):
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(
                f"{index}: lists {name!r}, which is not a file beside it; replace it"
            )
    return [index.parent / name for name in sorted(set(names.values()))]


def _digest_once(path: Path) -> str:
    path = path.resolve()
    status = path.stat()
    return _cached_digest(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _cached_digest(path: Path, _size: int, _mtime_ns: int) -> str:
    return file_digest(path)
