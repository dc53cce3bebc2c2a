"""The README.md of an exported model: what it is, how good, how to use it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCardData

from sercorr import __version__
from sercorr.evaluation.metrics import RATES, rate_name
from sercorr.inference.parts import ModelParts
from sercorr.lobes.described import describe_head

_HUB_METRICS = {"wa": "accuracy", "ua": "recall", "macro_f1": "f1"}

_POOLINGS = {
    "mean": "mean over time",
    "mean_std": "mean and standard deviation over time",
    "corr": "correlations between channels over time",
    "attentive_corr": "correlations between channels over time, weighted by attention",
    "mean_corr": "mean and correlations between channels over time",
    "attentive_stats": "mean and standard deviation over time, weighted by attention",
    "mhfa": "multi-head factorised attention over time",
    "log_cov": "logarithm of the covariance between channels over time",
}

_FOLDS = {
    "group": "each fold is tested on one part of the corpus (of IEMOCAP, a session "
    "with its two speakers) that it was not trained on",
    "speaker": "each fold is tested on speakers that it was not trained on",
    "official": "each fold is trained and tested as the corpus's own split says",
}

_USE = """\
## Use

With the Python package sercorr:

    sercorr predict CLIP.wav --model FOLDER_OR_HUB_NAME

or in Python:

    from sercorr.inference import EmotionRecognizer
    recognizer = EmotionRecognizer.from_pretrained("FOLDER_OR_HUB_NAME")
    for found in recognizer.predict(["a.wav", "b.wav"]):
        print(found.file, found.label, found.scores)

Loading it runs no code from this folder. Audio of any rate is read; the model hears
16 kHz, one channel.
"""

_USE_TRANSFORMERS = """\
## Use

    import soundfile
    from transformers import pipeline
    classifier = pipeline("audio-classification", model="FOLDER_OR_HUB_NAME")
    signal, rate = soundfile.read("clip.wav", dtype="float32")  # of one channel
    print(classifier({"raw": signal, "sampling_rate": rate}))

or, also for long recordings, with the Python package sercorr:

    sercorr predict CLIP.wav --model FOLDER_OR_HUB_NAME
"""

_LIMITS = """\
## Limits

- It gives every sound one of these labels: also silence, music, other emotions.
- The labels are what speakers were asked to act or what raters heard, not what a person
  feels. Expect lower scores than the table's on other speakers, languages, microphones,
  and on spontaneous speech if the corpus is acted.
- The probabilities are not calibrated: of answers with 0.9, fewer or more than nine in
  ten may be right.
- It is for research, not for decisions about people. At work and in education the
  European Union forbids most uses (Regulation 2024/1689, article 5).
- No licence is stated here: the recordings and the upstream have their own. Whoever
  publishes this model adds one above.

## Citation

    @inproceedings{kakouros2023speech,
      title = {Speech-based emotion recognition with self-supervised models using
               attentive channel-wise correlations and label smoothing},
      author = {Kakouros, Sofoklis and Stafylakis, Themos and Mo{\\v{s}}ner, Ladislav
                and Burget, Luk{\\'a}{\\v{s}}},
      booktitle = {Proceedings of ICASSP 2023},
      year = {2023},
      doi = {10.1109/ICASSP49357.2023.10094673}
    }
"""


def model_card(parts: ModelParts, transformers_note: str | None = None) -> str:
    """Write a model's card in Markdown, with the hub's YAML in front.

    Arguments
    ---------
    parts : ModelParts
        The model.
    transformers_note : str or None
        For a folder of transformers: how far its answers are from this package's.

    Returns
    -------
    str
        The same text for the same model.
    """
    about, info = parts.about, parts.upstream.info
    revision = about.get("upstream_revision")
    source = about.get("upstream_source") or info.source
    # of a folder, its name: its place is nobody else's business
    upstream = source if revision else Path(source).name
    layers = f"{info.num_layers} layers"
    if info.layers is not None:
        layers = f"layers {', '.join(map(str, info.layers))} alone, each"
    described = describe_head(parts.heads[0]) or {}
    pooling = described.get("pooling", "pooling of its own")
    title = f"Speech emotion recognition: {pooling} on {upstream}"
    sections = [
        f"---\n{_front_matter(parts, title, transformers_note is not None)}---\n",
        f"# {title}\n",
        f"Which of {len(parts.labels)} emotions a clip of speech sounds like: "
        f"{', '.join(f'`{label}`' for label in parts.labels)}.\n",
        f"- Upstream, frozen: `{upstream}`"
        + (f" at revision `{revision}`" if revision else "")
        + f" ({info.model_type}; {layers} of {info.output_size} channels; digest "
        f"`{info.digest}`)",
        "- Head: learned average of the layers, projection to "
        f"{described.get('projection_size')} channels, "
        f"{_POOLINGS.get(pooling, pooling)}, linear classifier",
        f"- Written by sercorr {__version__}; the paper is cited below\n",
        _USE if transformers_note is None else _USE_TRANSFORMERS,
        *([f"{transformers_note}\n"] if transformers_note else []),
        _results(parts),
        _LIMITS,
    ]
    return "\n".join(sections)


def _front_matter(parts: ModelParts, title: str, for_transformers: bool) -> str:
    """Give the YAML that the hub reads."""
    revision = parts.about.get("upstream_revision")
    metrics = parts.about.get("metrics") or []
    corpus = parts.about.get("test_corpus") or _corpus(parts.about)
    scores = [
        EvalResult(
            task_type="audio-classification",
            dataset_type=corpus,
            dataset_name=corpus,
            metric_type=kind,
            metric_name=RATES[rate][0],
            metric_value=round(float(np.mean([fold[rate] for fold in metrics])), 2),
        )
        for rate, kind in _HUB_METRICS.items()
        if metrics
    ]
    data = ModelCardData(
        library_name="transformers" if for_transformers else "sercorr",
        pipeline_tag="audio-classification",
        tags=["speech-emotion-recognition", parts.upstream.info.model_type],
        base_model=parts.about["upstream_source"] if revision else None,  # a hub name
        model_name=title if scores else None,
        eval_results=scores or None,
    )
    return data.to_yaml() + "\n"


def _results(parts: ModelParts) -> str:
    """Say what the heads were trained on and how they were tested."""
    about, settings = parts.about, parts.about.get("settings") or {}
    metrics = about.get("metrics") or []
    if not metrics:
        return (
            "## Training data and results\n\nNot known: no scores came with the head.\n"
        )
    other = about.get("test_corpus")
    tested = (
        f"{about.get('n_folds')} folds; "
        + _FOLDS.get(str(settings.get("fold_by")), "folds of its own")
        if other is None
        else f"all of it but what validates; tested on another one, {other}"
    )
    rate = rate_name(settings.get("select_by", "wa"))
    lines = [
        "## Training data and results\n",
        f"Corpus: {_corpus(about)}, {tested}. The epoch was chosen by {rate} on "
        f"{_validation(settings)}, the test clips were then classified once. WA is the "
        "share of clips that are right, UA the mean of the classes' recalls.\n",
        *_speakers(about),
        f"| fold | test clips | {' | '.join(name for name, _ in RATES.values())} |",
        "|---" * (2 + len(RATES)) + "|",
        *(_row(str(fold["fold"]), fold["n"], fold) for fold in metrics),
    ]
    if len(metrics) > 1:
        means = {
            rate: float(np.mean([fold[rate] for fold in metrics])) for rate in RATES
        }
        lines.append(_row("mean", sum(fold["n"] for fold in metrics), means))
        lines.append(
            "\nThe model averages the probabilities of these heads. The scores are of "
            "each head alone: all clips of the corpus were heard in training by one or "
            "another, so that the average cannot be tested on it."
        )
    return "\n".join(lines) + "\n"


def _row(name: str, clips: int, rates: Mapping[str, Any]) -> str:
    return (
        f"| {name} | {clips} | {' | '.join(f'{rates[rate]:.2f}' for rate in RATES)} |"
    )


def _validation(settings: Mapping[str, Any]) -> str:
    """Say what a run was validated on."""
    held_out = settings.get("valid_session")
    share = f"{100 * settings.get('valid_ratio', 0.2):g} %"
    drawn = {
        "speaker": f"all clips of {share} of the other speakers",
        "group": "the part of the corpus after the tested one",
    }.get(str(settings.get("valid_by")), f"{share} of the other clips")
    if held_out is not None:
        return f"part {held_out} of the corpus"
    if settings.get("fold_by") == "official":
        return f"the split's validation set or, where there is none, {drawn}"
    return drawn


def _speakers(about: Mapping[str, Any]) -> list[str]:
    """Say how far the tests were not of new speakers."""
    lines, counts = [], about.get("speakers") or []
    if any(count["shared"] for count in counts):
        shared = ", ".join(f"{one['shared']} of {one['test']}" for one in counts)
        lines.append(
            f"**Speaker-dependent**: {shared} test speakers also train or validate; "
            "expect less of other people.\n"
        )
    if any(count.get("same_names") for count in counts):
        lines.append("Some test speakers have names of training speakers.\n")
    if unknown := max((count["unknown"] for count in counts), default=0):
        lines.append(
            f"The speakers of {unknown} clips are unknown: they may also be among the "
            "others.\n"
        )
    return lines


def _corpus(about: Mapping[str, Any]) -> str:
    """Name the corpus; of old runs by its reader, ``!name:x.read_iemocap``."""
    if "corpus" in about:
        return str(about["corpus"])
    reader = (about.get("settings") or {}).get("corpus") or {}
    tag = reader.get("tag", "") if isinstance(reader, dict) else str(reader)
    return tag.rpartition(".")[2].removeprefix("read_") or "unknown"
