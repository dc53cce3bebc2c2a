"""MSP-IMPROV: labels of videos for sounds of another name, raters, sessions of two."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from msp_improv_prepare import read_msp_improv
from releases import read_manifests
from runs import train

from sercorr.data.manifests import plan_manifests
from sercorr.errors import InputError

SETTINGS = Path(__file__).parents[1] / "recipes/MSP-IMPROV/hparams/train.yaml"
LABELS = ["neutral", "happy", "angry", "sad"]
LETTERS = {"N": "neutral", "H": "happy", "A": "angry", "S": "sad"}
WORDS = {"N": "Neutral", "H": "Happy", "A": "Angry", "S": "Sad", "O": "Other"}


def block(turn: str, code: str) -> str:
    """The lines of a turn: two raters of the class, one of another emotion."""
    word = WORDS.get(code, "Sad")
    return (
        f"{turn}.avi; {code}; A:2.25; V:2.5; D:3.0 ; N:NaN;\n"
        f"WORKER{code}-1; {word}; {word},Frustrated; A:1.0; V:2.0; D:NaN; N:4.0;\n"
        f"WORKER{code}-1; {word}; {word},Frustrated; A:1.0; V:2.0; D:NaN; N:4.0;\n"
        f"WORKER_2; {word}; tired (; of all?); A:1.0; V:2.0; D:3.0; N:NaN;\n"
        "in-lab3; Other; ; A:1.0; V:2.0; D:3.0; N:5.0;\n\n"
    )


def sound_place(folder: Path, session: int, turn: str) -> Path:
    """Where the release keeps a turn's sound."""
    _, _, sentence, _, kind, _ = turn.split("-")
    name = turn.replace("UTD", "MSP") + ".wav"
    return folder / f"session{session}" / sentence / kind / name


def make_release(folder: Path, inside: str = "") -> Path:
    """Six sessions of 24 turns: each class three times for either actor."""
    blocks = []
    for session in range(1, 7):
        for i in range(24):
            actor = f"{'FM'[i % 2]}0{session}"
            # the emotion asked for (in the name) is not the one that raters hear
            turn = f"UTD-IMPROV-S{i // 4 + 1:02d}A-{actor}-{'PRST'[i % 4]}-FM{i:02d}"
            code = ("N", "N", "H", "H", "A", "A", "S", "S", "O", "X", "X", "O")[i // 2]
            blocks.append(block(turn, code))
            path = sound_place(folder / inside, session, turn)
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.zeros(4410 + i), 44100)
            path.with_name(f"._{path.name}").write_bytes(b"of macOS")
            path.with_suffix(".avi").write_bytes(b"a video")
    text = "".join(blocks).replace("tired", "d\xe9j\xe0\x85").replace("\n", "\r\n")
    (folder / "Evalution.txt").write_bytes(text.encode("latin-1"))
    return folder


@pytest.fixture
def release(tmp_path) -> Path:
    return make_release(tmp_path / "MSP-IMPROV")


def test_labels_actors_and_sounds(release):
    corpus = read_msp_improv(release)
    clips = {clip.id: clip for clip in corpus.utterances}
    assert len(clips) == 144
    clip = clips["MSP-IMPROV-S03A-M02-T-FM11"]
    assert (clip.emotion, clip.speaker, clip.group) == ("angry", "M02", 2)
    assert clip.wav == "session2/S03A/T/MSP-IMPROV-S03A-M02-T-FM11.wav"
    assert (release / clip.wav).is_file()
    assert clip.place == f"{release / 'Evalution.txt'}, line {6 * (24 + 11) + 1}"
    assert corpus.emotions == {"angry": 24, "happy": 24, "neutral": 24, "sad": 24}
    left_out = [clip for clip in clips.values() if clip.emotion is None]
    assert {clip.id[-2:] for clip in left_out} == {str(i) for i in range(16, 24)}
    assert corpus.published == {
        "all": {"angry": 792, "happy": 2644, "sad": 885, "neutral": 3477}
    }


def test_who_speaks_and_how_it_came_about(release):
    styles = {"R": "read", "S": "improvised", "T": "improvised", "P": "natural"}
    for clip in read_msp_improv(release).utterances:
        _, _, _, actor, kind, _ = clip.id.split("-")
        gender = "female" if actor[0] == "F" else "male"
        assert clip.traits == {"gender": gender, "style": styles[kind]}


def test_each_rater_votes_once_for_the_main_emotion(release):
    clips = {clip.id[-2:]: clip for clip in read_msp_improv(release).utterances}
    assert clips["04"].votes == [["Happy"], ["Happy"], ["Other"]]
    assert clips["04"].vote_counts == {"happy": 2, "other": 1}
    assert clips["16"].vote_counts == {"other": 3}
    assert clips["18"].vote_counts == {"sad": 2, "other": 1}  # no agreement: X


def test_folds_are_sessions(release, tmp_path, capsys):
    plan = plan_manifests(
        read_msp_improv(release), tmp_path / "out", labels=LABELS, n_folds=6
    )
    plan.write()
    plan.report()
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == "session neutral happy angry sad all"
    assert rows[1:8] == [f"{session} 4 4 4 4 16" for session in range(1, 7)] + [
        "all 24 24 24 24 96"
    ]
    manifests = read_manifests(tmp_path / "out")
    assert len(manifests) == 18
    for (fold, part), manifest in manifests.items():
        speakers = {entry["speaker"] for entry in manifest.values()}
        own = {f"F0{fold}", f"M0{fold}"}
        assert speakers == own if part == "test" else not speakers & own
    entry = manifests[1, "test"]["MSP-IMPROV-S01A-F01-P-FM00"]
    assert entry["emo"] == "neutral"
    assert entry["duration"] == 0.1
    assert entry["session"] == 1
    assert entry["votes"] == [["Neutral"], ["Neutral"], ["Other"]]


def test_its_settings_file_trains(release, tmp_path):
    metrics = train(release, tmp_path / "run", file=SETTINGS, fold=6)
    assert metrics["labels"] == LABELS
    assert [sum(row) for row in metrics["confusion"]] == [4, 4, 4, 4]


def test_sounds_in_a_folder_of_their_own(tmp_path):
    release = make_release(tmp_path / "release", inside="Audio")
    labels = release / "Evalution.txt"
    labels.rename(labels.with_name("Evaluation.txt"))
    corpus = read_msp_improv(release)
    assert all(clip.wav.startswith("Audio/session") for clip in corpus.utterances)
    assert all((release / clip.wav).is_file() for clip in corpus.utterances)


def test_a_turn_without_sound(release, tmp_path):
    lost = sound_place(release, 3, "UTD-IMPROV-S01A-F03-P-FM00")
    lost.unlink()
    with pytest.raises(InputError, match=rf"1 clips cannot.*\n{lost}: missing.*Evalut"):
        plan_manifests(
            read_msp_improv(release), tmp_path / "out", labels=LABELS, n_folds=6
        )


def test_two_sounds_of_a_turn(release):
    sound = sound_place(release, 1, "UTD-IMPROV-S01A-F01-P-FM00")
    copy = release / "resampled" / sound.name
    copy.parent.mkdir()
    copy.write_bytes(sound.read_bytes())
    with pytest.raises(InputError, match=rf"^{sound}: a second .* first is {copy};"):
        read_msp_improv(release)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            b".avi; H;",
            b".avi; B;",
            r"Evalution.txt, line 25: unknown label code 'B' of ",
        ),
        (b"M01-R-FM05", b"M01-T-FM07", r"line 43: .*-FM07 is labelled twice.*line 31"),
        (
            b"UTD-IMPROV-S01A-F01-P",
            b"UTD-IMPROV-S01A-F07-P",
            r"line 1: found 'UTD-IMPR",
        ),
        (b"-M01-R-FM01", b"-M07-R-FM01", r"line 7: found 'UTD-IMPROV-S01A-M07-R-FM01"),
        (
            b"in-lab3; Other; ; A:1.0",
            b"in-lab3; Other; ; 1.0",
            r"line 5: found 'in-lab3",
        ),
    ],
)
def test_label_files_that_are_wrong(release, old, new, message):
    file = release / "Evalution.txt"
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_msp_improv(release)


def test_folders_that_are_no_release(release, tmp_path):
    with pytest.raises(InputError, match=r"no label file Evalution.txt.*session1 to s"):
        read_msp_improv(tmp_path)
    (tmp_path / "Evalution.txt").write_bytes((release / "Evalution.txt").read_bytes())
    for path in release.rglob("*.wav"):
        path.unlink()
    with pytest.raises(InputError, match=r"no sound of a turn is there; expected Eval"):
        read_msp_improv(tmp_path)
