"""A small made-up cross-validation, and the page that it gives.

``python tests/made_up_results.py`` writes tests/assets/results.md again: look at
the difference before keeping it.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "assets" / "results.md"
LABELS = ["neu", "hap", "ang", "sad"]
SETTINGS = {
    "upstream_source": "microsoft/wavlm-large",
    "pooling": "attentive_corr",
    "n_heads": 16,
    "channel_dropout": 0.25,
    "label_smoothing": 0.25,
    "projection_size": 256,
    "seed": 1,
}


def make_predictions(fold: int) -> tuple[list[str], list[str], np.ndarray]:
    """Ids, truth and probabilities of a fold; fold 4 has no sad utterance."""
    generator = np.random.default_rng(fold)
    truth = [
        LABELS[index] for index in generator.integers(0, 3 if fold == 4 else 4, 40)
    ]
    scores = generator.normal(size=(40, 4))
    scores += 1.5 * (np.array(truth)[:, None] == np.array(LABELS))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    ids = [
        f"Ses0{fold}F_impro{number:02d}_F000" for number in generator.permutation(40)
    ]
    return ids, truth, probabilities


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


def make_run(folder: Path, folds=(1, 2, 3, 4, 5), n_layers: int = 5) -> None:
    """Write the files that a finished run leaves in its fold folders."""
    from sercorr.evaluation.results import write_fold

    for fold in folds:
        path = folder / f"fold_{fold}"
        ids, truth, probabilities = make_predictions(fold)
        write_fold(path, fold, ids, truth, probabilities, LABELS)
        weights = np.random.default_rng(fold).dirichlet(np.full(n_layers, 9.0))
        content = json.dumps({"weights": weights.tolist()})
        (path / "layer_weights.json").write_text(content)
        history = [make_record(epoch, fold) for epoch in (1, 2, 3)]
        (path / "history.json").write_text(json.dumps(history))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from sercorr.evaluation.results import write_results

    with tempfile.TemporaryDirectory() as name:
        make_run(Path(name))
        write_results(name, SETTINGS)
        GOLDEN.write_bytes((Path(name) / "results.md").read_bytes())
