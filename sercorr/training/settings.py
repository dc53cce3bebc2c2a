"""Settings of a run: a HyperPyYAML file, what is put over it, SpeechBrain's options.

The files are merged as trees, before references are resolved and objects are made, so
that a key which is given anew replaces the whole old one, its class included. The
merged tree is what a run is signed by (`Settings.identity`).

A HyperPyYAML file can construct any Python object: run only files that you trust.
"""

import copy
import dataclasses
import difflib
import io
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml.comments import CommentedMap, TaggedScalar
from ruamel.yaml.error import YAMLError
from speechbrain.utils.run_opts import RunOptions

from sercorr.errors import InputError, describe_error
from sercorr.training.setting_checks import check_settings
from sercorr.training.sources import own_files, source_digests

BASED_ON = "based_on"
"""Key of a settings file that differs from another one in a few keys."""

HOUSEKEEPING = frozenset(
    """
    data_folder output_folder manifest_folder cache_folder fold_folder
    checkpoint_folder upstream_save_path num_workers preload max_batch_seconds
    table test_table train_logger ckpt_interval_minutes ckpt_interval_steps
    threads upstream_source upstream_revision cache_dtype extract_precision
    """.split()
)
"""Keys that do not change what a run learns; the last four are recorded otherwise,
as the digest of the weights and the type of the features."""

LEARNING_OPTIONS = """
    auto_mix_prec bfloat16_mix_prec debug debug_batches debug_epochs eval_precision
    grad_accumulation_factor max_grad_norm optimizer_step_limit precision
    remove_vector_weight_decay skip_nonfinite_grads
    """.split()
"""SpeechBrain's run options that change what a run learns."""

READ_KEYS = HOUSEKEEPING | frozenset(
    """
    allow_shared_speakers based_on batch_size brain_class checkpointer class_weights
    corpus epoch_counter fold fold_by head labels loss lr_annealing modules n_folds
    number_of_epochs opt_class seed select_by skip_bad_audio split_seed targets
    test_drop test_map updates_per_epoch upstream valid_by valid_ratio valid_session
    """.split()
)
"""Keys that the programs read; others must be referred to within the file."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What one command was given: `load` makes its objects.

    Arguments
    ---------
    files : tuple of pathlib.Path
        The settings file and those that it is based on.
    tree : ruamel.yaml.comments.CommentedMap
        All keys, with the tags of HyperPyYAML; references are not resolved.
    run_opts : speechbrain.utils.run_opts.RunOptions
        Device, precision and the like.
    command : tuple of str or None
        The command line that asked for the run; None: that of this process.
    """

    files: tuple[Path, ...]
    tree: CommentedMap
    run_opts: RunOptions
    command: tuple[str, ...] | None = None

    def override(self, overrides: Mapping[str, Any]) -> "Settings":
        """Put other values over some keys, whole: tags are replaced as well.

        Raises
        ------
        InputError
            There is no such key; the message suggests one.
        """
        tree = copy.deepcopy(self.tree)
        for key, value in overrides.items():
            if key not in tree:
                raise InputError(f"{key}: {suggest(key, list(tree))}")
            tree[key] = copy.deepcopy(value)
        return dataclasses.replace(self, tree=tree)

    def text(self) -> str:
        """Write the merged tree as the text of a settings file."""
        stream = io.StringIO()
        make_yaml().dump(self.tree, stream)
        return stream.getvalue()

    def load(self) -> dict[str, Any]:
        """Construct what the settings describe, in the order of the file.

        Modules that lie in the folder of a settings file, or above it where that is
        called ``hparams``, can be named in it.

        Raises
        ------
        InputError
            A value is out of range, a required one is missing, or a class fails.
        """
        check_settings(plain_tree(self.tree))
        add_module_folders(self.files)
        stream = io.StringIO(self.text())
        stream.name = str(self.files[-1])  # what !include: is relative to
        try:
            return load_hyperpyyaml(stream)
        except InputError:
            raise
        except Exception as error:  # whatever a class in the file raises
            message = str(error)
            if "PLACEHOLDER" in message:
                key = message.split("'")[1]
                raise InputError(f"{key} is not set; add: --{key} VALUE") from None
            raise InputError(
                f"{self.files[0]}: {describe_error(error)}; check the classes and "
                "arguments in this file"
            ) from error

    def identity(self) -> dict[str, Any]:
        """Return what a run is signed by, as far as the settings decide it.

        Returns
        -------
        dict
            ``settings``: the merged tree without `HOUSEKEEPING`, see `plain_tree`.
            ``options``: run options that change learning. ``sources``: digests of
            the code behind the named classes, see `source_digests`.
        """
        add_module_folders(self.files)
        given = self.run_opts.overridden_args
        settings = {
            key: value
            for key, value in plain_tree(self.tree).items()
            if key not in HOUSEKEEPING and not self._only_counts_epochs(key)
        }
        return {
            "settings": _without_all_layers(settings),
            "options": {k: self.run_opts[k] for k in LEARNING_OPTIONS if k in given},
            # what the corpus's parser makes is signed as data
            "sources": source_digests(
                named_classes({k: v for k, v in self.tree.items() if k != "corpus"})
            ),
        }

    def unread_keys(self, keys: Iterable[str]) -> list[str]:
        """Name those of some keys that no program, reference or own class reads."""
        known = READ_KEYS | set(RunOptions().keys()) | _references(self.tree)
        code = self._own_code()
        return [
            key
            for key in keys
            if not (key in known or key.startswith("_"))
            and not re.search(rf"\b{re.escape(key)}\b", code)
        ]

    def _only_counts_epochs(self, key: str) -> bool:
        """Whether a key is the number of epochs, and the epoch counter's alone.

        Then a run of 25 epochs begins as one of 20 does, and may go on from it.
        """
        if key != "number_of_epochs":
            return False
        others = {k: v for k, v in self.tree.items() if k not in (key, "epoch_counter")}
        return key not in _references(others) and key not in self._own_code()

    def _own_code(self) -> str:
        """Text of the user's own files behind the classes in the settings."""
        add_module_folders(self.files)
        files = own_files(named_classes(self.tree)).values()
        return "".join(file.read_text(encoding="utf-8") for file in files)


def read_settings(file: str | Path) -> tuple[tuple[Path, ...], CommentedMap]:
    """Read a settings file and those that it is based on.

    With ``based_on: other.yaml`` (relative to the file) a file holds only what
    differs from ``other.yaml``, and what it adds.

    Returns the files, this one first, and the merged tree. An `InputError` says that
    there is no such file, that it is no YAML, or that ``based_on`` leads in a circle.
    """
    files: list[Path] = []
    layers: list[CommentedMap] = []
    path: Path | None = Path(file)
    while path is not None:
        if path.resolve() in [seen.resolve() for seen in files]:
            raise InputError(f"{files[-1]}: {BASED_ON} leads in a circle; remove one")
        if files and not path.is_file():
            raise InputError(
                f"{path}: no such settings file; {BASED_ON} in {files[-1]} is relative "
                "to that file"
            )
        layers.append(read_tree(path))
        files.append(path)
        base = layers[-1].pop(BASED_ON, None)
        path = None if base is None else path.parent / str(base)
    tree = layers.pop()
    while layers:
        # assigned, not updated: the old value's tag must go with it
        for key, value in layers.pop().items():
            tree[key] = value
    return tuple(files), tree


def plain_tree(node: Any) -> Any:
    """Turn a tree of ruamel.yaml into plain values, tags kept as text.

    Returns
    -------
    object
        A tagged mapping or list becomes ``{"tag": ..., "value": ...}``, a tagged
        scalar the text ``"!ref <lr>"``.

    Example
    -------
    >>> tree = ruamel.yaml.YAML().load("a: !new:dict {b: !ref <c>}")
    >>> plain_tree(tree)
    {'a': {'tag': '!new:dict', 'value': {'b': '!ref <c>'}}}
    """
    tag = _tag(node)
    if isinstance(node, TaggedScalar):
        return f"{tag} {node.value}".strip() if tag else node.value
    if isinstance(node, Mapping):
        value: Any = {str(key): plain_tree(item) for key, item in node.items()}
    elif isinstance(node, (list, tuple)):
        value = [plain_tree(item) for item in node]
    elif isinstance(node, bool) or node is None:
        return node
    else:
        kinds = [kind for kind in (int, float, str) if isinstance(node, kind)]
        return kinds[0](node) if kinds else str(node)
    return {"tag": tag, "value": value} if tag else value


def named_classes(tree: Any) -> list[str]:
    """List the dotted names of all classes and functions in a tree, sorted."""
    names = set()
    for text in _tags(tree):
        kind, _, name = text.partition(":")
        if kind in ("!new", "!name", "!apply", "!module") and name:
            names.add(name)
    return sorted(names)


def suggest(name: str, known: Sequence[str]) -> str:
    """Say that there is no such setting, and which one may have been meant."""
    close = difflib.get_close_matches(name, known, n=3)
    if close:
        return f"no such setting; did you mean {' or '.join(close)}?"
    return f"no such setting; the settings are: {', '.join(sorted(set(known)))}"


def add_module_folders(files: Sequence[Path]) -> None:
    """Let the modules beside settings files, and in their recipe's folder, be found."""
    for file in files:
        folder = file.resolve().parent
        for place in [folder] + [folder.parent] * (folder.name == "hparams"):
            if str(place) not in sys.path:
                sys.path.insert(0, str(place))


def make_yaml() -> ruamel.yaml.YAML:
    """Make the reader and writer of trees that keep tags and comments."""
    yaml = ruamel.yaml.YAML()
    yaml.width = 4096  # a folded line would end a comment elsewhere
    return yaml


def read_tree(
    path: Path, kind: str = "settings", content: str = "a mapping of settings"
) -> CommentedMap:
    """Read a YAML file of a ``kind``, with its tags; ``content`` is what it must be."""
    if not path.is_file():
        raise InputError(f"{path}: no such {kind} file")
    try:
        tree = make_yaml().load(path.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {describe_error(error)}") from None
    if not isinstance(tree, CommentedMap):
        raise InputError(f"{path}: {content} was expected")
    return tree


def _without_all_layers(settings: dict[str, Any]) -> dict[str, Any]:
    """Drop ``layers: all``: runs made before there was this setting stay the same."""
    if settings.get("layers") != "all":
        return settings
    kept = {key: value for key, value in settings.items() if key != "layers"}
    upstream = kept.get("upstream")
    if isinstance(upstream, dict) and isinstance(upstream.get("value"), dict):
        given = upstream["value"].items()
        own = {key: value for key, value in given if value != "!ref <layers>"}
        kept["upstream"] = {**upstream, "value": own}
    return kept


def _tag(node: Any) -> str:
    tag = getattr(node, "tag", None)
    value = getattr(tag, "value", None) or ""
    return value if value.startswith("!") and not value.startswith("!!") else ""


def _tags(node: Any) -> list[str]:
    found = [_tag(node)]
    items = node.values() if isinstance(node, Mapping) else ()
    for item in node if isinstance(node, (list, tuple)) else items:
        found += _tags(item)
    return [tag for tag in found if tag]


def closure(tree: Mapping[str, Any], keys: Iterable[str]) -> set[str]:
    """Top-level keys that some of them need: themselves, and all that they refer to.

    Example
    -------
    >>> tree = make_yaml().load("{a: !ref <b>, b: !ref <c>, c: 1, d: 2}")
    >>> sorted(closure(tree, ["a"]))
    ['a', 'b', 'c']
    """
    found: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in tree and key not in found:
            found.add(key)
            waiting += _references(tree[key])
    return found


def _references(node: Any) -> set[str]:
    """Top-level keys that a tree refers to: ``<lr>``, ``<a.b>`` and ``<a[b]>``."""
    found: set[str] = set()
    if isinstance(node, TaggedScalar):
        found |= set(re.findall(r"<([^<>.\[\]]+)[^<>]*>", str(node.value)))
    items = node.values() if isinstance(node, Mapping) else ()
    for item in node if isinstance(node, (list, tuple)) else items:
        found |= _references(item)
    return found
