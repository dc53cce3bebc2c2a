"""Which of several heads differ, and what may be claimed: for `render` and as JSON."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from sercorr.errors import InputError
from sercorr.evaluation.comparison import (
    COMPARABLE,
    EXACT_SPEAKERS,
    RANDOM_FLIPS,
    Estimate,
    confusion_rates,
    corrected_t_test,
    holm,
    sign_flip_test,
    smallest_p,
    speaker_bootstrap,
)
from sercorr.evaluation.intervals import DRAWS, FEWEST
from sercorr.evaluation.metrics import rate_name
from sercorr.evaluation.pairs import Head, Pair, pair_heads, read_head
from sercorr.evaluation.results import summarise_seeds
from sercorr.evaluation.runs import Run, heads_called
from sercorr.reporting.layout import Parts
from sercorr.reporting.remarks import run_remarks
from sercorr.reporting.tables import leading_rate

LEVEL = 0.05
TESTS = {
    "corrected_t": "folds x seeds: corrected t",
    "bootstrap": "speakers: bootstrap",
    "sign_flips": "speakers: sign flips",
}
"""Key in ``comparison.json`` -> what it resamples, and its name in tables."""

_NOTES = (
    "Differences are in points, first less second; CI: 95 % confidence interval, of "
    "one pair by itself.\n"
    "corrected t: would other training sets, the speakers tested with them, and other "
    "seeds agree? It decides, with Holm over the pairs.\n"
    "bootstrap, sign flips: would other speakers agree about these trained heads? A "
    f"claim for new speakers needs p < {LEVEL} of the sign flips as well, without Holm."
)


def compare_parts(
    heads: Mapping[str, Sequence[Run]],
    baseline: str | None = None,
    rate: str | None = None,
) -> tuple[Parts, dict[str, Any]]:
    """Compare every two heads of one corpus, or each with a baseline.

    Arguments
    ---------
    heads : mapping
        Name -> the runs of a head, one per seed; heads without runs are left out.
    baseline : str, optional
        A name, or its last parts (``mean`` for ``iemocap/mean``).
    rate : str, optional
        One of `COMPARABLE`; the leading one of the tables, if it is among these.

    Returns
    -------
    tuple
        What `render` takes, and what ``comparison.json`` holds: ``rate``, ``level``,
        ``heads`` (name -> corpus, mean) and ``pairs``, each with ``first``,
        ``second``, ``tests`` (each of `TESTS` that could be done), ``better`` (a name,
        or None: not apart) and ``sentence``.

    Raises
    ------
    InputError
        There are no two heads of one corpus, or two are of other clips, labels,
        classes or manifests; the baseline or the rate is unknown.
    """
    if rate is not None and rate not in COMPARABLE:
        raise InputError(f"rate is {rate!r}; it must be one of {', '.join(COMPARABLE)}")
    rate = rate or leading_rate(heads)
    rate = rate if rate in COMPARABLE else "wa"
    known = {name: read_head(name, runs) for name, runs in heads.items() if runs}
    chosen = _choose(known, baseline)
    pairs = {
        (one, other): pair_heads(known[one], known[other], rate)
        for one, other in chosen
    }
    found = [
        _examine(known[one], known[other], pair, rate)
        for (one, other), pair in pairs.items()
    ]
    _adjust(found)
    for one in found:
        _conclude(one, rate, len(found))
    data = {
        "rate": rate,
        "level": LEVEL,
        "baseline": baseline,
        "heads": {
            name: {
                "corpus": head.corpus,
                "mean": summarise_seeds(head.runs)["mean"][rate],
            }
            for name, head in known.items()
        },
        "pairs": found,
    }
    unfinished = [name for name, runs in heads.items() if not runs]
    remarks = [f"{name}: No finished fold." for name in unfinished]
    return [
        "\n".join(one["sentence"] for one in found),
        [_rows(one) for one in found],
        "\n".join([_NOTES, *_draws(found)]),
        *remarks,
        *_remarks(known, pairs),
    ], data


def _choose(known: Mapping[str, Head], baseline: str | None) -> list[tuple[str, str]]:
    """Give the pairs of names that are compared."""
    corpora: dict[str, list[str]] = {}
    for name, head in known.items():
        corpora.setdefault(head.corpus, []).append(name)
    pairs: list[tuple[str, str]] = []
    found = baseline is None
    for corpus, names in corpora.items():
        if baseline is None:
            pairs += combinations(names, 2)
            continue
        bases = heads_called(names, baseline)
        found = found or bool(bases)
        if len(bases) > 1:
            raise InputError(
                f"baseline is {baseline!r}, which may be {' or '.join(bases)}; name "
                f"one of them{f', for {corpus}' if corpus else ''}"
            )
        pairs += [(name, base) for base in bases for name in names if name != base]
    if not found:
        raise InputError(
            f"baseline is {baseline!r}; it must be one of {', '.join(known)}"
        )
    if not pairs:
        about = "; ".join(
            f"{', '.join(names)} of {corpus or 'an unnamed corpus'}"
            for corpus, names in corpora.items()
        )
        raise InputError(
            f"there are no two heads of one corpus to compare (found {about}); name "
            "folders of at least two, with the same corpus and manifests"
        )
    return pairs


def _examine(first: Head, second: Head, pair: Pair, rate: str) -> dict[str, Any]:
    """Do the tests that can be done with a pair."""
    cells = (pair.rates[0] - pair.rates[1]).ravel()
    tests: dict[str, Estimate] = {}
    missing = {}
    if cells.size < 2:
        missing["corrected_t"] = "one fold and one seed"
    elif pair.test_by_train is None:
        missing["corrected_t"] = "nobody knows how many clips were trained on"
    else:
        tests["corrected_t"] = corrected_t_test(cells, pair.test_by_train)
    size = len(pair.speakers)
    if not size:
        missing["bootstrap"] = missing["sign_flips"] = "some speakers are unknown"
    else:
        each = [confusion_rates(c, rate).mean(axis=0) for c in pair.confusions]
        tests["sign_flips"] = sign_flip_test(each[0] - each[1])
        if size >= FEWEST:
            tests["bootstrap"] = speaker_bootstrap(*pair.confusions, rate)
        else:
            missing["bootstrap"] = f"fewer than {FEWEST} speakers"
    shared = any(
        record.get("speakers", {}).get("shared")
        for run in (*first.runs, *second.runs)
        for record in run.records.values()
    )
    return {
        "first": first.name,
        "second": second.name,
        "corpus": first.corpus,
        "folds": pair.folds,
        "seeds": pair.seeds,
        "clips": pair.clips,
        "speakers": size or None,
        "speaker_dependent": shared,
        "test_by_train": pair.test_by_train,
        "differing_settings": pair.differing,
        "difference": float(cells.mean()),
        "tests": {
            name: tests[name]._asdict() | {"p_holm": None}
            for name in TESTS
            if name in tests
        },
        "missing": missing,
    }


def _adjust(found: Sequence[dict[str, Any]]) -> None:
    """Add Holm's p over all pairs, for each test."""
    for name in TESTS:
        done = [one["tests"][name] for one in found if name in one["tests"]]
        adjusted = holm([test["p"] for test in done])
        for test, p in zip(done, adjusted, strict=True):
            test["p_holm"] = p


def _conclude(one: dict[str, Any], rate: str, n_pairs: int) -> None:
    """Add what may be claimed: ``better`` and ``sentence``."""
    first, second, tests = one["first"], one["second"], one["tests"]
    decides, flips = tests.get("corrected_t"), tests.get("sign_flips")
    names, size = f"{first} and {second}", one["speakers"]
    one["better"] = None
    if flips:
        by_speakers = f"sign flips over {size} speakers, p {_is(flips['p'])}"
        if smallest_p(size) >= LEVEL:
            by_speakers += ", the smallest p that so few can give"
    if decides is None:
        one["sentence"] = (
            f"{names}: nothing can be claimed of the systems "
            f"({one['missing']['corrected_t']}; {one['difference']:+.2f} points "
            f"{rate_name(rate)})."
        )
        if flips:
            one["sentence"] += f" Of these two trained heads alone: {by_speakers}."
        return
    interval = "no interval: all differences are the same"
    if decides["low"] is not None:
        interval = f"95 % CI {decides['low']:.2f} to {decides['high']:.2f}"
    p = f"p {_is(decides['p_holm'])}"
    if n_pairs > 1:
        p += f", Holm over {n_pairs} pairs"
    if decides["p_holm"] < LEVEL and (flips is None or flips["p"] < LEVEL):
        better, worse = (first, second) if one["difference"] > 0 else (second, first)
        if one["difference"] < 0:
            interval = f"95 % CI {-decides['high']:.2f} to {-decides['low']:.2f}"
        one["better"] = better
        one["sentence"] = (
            f"{better} is better than {worse} by {abs(one['difference']):.2f} points "
            f"{rate_name(rate)} ({interval}) {_scope(one)}, {p}."
        )
        return
    one["sentence"] = (
        f"{names}: not apart ({one['difference']:+.2f} points {rate_name(rate)}, "
        f"{interval}, {p}"
    )
    if decides["p_holm"] < LEVEL and flips:
        one["sentence"] += f"; but {by_speakers}"
    one["sentence"] += ")."


def _scope(one: Mapping[str, Any]) -> str:
    """Say for whom a claim holds."""
    who = "for new speakers"
    if one["speaker_dependent"]:
        who = "for speakers heard in training"
    elif not one["speakers"]:
        who = "for new clips (speakers unknown: perhaps not for new ones)"
    if len(one["folds"]) == 1:
        who += " and this one training set"
    return who


def _rows(one: Mapping[str, Any]) -> list[dict[str, str]]:
    """Lay one pair out: a row for each test."""
    rows: list[dict[str, str]] = []
    for key, name in TESTS.items():
        row = {"pair": "" if rows else f"{one['first']} - {one['second']}"}
        row |= {"over": name}
        if test := one["tests"].get(key):
            row["difference"] = f"{test['difference']:+.2f}"
            known = test["low"] is not None
            row["95 % CI"] = "-"
            if known:
                row["95 % CI"] = f"{test['low']:+.2f} to {test['high']:+.2f}"
            row |= {"p": _p(test["p"]), "p, Holm": _p(test["p_holm"])}
            row["verdict"] = ""
        else:
            row |= dict.fromkeys(("difference", "95 % CI", "p", "p, Holm"), "-")
            row["verdict"] = f"not done: {one['missing'][key]}"
        if key == "corrected_t" and test:
            row["verdict"] = f"{one['better']} better" if one["better"] else "not apart"
        rows.append(row)
    return rows


def _draws(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how p was found where it was drawn, or cannot be small."""
    sizes = {one["speakers"] for one in found if one["speakers"]}
    said = []
    if any(size >= FEWEST for size in sizes):
        said.append(f"bootstrap: {DRAWS} draws, expanded percentile interval.")
    for size in sorted(sizes):
        how = f"all 2^{size}" if size <= EXACT_SPEAKERS else f"{RANDOM_FLIPS} random"
        said.append(
            f"sign flips of {size} speakers: {how}; p cannot be under "
            f"{smallest_p(size):.2g}."
        )
    return said


def _remarks(
    known: Mapping[str, Head], pairs: Mapping[tuple[str, str], Pair]
) -> list[str]:
    """Say what the numbers do not show; what holds for several pairs is said once."""
    of_heads: dict[str, list[str]] = {}
    of_pairs: dict[str, list[str]] = {}
    compared = {name for names in pairs for name in names}
    for name, head in known.items():
        for run in head.runs if name in compared else ():
            for remark in run_remarks(run):
                of_heads.setdefault(remark, []).append(name)
    for (one, other), pair in pairs.items():
        said = list(pair.left_out)
        if pair.seeds is None:
            said.append(
                "No seed in common: the means over each head's seeds were compared, "
                "the t-test is over folds."
            )
        if not pair.counted and pair.test_by_train is not None:
            said.append(
                "The runs did not count their training clips: all clips that are not "
                "tested were taken for them, so p of the t-test may be a little small."
            )
        if pair.differing:
            said.append(
                f"Other settings than the pooling differ: {', '.join(pair.differing)}."
            )
        for remark in said:
            of_pairs.setdefault(remark, []).append(f"{one} - {other}")
    alone = [name for name in known if name not in compared]
    remarks = [f"Not compared: {', '.join(alone)}."] if alone else []
    corpora = {head.corpus for head in known.values()}
    if len(corpora) > 1:
        remarks.append("Only heads of one corpus are compared with one another.")
    for texts, whole in ((of_heads, len(compared)), (of_pairs, len(pairs))):
        for text, names in texts.items():
            listed = list(dict.fromkeys(names))
            who = "All" if len(listed) == whole > 1 else ", ".join(listed)
            remarks.append(f"{who}: {text}")
    return remarks


def _is(p: float) -> str:
    return f"= {_p(p)}" if p >= 0.001 else _p(p).replace("<", "< ")


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "<0.001"
