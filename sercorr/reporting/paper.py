"""The paper's Table 1, to be shown beside our own numbers.

Kakouros, Stafylakis, Mošner and Burget, ICASSP 2023, Table 1: percent accuracy on
IEMOCAP, mean and standard deviation over the five test sessions. The caption calls
it unweighted accuracy; what the paper's set-up computes is the plain fraction of
utterances that are right, our ``wa``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UPSTREAMS = (
    "facebook/hubert-large-ll60k",
    "facebook/wav2vec2-large-lv60",
    "microsoft/wavlm-large",
)
_COMMON = {
    "projection_size": 256,
    "batch_size": 32,
    "lr": 1e-4,
    "number_of_epochs": 30,
    "updates_per_epoch": 1000,
}


@dataclass(frozen=True)
class _Row:
    """One row: its name, what a run must have, what it should have, its numbers."""

    name: str
    required: Mapping[str, Any]
    expected: Mapping[str, Any]
    accuracies: tuple[tuple[float, float], ...]  # (mean, std), ordered as _UPSTREAMS


_PLAIN = {"channel_dropout": 0.0, "label_smoothing": 0.0}
_ATTENTIVE = {"n_heads": 4, "channel_dropout": 0.25, "label_smoothing": 0.25}
_TABLE_1 = (
    _Row(
        "mean",
        {"pooling": "mean"},
        _PLAIN,
        ((65.73, 2.73), (66.86, 1.76), (69.44, 1.53)),
    ),
    _Row(
        "mean-std",
        {"pooling": "mean_std"},
        _PLAIN,
        ((69.15, 1.61), (69.92, 1.17), (72.56, 1.67)),
    ),
    _Row(
        "corr (p_d = 0)",
        {"pooling": "corr", "channel_dropout": 0.0},
        {},
        ((69.82, 1.35), (68.44, 1.85), (72.34, 1.54)),
    ),
    _Row(
        "corr (p_d = 0.25)",
        {"pooling": "corr", "channel_dropout": 0.25},
        {},
        ((69.72, 1.19), (67.85, 1.84), (72.27, 1.45)),
    ),
    _Row(
        "corr attentive",
        {"pooling": "attentive_corr"},
        _ATTENTIVE,
        ((73.86, 2.10), (70.01, 2.20), (75.60, 2.33)),
    ),
)


@dataclass(frozen=True)
class PaperResult:
    """A number of Table 1.

    Arguments
    ---------
    row : str
        The table's name for the pooling.
    mean, std : float
        Percent accuracy over the five test sessions.
    differences : tuple of str
        Settings in which the run is not the paper's, as ``n_heads 16 (paper: 4)``.
    """

    row: str
    mean: float
    std: float
    differences: tuple[str, ...]


def paper_result(settings: Mapping[str, Any] | None) -> PaperResult | None:
    """Find the number of Table 1 that a run can be compared with.

    Arguments
    ---------
    settings : mapping or None
        The run's settings, named as in ``hparams/train.yaml``. The upstream is
        known by its hub name only: a local folder may hold any weights.

    Returns
    -------
    PaperResult or None
        None if the table has no such upstream and pooling (with correlation pooling
        without attention, also no such channel dropout).

    Example
    -------
    >>> settings = {"upstream_source": "microsoft/wavlm-large", "n_heads": 16}
    >>> result = paper_result({**settings, "pooling": "attentive_corr"})
    >>> result.mean, result.std, result.differences
    (75.6, 2.33, ('n_heads 16 (paper: 4)',))
    >>> paper_result({"upstream_source": "fbank", "pooling": "mean"}) is None
    True
    """
    settings = settings or {}
    if settings.get("upstream_source") not in _UPSTREAMS:
        return None
    column = _UPSTREAMS.index(settings["upstream_source"])
    for row in _TABLE_1:
        if all(settings.get(key) == value for key, value in row.required.items()):
            mean, std = row.accuracies[column]
            expected = {**row.expected, **_COMMON}
            differences = tuple(
                f"{key} {settings[key]} (paper: {value})"
                for key, value in expected.items()
                if settings.get(key, value) != value
            )
            return PaperResult(row.name, mean, std, differences)
    return None
