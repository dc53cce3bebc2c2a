"""Groups of test clips, their intervals over speakers, and the hardest clips."""

import csv
import json
import math
from collections import defaultdict

import numpy as np
import pytest
from made_up_results import LABELS
from scipy.stats import norm, t
from spoken_runs import SPEAKERS, read_runs, write_spoken_run

from sercorr.errors import InputError
from sercorr.evaluation.groups import (
    NOT_KNOWN,
    by_agreement,
    by_duration,
    by_trait,
    compare_groups,
    entries_of,
)
from sercorr.evaluation.hardest import most_confident_errors, rarest_successes
from sercorr.evaluation.intervals import bootstrap, expanded_interval, units_of
from sercorr.evaluation.pooled import pool_predictions
from sercorr.evaluation.results import write_fold
from sercorr.reporting.groups import group_parts
from sercorr.reporting.layout import render


def entry(id_: str, n: int) -> dict:
    """Gender by the speaker, style where known, 1 to 4 s, votes of two kinds."""
    known = {"style": "improvised" if n % 2 else "scripted"} if n % 5 else {}
    return {
        "duration": 1.0 + n % 4,
        "traits": {"gender": {"F": "female", "M": "male"}[id_[5]], **known},
        "vote_counts": {"sad": 3} if n % 3 else {"sad": 1, "fru": 1},
    }


@pytest.fixture
def two_seeds(tmp_path):
    for seed in (1, 2):
        write_spoken_run(tmp_path / f"seed_{seed}", seed=seed, entry=entry)
    return tmp_path


def rows_of_seeds(root):
    """Rows of each seed's predictions, with the fold and what the manifest says."""
    seeds = []
    for seed in (1, 2):
        rows = []
        for fold in (1, 2, 3):
            path = root / f"seed_{seed}/fold_{fold}/predictions.csv"
            with open(path, newline="") as file:
                found = list(csv.DictReader(file))
            # the manifest counts the clips in the order in which they were made
            made = sorted(
                (row["id"] for row in found),
                key=lambda id_: (SPEAKERS.index(id_[:6]), id_),
            )
            for row in found:
                n = made.index(row["id"])
                rows.append({**row, "fold": fold, **entry(row["id"], n)})
        seeds.append(rows)
    return seeds


def rate(rows):
    return 100 * sum(r["truth"] == r["prediction"] for r in rows) / len(rows)


# groups


def test_groups_are_those_of_plain_loops(two_seeds):
    runs, seeds = read_runs(two_seeds), rows_of_seeds(two_seeds)
    pooled = pool_predictions(runs)
    traits = by_trait(entries_of(runs, pooled))
    assert list(traits) == ["gender", "style"]
    for trait, names in traits.items():
        groups = {group.name: group for group in compare_groups(pooled, names)}
        words = {r["traits"].get(trait, NOT_KNOWN) for r in seeds[0]}
        assert set(groups) == words
        for word, group in groups.items():
            rates, recalls, differences = [], [], []
            for rows in seeds:
                inside = [r for r in rows if r["traits"].get(trait, NOT_KNOWN) == word]
                others = [
                    r
                    for r in rows
                    if r["traits"].get(trait, NOT_KNOWN) not in (word, NOT_KNOWN)
                ]
                rates.append(rate(inside))
                differences.append(rate(inside) - rate(others))
                recalls += [
                    rate([r for r in inside if r["truth"] == label]) for label in LABELS
                ]
            assert group.clips == len(inside)
            assert group.speakers == len({r["speaker"] for r in inside})
            assert group.wa == pytest.approx(np.mean(rates))
            assert group.ua == pytest.approx(np.mean(recalls))
            if word == NOT_KNOWN:
                assert group.difference is None
            else:
                assert group.difference == pytest.approx(np.mean(differences))
    assert list(groups)[-1] == NOT_KNOWN


def test_intervals_are_those_of_a_plain_loop(two_seeds):
    runs, seeds = read_runs(two_seeds), rows_of_seeds(two_seeds)
    pooled = pool_predictions(runs)
    names = by_trait(entries_of(runs, pooled))["style"]
    group = compare_groups(pooled, names)[1]
    assert group.name == "scripted"
    drawn = bootstrap(lambda times: times, 6)
    right, size = (np.zeros((2, 2, 6)) for _ in range(2))  # seed, in or out, speaker
    for seed, rows in enumerate(seeds):
        for row in rows:
            word = row["traits"].get("style")
            if word is not None:
                place = (seed, int(word != "scripted"), SPEAKERS.index(row["speaker"]))
                right[place] += row["truth"] == row["prediction"]
                size[place] += 1
    own, difference = [], []
    for times in drawn:
        rates = 100 * (right @ times) / (size @ times)
        own.append(rates[:, 0].mean())
        difference.append((rates[:, 0] - rates[:, 1]).mean())
    tail = norm.cdf(math.sqrt(6 / 5) * t.ppf(0.025, 5))
    for values, found in (
        (own, group.interval),
        (difference, group.difference_interval),
    ):
        expected = np.quantile(values, [tail, 1 - tail])
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        assert found[0] < np.mean(values) < found[1]
    assert compare_groups(pooled, names)[1] == group


def test_groups_of_few_speakers_have_no_interval(two_seeds):
    runs = read_runs(two_seeds)
    pooled = pool_predictions(runs)
    females, males = compare_groups(
        pooled, by_trait(entries_of(runs, pooled))["gender"]
    )
    assert (females.speakers, males.speakers) == (3, 3)
    assert females.interval is None
    assert females.difference_interval is None
    assert females.difference == pytest.approx(-males.difference)
    # five of six speakers: an interval, but not of the difference to the other one
    names = ["one" if s == "Ses01F" else "five" for s in pooled.speakers]
    five, one = compare_groups(pooled, names)
    assert five.interval is not None
    assert five.difference_interval is None
    assert one.interval is None


def test_ua_is_left_out_where_a_class_does_not_occur(two_seeds):
    pooled = pool_predictions(read_runs(two_seeds))
    sad = pooled.labels.index("sad")
    names = ["sad" if truth == sad else "others" for truth in pooled.truth]
    assert [group.ua for group in compare_groups(pooled, names)] == [None, None]
    (everything,) = compare_groups(pooled, ["all"] * len(names))
    assert everything.difference is None
    assert everything.ua is not None


def test_groups_by_duration_votes_and_order():
    seconds = [1, 2, 3, 4, 5, 6, 7, None]
    entries = [{"duration": s} if s else {} for s in seconds]
    names, order = by_duration(entries)
    edges = ["1.00 to 2.50 s", "2.50 to 4.00 s", "4.00 to 5.50 s", "5.50 to 7.00 s"]
    assert order == edges
    assert names == [edges[i] for i in (0, 0, 1, 1, 2, 3, 3)] + [NOT_KNOWN]
    assert by_duration([{"duration": 2.0}] * 3) == (["2.00 s"] * 3, ["2.00 s"])
    assert by_duration([{}]) == ([NOT_KNOWN], [])
    # the fifth of five equal ones falls out: two groups are left
    names, order = by_duration([{"duration": s} for s in (2, 2, 2, 2, 6)])
    assert set(names) <= set(order)
    votes = [{"a": 1 / 3, "b": 2 / 3}, {"a": 0.5, "b": 0.5}, {"a": 2.0}, {"a": 0.0}]
    found = by_agreement([{"vote_counts": counts} for counts in votes])
    assert found == ["a majority", "no majority", "all agree", NOT_KNOWN]


def test_manifests_that_are_gone_or_of_other_data_are_not_used(two_seeds):
    runs = read_runs(two_seeds)
    pooled = pool_predictions(runs)
    assert all(entries_of(runs, pooled))
    path = two_seeds / "seed_1/manifests/prepare.json"
    path.write_text(json.dumps({"files": {"fold_1/test.json": "another"}}))
    entries = entries_of(runs, pooled)
    assert [bool(e) for e in entries] == (pooled.seeds == 1).tolist()


def test_units_are_speakers_or_else_clips():
    speakers = ["b", "a", "unknown", "b", "unknown", "unknown"]
    units = units_of(speakers, ["1", "2", "3", "4", "3", "a"])
    assert units[0] == units[3]
    assert units[2] == units[4]
    assert len(set(units.tolist())) == 4
    # a clip that is called like a speaker is not that speaker
    assert units[5] != units[1]


def test_interval_widens_for_few_units():
    values = np.random.default_rng(0).normal(size=200_000)
    for n, tail in ((5, 0.001), (10, 0.0086), (1000, 0.025)):
        expected = norm.ppf(tail)
        low, high = expanded_interval(values, n)
        assert low == pytest.approx(expected, abs=0.06)
        assert high == pytest.approx(-expected, abs=0.06)
    with_gaps = np.concatenate([values, [np.nan] * 10])
    assert expanded_interval(with_gaps, 10) == expanded_interval(values, 10)
    assert expanded_interval(values, 4) is None
    assert expanded_interval(np.array([np.nan]), 10) is None


def test_bootstrap_draws_as_many_as_there_are():
    drawn = bootstrap(lambda times: times, 3000, draws=3000)  # in several pieces
    assert drawn.shape == (3000, 3000)
    assert set(drawn.sum(axis=1)) == {3000.0}
    assert drawn.mean(axis=0).std() < 0.03
    np.testing.assert_array_equal(drawn, bootstrap(lambda times: times, 3000, 3000))


# page


def page_of(root):
    return render(group_parts(read_runs(root)), "text")


def test_page_has_a_table_for_each_grouping(two_seeds):
    parts = group_parts(read_runs(two_seeds))
    titles = [part for part in parts if isinstance(part, str) and part.endswith(":")]
    assert titles == [
        "By speaker:",
        "By gender:",
        "By style:",
        "By duration (quarters of the test clips):",
        "By raters' votes:",
    ]
    (rows,) = parts[parts.index("By style:") + 1]
    runs = read_runs(two_seeds)
    pooled = pool_predictions(runs)
    first = compare_groups(pooled, by_trait(entries_of(runs, pooled))["style"])[0]
    low, high = first.interval
    below, above = first.difference_interval
    assert rows[0] == {
        "style": "improvised",
        "clips": str(first.clips),
        "speakers": "6",
        "WA % (95 %)": f"{first.wa:.2f} ({low:.2f} to {high:.2f})",
        "UA %": f"{first.ua:.2f}",
        "less the others (95 %)": (
            f"{first.difference:+.2f} ({below:+.2f} to {above:+.2f})"
        ),
    }
    assert [row["style"] for row in rows] == ["improvised", "scripted", NOT_KNOWN]
    (votes,) = parts[parts.index("By raters' votes:") + 1]
    assert [row["raters' votes"] for row in votes] == ["all agree", "no majority"]
    text = render(parts, "text")
    assert "Means over 2 seeds." in text
    assert "bootstrap over 6 speakers" in text


def test_page_says_what_is_not_known(tmp_path):
    write_spoken_run(tmp_path / "a", folds=(1, 3))
    text = page_of(tmp_path / "a")
    assert text.count("By ") == 1
    assert "Of the answers nothing but the speaker is known: run.json does not" in text
    assert "Folds that are not finished are left out: 2." in text
    write_spoken_run(tmp_path / "b", entry=lambda id_, n: {"duration": 1.0 + n})
    text = page_of(tmp_path / "b")
    assert "By duration" in text
    assert "No raters' votes are known" in text
    assert "No traits are known" in text
    with pytest.raises(InputError, match="no finished fold"):
        group_parts([])


def test_page_of_many_words_and_unknown_speakers(tmp_path):
    write_spoken_run(
        tmp_path,
        entry=lambda id_, n: {"traits": {"sentence": str(n)}},
        speakers={"Ses02F": "unknown"},
    )
    text = page_of(tmp_path)
    assert "sentence: 28 different words are no groups." in text
    assert "bootstrap over 5 speakers" in text
    assert "Clips of unknown speakers are drawn one by one" in text
    lines = [line for line in text.splitlines() if line.startswith(NOT_KNOWN)]
    assert len(lines) == 1


def test_many_speakers_are_cut_to_both_ends(tmp_path, monkeypatch):
    from sercorr.reporting import groups

    write_spoken_run(tmp_path)
    monkeypatch.setattr(groups, "_MOST_SPEAKERS", 4)
    parts = group_parts(read_runs(tmp_path))
    assert parts[0] == "2 speakers with the lowest WA and 2 with the highest, of 6:"
    pooled = pool_predictions(read_runs(tmp_path))
    found = compare_groups(pooled, pooled.speakers.tolist())
    ranked = sorted(found, key=lambda group: (group.wa, group.name))
    shown = [row["speaker"] for row in parts[1][0]]
    assert shown == [group.name for group in (*ranked[:2], *ranked[-2:])]


# hardest clips


def test_hardest_clips_are_those_of_plain_loops(two_seeds):
    seeds = rows_of_seeds(two_seeds)
    said = defaultdict(list)
    alike = defaultdict(list)
    for rows in seeds:
        for row in rows:
            said[row["id"]].append(row)
            right = row["truth"] == row["prediction"]
            alike[row["truth"], row["speaker"]].append(right)
    errors, successes = [], []
    for id_, rows in said.items():
        mean = {k: sum(float(r[k]) for r in rows) / 2 for k in LABELS}
        best = max(mean, key=mean.__getitem__)
        truth = rows[0]["truth"]
        if best == truth:
            likely = np.mean(alike[truth, rows[0]["speaker"]])
            successes.append((likely, mean[best], id_))
        else:
            errors.append((-mean[best], id_))
    runs = read_runs(two_seeds)
    found = most_confident_errors(runs, 1000)
    assert [clip.id for clip in found] == [id_ for *_, id_ in sorted(errors)]
    for clip in found:
        both = [r["truth"] != r["prediction"] for r in said[clip.id]]
        assert clip.wrong == np.mean(both)
    assert {0.5, 1.0} <= {clip.wrong for clip in found}
    found = rarest_successes(runs, 7)
    assert [clip.id for clip in found] == [id_ for *_, id_ in sorted(successes)[:7]]
    first, rows = found[0], said[found[0].id]
    assert first.similar_right == pytest.approx(sorted(successes)[0][0])
    assert first.similar == len(alike[first.truth, first.speaker]) / 2
    assert first.probability == pytest.approx(sorted(successes)[0][1])
    assert first.probabilities == pytest.approx(
        {k: (float(rows[0][k]) + float(rows[1][k])) / 2 for k in LABELS}
    )
    assert (first.truth, first.speaker, first.file, first.fold) == (
        rows[0]["truth"],
        rows[0]["speaker"],
        rows[0]["file"],
        rows[0]["fold"],
    )


def test_a_tie_of_rounded_probabilities_is_what_the_file_says(tmp_path):
    write_spoken_run(tmp_path)
    ids, clip = ["a", "b"], {"speaker": "Ses01F", "file": "a.wav"}
    tie = [[0.4 - 1e-9, 0.4 + 1e-9, 0.1, 0.1], [0.4, 0.4, 0.1, 0.1]]
    clips = dict.fromkeys(ids, clip)
    write_fold(tmp_path / "fold_1", 1, ids, ["sad", "sad"], tie, LABELS, clips)
    found = {c.id: c.prediction for c in most_confident_errors(read_runs(tmp_path), 99)}
    assert (found["a"], found["b"]) == ("hap", "neu")


def test_unknown_speakers_are_no_speaker(tmp_path):
    write_spoken_run(tmp_path, speakers=dict.fromkeys(SPEAKERS, "unknown"))
    runs = read_runs(tmp_path)
    pooled = pool_predictions(runs)
    for clip in rarest_successes(runs, 5):
        rows = pooled.truth == LABELS.index(clip.truth)
        assert clip.similar == rows.sum()
        assert clip.similar_right == pytest.approx(pooled.right[rows].mean())
