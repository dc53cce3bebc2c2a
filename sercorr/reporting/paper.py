"""What a run is called, and the number of the paper's Table 1 that may stand beside it.

A run is known by the classes that its settings name. In the settings of a ``run.json``
a tagged mapping is ``{"tag": "!new:package.Class", "value": {...}}``, a tagged scalar
its text, such as ``!ref <lr>``.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from sercorr.evaluation.runs import settings_of

# The recipe's own classes, which are the paper's: key -> tag.
_WIRING = {
    "pooling_layer": "!apply:sercorr.lobes.make_pooling",
    "upstream": "!new:sercorr.lobes.Upstream",
    "head": "!new:sercorr.lobes.EmotionHead",
    "loss": "!name:torch.nn.functional.cross_entropy",
    "opt_class": "!name:torch.optim.Adam",
    "lr_annealing": "",
    "brain_class": "!name:sercorr.training.EmotionBrain",
}

_UPSTREAMS = (
    "facebook/hubert-large-ll60k",
    "facebook/wav2vec2-large-lv60",
    "microsoft/wavlm-large",
)
_LABELS = {"neu", "hap", "ang", "sad"}
_COMMON = {
    "layers": "all",
    "projection_size": 256,
    "batch_size": 32,
    "lr": 1e-4,
    "number_of_epochs": 30,
    "updates_per_epoch": 1000,
    "max_grad_norm": 1.0,
    "valid_ratio": 0.2,
    "valid_session": None,
    "valid_by": "random",
    "precision": "fp32",
    "class_weights": "none",
    "targets": "labels",
    "select_by": "wa",
}
_PLAIN = {"channel_dropout": 0.0, "label_smoothing": 0.0}
_ATTENTIVE = {"n_heads": 4, "channel_dropout": 0.25, "label_smoothing": 0.25}

# Kakouros, Stafylakis, Mošner and Burget, ICASSP 2023, Table 1: name, what a run must
# have, what it should have, and for each of _UPSTREAMS the percent accuracy on IEMOCAP,
# mean and standard deviation over the five test sessions. The caption calls it
# unweighted accuracy; what the paper's set-up computes is our ``wa``.
# fmt: off
_TABLE_1: tuple[tuple[str, dict[str, Any], dict[str, Any], Any], ...] = (
    ("mean", {"pooling": "mean"}, _PLAIN,
     ((65.73, 2.73), (66.86, 1.76), (69.44, 1.53))),
    ("mean-std", {"pooling": "mean_std"}, _PLAIN,
     ((69.15, 1.61), (69.92, 1.17), (72.56, 1.67))),
    ("corr (p_d = 0)", {"pooling": "corr", "channel_dropout": 0.0}, {},
     ((69.82, 1.35), (68.44, 1.85), (72.34, 1.54))),
    ("corr (p_d = 0.25)", {"pooling": "corr", "channel_dropout": 0.25}, {},
     ((69.72, 1.19), (67.85, 1.84), (72.27, 1.45))),
    ("corr attentive", {"pooling": "attentive_corr"}, _ATTENTIVE,
     ((73.86, 2.10), (70.01, 2.20), (75.60, 2.33))),
)
# fmt: on


class PaperResult(NamedTuple):
    """A row of Table 1, and the settings in which a run is not the paper's."""

    row: str
    mean: float
    std: float
    differences: list[str]


def describe(record: Mapping[str, Any]) -> str:
    """Name what a run trained: its pooling, and every class that is not the recipe's.

    Example
    -------
    >>> settings = {"pooling_layer": {"tag": "!new:other.Pooling"},
    ...             "opt_class": "!name:torch.optim.SGD"}
    >>> describe({"identity": {"settings": settings}})
    'other.Pooling, opt_class torch.optim.SGD'
    """
    tree = settings_of(record)
    names = []
    for key, (tag, arguments) in _parts(tree).items():
        name = tag.partition(":")[2]
        if key == "pooling_layer":
            own = arguments.get("name") if tag == _WIRING[key] else None
            names.append(str(own or name))
        elif tag != _WIRING[key] and key in tree:
            names.append(f"{key} {name or tree[key]}")
    return ", ".join(filter(None, names))


def paper_result(record: Mapping[str, Any]) -> PaperResult | None:
    """Find the number of Table 1 that a run can be compared with, from its record.

    There is none if the run is not of IEMOCAP's four classes, one session tested at a
    time, if another corpus was tested, if it names another class than the recipe's for
    any part, or if the table has no such upstream and pooling (with correlation pooling
    without attention, also no such channel dropout). An upstream is known by its hub
    name only: a local folder may hold any weights.
    """
    tree, source = settings_of(record), record.get("upstream_source")
    parts, corpus = _parts(tree), _part(tree, tree.get("corpus"))[0]
    if (
        source not in _UPSTREAMS
        or not corpus.endswith("iemocap_prepare.read_iemocap")
        or set(record.get("labels", ())) != _LABELS
        or record.get("n_folds") != 5
        or "test_corpus" in record
        or tree.get("fold_by", "group") != "group"
        or any(parts[key][0] != tag for key, tag in _WIRING.items())
    ):
        return None
    used = used_settings(record)
    added = dict(record["identity"].get("options", {}))
    for key in ("loss", "opt_class"):
        given = parts[key][1].items()
        known = ("lr", "label_smoothing")
        added |= {f"{key} {k}": v for k, v in given if k not in known}
    for name, required, expected, numbers in _TABLE_1:
        if all(used.get(key) == value for key, value in required.items()):
            differences = [
                f"{key} {used[key]} (paper: {value})"
                for key, value in {**expected, **_COMMON}.items()
                if used.get(key, value) != value
            ]
            differences += [f"{key} {v} (paper: not set)" for key, v in added.items()]
            mean, std = numbers[_UPSTREAMS.index(source)]
            return PaperResult(name, mean, std, differences)
    return None


def used_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of a run as its parts really got them.

    Beside the settings file's keys there are those of the record itself, such as
    ``number_of_epochs``; over both stand the arguments of the head, the pooling layer,
    the loss and the optimiser, whatever the file's keys say.

    Example
    -------
    >>> loss = {"tag": "!name:torch.nn.functional.cross_entropy",
    ...         "value": {"label_smoothing": "!ref <p_l>"}}
    >>> tree = {"p_l": 0.15, "label_smoothing": 0.25, "loss": loss}
    >>> used_settings({"identity": {"settings": tree}})["label_smoothing"]
    0.15
    """
    tree = settings_of(record)
    parts = _parts(tree)
    identity = record.get("identity", {})
    features = identity.get("features", {})
    used = {key: _follow(tree, value) for key, value in tree.items()}
    used |= {**record, **features}
    for key in ("head", "loss", "opt_class", "pooling_layer"):
        used |= parts[key][1]
    used["pooling"] = parts["pooling_layer"][1].get("name")
    used["layers"] = identity.get("upstream", {}).get("layers", "all")
    return used


def _parts(tree: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Give the tag and the arguments of each part, as it is really wired.

    The head is the one that ``modules`` names, the pooling layer the head's own.
    """
    values = {key: tree.get(key) for key in _WIRING}
    modules = _follow(tree, tree.get("modules"))
    if isinstance(modules, Mapping) and "head" in modules:
        values["head"] = modules["head"]
    arguments = _part(tree, values["head"])[1]
    values["pooling_layer"] = arguments.get("pooling", values["pooling_layer"])
    return {key: _part(tree, value) for key, value in values.items()}


def _part(tree: Mapping[str, Any], value: Any) -> tuple[str, dict[str, Any]]:
    """Give a value's tag and its named arguments; both may be empty."""
    value = _follow(tree, value)
    if isinstance(value, str) and value[:1] == "!":
        return value.split()[0], {}
    if not isinstance(value, Mapping):
        return "", {}
    given = value.get("value")
    arguments = given.items() if isinstance(given, Mapping) else ()
    return value.get("tag", ""), {name: _follow(tree, arg) for name, arg in arguments}


def _follow(tree: Mapping[str, Any], value: Any) -> Any:
    """Follow references to whole keys; anything else is returned as it is."""
    for _ in tree:
        match = re.fullmatch(r"!ref <(\w+)>", value) if isinstance(value, str) else None
        if match is None or match[1] not in tree:
            break
        value = tree[match[1]]
    return value
