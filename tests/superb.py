"""Random emotion heads of transformers, as SUPERB published them. Nothing is a test."""

from pathlib import Path

import torch
from heads import LABELS
from models import build_model
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedModel,
)


def build_classifier(
    folder: Path, family: str, norm: str, base: Path | None = None, **changes
) -> Path:
    """Save a random `ForSequenceClassification` model with a weighted layer sum.

    Its upstream is that of the folder ``base``; ``changes`` go into its configuration.
    """
    base = base or build_model(folder.with_name(f"{folder.name}-base"), family, norm)
    settings = {
        "use_weighted_layer_sum": True,
        "classifier_proj_size": 24,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: index for index, label in enumerate(LABELS)},
    }
    config = AutoConfig.from_pretrained(base, **settings | changes)
    model = AutoModelForAudioClassification.from_pretrained(base, config=config)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("layer_weights", "projector", "classifier")):
                parameter.normal_(0, parameter.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    AutoFeatureExtractor.from_pretrained(base).save_pretrained(folder)
    return folder


@torch.inference_mode()
def probabilities(folder: Path, clip: torch.Tensor, last: bool = True) -> torch.Tensor:
    """Compute (K,) from the parts of a model, for one clip (N,).

    The last layer is `last_hidden_state`, or with ``last`` False what this
    installation's transformers returns as the last of the hidden states.
    """
    model: PreTrainedModel = AutoModelForAudioClassification.from_pretrained(folder)
    model.eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(clip.numpy(), sampling_rate=16000, return_tensors="pt")
    output = model.base_model(inputs.input_values, output_hidden_states=True)
    layers = list(output.hidden_states)
    if last:
        layers[-1] = output.last_hidden_state
    gammas = torch.softmax(model.layer_weights, 0)
    mixed = sum(g * layer[0] for g, layer in zip(gammas, layers, strict=True))
    pooled = model.projector(mixed).mean(0)
    return torch.softmax(model.classifier(pooled).double(), -1)
