"""What a run is called in tables: by the classes that its settings really name.

A settings tree is what ``run.json`` keeps: the YAML's keys before references are
resolved. A tagged mapping there is ``{"tag": "!new:package.Class", "value": {...}}``, a
tagged scalar is its text, such as ``!ref <lr>``.
"""

import re
from collections.abc import Mapping
from typing import Any

WIRING = {
    "upstream": "!new:sercorr.lobes.Upstream",
    "pooling_layer": "!apply:sercorr.lobes.make_pooling",
    "head": "!new:sercorr.lobes.EmotionHead",
    "loss": "!name:torch.nn.functional.cross_entropy",
    "opt_class": "!name:torch.optim.Adam",
    "lr_annealing": "",
    "brain_class": "!name:sercorr.training.EmotionBrain",
}
"""The recipe's own wiring, which is the paper's: key -> tag; none: no schedule."""


def resolve(tree: Mapping[str, Any], value: Any) -> Any:
    """Follow references to whole keys; anything else is returned as it is.

    Example
    -------
    >>> resolve({"lr": 0.1, "rate": "!ref <lr>"}, "!ref <rate>")
    0.1
    >>> resolve({}, "!ref <upstream.output_size>")
    '!ref <upstream.output_size>'
    """
    for _ in tree:
        match = re.fullmatch(r"!ref <(\w+)>", value) if isinstance(value, str) else None
        if match is None or match[1] not in tree:
            break
        value = tree[match[1]]
    return value


def tag_of(tree: Mapping[str, Any], key: str) -> str:
    """Give the tag under a key; empty if the key is missing or has none.

    Example
    -------
    >>> tag_of({"loss": {"tag": "!name:other.loss", "value": {}}}, "loss")
    '!name:other.loss'
    """
    value = resolve(tree, tree.get(key))
    if isinstance(value, Mapping):
        return str(value.get("tag", ""))
    return value.split()[0] if isinstance(value, str) and value[:1] == "!" else ""


def arguments_of(tree: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Give the named arguments of the object under a key, references resolved.

    Example
    -------
    >>> adam = {"tag": "!name:torch.optim.Adam", "value": {"lr": "!ref <lr>"}}
    >>> arguments_of({"lr": 0.1, "opt_class": adam}, "opt_class")
    {'lr': 0.1}
    """
    value = resolve(tree, tree.get(key))
    given = value.get("value") if isinstance(value, Mapping) else None
    if not isinstance(given, Mapping):
        return {}
    return {name: resolve(tree, argument) for name, argument in given.items()}


def as_wired(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Put the head that ``modules`` names, and its pooling, under their own keys.

    Example
    -------
    >>> head = {"tag": "!new:sercorr.lobes.EmotionHead",
    ...         "value": {"pooling": {"tag": "!new:other.Pooling", "value": {}}}}
    >>> as_wired({"pooling_layer": None, "modules": {"head": head}})["pooling_layer"]
    {'tag': '!new:other.Pooling', 'value': {}}
    """
    wired = dict(tree)
    modules = resolve(tree, tree.get("modules"))
    if isinstance(modules, Mapping) and "head" in modules:
        wired["head"] = resolve(tree, modules["head"])
    pooling = arguments_of(wired, "head").get("pooling")
    return wired if pooling is None else {**wired, "pooling_layer": pooling}


def describe(tree: Mapping[str, Any]) -> str:
    """Name what a run trained: its pooling, and every class that is not the recipe's.

    Example
    -------
    >>> pooling = {"tag": "!apply:sercorr.lobes.make_pooling",
    ...            "value": {"name": "!ref <pooling>"}}
    >>> describe({"pooling": "corr", "pooling_layer": pooling})
    'corr'
    >>> describe({"pooling": "corr", "pooling_layer": {"tag": "!new:other.Pooling"},
    ...           "opt_class": "!name:torch.optim.SGD"})
    'other.Pooling, opt_class torch.optim.SGD'
    """
    tree = as_wired(tree)
    parts: list[str] = []
    for key, tag in WIRING.items():
        found = tag_of(tree, key)
        other = found.partition(":")[2] or found
        if key == "pooling_layer":
            own = str(arguments_of(tree, key).get("name", tree.get("pooling", "")))
            parts.insert(0, own if found == tag else other)
        elif found != tag and key in tree:
            parts.append(f"{key} {other or tree[key]}")
    return ", ".join(part for part in parts if part)
