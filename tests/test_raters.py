"""Agreement with the raters: against SciPy, and against sets of classes by hand."""

import json

import numpy as np
import pytest
from scipy.stats import entropy

from sercorr.evaluation.raters import rater_agreement
from sercorr.evaluation.results import summarise, summarise_seeds, write_fold
from sercorr.evaluation.runs import read_heads

LABELS = ["neu", "hap", "ang", "sad"]


def random_clips(count: int, seed: int):
    """Votes of three or four raters, and probabilities."""
    generator = np.random.default_rng(seed)
    raters = generator.integers(3, 5, count)
    counts = [generator.multinomial(n, [0.4, 0.3, 0.2, 0.1]) for n in raters]
    votes = [dict(zip(LABELS, map(int, row), strict=True)) for row in counts]
    return votes, generator.dirichlet(np.ones(4), count)


def first_two(votes: dict[str, float]) -> set[str]:
    """The classes that at most one class beats, of those with a vote."""
    return {
        name
        for name, count in votes.items()
        if count > 0 and sum(other > count for other in votes.values()) < 2
    }


@pytest.mark.parametrize("seed", range(5))
def test_kl_is_scipys_and_top2_is_counted(seed):
    votes, probabilities = random_clips(50, seed)
    found = rater_agreement(votes, probabilities, LABELS)
    rows = np.array([[clip[name] for name in LABELS] for clip in votes])
    expected = [entropy(row, p) for row, p in zip(rows, probabilities, strict=True)]
    assert found["kl"] == pytest.approx(np.mean(expected))
    hits = [
        LABELS[int(p.argmax())] in first_two(clip)
        for clip, p in zip(votes, probabilities, strict=True)
    ]
    assert 0 < sum(hits) < 50
    assert found["top2"] == pytest.approx(100 * sum(hits) / 50)
    assert found["n"] == 50


@pytest.mark.parametrize(
    ("votes", "hits"),
    [
        ({"neu": 3}, "neu"),  # nobody chose a second class
        ({"neu": 2, "sad": 1}, "neu sad"),
        ({"neu": 2, "sad": 1, "hap": 1}, "neu sad hap"),  # a tie for the second place
        ({"neu": 1, "sad": 1, "hap": 1}, "neu sad hap"),  # a tie of all
        ({"neu": 2, "sad": 2, "hap": 1}, "neu sad"),
        ({"neu": 1, "fru": 5, "oth": 4}, "neu"),  # votes for other classes do not count
        ({"neu": 1 / 3 + 1 / 3 + 1 / 3, "sad": 1, "ang": 2}, "ang neu sad"),
        ({"neu": 0.1 + 0.2, "sad": 0.3, "ang": 0.4}, "ang neu sad"),  # 0.1 + 0.2 > 0.3
        ({"neu": 0.3, "sad": 0.1 + 0.2, "ang": 0.4}, "ang neu sad"),
    ],
)
def test_which_classes_are_among_the_first_two(votes, hits):
    for row, name in zip(np.eye(4), LABELS, strict=True):
        answer = 0.97 * row + 0.0075
        found = rater_agreement([votes], answer[None], LABELS)
        assert (found["top2"] == 100.0) == (name in hits.split())


def test_only_clips_with_a_vote_count():
    votes, probabilities = random_clips(20, 9)
    mixed = [*votes, None, {}, {"fru": 3}, {"neu": 0.0}]
    more = np.vstack([probabilities, np.full((4, 4), 0.25)])
    assert rater_agreement(mixed, more, LABELS) == rater_agreement(
        votes, probabilities, LABELS
    )
    assert rater_agreement(mixed[20:], more[20:], LABELS) is None


def test_what_must_not_matter_and_what_must():
    votes, probabilities = random_clips(30, 4)
    found = rater_agreement(votes, probabilities, LABELS)
    order = [2, 0, 3, 1]
    turned = rater_agreement(votes, probabilities[:, order], [LABELS[k] for k in order])
    assert turned == pytest.approx(found)
    doubled = [{name: 2 * count for name, count in clip.items()} for clip in votes]
    assert rater_agreement(doubled, probabilities, LABELS) == pytest.approx(found)
    shares = np.array([[clip[name] for name in LABELS] for clip in votes], dtype=float)
    shares /= shares.sum(axis=1, keepdims=True)
    same = rater_agreement(votes, shares, LABELS)
    assert (same["kl"], same["top2"]) == (pytest.approx(0), 100.0)


def test_a_probability_of_zero_is_no_infinity():
    found = rater_agreement([{"neu": 1}], np.array([[0.0, 1.0, 0, 0]]), LABELS)
    assert 700 < found["kl"] < 1000
    json.dumps(found, allow_nan=False)


def write(folder, fold: int, seed: int, voted: bool = True) -> dict:
    votes, probabilities = random_clips(12, seed)
    ids = [f"clip{n:02d}" for n in range(12)]
    clips = {id_: {"speaker": "S", "file": f"{id_}.wav"} for id_ in ids}
    if voted:
        for id_, clip in zip(ids[2:], votes[2:], strict=True):  # two have none
            clips[id_]["vote_counts"] = clip
    truth = [LABELS[n % 4] for n in range(12)]
    return write_fold(
        folder / f"fold_{fold}", fold, ids, truth, probabilities, LABELS, clips
    )


def test_a_fold_has_it_where_there_are_votes(tmp_path):
    votes, probabilities = random_clips(12, 3)
    metrics = write(tmp_path, 1, 3)
    expected = rater_agreement(votes[2:], probabilities[2:], LABELS)
    assert metrics["agreement"] == expected
    assert expected["n"] == 10
    assert json.loads((tmp_path / "fold_1/metrics.json").read_text()) == metrics
    plain = write(tmp_path, 2, 3, voted=False)
    assert "agreement" not in plain
    assert "kl" not in summarise([plain])["mean"]


def test_it_is_averaged_over_folds_and_seeds_as_the_rates_are(tmp_path):
    for seed in (1, 2):
        for fold in (1, 2, 3):
            write(tmp_path / f"seed_{seed}", fold, 10 * seed + fold)
    runs = read_heads(tmp_path)["."]
    joined = summarise_seeds(runs)
    values = [[fold["agreement"]["kl"] for fold in run.metrics] for run in runs]
    assert joined["mean"]["kl"] == pytest.approx(np.mean(values))
    assert joined["std"]["kl"] == pytest.approx(np.mean(np.std(values, axis=1)))
    over_seeds = np.std(np.mean(values, axis=1), ddof=1)
    assert joined["std_over_seeds"]["kl"] == pytest.approx(over_seeds)
    assert set(joined["mean"]) == {"wa", "ua", "macro_f1", "kl", "top2"}
    write(tmp_path / "seed_1", 2, 12, voted=False)  # over the folds that have it
    mean = summarise(read_heads(tmp_path)["."][0].metrics)["mean"]["kl"]
    assert mean == pytest.approx((values[0][0] + values[0][2]) / 2)
