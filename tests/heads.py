"""Random heads on an upstream, as a run would leave them. Nothing here is a test."""

import numpy as np
import torch
from clips import make_clips

from sercorr.inference.parts import ModelParts
from sercorr.inference.recognizer import EmotionRecognizer
from sercorr.lobes import EmotionHead, make_pooling

CLIPS = make_clips((16000, 9000, 720, 12345))
LABELS = ["neu", "hap", "ang", "sad"]


def random_parts(
    upstream, folds=(2, 5), pooling="attentive_corr", **changes
) -> ModelParts:
    """Make heads with a projection to 8 channels; ``changes`` are of `ModelParts`."""
    heads = []
    for fold in folds:
        torch.manual_seed(fold)
        made = make_pooling(pooling, 8, n_heads=2)
        sizes = (upstream.num_layers, upstream.output_size)
        heads.append(EmotionHead(*sizes, made, 4, 0.25, projection_size=8))
        for parameter in heads[-1].parameters():
            parameter.data.normal_(0, parameter.shape[-1] ** -0.5)
    metrics = [
        {"fold": f, "n": 10 * f, "wa": 50.0 + f, "ua": 40.0 + f, "macro_f1": 30.0 + f}
        for f in folds
    ]
    settings = {
        "corpus": {"tag": "!name:iemocap_prepare.read_iemocap", "value": {}},
        "fold_by": "group",
        "valid_ratio": 0.2,
        "valid_session": None,
    }
    given = {
        "name": "run",
        "labels": LABELS,
        "upstream": upstream,
        "heads": heads,
        "features": {"stored": "float16", "precision": "fp32"},
        "about": {
            "upstream_source": upstream.info.source,
            "upstream_revision": None,
            "folds": list(folds),
            "n_folds": 5,
            "metrics": metrics,
            "settings": settings,
        },
    }
    return ModelParts(**given | changes)


def answers(recognizer: EmotionRecognizer) -> np.ndarray:
    """Probabilities (clips, K) for `CLIPS`."""
    found = recognizer.answer([clip.numpy() for clip in CLIPS])
    return np.stack([answer.probabilities for answer in found])
