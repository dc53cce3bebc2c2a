"""Splits: whose clips are tested, which validate, what is refused."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sercorr.data.splits import (
    count_speakers,
    folds_of_speakers,
    make_splits,
    missing_classes,
)
from sercorr.data.utterances import UNKNOWN, Corpus, Utterance
from sercorr.errors import InputError

EMOTIONS = ("neu", "hap", "ang", "sad")


def make_corpus(groups: Sequence = (1, 2, 3, 4, 5), each: int = 8) -> Corpus:
    """A corpus with two speakers in each group and the emotions in turn."""
    clips = [
        Utterance(
            id=f"{group}_{'FM'[i % 2]}{i:02d}",
            wav=f"{group}/{i}.wav",
            emotion=EMOTIONS[i // 2 % 4],
            speaker=f"{group}{'FM'[i % 2]}",
            group=group,
        )
        for group in groups
        for i in range(each)
    ]
    return Corpus("Diary", "/data", clips)


def official(field: str, *of_groups: int | str) -> Corpus:
    clips = [
        replace(clip, **{field: of_groups[clip.group - 1]}) for clip in PLAIN.utterances
    ]
    return replace(PLAIN, utterances=clips)


PLAIN = make_corpus()
FOLDS = official("fold", 2, 1, 2, 1, 2)
SPLIT = official("split", "train", "train", "test", "test", "valid")
WITHOUT_VALID = official("split", "train", "train", "test", "test", "train")


def split(corpus: Corpus, **settings) -> dict[int, dict[str, list[str]]]:
    return make_splits(corpus, corpus.utterances, **{"n_folds": 5, **settings})


def values(corpus: Corpus, ids: list[str], name: str) -> set:
    return {getattr(clip, name) for clip in corpus.utterances if clip.id in ids}


def require_whole(corpus: Corpus, splits: dict[int, dict[str, list[str]]]) -> None:
    """Each fold's parts hold every clip once, no test speaker is heard before."""
    everything = sorted(clip.id for clip in corpus.utterances)
    for parts in splits.values():
        assert list(parts) == ["train", "valid", "test"]
        assert sorted(itertools.chain(*parts.values())) == everything
        assert all(ids == sorted(ids) for ids in parts.values())
        others = values(corpus, parts["train"] + parts["valid"], "speaker")
        assert not others & values(corpus, parts["test"], "speaker")
    tested = [parts["test"] for parts in splits.values()]
    assert sorted(itertools.chain(*tested)) == everything


@pytest.mark.parametrize("seed", [1234, 7])
def test_groups_are_tested_in_order_and_validation_is_drawn_from_sorted_ids(seed):
    corpus = make_corpus(range(8, 13))  # 8 to 12: not in the order of text
    splits = split(corpus, valid_ratio=0.3, split_seed=seed)
    require_whole(corpus, splits)
    for fold, parts in splits.items():
        assert values(corpus, parts["test"], "group") == {fold + 7}
        names = sorted(parts["train"] + parts["valid"])
        drawn = random.Random(f"{seed}/{fold}").sample(names, 10)  # 9.6, rounded
        assert parts["valid"] == sorted(drawn)


def test_the_draw_stays_what_it_was():
    """Results are compared over versions: these ids must never change."""
    splits = split(PLAIN)
    first, last = (" ".join(splits[fold]["valid"]) for fold in (1, 5))
    assert first == "2_F02 3_M03 4_M03 5_F04 5_F06 5_M05"
    assert last == "1_M03 2_F00 2_M01 2_M03 4_M01 4_M07"


def test_no_part_is_empty_whatever_the_share():
    for parts in split(PLAIN, valid_ratio=0.001).values():
        assert (len(parts["valid"]), len(parts["train"])) == (1, 31)
    with pytest.raises(InputError, match="fold 1 would train without a clip of ang, "):
        split(PLAIN, valid_ratio=0.999)


@pytest.mark.parametrize("fold_by", ["group", "speaker"])
def test_the_order_of_the_clips_does_not_matter(fold_by):
    shuffled = random.Random(0).sample(PLAIN.utterances, len(PLAIN.utterances))
    again = make_splits(PLAIN, shuffled, n_folds=5, fold_by=fold_by)
    assert again == split(PLAIN, fold_by=fold_by)


@pytest.mark.parametrize("groups", [(1, 2, 3), ("Ann", "Bob", "Cyd")])
def test_a_whole_group_for_validation_and_the_next_where_it_is_tested(groups):
    corpus = make_corpus(groups)
    for chosen, wanted in enumerate(groups):
        splits = split(corpus, n_folds=3, valid_session=wanted)
        require_whole(corpus, splits)
        for k, parts in enumerate(splits.values()):
            held_out = (k + 1) % 3 if k == chosen else chosen
            assert values(corpus, parts["valid"], "group") == {groups[held_out]}
            rest = set(groups) - {groups[k], groups[held_out]}
            assert values(corpus, parts["train"], "group") == rest


def test_every_fold_of_speakers_has_as_much_of_each_class():
    splits = split(PLAIN, fold_by="speaker", valid_session="2")
    require_whole(PLAIN, splits)
    for parts in splits.values():
        tested = [clip for clip in PLAIN.utterances if clip.id in parts["test"]]
        assert set(Counter(clip.emotion for clip in tested).values()) == {2}
        heard = values(PLAIN, parts["train"], "speaker")
        assert not heard & values(PLAIN, parts["valid"], "speaker")
    first, again, other = (
        split(PLAIN, fold_by="speaker", split_seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert any(other[fold]["test"] != first[fold]["test"] for fold in first)


def test_folds_of_unequal_speakers_are_even_and_none_is_empty():
    """Twelve speakers with many or few clips, each with classes of its own taste."""
    draw, clips = random.Random(0), []
    for speaker in range(12):
        weights = [draw.random() ** 3 for _ in EMOTIONS]
        emotions = draw.choices(EMOTIONS, weights, k=draw.randint(5, 60))
        for i, emotion in enumerate(emotions):
            clips.append(Utterance(f"{speaker}/{i}", "", emotion, f"s{speaker}", 1))
    speakers = sorted({clip.speaker for clip in clips})
    totals = Counter(clip.emotion for clip in clips)

    def unevenness(first: set[str]) -> float:
        own = Counter(clip.emotion for clip in clips if clip.speaker in first)
        return sum((own[name] / totals[name] - 0.5) ** 2 for name in totals)

    first, second = folds_of_speakers(clips, 2, seed=1)
    assert sorted(first + second) == speakers
    ways = itertools.product((False, True), repeat=12)
    every = sorted(unevenness(set(itertools.compress(speakers, way))) for way in ways)
    assert unevenness(set(first)) <= every[len(every) // 10]
    folds = folds_of_speakers(clips, 12, seed=1)
    assert sorted(folds) == sorted([f"s{k}"] for k in range(12))


def test_official_folds_and_splits():
    splits = split(FOLDS, n_folds=2, fold_by="official")
    require_whole(FOLDS, splits)
    tested = [values(FOLDS, splits[fold]["test"], "group") for fold in (1, 2)]
    assert tested == [{2, 4}, {1, 3, 5}]
    for corpus, train, valid in (
        (SPLIT, {1, 2}, {5}),
        (WITHOUT_VALID, {1, 2, 5}, {1, 2, 5}),
    ):
        (parts,) = split(corpus, n_folds=1, fold_by="official").values()
        groups = {part: values(corpus, ids, "group") for part, ids in parts.items()}
        assert groups == {"train": train, "valid": valid, "test": {3, 4}}
    assert len(parts["valid"]) == 5  # of 24, drawn


TWO = {"n_folds": 2}


@pytest.mark.parametrize(
    ("corpus", "settings", "message"),
    [
        (PLAIN, {"n_folds": 4}, r"n_folds is 4, but Diary has 5 sessions, .* "
         r"--n_folds 5, or --fold_by speaker for 4 folds of speakers"),
        (PLAIN, {"n_folds": 1, "fold_by": "speaker"}, r"n_folds is 1, .*at lea"),
        (PLAIN, {"n_folds": 11, "fold_by": "speaker"}, r"n_folds is 11, .* 10 s"),
        (PLAIN, {"fold_by": "session"}, r"'session'; it must be group, speaker"),
        (PLAIN, {"fold_by": "official"}, r"Diary has no official folds or split"),
        (FOLDS, {"fold_by": "official"}, r"5, but Diary has 2 official fol"),
        (SPLIT, {"fold_by": "official"}, r"5, but Diary has 1 official fol"),
        (PLAIN, {"valid_ratio": 0.0}, r"valid_ratio is 0\.0; .* between 0 and 1"),
        (PLAIN, {"valid_ratio": 1}, r"valid_ratio is 1; it must lie between"),
        (PLAIN, {"valid_ratio": float("nan")}, r"valid_ratio is nan"),
        (PLAIN, {"valid_ratio": "0.2"}, r"valid_ratio is '0\.2'"),
        (PLAIN, {"valid_by": "clip"}, r"valid_by is 'clip'; it must be one of rand"),
        (PLAIN, {"valid_session": 0}, r"is 0; it must be one of 1, 2, 3, 4, 5"),
        (PLAIN, {"valid_session": True}, r"is True; .* \(a session\), or none"),
        (make_corpus((1, 2)), {**TWO, "valid_session": 1}, r"fold 1 .*empty train set"),
        (make_corpus((1, 2), each=1), TWO, r"/data: fold 1 .* empty valid set"),
    ],
)  # fmt: skip
def test_what_the_corpus_does_not_offer(corpus, settings, message):
    with pytest.raises(InputError, match=message):
        split(corpus, **settings)


def test_a_fold_without_clips_to_test():
    for used in ([clip for clip in PLAIN.utterances if clip.group != 3], []):
        with pytest.raises(InputError, match=r"/data: fold \d .* no usable clip"):
            make_splits(PLAIN, used, n_folds=5)


def test_test_speakers_that_also_train_are_refused_and_counted():
    same = {"1F": "3F", "1M": "4M"}
    clips = [
        replace(clip, speaker=same.get(clip.speaker, clip.speaker))
        for clip in PLAIN.utterances
    ]
    message = r"fold 1: 2 of the 2 test speakers also stand in train \(the first is 3F"
    with pytest.raises(InputError, match=message):
        split(replace(PLAIN, utterances=clips))
    splits = split(replace(PLAIN, utterances=clips), allow_shared_speakers=True)
    by_id = {clip.id: clip for clip in clips}
    counted = [
        count_speakers({part: [by_id[i] for i in ids] for part, ids in parts.items()})
        for parts in splits.values()
    ]
    shared = [2, 0, 1, 1, 0]  # sessions 1 and 3, 1 and 4 have a speaker in common
    assert counted == [{"test": 2, "shared": n, "unknown": 0} for n in shared]


@pytest.mark.parametrize("fold_by", ["group", "speaker", "official"])
def test_validation_by_speakers_hears_none_of_the_others(fold_by):
    corpus = FOLDS if fold_by == "official" else PLAIN
    n_folds = {"n_folds": 2} if fold_by == "official" else {}
    splits = split(corpus, fold_by=fold_by, valid_by="speaker", **n_folds)
    require_whole(corpus, splits)
    for parts in splits.values():
        speakers = [values(corpus, ids, "speaker") for ids in parts.values()]
        assert len(set.union(*speakers)) == sum(map(len, speakers)) == 10
        valid = [clip for clip in corpus.utterances if clip.id in parts["valid"]]
        assert {clip.emotion for clip in valid} == set(EMOTIONS)
        share = len(valid) / (len(valid) + len(parts["train"]))
        assert 0.1 < share < 0.35
    other = split(corpus, fold_by=fold_by, valid_by="speaker", split_seed=7, **n_folds)
    assert any(other[k]["valid"] != splits[k]["valid"] for k in splits)


def test_validation_on_the_group_after_the_tested_one():
    splits = split(PLAIN, valid_by="group")
    require_whole(PLAIN, splits)
    held_out = [values(PLAIN, parts["valid"], "group") for parts in splits.values()]
    assert held_out == [{2}, {3}, {4}, {5}, {1}]
    official_folds = replace(  # as where each fold is a group, in another order
        PLAIN,
        utterances=[replace(clip, fold=6 - clip.group) for clip in PLAIN.utterances],
    )
    splits = split(official_folds, fold_by="official", valid_by="group")
    tested = [values(PLAIN, parts["test"], "group") for parts in splits.values()]
    held_out = [values(PLAIN, parts["valid"], "group") for parts in splits.values()]
    assert tested == [{5}, {4}, {3}, {2}, {1}]
    assert held_out == [{1}, {5}, {4}, {3}, {2}]


def with_unknown(count: int) -> Corpus:
    clips = [replace(clip, speaker=UNKNOWN) for clip in PLAIN.utterances[:count]]
    return replace(PLAIN, utterances=[*clips, *PLAIN.utterances[count:]])


def test_unknown_speakers_are_no_one_and_counted():
    corpus = with_unknown(10)  # eight of session 1, two of session 2
    splits = split(corpus)
    by_id = {clip.id: clip for clip in corpus.utterances}
    parts = {part: [by_id[i] for i in ids] for part, ids in splits[1].items()}
    assert count_speakers(parts) == {"test": 0, "shared": 0, "unknown": 10}
    with pytest.raises(InputError, match="the speaker of 10 clips is unknown, so"):
        split(corpus, fold_by="speaker")
    by_speaker = split(corpus, valid_by="speaker")
    assert UNKNOWN not in values(corpus, by_speaker[3]["valid"], "speaker")
    with pytest.raises(InputError, match="valid_by speaker: 0 known speakers are left"):
        split(with_unknown(40), valid_by="speaker")


def test_a_class_that_training_would_lack_is_named():
    rare = [
        replace(clip, emotion="sur") if clip.id.startswith("2_F") else clip
        for clip in PLAIN.utterances
    ]
    corpus = replace(PLAIN, utterances=rare)
    with pytest.raises(InputError, match="fold 2 would train without a clip of sur;"):
        split(corpus)
    with pytest.raises(InputError, match="fold 1 would train without a clip of sur;"):
        split(corpus, valid_by="group")
    common = [
        replace(clip, emotion="sur")
        if clip.id[2:5] == "F00" and clip.group < 5
        else clip
        for clip in PLAIN.utterances
    ]
    corpus = replace(PLAIN, utterances=common)
    splits = split(corpus)
    by_id = {clip.id: clip for clip in common}
    assert missing_classes(splits, by_id, [*EMOTIONS, "sur"]) == [
        "fold 5 tests no clip of sur; means over classes leave them out there"
    ]


def test_clips_without_their_official_place_are_refused():
    clips = [replace(clip, fold=None) for clip in FOLDS.utterances[:3]]
    corpus = replace(FOLDS, utterances=[*clips, *FOLDS.utterances[3:]])
    with pytest.raises(InputError, match=r"3 clips have no official fold or split \("):
        split(corpus, n_folds=2, fold_by="official")


def test_another_corpus_is_tested_in_the_only_fold():
    others = [replace(c, id=f"x{c.id}", speaker="x") for c in PLAIN.utterances[:12]]
    (parts,) = split(PLAIN, n_folds=1, test_clips=others).values()
    assert parts["test"] == [clip.id for clip in others]
    heard = sorted([*parts["train"], *parts["valid"]])
    assert heard == [clip.id for clip in PLAIN.utterances]
    with pytest.raises(InputError, match="n_folds is 5, but another corpus is tested"):
        split(PLAIN, test_clips=others)
