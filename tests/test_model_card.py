"""What an exported model's README.md says, and what the hub reads in it."""

from pathlib import Path

import huggingface_hub
import pytest
from heads import random_parts
from models import build_model

from sercorr.inference.model_card import model_card
from sercorr.lobes import Upstream


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny random upstream."""
    return build_model(tmp_path_factory.mktemp("m") / "tiny", "wavlm", "layer")


def test_the_model_card_says_how_good_it_is(model):
    card = huggingface_hub.ModelCard(model_card(random_parts(Upstream(model))))
    assert card.data.library_name == "sercorr"
    assert card.data.pipeline_tag == "audio-classification"
    assert "base_model" not in card.data.to_dict()  # a folder is none
    found = {
        e.metric_type: (e.dataset_name, e.metric_value) for e in card.data.eval_results
    }
    assert found == {
        "accuracy": ("iemocap", 53.5),
        "recall": ("iemocap", 43.5),
        "f1": ("iemocap", 33.5),
    }
    for row in (
        "| fold | test clips | WA % | UA % | macro F1 % |",
        "| 2 | 20 | 52.00 | 42.00 | 32.00 |",
        "| 5 | 50 | 55.00 | 45.00 | 35.00 |",
        "| mean | 70 | 53.50 | 43.50 | 33.50 |",
        "`neu`, `hap`, `ang`, `sad`.",
        "chosen by WA on 20 % of the other clips",
        "10.1109/ICASSP49357.2023.10094673",
    ):
        assert row in card.text
    assert str(model) not in card.content
    assert Upstream(model).info.digest in card.text


def test_the_model_card_names_an_upstream_of_the_hub(model):
    parts = random_parts(Upstream(model))
    about = {"upstream_source": "org/wavlm", "upstream_revision": "c" * 40}
    settings = {**parts.about["settings"], "valid_session": 3}
    about = {**parts.about, **about, "settings": settings}
    text = model_card(random_parts(Upstream(model), about=about))
    card = huggingface_hub.ModelCard(text)
    assert card.data.base_model == "org/wavlm"
    assert f"`org/wavlm` at revision `{'c' * 40}`" in text
    assert "chosen by WA on part 3 of the corpus" in text
    unknown = {**about, "metrics": [], "settings": {}, "folds": []}
    text = model_card(random_parts(Upstream(model), about=unknown))
    assert "no scores came with the head" in text
    assert huggingface_hub.ModelCard(text).data.eval_results is None


def test_the_model_card_says_on_whom_it_was_tested(model):
    parts = random_parts(Upstream(model))

    def card(settings: dict, **about) -> str:
        given = {**parts.about["settings"], **settings}
        return model_card(
            random_parts(
                Upstream(model), about={**parts.about, **about, "settings": given}
            )
        )

    counts = {"test": 4, "shared": 3, "unknown": 0}
    text = card(
        {"valid_by": "group", "select_by": "ua"},
        corpus="calls",
        speakers=[counts, {**counts, "shared": 4, "unknown": 7}],
    )
    assert "Corpus: calls, " in text
    assert "chosen by UA on the part of the corpus after the tested one" in text
    assert "**Speaker-dependent**: 3 of 4, 4 of 4 test speakers also train" in text
    assert "The speakers of 7 clips are unknown" in text
    other = card(
        {"valid_by": "speaker", "valid_ratio": 0.25},
        corpus="calls",
        test_corpus="emodb",
        speakers=[{"test": 4, "shared": 0, "unknown": 0, "same_names": 2}],
    )
    assert (
        "Corpus: calls, all of it but what validates; tested on another one, emodb"
        in (other)
    )
    assert "all clips of 25 % of the other speakers" in other
    assert "Some test speakers have names of training speakers" in other
    assert "Speaker-dependent" not in other
    results = huggingface_hub.ModelCard(other).data.eval_results
    assert {result.dataset_name for result in results} == {"emodb"}
