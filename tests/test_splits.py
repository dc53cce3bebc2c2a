"""Splits: whose clips are tested, which validate, what is refused."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sercorr.data.splits import folds_of_speakers, make_splits
from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError

EMOTIONS = ("neu", "hap", "ang", "sad")
PARTS = ("train", "valid", "test")


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


def split(corpus: Corpus, **settings) -> dict[int, dict[str, list[str]]]:
    return make_splits(corpus, corpus.utterances, **{"n_folds": 5, **settings})


def values(corpus: Corpus, ids: list[str], name: str) -> set:
    return {getattr(clip, name) for clip in corpus.utterances if clip.id in ids}


def require_whole(corpus: Corpus, splits: dict[int, dict[str, list[str]]]) -> None:
    """Each fold's parts hold every clip once, no test speaker is heard before."""
    everything = sorted(clip.id for clip in corpus.utterances)
    tested = []
    for parts in splits.values():
        assert list(parts) == list(PARTS)
        assert sorted(itertools.chain(*parts.values())) == everything
        assert all(ids == sorted(ids) for ids in parts.values())
        others = values(corpus, parts["train"] + parts["valid"], "speaker")
        assert not others & values(corpus, parts["test"], "speaker")
        tested += parts["test"]
    assert sorted(tested) == everything


# Groups and the random draw


def test_each_group_is_tested_once_in_the_order_of_its_number():
    corpus = make_corpus(["day10", "day2", "day1"])
    splits = split(corpus, n_folds=3)
    require_whole(corpus, splits)
    tested = {k: values(corpus, parts["test"], "group") for k, parts in splits.items()}
    assert tested == {1: {"day1"}, 2: {"day2"}, 3: {"day10"}}


@pytest.mark.parametrize("seed", [1234, 7])
def test_validation_is_a_seeded_draw_from_sorted_ids(seed):
    corpus = make_corpus()
    splits = split(corpus, valid_ratio=0.3, split_seed=seed)
    require_whole(corpus, splits)
    for fold, parts in splits.items():
        names = sorted(parts["train"] + parts["valid"])
        drawn = random.Random(f"{seed}/{fold}").sample(names, 10)  # 9.6, rounded
        assert parts["valid"] == sorted(drawn)


def test_the_draw_stays_what_it_was():
    """Results are compared over versions: these ids must never change."""
    splits = split(make_corpus())
    first, last = (" ".join(splits[fold]["valid"]) for fold in (1, 5))
    assert first == "2_F02 3_M03 4_M03 5_F04 5_F06 5_M05"
    assert last == "1_M03 2_F00 2_M01 2_M03 4_M01 4_M07"


@pytest.mark.parametrize(("ratio", "valid"), [(0.001, 1), (0.999, 31)])
def test_no_part_is_empty_whatever_the_share(ratio, valid):
    for parts in split(make_corpus(), valid_ratio=ratio).values():
        assert len(parts["valid"]) == valid
        assert len(parts["train"]) == 32 - valid


@pytest.mark.parametrize("fold_by", ["group", "speaker"])
def test_the_order_of_the_clips_does_not_matter(fold_by):
    corpus = make_corpus()
    shuffled = random.Random(0).sample(corpus.utterances, len(corpus.utterances))
    again = make_splits(corpus, shuffled, n_folds=5, fold_by=fold_by)
    assert again == split(corpus, fold_by=fold_by)


# A whole group for validation


@pytest.mark.parametrize(
    "groups", [(1, 2, 3), ("Ann", "Bob", "Cyd"), ("01", "02", "10")]
)
def test_a_whole_group_for_validation_and_the_next_where_it_is_tested(groups):
    corpus = make_corpus(groups)
    for chosen, wanted in enumerate(groups):
        splits = split(corpus, n_folds=3, valid_session=wanted)
        require_whole(corpus, splits)
        for k, parts in enumerate(splits.values()):
            held_out = (k + 1) % 3 if k == chosen else chosen
            assert values(corpus, parts["valid"], "group") == {groups[held_out]}
            assert values(corpus, parts["train"], "group") == (
                set(groups) - {groups[k], groups[held_out]}
            )


def test_a_whole_group_beside_folds_of_speakers():
    corpus = make_corpus()
    splits = split(corpus, n_folds=4, fold_by="speaker", valid_session="2")
    require_whole(corpus, splits)
    for parts in splits.values():
        heard = values(corpus, parts["train"], "speaker")
        assert not heard & values(corpus, parts["valid"], "speaker")


# Folds of speakers


def test_every_fold_of_speakers_has_as_much_of_each_class():
    corpus = make_corpus()
    splits = split(corpus, n_folds=5, fold_by="speaker")
    require_whole(corpus, splits)
    for parts in splits.values():
        classes = Counter(
            clip.emotion for clip in corpus.utterances if clip.id in parts["test"]
        )
        assert set(classes.values()) == {2}
    other = split(corpus, fold_by="speaker", split_seed=1)
    assert split(corpus, fold_by="speaker", split_seed=1) == other
    assert any(other[fold]["test"] != splits[fold]["test"] for fold in splits)


def unequal_clips(seed: int) -> list[Utterance]:
    """Twelve speakers with many or few clips, each with classes of its own taste."""
    draw = random.Random(seed)
    clips = []
    for speaker in range(12):
        weights = [draw.random() ** 3 for _ in EMOTIONS]
        emotions = draw.choices(EMOTIONS, weights, k=draw.randint(5, 60))
        for i, emotion in enumerate(emotions):
            clips.append(Utterance(f"{speaker}/{i}", "", emotion, f"s{speaker}", 1))
    return clips


@pytest.mark.parametrize("seed", range(5))
def test_folds_of_unequal_speakers_are_nearly_as_even_as_can_be(seed):
    """Against every way of sharing twelve speakers between two folds."""
    clips = unequal_clips(seed)
    totals = Counter(clip.emotion for clip in clips)
    speakers = sorted({clip.speaker for clip in clips})

    def unevenness(first: set[str]) -> float:
        own = Counter(clip.emotion for clip in clips if clip.speaker in first)
        return sum((own[name] / totals[name] - 0.5) ** 2 for name in totals)

    first, second = folds_of_speakers(clips, 2, seed=1)
    assert sorted(first + second) == speakers
    ways = sorted(
        unevenness({s for i, s in enumerate(speakers) if bits >> i & 1})
        for bits in range(1, 2**11)  # one speaker stays in the second fold
    )
    assert unevenness(set(first)) <= ways[len(ways) // 10]


def test_one_fold_for_each_speaker_leaves_none_empty():
    clips = unequal_clips(0)
    folds = folds_of_speakers(clips, 12, seed=1)
    assert sorted(folds) == sorted([f"s{k}"] for k in range(12))
    with pytest.raises(InputError, match=r"n_folds is 13, but there are 12 speakers"):
        folds_of_speakers(clips, 13, seed=1)


# Official folds and splits


def with_folds(corpus: Corpus) -> Corpus:
    clips = [replace(clip, fold=clip.group % 2 + 1) for clip in corpus.utterances]
    return replace(corpus, utterances=clips)


def with_split(corpus: Corpus, parts: Sequence[str]) -> Corpus:
    clips = [replace(clip, split=parts[clip.group - 1]) for clip in corpus.utterances]
    return replace(corpus, utterances=clips)


def test_official_folds():
    corpus = with_folds(make_corpus())
    splits = split(corpus, n_folds=2, fold_by="official")
    require_whole(corpus, splits)
    assert values(corpus, splits[1]["test"], "group") == {2, 4}
    assert values(corpus, splits[2]["test"], "group") == {1, 3, 5}


def test_an_official_split_with_and_without_validation():
    corpus = with_split(make_corpus(), ["train", "train", "test", "train", "valid"])
    (parts,) = split(corpus, n_folds=1, fold_by="official").values()
    groups = {part: values(corpus, ids, "group") for part, ids in parts.items()}
    assert groups == {"train": {1, 2, 4}, "valid": {5}, "test": {3}}
    with pytest.raises(InputError, match=r"valid_session is 2, but Diary brings a val"):
        split(corpus, n_folds=1, fold_by="official", valid_session=2)
    corpus = with_split(make_corpus(), ["train", "train", "test", "train", "test"])
    (parts,) = split(corpus, n_folds=1, fold_by="official").values()
    assert {part: len(ids) for part, ids in parts.items()} == {
        "train": 19,
        "valid": 5,
        "test": 16,
    }


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"n_folds": 4},
            r"n_folds is 4, but Diary has 5 sessions \(1, 2, 3, 4, 5\) .*--n_folds 5, "
            r"or --fold_by speaker for 4 folds of speakers",
        ),
        ({"n_folds": 0}, r"n_folds is 0; it must be at least 1"),
        ({"n_folds": 2.0}, r"n_folds is 2\.0; it must be a whole number"),
        ({"n_folds": 1, "fold_by": "speaker"}, r"n_folds is 1; folds of speakers are"),
        ({"n_folds": 11, "fold_by": "speaker"}, r"n_folds is 11, .* 10 speakers"),
        (
            {"fold_by": "session"},
            r"fold_by is 'session'; it must be group or speaker or",
        ),
        (
            {"fold_by": "official"},
            r"official, but Diary brings no .* for 40 of 40 clips",
        ),
        ({"valid_ratio": 0.0}, r"valid_ratio is 0\.0; it must lie between 0 and 1"),
        ({"valid_ratio": 1}, r"valid_ratio is 1; it must lie between 0 and 1"),
        ({"valid_ratio": float("nan")}, r"valid_ratio is nan"),
        ({"valid_ratio": "0.2"}, r"valid_ratio is '0\.2'"),
        ({"valid_session": 0}, r"valid_session is 0; it must be one of 1, 2, 3, 4, 5"),
        ({"valid_session": True}, r"valid_session is True; .* \(a session\), or none"),
        ({"split_seed": 1.5}, r"split_seed is 1\.5; it must be a whole number"),
        ({"split_seed": True}, r"split_seed is True; it must be a whole number"),
    ],
)
def test_settings_that_the_corpus_does_not_offer(settings, message):
    with pytest.raises(InputError, match=message):
        split(make_corpus(), **settings)


def test_official_folds_of_another_number():
    with pytest.raises(InputError, match=r"n_folds is 5, but Diary has 2 official fol"):
        split(with_folds(make_corpus()), fold_by="official")
    corpus = with_split(make_corpus(), ["train", "train", "test", "train", "test"])
    with pytest.raises(InputError, match=r"Diary brings one official split.*n_folds 1"):
        split(corpus, fold_by="official")


def test_a_fold_without_clips_to_test_or_to_train_on():
    corpus = make_corpus()
    used = [clip for clip in corpus.utterances if clip.group != 3]
    with pytest.raises(
        InputError, match=r"/data: fold 3 \(session 3\) .*empty test se"
    ):
        make_splits(corpus, used, n_folds=5)
    with pytest.raises(InputError, match=r"/data: no usable clip of the labels"):
        make_splits(corpus, [], n_folds=5)
    two = make_corpus([1, 2])
    with pytest.raises(InputError, match=r"fold 1 \(session 1\) .* empty train set"):
        split(two, n_folds=2, valid_session=1)
    with pytest.raises(InputError, match=r"fold 1 \(session 1\) .* empty valid set"):
        split(make_corpus([1, 2], each=1), n_folds=2)


def test_test_speakers_that_also_train_are_refused_and_counted():
    corpus = make_corpus()
    same = {"1F": "3F", "1M": "4M"}
    clips = [
        replace(clip, speaker=same.get(clip.speaker, clip.speaker))
        for clip in corpus.utterances
    ]
    message = (
        r"/data: fold 1: 2 of the 2 test speakers also stand in train \(the first is 3F"
    )
    with pytest.raises(InputError, match=message):
        split(replace(corpus, utterances=clips))
