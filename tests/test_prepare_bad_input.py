"""What preparation says about releases, labels, clips and settings that are wrong."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from iemocap_prepare import prepare_iemocap
from releases import contents, make_release, read_manifests, write_labels

from sercorr.errors import InputError


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A small release with every oddity; not to be changed."""
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def copy(release, tmp_path) -> Path:
    """A copy of the small release, to be spoilt."""
    return Path(shutil.copytree(release, tmp_path / "copy"))


def test_a_data_folder_that_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"none: no such folder; expected .*Session1"):
        prepare_iemocap(tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_data_folder_that_is_a_file(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(InputError, match=r"a: a file, not the folder of a release"):
        prepare_iemocap(tmp_path / "a", tmp_path / "out")


def test_a_data_folder_that_is_empty(tmp_path):
    (tmp_path / ".DS_Store").write_text("")
    expected = (
        r"not an IEMOCAP release: expected .* found nothing \(the folder is empty"
    )
    with pytest.raises(InputError, match=expected):
        prepare_iemocap(tmp_path, tmp_path / "out")


def test_a_data_folder_that_is_not_iemocap(tmp_path):
    for i in range(10):
        (tmp_path / f"speaker{i}").mkdir()
    expected = r"found speaker0, speaker1, .*speaker7 and 2 more"
    with pytest.raises(InputError, match=expected):
        prepare_iemocap(tmp_path, tmp_path / "out")


def test_a_data_folder_one_level_too_high(copy, tmp_path):
    with pytest.raises(InputError, match=rf"did you mean {re.escape(str(copy))}\?"):
        prepare_iemocap(tmp_path, tmp_path / "out")


def test_a_missing_session(copy, tmp_path):
    shutil.rmtree(copy / "Session3")
    expected = r"Session3 missing, found only Session1, Session2, Session4, Session5"
    with pytest.raises(InputError, match=expected):
        prepare_iemocap(copy, tmp_path / "out")


@pytest.mark.parametrize("lost", ["dialog/EmoEvaluation", "sentences/wav"])
def test_a_session_that_is_not_whole(copy, tmp_path, lost):
    shutil.rmtree(copy / "Session4" / lost)
    with pytest.raises(InputError, match=rf"Session4/{lost}: no such folder"):
        prepare_iemocap(copy, tmp_path / "out")


def test_a_session_without_label_files(copy, tmp_path):
    for path in (copy / "Session4/dialog/EmoEvaluation").glob("Ses*.txt"):
        path.unlink()
    with pytest.raises(InputError, match=r"no label file Ses\*\.txt among Attribute,"):
        prepare_iemocap(copy, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", r"Ses01F_impro09\.txt: no labelled turn in 0 bytes; expected lines"),
        (
            b"\n[1.0 - 2.0]\tSes01F_impro09_F000\tneu\n",
            r"impro09\.txt, line 2: found '.*', expected '\[start - end\]",
        ),
        (
            b"[1.0 - 2.0]\tSes01F_impro09_X000\tneu\t[1, 2, 3]\n",
            r"line 1: 'Ses01F_impro09_X000' is not the name of a turn",
        ),
        (
            b"[1.0 - 2.0]\tSes01F_impro09_F0/../x\tneu\t[1, 2, 3]\n",
            r"line 1: .* is not the name of a turn",
        ),
        (
            b"[1.0 - 2.0]\tSes01F_impro09_F000\tbor\t[1, 2, 3]\n",
            r"line 1: unknown label code 'bor' of turn Ses01F_impro09_F000; "
            r"it must be one of neu, hap, exc, ang, sad, fru",
        ),
        (
            b"[1.0 - 2.0]\tSes02F_impro09_F000\tneu\t[1, 2, 3]\n",
            r"line 1: the turn Ses02F_impro09_F000 is of session 2, .* Session1",
        ),
        (
            b"[1.0 - 2.0]\tSes01F_impro01_F000\tneu\t[1, 2, 3]\n",
            r"impro09\.txt, line 1: the turn Ses01F_impro01_F000 is labelled twice, "
            r"the first time at .*Ses01F_impro01\.txt, line 3",
        ),
    ],
)
def test_labels_that_cannot_be_used(copy, tmp_path, content, expected):
    write_labels(copy, "Ses01F_impro09", content)
    with pytest.raises(InputError, match=expected):
        prepare_iemocap(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def spoil(folder: Path) -> dict[str, str]:
    """Spoil five clips in use and one that is not; return turn -> complaint."""
    clips = {path.stem: path for path in folder.rglob("Ses*.wav")}
    clips["Ses01F_impro01_F000"].unlink()
    clips["Ses02F_impro01_M001"].write_bytes(b"")
    clips["Ses03M_impro05a_F000"].write_bytes(b"no audio at all" * 99)
    long = clips["Ses03M_impro05b_M000"]
    long.write_bytes(long.read_bytes()[:2044])
    soundfile.write(clips["Ses05M_script01_1b_M000"], np.zeros(399), 16000)
    labels = (folder / "Session4/dialog/EmoEvaluation").glob("Ses*.txt")
    unused = re.search(r"(\S+)\txxx", "".join(p.read_text("latin-1") for p in labels))
    clips[unused[1]].unlink()
    return {
        "Ses01F_impro01_F000": "missing: there is no such file",
        "Ses02F_impro01_M001": "empty: the file has 0 bytes",
        "Ses03M_impro05a_F000": "not readable as audio",
        "Ses03M_impro05b_M000": "truncated: its header promises",
        "Ses05M_script01_1b_M000": "too short: 399 samples",
    }


def test_all_bad_clips_are_reported_at_once(copy, tmp_path):
    out = tmp_path / "out"
    bad = spoil(copy)
    with pytest.raises(InputError) as caught:
        prepare_iemocap(copy, out)
    head, *lines, listed, remedy = str(caught.value).splitlines()
    assert head == "5 clips cannot be used:"
    for (name, complaint), line in zip(bad.items(), lines, strict=True):
        assert re.search(rf"/{name}\.wav: {complaint}.*\(labelled in .*, line", line)
    assert listed == f"all of them are listed in {out / 'bad_audio.txt'}"
    assert remedy == "mend them, or leave them out with skip_bad_audio (True)"
    assert contents(out) == {"bad_audio.txt": ("\n".join(lines) + "\n").encode()}


def test_bad_clips_are_left_out_and_listed(copy, release, tmp_path, capsys):
    out = tmp_path / "out"
    bad = spoil(copy)
    with pytest.raises(InputError):
        prepare_iemocap(copy, out)
    done = prepare_iemocap(copy, out, skip_bad_audio=True)
    assert (done.clips, done.skipped) == (35, 5)
    names = {name for manifest in read_manifests(out).values() for name in manifest}
    assert len(names) == 35
    assert not names & set(bad)
    skipped = (out / "skipped_audio.txt").read_text().splitlines()
    for (name, complaint), line in zip(bad.items(), skipped, strict=True):
        assert f"/{name}.wav: {complaint}" in line
    assert not (out / "bad_audio.txt").exists()
    note = f"note: 5 clips left out, listed in {out / 'skipped_audio.txt'}"
    assert note in capsys.readouterr().out
    assert not prepare_iemocap(copy, out, skip_bad_audio=True).fresh
    assert note in capsys.readouterr().out
    # Mended, the clips come back and the list goes.
    for path in release.rglob("Ses*.wav"):
        shutil.copy(path, copy / path.relative_to(release))
    assert prepare_iemocap(copy, out, skip_bad_audio=True).clips == 40
    assert not (out / "skipped_audio.txt").exists()


def test_a_long_list_of_bad_clips_is_cut(copy, tmp_path):
    for session in (1, 2, 3):
        shutil.rmtree(copy / f"Session{session}/sentences/wav")
        (copy / f"Session{session}/sentences/wav").mkdir()
    with pytest.raises(InputError, match=r"24 clips cannot be used") as caught:
        prepare_iemocap(copy, tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert sum("missing" in line for line in lines) == 20
    assert "... and 4 more" in lines
    listed = (tmp_path / "out" / "bad_audio.txt").read_text().splitlines()
    assert len(listed) == 24
    with pytest.raises(InputError, match=r"Session1: no usable clip in the classes"):
        prepare_iemocap(copy, tmp_path / "out", skip_bad_audio=True)


def test_other_rates_and_channels_are_noted(copy, tmp_path, capsys):
    clip = copy / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    soundfile.write(clip, np.zeros((44100, 2)), 44100)
    prepare_iemocap(copy, tmp_path / "out")
    entry = read_manifests(tmp_path / "out")[1, "test"]["Ses01F_impro01_F000"]
    assert entry["duration"] == 1.0
    note = r"note: 1 clips are not 16000 Hz mono .*Ses01F_impro01_F000 \(44100 Hz, 2 ch"
    assert re.search(note, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"valid_ratio": 0.0}, r"valid_ratio is 0\.0; it must lie between 0 and 1"),
        ({"valid_ratio": 1}, r"valid_ratio is 1; it must lie between 0 and 1"),
        ({"valid_ratio": float("nan")}, r"valid_ratio is nan"),
        ({"valid_ratio": "0.2"}, r"valid_ratio is '0\.2'"),
        ({"valid_session": 0}, r"valid_session is 0; it must be one of 1, 2, 3, 4, 5"),
        ({"valid_session": 6}, r"valid_session is 6; it must be one of"),
        ({"valid_session": True}, r"valid_session is True"),
        ({"seed": 1.5}, r"seed is 1\.5; it must be a whole number"),
        ({"skip_bad_audio": "False"}, r"skip_bad_audio is 'False'; it must be True or"),
    ],
)
def test_settings_out_of_range(release, tmp_path, setting, expected):
    with pytest.raises(InputError, match=expected):
        prepare_iemocap(release, tmp_path / "out", **setting)
    assert not (tmp_path / "out").exists()


def test_a_manifest_folder_that_cannot_be_written(release, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"out: the folder cannot be made"):
        prepare_iemocap(release, tmp_path / "file" / "out")
