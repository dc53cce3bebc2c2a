"""Made-up results of speakers, with validation clips and manifests. No test is here."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from made_up_results import LABELS, make_run_json

from sercorr.evaluation.predictions import VALIDATION, write_predictions
from sercorr.evaluation.results import write_fold
from sercorr.evaluation.runs import Run, read_heads
from sercorr.files import json_digest

SPEAKERS = [f"Ses0{n}{letter}" for n in (1, 2, 3) for letter in "FM"]


def draw_answers(n: int, seed: int, sharper: float = 1.0):
    """Truth and probabilities (n, 4), calibrated where ``sharper`` is 1.

    Each clip's true class is drawn by its probabilities, before these are sharpened.
    """
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(n, 4)) * 1.5
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    truth = [LABELS[generator.choice(4, p=row)] for row in p]
    sharp = np.exp(sharper * scores)
    return truth, sharp / sharp.sum(axis=1, keepdims=True)


def write_spoken_run(
    folder: Path,
    *,
    seed: int = 0,
    sharper: float = 1.0,
    validation: bool = True,
    entry: Callable[[str, int], Mapping[str, Any]] | None = None,
    speakers: Mapping[str, str] | None = None,
    folds=(1, 2, 3),
    **settings: Any,
) -> None:
    """Write three folds of two speakers, with 12 to 15 clips each.

    ``entry`` gives what the manifest says of a clip beside its speaker, from its id and
    number; without it ``run.json`` does not name the manifests. ``speakers`` renames.
    True classes are the same for all seeds.
    """
    manifests: dict[int, dict[str, Any]] = {}
    for fold in folds:
        ids = [
            f"{speaker}_{n:02d}"
            for speaker in SPEAKERS[2 * fold - 2 : 2 * fold]
            for n in range(11 + fold)
        ]
        names = {id_: (speakers or {}).get(id_[:6], id_[:6]) for id_ in ids}
        clips = {id_: {"speaker": names[id_], "file": f"{id_}.wav"} for id_ in ids}
        truth, _ = draw_answers(len(ids), fold)
        p = answers_of(truth, 100 * seed + fold, sharper)
        path = folder / f"fold_{fold}"
        write_fold(path, fold, ids, truth, p, LABELS, clips)
        record = {**make_run_json(fold, 3, **settings), "tested": {"epoch": 3}}
        if validation:
            valid, p = draw_answers(60, 1000 + 100 * seed + fold, sharper)
            names_of_clips = [f"v{n:02d}" for n in range(60)]
            write_predictions(path / VALIDATION, names_of_clips, valid, p, LABELS)
        if entry is not None:
            manifests[fold] = {
                id_: {"speaker": names[id_], **entry(id_, n)}
                for n, id_ in enumerate(ids)
            }
            files = {"fold_1/test.json": "a digest"}
            record["manifests"] = json_digest(files)
            record["places"] = {"manifest_folder": str(folder / "manifests")}
            place = folder / "manifests" / f"fold_{fold}"
            place.mkdir(parents=True)
            (place / "test.json").write_text(json.dumps(manifests[fold]))
            (place.parent / "prepare.json").write_text(json.dumps({"files": files}))
        (path / "run.json").write_text(json.dumps(record))


def answers_of(truth: list[str], seed: int, sharper: float) -> np.ndarray:
    """Probabilities (n, 4) that tend to the true classes."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(len(truth), 4))
    scores += 1.2 * (np.array(truth)[:, None] == np.array(LABELS))
    p = np.exp(sharper * scores)
    return p / p.sum(axis=1, keepdims=True)


def read_runs(root: Path) -> list[Run]:
    """The runs of the only head below a folder."""
    (runs,) = read_heads(root).values()
    return runs
