"""Corpora whose file names say everything: true layouts, and what copies do to them."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from named_releases import (
    litter,
    make_casia,
    make_emodb,
    make_emovo,
    make_esd,
    make_savee,
    make_shemo,
    make_tess,
    put,
)
from releases import make_ravdess

from sercorr.corpora.known import known_corpora, read_known, recognise
from sercorr.data.counts import compare_with_full_release, count_clips
from sercorr.data.splits import make_splits
from sercorr.errors import InputError

MAKERS = {
    "ravdess": make_ravdess,
    "emodb": make_emodb,
    "savee": make_savee,
    "tess": make_tess,
    "emovo": make_emovo,
    "casia": make_casia,
    "esd": make_esd,
    "shemo": make_shemo,
}
SPEAKERS = {
    "ravdess": {f"Actor_{number:02d}" for number in range(1, 25)},
    "emodb": set("03 08 09 10 11 12 13 14 15 16".split()),
    "savee": {"DC", "JE", "JK", "KL"},
    "tess": {"OAF", "YAF"},
    "emovo": {"f1", "f2", "f3", "m1", "m2", "m3"},
    "casia": {"liuchanhg", "wangzhe", "zhaoquanyin", "ZhaoZuoxiang"},
    "esd": {f"{number:04d}" for number in range(1, 21)},
    "shemo": {f"M{n:02d}" for n in range(1, 57)} | {f"F{n:02d}" for n in range(1, 32)},
}
EVEN = {"neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised"}
COUNTS = {
    "ravdess": dict.fromkeys({*EVEN, "calm"}, 192) | {"neutral": 96},
    "emodb": {"angry": 127, "bored": 81, "disgust": 46, "fearful": 69, "happy": 71,
              "sad": 62, "neutral": 79},
    "savee": dict.fromkeys(EVEN, 60) | {"neutral": 120},
    "tess": dict.fromkeys(EVEN, 400),
    "emovo": dict.fromkeys(EVEN, 84),
    "casia": dict.fromkeys(EVEN - {"disgust"}, 200),
    "shemo": {"angry": 1059, "fearful": 38, "happy": 201, "neutral": 1028, "sad": 449,
              "surprised": 225},
}  # fmt: skip
# One recording of each class: place in the folder, id, speaker, group.
CLIPS = {
    "emodb": "wav/{}.wav",
    "savee": "AudioData/JK/{}.wav",
    "tess": "{}.wav",
    "emovo": "EMOVO/m2/{}.wav",
    "casia": "wangzhe/{}.wav",
    "esd": "0007/{}.wav",
    "shemo": "{}.wav",
}
MEANINGS = {
    "emodb": "16a01Wa angry, 03b02La bored, 10a01Ea disgust, 08a01Aa fearful, "
    "11a01Fa happy, 15a01Ta sad, 12a01Na neutral",
    "savee": "a01 angry, d15 disgust, f02 fearful, h03 happy, n30 neutral, sa04 sad, "
    "su05 surprised",
    "tess": "OAF_angry/OAF_bite_angry angry, YAF_disgust/YAF_bite_disgust disgust, "
    "OAF_Fear/OAF_bite_fear fearful, YAF_happy/YAF_bite_happy happy, "
    "OAF_neutral/OA_bite_neutral neutral, OAF_Sad/OAF_bite_sad sad, "
    "YAF_pleasant_surprised/YAF_bite_ps surprised",
    "emovo": "dis-m2-b1 disgust, gio-m2-l2 happy, neu-m2-n5 neutral, "
    "pau-m2-d1 fearful, rab-m2-b2 angry, sor-m2-n1 surprised, tri-m2-l4 sad",
    "casia": "angry/201 angry, fear/250 fearful, happy/202 happy, neutral/203 neutral, "
    "sad/204 sad, surprise/205 surprised",
    "esd": "Angry/0007_000351 angry, Happy/0007_000701 happy, "
    "Neutral/0007_000001 neutral, Sad/0007_001051 sad, Surprise/0007_001401 surprised",
    "shemo": "female/F01A01 angry, male/M20F01 fearful, female/F31H01 happy, "
    "female/F03N01 neutral, female/F04S01 sad, male/M05W01 surprised",
}


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """All corpora, whole (of ESD a part); not to be changed."""
    root = tmp_path_factory.mktemp("known")
    for name, make in MAKERS.items():
        (root / name).mkdir()
        make(root / name)
        litter(root / name)
    return root


def full(name):
    """Published counts of the whole corpus."""
    total = Counter()
    for classes in known_corpora()[name].published.values():
        total.update(classes)
    return total


def test_these_corpora_are_known_and_described():
    corpora = known_corpora()
    assert list(corpora) == list(MAKERS)
    for name, known in corpora.items():
        clip = known.parse(known.example)
        assert (clip.wav, known.name) == (known.example, name)
        assert all((known.title, known.reference, known.licence, known.meaning))
        assert {*known.labels} == {*full(name)}, name
        assert known.clips == sum(full(name).values())
    assert corpora["emodb"].labels[:3] == ["neutral", "happy", "sad"]
    assert corpora["esd"].clips == 35_000


@pytest.mark.parametrize("name", COUNTS)
def test_a_whole_release_has_the_published_counts(releases, name):
    corpus = read_known(name, releases / name)
    assert corpus.name == name
    assert corpus.emotions == COUNTS[name] == full(name)
    assert {clip.speaker for clip in corpus.utterances} == SPEAKERS[name]


@pytest.mark.parametrize("name", MAKERS)
def test_a_release_is_recognised(releases, name, tmp_path):
    assert recognise(releases / name) == name
    shutil.copytree(releases / name, tmp_path / "archives" / "unpacked")
    assert recognise(tmp_path) == name
    here, there = (
        read_known(name, folder) for folder in (releases / name, tmp_path / "archives")
    )
    assert [clip.id for clip in here.utterances] == [c.id for c in there.utterances]
    for clip, other in zip(here.utterances, there.utterances, strict=True):
        assert other.wav == f"unpacked/{clip.wav}"
        assert (releases / name / clip.wav).is_file()
        assert (clip.emotion, clip.speaker) == (other.emotion, other.speaker)


@pytest.mark.parametrize("name", CLIPS)
def test_what_each_code_means(releases, name):
    clips = {clip.wav: clip for clip in read_known(name, releases / name).utterances}
    pairs = [pair.split() for pair in MEANINGS[name].split(", ")]
    found = {place: clips[CLIPS[name].format(place)].emotion for place, _ in pairs}
    assert found == dict(pairs)
    assert {emotion for _, emotion in pairs} == set(known_corpora()[name].labels)


def test_speakers_groups_and_ids(releases):
    wanted = {
        "ravdess": ("Actor_05/03-01-02-01-01-01-05.wav", "03-01-02-01-01-01-05",
                    "Actor_05", 4),
        "emodb": ("wav/08a01Aa.wav", "08a01Aa", "08", "08"),
        "savee": ("AudioData/DC/sa01.wav", "DC_sa01", "DC", "DC"),
        "tess": ("OAF_neutral/OA_bite_neutral.wav", "OAF_bite_neutral", "OAF", "OAF"),
        "emovo": ("EMOVO/f1/gio-f1-b1.wav", "gio-f1-b1", "f1", "f1"),
        "casia": ("ZhaoZuoxiang/sad/201.wav", "ZhaoZuoxiang_sad_201", "ZhaoZuoxiang",
                  "ZhaoZuoxiang"),
        "esd": ("0011/Sad/0011_001051.wav", "0011_001051", "0011", "en"),
        "shemo": ("male/M36S01.wav", "M36S01", "M36", "M36"),
    }  # fmt: skip
    for name, expected in wanted.items():
        corpus = read_known(name, releases / name)
        (clip,) = [clip for clip in corpus.utterances if clip.wav == expected[0]]
        assert (clip.wav, clip.id, clip.speaker, clip.group) == expected
        assert clip.fold == (4 if name == "ravdess" else None)


def test_what_else_is_known_of_a_clip(releases):
    women = {
        "ravdess": {f"Actor_{number:02d}" for number in range(2, 25, 2)},
        "emodb": {"08", "09", "13", "14", "16"},
        "savee": set(),
        "tess": {"OAF", "YAF"},
        "emovo": {"f1", "f2", "f3"},
        "esd": {f"00{n}" for n in "01 02 03 07 09 15 16 17 18 19".split()},
        "shemo": {f"F{number:02d}" for number in range(1, 32)},
    }
    for name in MAKERS:
        strong = Counter()
        for clip in read_known(name, releases / name).utterances:
            if name == "casia":  # whose names do not say it
                assert clip.traits is None
                continue
            female = clip.speaker in women[name]
            assert clip.traits["gender"] == ("female" if female else "male")
            strong[clip.traits.get("intensity")] += 1
        if name == "ravdess":  # neutral has no strong recordings
            assert strong == {"normal": 8 * 96, "strong": 7 * 96}


def test_languages_and_parts_of_esd(releases, tmp_path):
    whole = read_known("esd", releases / "esd")
    languages = {clip.speaker: clip.group for clip in whole.utterances}
    assert [languages[f"{n:04d}"] for n in (1, 10, 11, 20)] == ["zh", "zh", "en", "en"]
    assert (whole.group_name, whole.groups) == ("language", ["en", "zh"])
    assert set(SPEAKERS["esd"]) == set(languages)
    parted = read_known("esd", make_esd(tmp_path, parts=True))
    assert parted.utterances[0].wav == "0001/Neutral/evaluation/0001_000001.wav"
    assert [clip.id for clip in parted.utterances] == [c.id for c in whole.utterances]
    assert {clip.split for clip in parted.utterances} == {None}
    assert any("share all speakers" in note for note in parted.notes)


@pytest.mark.parametrize("name", MAKERS)
def test_the_suggested_folds_test_every_speaker_once(releases, name):
    known, corpus = known_corpora()[name], read_known(name, releases / name)
    speakers = {clip.id: clip.speaker for clip in corpus.utterances}
    splits = make_splits(corpus, corpus.utterances, **known.settings)
    tested = [{speakers[i] for i in parts["test"]} for parts in splits.values()]
    assert set().union(*tested) == SPEAKERS[name]
    assert sum(map(len, tested)) == len(SPEAKERS[name])
    assert {i for parts in splits.values() for i in parts["test"]} == set(speakers)


@pytest.mark.parametrize(
    ("name", "flat"), [("savee", "ALL/DC_sa01.wav"), ("savee", "JK_n30.WAV")]
)
def test_flat_copies_and_capitals(tmp_path, name, flat):
    put(tmp_path, iter([flat]))
    (clip,) = read_known(name, tmp_path).utterances
    assert clip.id == Path(flat).stem
    assert (clip.wav, clip.speaker) == (flat, clip.id[:2])


@pytest.mark.parametrize(
    ("name", "place", "message"),
    [
        ("emodb", "wav/03a01Xa.wav", r"not named as rec.*03a01Xa.* such as wav/\d"),
        ("emodb", "wav/07a01Fa.wav", "07a01Fa"),  # no such speaker
        ("ravdess", "Actor_01/03-01-09-01-01-01-01.wav", "03-01-09"),
        ("ravdess", "Actor_01/03-01-05-01-01-01-02.wav", "not named as recordings"),
        ("shemo", "male/M01X01.wav", "M01X01"),
        ("tess", "OAF_angry/OAF_bite_calm.wav", "OAF_bite_calm"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_never_dropped(
    releases, tmp_path, name, place, message
):
    """Alone, and among thousands of good ones."""
    put(tmp_path / "alone", iter([place]))
    with pytest.raises(InputError, match=f"no recording of {name} in it: "):
        read_known(name, tmp_path / "alone")
    shutil.copytree(releases / name, tmp_path / "all")
    put(tmp_path / "all", iter([place]))
    with pytest.raises(InputError, match=message):
        read_known(name, tmp_path / "all")


def test_recordings_that_are_there_twice_are_refused(tmp_path):
    """As the TESS that is passed around, which has the whole set within itself."""
    make_tess(tmp_path)
    make_tess(tmp_path / "TESS Toronto emotional speech set data")
    with pytest.raises(InputError, match=r"2800 recordings of tess are there more t"):
        read_known("tess", tmp_path)
    inner = tmp_path / "TESS Toronto emotional speech set data"
    assert len(read_known("tess", inner).utterances) == 2800


def test_what_is_not_read_is_said(releases, tmp_path):
    shutil.copytree(releases / "ravdess", tmp_path / "all")
    songs = (  # one is there already
        "Actor_01/03-02-04-01-01-01-01.wav",
        "Actor_02/01-01-04-01-01-01-02.wav",
    )
    put(tmp_path / "all", iter(songs))
    corpus = read_known("ravdess", tmp_path / "all")
    assert len(corpus.utterances) == 1440
    assert "not read: songs, and the sound of videos (3)" in corpus.notes


def test_a_folder_that_is_no_release(releases, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="in it: no audio file; expected names such"):
        read_known("emodb", tmp_path / "none")
    with pytest.raises(InputError, match=r"gone: missing; name the folder"):
        read_known("emodb", tmp_path / "gone")
    with pytest.raises(InputError, match=r"emo: not a corpus .* ravdess, emodb, savee"):
        read_known("emo", tmp_path)
    assert recognise(tmp_path / "none") is None
    with pytest.raises(InputError, match="no recording of casia in it"):
        read_known("casia", releases / "emodb")


def test_an_entry_of_ones_own_and_its_faults(tmp_path):
    own = tmp_path / "own.yaml"
    text = """
    diary:
      title: My diary
      reference: me
      licence: mine
      pattern: '(?P<speaker>\\w+)/(?P<emotion>[a-z]+)_(?P<n>\\d+)'
      example: ann/glad_1.wav
      id: "{speaker}_{emotion}_{n}"
      emotions: {glad: happy, low: sad}
      published: {all: {happy: 2, sad: 1}}
      settings: {fold_by: speaker, n_folds: 2}
      meaning: little
    """
    own.write_text(text.replace("\n    ", "\n").replace("\\\\", "\\"))
    put(tmp_path, iter(["ann/glad_1.wav", "bob/low_7.flac"]))
    corpus = read_known("diary", tmp_path, own)
    assert [(c.id, c.emotion) for c in corpus.utterances] == [
        ("ann_glad_1", "happy"),
        ("bob_low_7", "sad"),
    ]
    counts = count_clips(corpus, corpus.utterances, ["happy", "sad"])
    assert compare_with_full_release(corpus, counts) == [
        "note: not the full release of diary: 2 clips of these classes, there are 3 in "
        "it",
        "warning: all, happy: 1, expected 2; results will not compare",
    ]
    good = own.read_text()
    for old, new, message in (
        ("licence: mine", "", "diary: .*licence"),
        ("meaning: little", "purpose: little", "diary: .*purpose"),
        ("(?P<n>", "(?P<m>", "pattern has no group n; write it as"),
        ("(?P<speaker>", "((?P<speaker>", "no regular expression"),
    ):
        own.write_text(good.replace(old, new))
        with pytest.raises(InputError, match=message):
            read_known("diary", tmp_path, own)
