"""The paper's Table 1, to be shown beside our own numbers.

Kakouros, Stafylakis, Mošner and Burget, ICASSP 2023, Table 1: percent accuracy on
IEMOCAP, mean and standard deviation over the five test sessions. The caption calls
it unweighted accuracy; what the paper's set-up computes is the plain fraction of
utterances that are right, our ``wa``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sercorr.evaluation.folders import settings_of
from sercorr.reporting.wiring import WIRING, arguments_of, as_wired, tag_of

_UPSTREAMS = (
    "facebook/hubert-large-ll60k",
    "facebook/wav2vec2-large-lv60",
    "microsoft/wavlm-large",
)
_LABELS = {"neu", "hap", "ang", "sad"}
_N_FOLDS = 5
_COMMON = {
    "projection_size": 256,
    "batch_size": 32,
    "lr": 1e-4,
    "number_of_epochs": 30,
    "updates_per_epoch": 1000,
    "max_grad_norm": 1.0,
    "valid_ratio": 0.2,
    "valid_session": None,
    "extract_precision": "fp32",
}
_PLAIN = {"channel_dropout": 0.0, "label_smoothing": 0.0}
_ATTENTIVE = {"n_heads": 4, "channel_dropout": 0.25, "label_smoothing": 0.25}


class _Row(NamedTuple):
    """One row: its name, what a run must have, what it should have, its numbers."""

    name: str
    required: Mapping[str, Any]
    expected: Mapping[str, Any]
    accuracies: tuple[tuple[float, float], ...]  # (mean, std), ordered as _UPSTREAMS


# fmt: off
_TABLE_1 = (
    _Row("mean", {"pooling": "mean"}, _PLAIN,
         ((65.73, 2.73), (66.86, 1.76), (69.44, 1.53))),
    _Row("mean-std", {"pooling": "mean_std"}, _PLAIN,
         ((69.15, 1.61), (69.92, 1.17), (72.56, 1.67))),
    _Row("corr (p_d = 0)", {"pooling": "corr", "channel_dropout": 0.0}, {},
         ((69.82, 1.35), (68.44, 1.85), (72.34, 1.54))),
    _Row("corr (p_d = 0.25)", {"pooling": "corr", "channel_dropout": 0.25}, {},
         ((69.72, 1.19), (67.85, 1.84), (72.27, 1.45))),
    _Row("corr attentive", {"pooling": "attentive_corr"}, _ATTENTIVE,
         ((73.86, 2.10), (70.01, 2.20), (75.60, 2.33))),
)
# fmt: on

# Arguments of the wired objects that are settings under another or the same name, and
# those that follow from other parts.
_AS_SETTINGS = {"name": "pooling"} | {
    key: key
    for key in (
        "n_heads",
        "projection_size",
        "channel_dropout",
        "label_smoothing",
        "lr",
    )
}
_FOLLOWING = {"num_layers", "input_size", "pooling", "n_classes", "source", "revision"}
_FOLLOWING |= {"save_path"}


class PaperResult(NamedTuple):
    """A number of Table 1.

    Arguments
    ---------
    row : str
        The table's name for the pooling.
    mean, std : float
        Percent accuracy over the five test sessions.
    differences : list of str
        Settings in which the run is not the paper's, as ``n_heads 16 (paper: 4)``.
    """

    row: str
    mean: float
    std: float
    differences: list[str]


def paper_result(record: Mapping[str, Any]) -> PaperResult | None:
    """Find the number of Table 1 that a run can be compared with.

    Arguments
    ---------
    record : mapping
        Content of a ``run.json``. The upstream is known by its hub name only: a local
        folder may hold any weights.

    Returns
    -------
    PaperResult or None
        None if the run is not of IEMOCAP's four classes in five folds, if it names
        another class than the recipe's for any part, or if the table has no such
        upstream and pooling (with correlation pooling without attention, also no such
        channel dropout).
    """
    tree = as_wired(settings_of(record))
    source = record.get("upstream_source")
    if (
        source not in _UPSTREAMS
        or not tag_of(tree, "corpus").endswith("iemocap_prepare.read_iemocap")
        or set(record.get("labels", ())) != _LABELS
        or record.get("n_folds") != _N_FOLDS
        or any(tag_of(tree, key) != tag for key, tag in WIRING.items())
    ):
        return None
    used, others = dict(tree), []
    for key in WIRING:
        for name, value in arguments_of(tree, key).items():
            if name in _AS_SETTINGS:
                used[_AS_SETTINGS[name]] = value
            elif name not in _FOLLOWING:
                others.append(f"{key} {name} {value} (paper: not set)")
    for row in _TABLE_1:
        if all(used.get(key) == value for key, value in row.required.items()):
            differences = [
                f"{key} {used[key]} (paper: {value})"
                for key, value in {**row.expected, **_COMMON}.items()
                if used.get(key, value) != value
            ]
            mean, std = row.accuracies[_UPSTREAMS.index(source)]
            return PaperResult(row.name, mean, std, differences + others)
    return None
