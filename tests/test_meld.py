"""MELD: names that repeat, broken videos, sound out of mp4, speakers of all parts."""

import csv
import io
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from meld_prepare import extract_audio, read_meld
from releases import read_manifests
from runs import train

from sercorr.data.manifests import plan_manifests
from sercorr.errors import InputError

RECIPE = Path(__file__).parents[1] / "recipes" / "MELD"
PROGRAM = RECIPE / "meld_prepare.py"
EMOTIONS = ["neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"]
FOLDERS = {
    "train": "train/train_splits",  # as train.tar.gz unpacks in a folder of its own
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
BROKEN = [("train", 125, 3), ("dev", 110, 7), ("test", 38, 4), ("test", 220, 0)]
COLUMNS = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,"
    "Episode,StartTime,EndTime"
).split(",")

# Stands for ffmpeg: a "video" is the sound itself, or broken.
FAKE = """#!/bin/sh
case "$*" in *"-ac 1 -ar 16000"*) ;; *) exit 9 ;; esac
while [ "$1" != -i ]; do shift; done
source=$2
for target; do :; done
echo "$source" >> '{log}'
read -r first < "$source"
case "$first" in
  RIFF*) exec /bin/cp "$source" "$target" ;;
esac
echo half > "$target"
echo "[mov @ 0x1] moov atom not found" >&2
echo "$source: Invalid data found when processing input" >&2
exit 1
"""


def rows(part: str) -> list[tuple[str, str, str, int, int]]:
    """Utterance, speaker, emotion, dialogue and number of the turns of a part."""
    turns = [
        (f"“{emotion}”, isn\x92t; it?\x85", speaker, emotion, dialogue, number)
        for dialogue, speaker in enumerate(("Ross", "Rachel"))
        for number, emotion in enumerate(EMOTIONS)
    ]
    extra = [turn for turn in BROKEN if turn[0] == part]
    turns += [("So…", "Joey", "neutral", *turn[1:]) for turn in extra]
    guest = {"train": "The Casting  Director ", "dev": "ROSS", "test": "#2"}[part]
    return [*turns, ('"No", I said', guest, "joy", 2, 0)]


def label_file(turns: Sequence[tuple]) -> str:
    """A label file's text, with Windows line ends as in the release."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for i, (text, speaker, emotion, dialogue, number) in enumerate(turns, start=1):
        row = (i, text, speaker, emotion, "neutral", dialogue, number, 8, 21)
        writer.writerow([*row, "00:16:16,059", "00:16:21,731"])
    return out.getvalue()


def wav(samples: int) -> bytes:
    """A WAV file of silence."""
    out = io.BytesIO()
    soundfile.write(out, np.zeros(samples), 16000, format="WAV", subtype="PCM_16")
    return out.getvalue()


def make_release(folder: Path) -> Path:
    """A release with what lies beside the turns: repeated, broken, extra, macOS's."""
    for part, name in FOLDERS.items():
        videos = folder / name
        videos.mkdir(parents=True)
        turns = rows(part)
        place = folder / "train" if part == "train" else folder
        text = label_file(turns)
        if part == "dev":  # one file of the three in Windows's own encoding
            content = (
                text.replace("\x92", "\u2019").replace("\x85", "…").encode("cp1252")
            )
        else:
            content = text.encode()
        (place / f"{part}_sent_emo.csv").write_bytes(content)
        for dialogue, number in (turn[3:] for turn in turns):
            if (part, dialogue, number) == ("dev", 110, 7):
                continue
            length = {"train": 1000, "dev": 2000, "test": 3000}[part]
            broken = (part, dialogue, number) == ("train", 125, 3)
            stem = f"dia{dialogue}_utt{number}.mp4"
            (videos / stem).write_bytes(b"broken" if broken else wav(length + number))
            (videos / f"._{stem}").write_text("of macOS")
    extra = folder / FOLDERS["test"] / "final_videos_testdia0_utt0.mp4"
    extra.write_bytes(wav(9999))
    return folder


@pytest.fixture
def calls(tmp_path, monkeypatch) -> Path:
    """Put the stand-in for ffmpeg on the path; return the list of its calls."""
    folder, log = tmp_path / "bin", tmp_path / "calls.txt"
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(FAKE.format(log=log))
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(folder))
    return log


@pytest.fixture
def audio(tmp_path, calls) -> Path:
    """What the program makes of a release."""
    release, folder = make_release(tmp_path / "MELD.Raw"), tmp_path / "audio"
    assert extract_audio(release, folder) == []
    calls.unlink()
    shutil.rmtree(release)  # the folder must do by itself
    return folder


def test_ids_carry_the_part_and_speakers_are_unified(audio):
    corpus = read_meld(audio)
    clips = {clip.id: clip for clip in corpus.utterances}
    assert len(clips) == 3 * (14 + 1)
    assert {clips[f"{part}_dia0_utt4"].wav for part in FOLDERS} == {
        "train/dia0_utt4.wav",
        "dev/dia0_utt4.wav",
        "test/dia0_utt4.wav",
    }
    clip = clips["dev_dia1_utt6"]
    assert (clip.emotion, clip.speaker, clip.group) == ("fear", "Rachel", "dev")
    assert clip.split == "valid"
    assert clip.place == f"{audio / 'dev_sent_emo.csv'}, line 15"
    speakers = {part: clips[f"{part}_dia2_utt0"].speaker for part in FOLDERS}
    assert speakers == {"train": "The Casting Director", "dev": "Ross", "test": "#2"}
    assert corpus.emotions == {name: 9 if name == "joy" else 6 for name in EMOTIONS}


def test_turns_without_sound_are_left_out_and_named(audio):
    corpus = read_meld(audio)
    named = {f"{part}_dia{dialogue}_utt{number}" for part, dialogue, number in BROKEN}
    assert {note.split(" is left out: ")[0] for note in corpus.notes} == named
    assert not named & {clip.id for clip in corpus.utterances}
    # the release's own counts, less the turns that are left out
    totals = {part: sum(row.values()) for part, row in corpus.published.items()}
    assert totals == {"train": 9988, "dev": 1108, "test": 2608}
    assert corpus.published["train"]["neutral"] == 4709
    assert corpus.published["test"]["neutral"] == 1254
    assert corpus.published["test"]["fear"] == 50


def test_official_split(audio, tmp_path, capsys):
    settings = {"labels": EMOTIONS, "n_folds": 1, "fold_by": "official"}
    with pytest.raises(
        InputError, match=r"2 of the 3 test speakers.*--allow_shared_sp"
    ):
        plan_manifests(read_meld(audio), tmp_path / "out", **settings)
    plan = plan_manifests(
        read_meld(audio), tmp_path / "out", allow_shared_speakers=True, **settings
    )
    plan.write()
    plan.report()
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == "split neutral joy surprise anger sadness disgust fear all"
    assert rows[1:5] == [
        f"{part} 2 3 2 2 2 2 2 15" for part in ("dev", "test", "train")
    ] + ["all 6 9 6 6 6 6 6 45"]
    for (fold, part), manifest in read_manifests(tmp_path / "out").items():
        assert fold == 1
        assert len(manifest) == 15
        name = {"valid": "dev"}.get(part, part)
        assert {entry["split"] for entry in manifest.values()} == {name}
        # each clip has its own part's sound: 1000, 2000 or 3000 samples and its number
        for identity, entry in manifest.items():
            number = int(identity.rpartition("utt")[2])
            samples = {"train": 1000, "valid": 2000, "test": 3000}[part] + number
            assert entry["duration"] == samples / 16000
            assert (
                entry["wav"] == "{data_root}/" + identity.replace("_", "/", 1) + ".wav"
            )


def test_its_settings_file_trains(audio, tmp_path):
    file = RECIPE / "hparams" / "train.yaml"
    metrics = train(audio, tmp_path / "run", file=file)
    assert metrics["labels"] == EMOTIONS
    assert [sum(row) for row in metrics["confusion"]] == [2, 3, 2, 2, 2, 2, 2]


def test_only_labelled_videos_are_read(audio):
    files = sorted(path.name for path in (audio / "test").iterdir())
    assert files == sorted(
        f"dia{dialogue}_utt{number}.wav"
        for *_, dialogue, number in rows("test")
        if dialogue not in (38, 220)
    )


def test_extraction_goes_on_where_it_stopped(tmp_path, calls):
    release, folder = make_release(tmp_path / "MELD.Raw"), tmp_path / "audio"
    broken = release / FOLDERS["test"] / "dia1_utt2.mp4"
    broken.write_text("half a video")
    (release / FOLDERS["dev"] / "dia0_utt0.mp4").unlink()
    missing, failed = extract_audio(release, folder)
    assert re.fullmatch(
        r"dev_dia0_utt0: its video is missing \(labelled .*2\)", missing
    )
    assert failed.startswith(f"{broken}: ")
    assert failed.endswith("Invalid data found when processing input")
    assert len(list(folder.rglob("*.wav"))) == 45 - 2
    assert list((folder / "test").glob(".*")) == []  # nothing unfinished is left
    assert len(calls.read_text().splitlines()) == 45 - 1
    before = (folder / "dev" / "dia1_utt0.wav").stat().st_mtime_ns

    calls.unlink()
    broken.write_bytes(wav(3002))
    assert len(extract_audio(release, folder)) == 1
    assert calls.read_text().splitlines() == [str(broken)]
    assert (folder / "dev" / "dia1_utt0.wav").stat().st_mtime_ns == before
    info = soundfile.info(folder / "test" / "dia1_utt2.wav")
    assert (info.samplerate, info.channels, info.frames) == (16000, 1, 3002)


def test_program(tmp_path, calls):
    release = make_release(tmp_path / "MELD.Raw")
    words = [sys.executable, str(PROGRAM), str(release), str(tmp_path / "audio")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'audio'}: all turns are there\n"
    (tmp_path / "audio" / "dev" / "dia0_utt3.wav").unlink()
    (release / FOLDERS["dev"] / "dia0_utt3.mp4").write_text("broken")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    first, last = done.stdout.splitlines()
    assert first.endswith("dia0_utt3.mp4: Invalid data found when processing input")
    assert last.startswith("1 turns failed; the others are in")


def test_without_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        InputError, match=r"ffmpeg is not installed.*apt install ffmpeg"
    ):
        extract_audio(make_release(tmp_path / "MELD.Raw"), tmp_path / "audio")
    assert not (tmp_path / "audio").exists()


def test_videos_alone(tmp_path):
    release = make_release(tmp_path / "MELD.Raw")
    wanted = r"no dia\*_utt\*\.wav is there.*meld_prepare.py .*MELD.Raw AUDIO_FOLDER"
    with pytest.raises(InputError, match=wanted):
        read_meld(release)
    for name in FOLDERS.values():
        shutil.rmtree(release / name)
    with pytest.raises(InputError, match=r"no video such as .*unpack train\.tar\.gz"):
        extract_audio(release, tmp_path / "audio")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            ",anger,",
            ",angry,",
            r"dev_sent_emo.csv, line 5: unknown emotion 'angry'; .*joy",
        ),
        (",1,6,", ",1,six,", r"line 15: Dialogue_ID is '1' and Utterance_ID 'six'"),
        (",1,6,", ",1,5,", r"line 15: dev_dia1_utt5 is labelled twice.*line 14"),
        ("Speaker,", "Name,", r"dev_sent_emo.csv: no column Speaker in its first line"),
        (
            ",disgust,neutral,0,5,8,21,",
            "\r\n8,",
            r"line 7: unknown emotion ''; it must be",
        ),
    ],
)
def test_label_files_that_are_wrong(audio, old, new, message):
    file = audio / "dev_sent_emo.csv"
    text = file.read_bytes().decode("latin-1")
    assert old in text
    file.write_bytes(text.replace(old, new, 1).encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_meld(audio)


def test_a_label_file_that_is_missing(audio):
    (audio / "test_sent_emo.csv").unlink()
    with pytest.raises(
        InputError, match=r"test_sent_emo.csv is missing, also in .*test"
    ):
        read_meld(audio)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_the_centre_of_surround_sound_is_heard(tmp_path):
    release = make_release(tmp_path / "MELD.Raw")
    for path in release.rglob("*.mp4"):
        path.unlink()
    tone = "sine=frequency=440:duration=1:sample_rate=48000"
    levels = {}
    for number, channel in enumerate(("FC", "FL", "LFE")):
        video = release / FOLDERS["train"] / f"dia0_utt{number}.mp4"
        words = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", tone]
        words += ["-af", f"pan=5.1|{channel}=c0", "-c:a", "aac", str(video)]
        subprocess.run(words, check=True)
    extract_audio(release, tmp_path / "audio")
    for number, channel in enumerate(("FC", "FL", "LFE")):
        sound, rate = soundfile.read(tmp_path / "audio" / f"train/dia0_utt{number}.wav")
        assert (sound.ndim, rate) == (1, 16000)
        levels[channel] = np.sqrt(np.mean(sound[4000:12000] ** 2))
    assert levels["FC"] > 0.02
    assert levels["FL"] / levels["FC"] == pytest.approx(0.5**0.5, rel=0.02)
    assert levels["LFE"] < 1e-4
