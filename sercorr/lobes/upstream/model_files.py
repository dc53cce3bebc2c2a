"""A self-supervised model's files, in a local folder or the hub's cache.

A hub name is resolved to the folder of one commit; from there on both are the same.
The weights are fetched apart from the configuration, when they are needed. Nothing
here runs code from a model.
"""

import dataclasses
import functools
import hashlib
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PretrainedConfig

from sercorr.errors import InputError
from sercorr.files import file_digest, read_json

logger = logging.getLogger(__name__)

# With config.json, which is there: the library warns where nothing matches.
_CONFIGURATION = ["config.json", "preprocessor_config.json"]
_WEIGHTS = {
    "model.safetensors": ["config.json", "model.safetensors*", "model-*.safetensors"],
    "pytorch_model.bin": ["config.json", "pytorch_model.bin*", "pytorch_model-*.bin"],
}
"""Where weights may be, in the order in which transformers looks for them."""

_ADVICE = (
    "check upstream_source and upstream_revision, log in with 'hf auth login' if the "
    "hub asks for it, or give the model's folder or 'fbank'"
)


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """A model's folder, with its configuration and, once asked for, its weights."""

    source: str
    folder: Path
    revision: str | None = None  # the commit of a hub model
    save_path: str | os.PathLike | None = None  # the hub's cache, None for its default

    @property
    def name(self) -> str:
        """How messages name the model."""
        return str(self.folder) if self.revision is None else self.source

    def config(
        self, accepted: Collection[str], reasons: Mapping[str, str] | None = None
    ) -> PretrainedConfig:
        """Read config.json; `InputError` if its model_type is none of ``accepted``.

        ``reasons`` say why other types are not.
        """
        if not (self.folder / "config.json").is_file():
            raise InputError(
                f"{self.name}: no config.json; give a folder that transformers' "
                "save_pretrained wrote, a hub name, or 'fbank'"
            )
        found = self._read("config.json").get("model_type")
        if found not in accepted:
            reason = (reasons or {}).get(str(found))
            raise InputError(
                f"{self.name}: config.json says model_type {found!r}"
                + (f", which is refused: {reason}" if reason else "")
                + f"; accepted are {', '.join(accepted)}: choose another "
                "upstream_source"
            )
        try:
            return AutoConfig.from_pretrained(self.folder, trust_remote_code=False)
        except (OSError, ValueError, TypeError, KeyError, StrictDataclassError) as e:
            raise InputError(
                f"{self.name}: config.json is not a {found} configuration ({e}); "
                "replace the file"
            ) from e

    def preprocessor(self, default: str) -> dict[str, Any]:
        """Read preprocessor_config.json; empty, with a warning, if there is none.

        ``default`` says what is done then, as transformers does.
        """
        values = self._read("preprocessor_config.json")
        if not values:
            logger.warning(
                "%s: no preprocessor_config.json; %s, as transformers does by default",
                self.name,
                default,
            )
        return values

    @functools.cached_property
    def weights(self) -> list[Path]:
        """The weights: one file, or the shards in the order of their names.

        They are downloaded first from the hub, which may have either kind or both.
        """
        for kind, patterns in _WEIGHTS.items():
            if self.revision is not None:
                download(self.source, self.revision, self.save_path, patterns)
            index = self.folder / f"{kind}.index.json"
            if (self.folder / kind).is_file():
                return [self.folder / kind]
            if index.is_file():
                return self._shards(index)
        raise InputError(f"{self.name}: no weights; put {' or '.join(_WEIGHTS)} there")

    def digest(self) -> str:
        """Return a SHA-256 of the weights' bytes.

        A file is read once per process, as long as it stays the same.
        """
        digests = []
        for path in self.weights:
            real, status = path.resolve(), path.stat()
            digests.append(_digest_once(real, status.st_size, status.st_mtime_ns))
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def _read(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the folder; empty if there is none."""
        path = self.folder / name
        value = read_json(path) if path.is_file() else {}
        if not isinstance(value, dict):
            raise InputError(f"{path}: a JSON object was expected; replace the file")
        return value

    def _shards(self, index: Path) -> list[Path]:
        names = self._read(index.name).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise InputError(f"{index}: no weight_map; replace the file")
        paths = [self.folder / name for name in sorted(set(map(str, names.values())))]
        for path in paths:
            if not path.is_file():
                raise InputError(
                    f"{path}: no such file, but the weights' index lists it; complete "
                    "the model folder"
                )
        return paths


def find_model(
    source: str,
    save_path: str | os.PathLike | None = None,
    revision: str | None = None,
) -> ModelFiles:
    """Find a model's folder; of a hub model, download its configuration into one.

    Arguments are those of `sercorr.lobes.Upstream`.
    """
    path = Path(source).expanduser()
    if source and path.exists():
        if revision is not None:
            raise InputError(
                f"upstream_revision is {revision!r}, but {source} is a local path, "
                "which has no revisions: remove the setting"
            )
        return ModelFiles(source, path)
    # .../snapshots/<commit>: the weights will be those of the same commit
    folder = download(source, revision, save_path, _CONFIGURATION)
    return ModelFiles(source, folder, folder.name, save_path)


def download(
    name: str,
    revision: str | None,
    save_path: str | os.PathLike | None,
    patterns: list[str],
    advice: str = _ADVICE,
) -> Path:
    """Fetch what the hub has of some files of one commit into the cache.

    Arguments are those of `sercorr.lobes.Upstream`, the files' ``patterns``, and what
    to do if the hub does not give them. The folder that is returned has the commit's
    name.
    """
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision,
                cache_dir=None if save_path is None else Path(save_path),
                allow_patterns=patterns,
            )
        )
    except (OSError, ValueError) as error:  # of the library, too
        cache = save_path or huggingface_hub.constants.HF_HUB_CACHE
        raise InputError(
            f"{name or repr(name)}, revision {revision or 'main'}: no such model "
            f"folder, nor a model in the cache {cache}, and the hub does not give it "
            f"({' '.join(str(error).split())}); {advice}"
        ) from error


@functools.lru_cache
def _digest_once(path: Path, _size: int, _mtime_ns: int) -> str:
    return file_digest(path)
