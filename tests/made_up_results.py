"""Small made-up cross-validations, and the page that one gives.

``python tests/made_up_results.py`` writes tests/assets/results.md again: look at
the difference before keeping it.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "assets" / "results.md"
LABELS = ["neu", "hap", "ang", "sad"]


def tagged(tag: str, **value: Any) -> dict[str, Any]:
    """A tagged mapping, as a record's settings hold it."""
    return {"tag": tag, "value": value}


SETTINGS = {
    "corpus": tagged("!name:iemocap_prepare.read_iemocap"),
    "labels": LABELS,
    "seed": 1,
    "upstream": tagged("!new:sercorr.lobes.Upstream", source="!ref <upstream_source>"),
    "pooling": "attentive_corr",
    "n_heads": 16,
    "projection_size": 256,
    "channel_dropout": 0.25,
    "label_smoothing": 0.25,
    "lr": 0.0001,
    "max_grad_norm": 1.0,
    "pooling_layer": tagged(
        "!apply:sercorr.lobes.make_pooling",
        name="!ref <pooling>",
        input_size="!ref <projection_size>",
        n_heads="!ref <n_heads>",
    ),
    "head": tagged(
        "!new:sercorr.lobes.EmotionHead",
        num_layers="!ref <upstream.num_layers>",
        pooling="!ref <pooling_layer>",
        channel_dropout="!ref <channel_dropout>",
    ),
    "modules": {"head": "!ref <head>"},
    "loss": tagged(
        "!name:torch.nn.functional.cross_entropy",
        label_smoothing="!ref <label_smoothing>",
    ),
    "opt_class": tagged("!name:torch.optim.Adam", lr="!ref <lr>"),
    "lr_annealing": None,
    "brain_class": "!name:sercorr.training.EmotionBrain",
}


def make_predictions(fold: int, seed: int = 0) -> tuple[list[str], list[str], Any]:
    """Ids, truth and probabilities of a fold; fold 4 has no sad utterance."""
    generator = np.random.default_rng(fold + 100 * seed)
    classes = LABELS[:3] if fold == 4 else LABELS
    truth = [classes[index] for index in generator.integers(0, len(classes), 40)]
    scores = generator.normal(size=(40, 4))
    scores += 1.5 * (np.array(truth)[:, None] == np.array(LABELS))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    ids = [f"Ses0{fold}F_impro{n:02d}_F000" for n in generator.permutation(40)]
    return ids, truth, probabilities


def make_clips(ids: list[str]) -> dict[str, dict[str, str]]:
    """What a test manifest says of each clip."""
    return {
        id_: {"speaker": id_[:6], "file": f"{{data_root}}/{id_}.wav", "emo": "neu"}
        for id_ in ids
    }


def make_record(epoch: int, fold: int = 1) -> dict[str, float]:
    """One epoch's record of a training history."""
    return {
        "epoch": epoch,
        "updates": 20 * epoch,
        "train_loss": 1.4 / epoch,
        "valid_loss": 1.2 / epoch + 0.02 * epoch,
        "valid_wa": 40.0 + 5 * epoch + fold,
        "valid_ua": 38.0 + 5 * epoch + fold,
        "lr": 1e-4,
        "seconds": 2.5,
    }


def make_run_json(fold: int, n_folds: int = 5, **settings: Any) -> dict[str, Any]:
    """What training records of a fold, as far as results read it."""
    return {
        "identity": {"settings": {"fold": fold, **SETTINGS, **settings}},
        "upstream_source": "microsoft/wavlm-large",
        "labels": LABELS,
        "fold": fold,
        "n_folds": n_folds,
        "number_of_epochs": 30,
        "tested": {"epoch": 3, "valid_wa": 55.0 + fold, "epochs": 30},
    }


def make_run(
    folder: Path, folds=(1, 2, 3, 4, 5), *, seed: int = 0, n_folds: int = 5, **settings
) -> None:
    """Write the files that a finished run leaves in its fold folders."""
    from sercorr.evaluation.results import write_fold

    for fold in folds:
        path = folder / f"fold_{fold}"
        ids, truth, probabilities = make_predictions(fold, seed)
        write_fold(path, fold, ids, truth, probabilities, LABELS, make_clips(ids))
        weights = np.random.default_rng(fold).dirichlet(np.full(5, 9.0)).tolist()
        for name, content in (
            ("layer_weights", {"weights": weights}),
            ("history", [make_record(epoch, fold) for epoch in (1, 2, 3)]),
            ("run", make_run_json(fold, n_folds, **settings)),
        ):
            (path / f"{name}.json").write_text(json.dumps(content))


def snapshot(folder: Path) -> dict[Path, bytes]:
    """All files below a folder, with their bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(text: str) -> dict[str, list[str]]:
    """Cells of each row that a page or a terminal's table has, by its first cell."""
    lines = [line.strip("| ") for line in text.splitlines()]
    return {cells[0]: cells for line in lines if (cells := re.split(r" \| |  +", line))}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from sercorr.reporting.report import report_folder

    with tempfile.TemporaryDirectory() as name:
        make_run(Path(name))
        report_folder(name)
        GOLDEN.write_bytes((Path(name) / "results.md").read_bytes())
