"""How far raters agree: Fleiss' kappa, majorities, labels against votes."""

import csv
import itertools
import json

import numpy as np
import pytest
import soundfile

from sercorr.cli import make_parser
from sercorr.corpora.agreement import fleiss_kappa, summarise_votes
from sercorr.data.utterances import Utterance

# Fleiss (1971), Table 1: 30 patients, six psychiatrists each; depression, personality
# disorder, schizophrenia, neurosis, other. The paper gives kappa = 0.430.
FLEISS_1971 = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050
02031 00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040
10500 00006
""".split()


def raters(counts):
    """Make one vote per rater of numbers per category."""
    return [{str(k): 1.0} for k, count in enumerate(counts) for _ in range(count)]


def kappa_by_pairs(clips):
    """The definition, pair by pair and clip by clip."""
    agree, shares = [], []
    for clip in clips:
        categories = sorted({name for rater in clip for name in rater})
        if len(clip) > 1:
            pairs = [
                sum(first.get(name, 0) * second.get(name, 0) for name in categories)
                for first, second in itertools.permutations(clip, 2)
            ]
            agree.append(np.mean(pairs))
        if clip:
            shares.append(
                {name: np.mean([r.get(name, 0) for r in clip]) for name in categories}
            )
    names = {name for share in shares for name in share}
    chance = sum(np.mean([s.get(name, 0) for s in shares]) ** 2 for name in names)
    return (np.mean(agree) - chance) / (1 - chance)


def clip(name, counts, emotion="a", **more):
    return Utterance(name, f"{name}.wav", emotion, "p", 1, vote_counts=counts, **more)


def test_kappa_is_that_of_fleiss():
    table = [[int(count) for count in row] for row in FLEISS_1971]
    assert {sum(row) for row in table} == {6}
    assert len(table) == 30
    assert round(fleiss_kappa([raters(row) for row in table]), 3) == 0.430
    # by his own formulas (1), (3), (5) and (7)
    n = np.array(table, dtype=np.float64)
    chance = ((n.sum(0) / n.sum()) ** 2).sum()
    agreement = ((n**2).sum() - n.sum()) / (30 * 6 * 5)
    expected = (agreement - chance) / (1 - chance)
    found = fleiss_kappa([raters(row) for row in table])
    assert found == pytest.approx(expected, abs=1e-12)


def test_kappa_of_any_number_of_raters_is_that_of_the_pairs():
    rng = np.random.default_rng(0)
    clips = [raters(rng.integers(0, 4, 5)) for _ in range(40)]
    clips += [raters([0, 1, 0, 0, 0]), []]  # one rater, none
    for _ in range(20):  # raters who name several categories
        clips.append(
            [{"0": 0.5, "3": 0.5}, {"0": 1.0}, {"1": 1 / 3, "2": 1 / 3, "4": 1 / 3}]
        )
    assert len({len(clip) for clip in clips}) > 5
    found = fleiss_kappa(clips)
    assert found == pytest.approx(kappa_by_pairs(clips), abs=1e-12)
    assert fleiss_kappa(clips[::-1]) == pytest.approx(found, abs=1e-12)


def test_kappa_is_one_at_full_agreement_and_none_where_nothing_is_known():
    assert fleiss_kappa([raters([3, 0]), raters([0, 2])]) == pytest.approx(1)
    assert fleiss_kappa([raters([1, 0]), raters([0, 1])]) is None
    assert fleiss_kappa([raters([2, 0]), raters([3, 0])]) is None
    assert fleiss_kappa([]) is None


def test_labels_against_majorities():
    clips = [
        clip("1", {"a": 3, "b": 1}),
        clip("2", {"a": 2, "b": 2, "c": 1}),
        clip("3", {"b": 4, "a": 3}),
        clip("4", {"b": 1, "c": 1}),
        clip("5", {"a": 1}),
        clip("6", None),
        clip("7", {"a": 0}),
    ]
    found = summarise_votes(clips)
    assert found["clips"] == 5
    assert found["votes_per_clip"] == (4 + 5 + 7 + 2 + 1) / 5
    shares = [3 / 4, 2 / 5, 4 / 7, 1 / 2, 1]
    assert found["majority_share"] == pytest.approx(np.mean(shares), abs=1e-12)
    labels = [found[k] for k in ("label_first", "label_tied", "label_not_first")]
    assert labels == [2, 1, 2]
    expected = fleiss_kappa(
        [raters(row) for row in ([3, 1], [2, 2, 1], [3, 4], [0, 1, 1], [1])]
    )
    assert found["kappa"] == pytest.approx(expected, abs=1e-12)
    assert summarise_votes(clips[5:]) is None


def test_shares_have_no_kappa_unless_the_raters_are_known():
    counts = {"a": 1.5, "b": 0.5}
    found = summarise_votes([clip("1", counts), clip("2", {"a": 2})])
    assert found["kappa"] is None
    assert found["votes_per_clip"] is None
    assert found["majority_share"] == pytest.approx((0.75 + 1) / 2)
    votes = [["A"], ["A", "B"]]
    known = [clip("1", counts, votes=votes), clip("2", {"b": 2}, votes=[["B"], ["B"]])]
    ratings = [[{"A": 1}, {"A": 0.5, "B": 0.5}], [{"B": 1}, {"B": 1}]]
    expected = kappa_by_pairs(ratings)
    assert summarise_votes(known)["kappa"] == pytest.approx(expected, abs=1e-12)


def test_the_command_prints_and_writes_agreement(tmp_path, capsys):
    votes = {"a": (3, 1), "b": (2, 2), "c": (0, 4), "d": (4, 0)}
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "emotion", "speaker", "votes_glad", "votes_sad"])
        for i, (name, counts) in enumerate(votes.items()):
            soundfile.write(tmp_path / f"{name}.wav", np.full(16000, 0.1 * i), 16000)
            emotion = "sad" if name == "d" else "glad"
            writer.writerow([f"{name}.wav", emotion, name, *counts])
    words = ["corpus", str(tmp_path / "t.csv"), "--json", str(tmp_path / "t.json")]
    given = make_parser().parse_args(words)
    assert given.run(given) == 0
    text = capsys.readouterr().out
    kappa = kappa_by_pairs([raters(counts) for counts in votes.values()])
    assert f"Fleiss' kappa: {kappa:.3f} (4.0 raters a clip; 0 is chance)" in text
    assert "most frequent class, mean: 81.2 %" in text  # (75 + 50 + 100 + 100) / 4
    assert "what most raters chose: 25.0 %" in text
    assert "it shares the first place: 25.0 %; it does not: 50.0 %" in text
    found = json.loads((tmp_path / "t.json").read_text())["agreement"]
    assert found["kappa"] == pytest.approx(kappa, abs=1e-12)
