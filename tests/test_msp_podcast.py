"""MSP-Podcast: the official partitions, one test set, votes in two layouts."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from msp_podcast_prepare import read_msp_podcast, read_votes
from releases import read_manifests
from runs import RECIPE, train

from sercorr.data.audio import read_samples
from sercorr.data.manifests import plan_manifests
from sercorr.errors import InputError

SETTINGS = RECIPE.parents[1] / "MSP-Podcast" / "hparams" / "train.yaml"
LABELS = [
    "angry",
    "sad",
    "happy",
    "surprised",
    "fearful",
    "disgust",
    "contempt",
    "neutral",
]
CODES = "ASHUFDCNOX"  # the eight in their order, other, no agreement
WORDS = "Angry Sad Happy Surprise Fear Disgust Contempt Neutral".split()
OFFICIAL = {"labels": LABELS, "n_folds": 1, "fold_by": "official"}
COLUMNS = "FileName EmoClass EmoAct EmoVal EmoDom SpkrID Gender Split_Set".split()
PARTITIONS = {"Train": 0, "Development": 1, "Test1": 2, "Test2": 3}


def make_turns() -> list[list]:
    """Twenty turns of each partition: every label twice, by two speakers.

    Speakers of Test1 are in Test2, too; two training turns have no known speaker.
    """
    rows = []
    for part, podcast in PARTITIONS.items():
        for i in range(20):
            speaker = 100 * min(podcast, 2) + i // 10
            if part == "Train" and i in (4, 5):
                speaker = "Unknown"
            # 2.0 has names of three numbers, too
            name = f"MSP-PODCAST_{podcast:04d}_{i:04d}" + "_0001" * (i == 19)
            label = CODES[i % 10]
            rows.append([f"{name}.wav", label, 4.2, 3.0, 5.1, speaker, "Female", part])
    return rows


def make_release(
    folder: Path, audio: str = "Audios", labels: str = "labels_consensus.csv"
) -> Path:
    """Make labels and sounds; one sound is in stereo at 44.1 kHz. No single votes."""
    rows = make_turns()
    write_table(folder / "Labels" / labels, [COLUMNS, *rows])
    sounds = folder / audio
    sounds.mkdir()
    rng = np.random.default_rng(0)
    for name, label, *_ in rows:
        pitch = np.sin(0.05 * (CODES.index(label) + 1) * np.arange(1600))
        sound = 0.3 * pitch + 0.01 * rng.standard_normal(1600)
        soundfile.write(sounds / name, sound, 16_000)
    stereo = np.tile([0.5, 0.1], (4411, 1))
    soundfile.write(sounds / "MSP-PODCAST_0000_0000.wav", stereo, 44_100)
    (sounds / "._MSP-PODCAST_0000_0000.wav").write_bytes(b"\x00\x05\x16\x07")
    return folder


def write_table(path: Path, rows: list[list], encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows(rows)


def change(folder: Path, line: int, **cells: object) -> None:
    """Change cells of a line of the labels; the first line has the column names."""
    path = folder / "Labels" / "labels_consensus.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    for column, value in cells.items():
        rows[line - 1][COLUMNS.index(column)] = str(value)
    write_table(path, rows)


@pytest.fixture
def release(tmp_path) -> Path:
    """A small release of its own."""
    return make_release(tmp_path / "release")


def test_labels_speakers_and_partitions(release):
    corpus = read_msp_podcast(release)
    clips = {clip.id: clip for clip in corpus.utterances}
    assert len(clips) == 60
    assert corpus.emotions == dict.fromkeys(sorted(LABELS), 6)
    assert sum(clip.emotion is None for clip in clips.values()) == 12
    names = [f"MSP-PODCAST_0001_{i:04d}" for i in range(10)]
    assert [clips[name].emotion for name in names] == [*LABELS, None, None]
    clip = clips["MSP-PODCAST_0002_0019_0001"]
    assert clip.wav == "Audios/MSP-PODCAST_0002_0019_0001.wav"
    assert (clip.speaker, clip.group, clip.split) == ("201", "Test1", "test")
    assert corpus.groups == ["Development", "Test1", "Train"]
    assert {(clip.group, clip.split) for clip in clips.values()} == {
        ("Development", "valid"),
        ("Test1", "test"),
        ("Train", "train"),
    }
    unknown = [clip.id for clip in clips.values() if clip.speaker == "unknown"]
    assert unknown == ["MSP-PODCAST_0000_0004", "MSP-PODCAST_0000_0005"]


def test_one_test_set_is_read_and_the_other_is_nowhere(release):
    for test, other, podcast in (("Test1", "Test2", "2"), ("Test2", "Test1", "3")):
        corpus = read_msp_podcast(release, test=test)
        tested = {clip.id[15] for clip in corpus.utterances if clip.split == "test"}
        assert tested == {podcast}
        assert {clip.group for clip in corpus.utterances} == {
            "Train",
            "Development",
            test,
        }
        assert corpus.notes[0] == (
            f"20 turns of {other} are left out: speakers of {test} are among theirs"
        )


def test_manifests_follow_the_partitions(release, tmp_path, capsys):
    plan = plan_manifests(read_msp_podcast(release), tmp_path / "out", **OFFICIAL)
    plan.write()
    plan.report()
    out = capsys.readouterr().out
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert rows[0] == f"partition {' '.join(LABELS)} all"
    assert rows[4] == "all 6 6 6 6 6 6 6 6 48"
    assert "20 turns of Test2 are left out" in out
    assert "1 clips are not 16000 Hz mono; reading converts them" in out
    manifests = read_manifests(tmp_path / "out")
    assert {key: len(entries) for key, entries in manifests.items()} == {
        (1, "train"): 16,
        (1, "valid"): 16,
        (1, "test"): 16,
    }
    for (_, part), entries in manifests.items():
        partition = {"train": "Train", "valid": "Development", "test": "Test1"}[part]
        assert {entry["partition"] for entry in entries.values()} == {partition}
        assert Counter(entry["emo"] for entry in entries.values()) == dict.fromkeys(
            LABELS, 2
        )
    entry = manifests[1, "train"]["MSP-PODCAST_0000_0000"]
    assert entry["duration"] == 4411 / 44_100


def test_the_stereo_recording_is_converted(release):
    clip = read_msp_podcast(release).utterances[0]
    sound = read_samples(release / clip.wav)
    assert sound.shape == (1601,)  # 4411 * 16 / 44.1 = 1600.4, rounded up
    assert np.abs(sound[200:-200] - 0.3).max() < 1e-3  # the mean of 0.5 and 0.1


def test_its_settings_file_trains(release, tmp_path):
    metrics = train(
        release, tmp_path / "out", file=SETTINGS, test_partition="Test2", batch_size=8
    )
    assert metrics["labels"] == LABELS
    assert [sum(row) for row in metrics["confusion"]] == [2] * 8


def test_older_names(tmp_path):
    release = make_release(tmp_path / "old", "Audio", "labels_concensus.csv")
    corpus = read_msp_podcast(release)
    assert corpus.utterances[0].wav == "Audio/MSP-PODCAST_0000_0000.wav"
    rows = [COLUMNS, *make_turns()[:-1]]
    write_table(release / "Labels" / "labels_consensus.csv", rows, "utf-8-sig")
    change(release, 3, EmoClass="X", Split_Set="Validation")
    corpus = read_msp_podcast(release)
    assert corpus.notes[:2] == [
        "labels_consensus.csv is read, labels_concensus.csv beside it is not",
        "19 turns of Test2 are left out: speakers of Test1 are among theirs",
    ]
    clip = corpus.utterances[1]
    assert (clip.emotion, clip.group, clip.split) == (None, "Validation", "valid")


def test_labels_of_the_third_test_set_are_not_public(release):
    change(release, 81, Split_Set="Test3", EmoClass="", SpkrID="")
    notes = read_msp_podcast(release).notes
    assert notes[:2] == [
        "19 turns of Test2 are left out: speakers of Test1 are among theirs",
        "1 turns of Test3 are left out: their labels are not public",
    ]
    assert notes[2] == (
        "no known release has 79 labelled turns (149307 in 1.11, 203936 in 1.12, "
        "264705 in 2.0): results may not compare"
    )
    with pytest.raises(InputError, match=r"is 'Test3'; it must be Test1 or Test2 \(la"):
        read_msp_podcast(release, test="Test3")


def test_a_known_release_brings_no_note(tmp_path):
    """As many turns as 1.11 has, Test3's among them."""
    (tmp_path / "Audios").mkdir()
    sizes = {"Train": 84_030, "Development": 19_815, "Test1": 30_647, "Test2": 14_815}
    rows = [
        [f"MSP-PODCAST_{part}_{i}.wav", "N", 4, 4, 4, 7, "Male", part]
        for part, size in (*sizes.items(), ("Test3", 2_347))
        for i in range(size)
    ]
    assert len(rows) == 151_654
    write_table(tmp_path / "Labels" / "labels_consensus.csv", [COLUMNS, *rows])
    corpus = read_msp_podcast(tmp_path)
    assert len(corpus.utterances) == 84_030 + 19_815 + 30_647
    assert not [note for note in corpus.notes if "known release" in note]


FIRST, SECOND, THIRD = (f"MSP-PODCAST_0000_000{i}" for i in range(3))
VOTES = [  # in other orders than the classes', with free text and a hidden turn
    (
        f"{FIRST}.wav",
        ("Neutral", "Angry", "Neutral", "Other-Annoyed; a bit, Sad", "fear"),
    ),
    (f"{SECOND}.wav", ("Other", "Happy; no", "Contempt", "Contempt", "Dégoût")),
    ("MSP-PODCAST_9999_0001.wav", ("Sad",)),
]
COUNTS = [
    {"angry": 1, "fearful": 1, "neutral": 2, "other": 1},
    {"contempt": 2, "other": 3},
    None,
]


def test_votes_of_release_2(release):
    rows = [
        [f"WORKER{i:08d}", name, word, f"{word},Sad", 3, 4, 5]
        for name, words in VOTES
        for i, word in enumerate(words)
    ]
    head = "WorkerID FileName EmoClass_Major EmoClass_Second EmoAct EmoVal EmoDom"
    file = release / "Labels" / "labels_detailed.csv"
    write_table(file, [head.split(), *rows], encoding="latin-1")
    corpus = read_msp_podcast(release)
    clips = {clip.id: clip for clip in corpus.utterances}
    assert [clips[name].vote_counts for name in (FIRST, SECOND, THIRD)] == COUNTS
    assert list(clips[FIRST].vote_counts) == ["angry", "fearful", "neutral", "other"]
    assert corpus.notes[-1] == "58 turns have no votes in labels_detailed.csv"


def test_votes_of_older_releases(release):
    rows = [
        [name, f"WORKER{i:08d}; {word}; {word},Sad; A:3.0; V:4.0; D:5.0;"]
        for name, words in VOTES
        for i, word in enumerate(word.split(";")[0] for word in words)
    ]
    file = release / "Labels" / "labels_detailed.csv"
    write_table(file, [["FileName", "EmoDetail"], *rows])
    clips = {clip.id: clip for clip in read_msp_podcast(release).utterances}
    wanted = [COUNTS[0], {"happy": 1, "contempt": 2, "other": 2}, None]
    assert [clips[name].vote_counts for name in (FIRST, SECOND, THIRD)] == wanted


def test_every_category_is_a_vote_for_its_class(tmp_path):
    file = tmp_path / "labels_detailed.csv"
    rows = [[f"{i}.wav", word] for i, word in enumerate(WORDS)]
    write_table(file, [["FileName", "EmoClass_Major"], *rows])
    assert read_votes(file) == {f"{i}.wav": {name: 1} for i, name in enumerate(LABELS)}


def test_without_votes(release):
    corpus = read_msp_podcast(release)
    assert {clip.vote_counts for clip in corpus.utterances} == {None}
    note = "there is no Labels/labels_detailed.csv: turns have no votes"
    assert corpus.notes[-1] == note


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["FileName", "Emotion"], ["a.wav", "Sad"]], r": its columns are \['FileName',"
         r" 'Emotion'\]; expected FileName, EmoClass_Major or FileName, EmoDetail"),
        ([], r": its columns are \[\]; expected"),
        ([["FileName", "EmoDetail"], ["a.wav"]], ", line 2: cells are missing"),
        ([["FileName", "EmoDetail"], ["a.wav", "W1"], ["a.wav", "W2; Glad; ;"]],
         ": no rater's emotion is one of angry, sad, "),
        ([["FileName", "EmoDetail"], ["a.wav", "x" * 200_000]], "quote is not closed"),
    ],
)  # fmt: skip
def test_votes_that_cannot_be_read(release, rows, message):
    write_table(release / "Labels" / "labels_detailed.csv", rows)
    with pytest.raises(InputError, match=rf"labels_detailed\.csv.*{message}"):
        read_msp_podcast(release)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            {"EmoClass": "Q"},
            "line 5: unknown label code 'Q' of MSP-PODCAST_0000_0003.wav",
        ),
        ({"EmoClass": ""}, "line 5: unknown label code ''"),
        ({"Split_Set": "Test"}, "line 5: unknown partition 'Test' of .*Train, Develop"),
        (
            {"FileName": "a/b.wav"},
            "line 5: FileName is 'a/b.wav', expected a name such",
        ),
        (
            {"FileName": "MSP-PODCAST_0000_0003"},
            "line 5: FileName is 'MSP-PODCAST_0000_0",
        ),
        (
            {"FileName": "MSP-PODCAST_0000_0004.wav"},
            "line 6: MSP-PODCAST_0000_0004 is l",
        ),
    ],
)
def test_labels_that_cannot_be_used(release, cells, message):
    change(release, 5, **cells)
    with pytest.raises(InputError, match=rf"labels_consensus\.csv, {message}"):
        read_msp_podcast(release)


def test_genders_where_they_are_known(release):
    change(release, 2, Gender="Male")
    change(release, 3, Gender="Unknown")
    clips = sorted(read_msp_podcast(release).utterances, key=lambda clip: clip.id)
    assert [clip.traits for clip in clips[:3]] == [
        {"gender": "male"},
        None,
        {"gender": "female"},
    ]
    path = release / "Labels" / "labels_consensus.csv"
    rows = csv.reader(path.read_text().splitlines())
    write_table(path, [[*row[:6], row[7]] for row in rows])
    assert {clip.traits for clip in read_msp_podcast(release).utterances} == {None}


def test_a_missing_column(release):
    path = release / "Labels" / "labels_consensus.csv"
    rows = [row[:-1] for row in csv.reader(path.read_text().splitlines())]
    write_table(path, rows)
    message = r"'Gender'\]; expected FileName, EmoClass, SpkrID, Split_Set; copy"
    with pytest.raises(InputError, match=message):
        read_msp_podcast(release)


def test_a_release_without_the_test_set(release):
    for line in range(42, 62):
        change(release, line, Split_Set="Development")
    message = r"no turn of Test1 is in it; its partitions are Development \(40\), Test2"
    with pytest.raises(InputError, match=message):
        read_msp_podcast(release)


def test_a_folder_that_is_no_release(tmp_path, release):
    (release / "Audios").rename(release / "Sounds")
    for folder in (tmp_path / "none", release):
        with pytest.raises(
            InputError, match=r"no release of MSP-Podcast; expected Lab"
        ):
            read_msp_podcast(folder)
