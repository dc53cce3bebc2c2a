"""What copies of known corpora have: doubles, odd names, files of other corpora."""

import pytest
from named_releases import put

from sercorr.corpora.known import read_known, recognise
from sercorr.errors import InputError


@pytest.mark.parametrize(
    ("name", "places", "folders"),
    [
        # whole copies; the folder to name is one that does not hold the other
        ("tess", "A/OAF_sad/OAF_bar_sad.wav A/B/OAF_sad/OAF_bar_sad.wav", "A/B"),
        ("ravdess", "Actor_01/03-01-04-01-01-01-01.wav "
         "speech/Actor_01/03-01-04-01-01-01-01.wav", "speech"),
        ("casia", "wangzhe/sad/201.wav old/wangzhe/sad/201.wav", "old"),
        ("savee", "DC/a01.wav ALL/DC_a01.wav", "ALL"),
        ("emodb", "wav/03a01Fa.wav wav16k/03a01Fa.wav", "wav wav16k"),
        # one folder with the same clip in two forms: there is no folder to name
        ("emodb", "wav/03a01Fa.wav wav/03a01Fa.flac", ""),
        ("esd", "0001/Sad/0001_001051.wav 0001/Sad/test/0001_001051.wav", ""),
    ],
)  # fmt: skip
def test_a_recording_twice_and_which_folder_has_it_once(
    tmp_path, name, places, folders
):
    put(tmp_path, iter(places.split()))
    with pytest.raises(InputError) as caught:
        read_known(name, tmp_path)
    first, second = sorted(places.split())
    remedies = [str(tmp_path / folder) for folder in folders.split()]
    assert str(caught.value) == (
        f"{tmp_path}: 1 recordings of {name} are there more than once, such as {first} "
        f"and {second}; keep one copy"
        + ", or name the folder of one: " * bool(remedies)
        + " or ".join(remedies)
    )
    for remedy in remedies:
        assert len(read_known(name, remedy).utterances) == 1


def test_capital_suffixes_other_formats_and_backslashes(tmp_path):
    put(tmp_path, iter(["03a01Fa.WAV", "wav/08a01Ta.flac", "wav\\16b10Lb.Wav"]))
    clips = read_known("emodb", tmp_path).utterances
    found = [(clip.id, clip.emotion, clip.speaker) for clip in clips]
    assert found == [
        ("03a01Fa", "happy", "03"),
        ("08a01Ta", "sad", "08"),
        ("16b10Lb", "bored", "16"),
    ]
    assert all((tmp_path / clip.wav).is_file() for clip in clips)


@pytest.mark.parametrize(
    ("name", "good", "other"),
    [
        ("emodb", "wav/03a01Fa.wav", "wav/03a01Fa copy.wav"),
        ("emodb", "wav/03a01Fa.wav", "noise.ogg"),
        ("ravdess", "Actor_24/03-01-05-01-01-01-24.wav",
         "Actor_25/03-01-05-01-01-01-25.wav"),
        ("savee", "DC/sa01.wav", "XX/sa01.wav"),
        ("emovo", "f1/gio-f1-b1.wav", "f1/gio-f2-b1.wav"),
        ("casia", "wangzhe/angry/201.wav", "wangzhe/anger/201.wav"),
        ("esd", "0001/Sad/0001_001051.wav", "0001/Sad/0002_001051.wav"),
        ("esd", "0020/Sad/0020_001051.wav", "0021/Sad/0021_001051.wav"),
    ],
)  # fmt: skip
def test_a_speaker_or_name_that_the_corpus_does_not_have(tmp_path, name, good, other):
    put(tmp_path, iter([good]))
    assert len(read_known(name, tmp_path).utterances) == 1
    put(tmp_path, iter([other]))
    with pytest.raises(InputError, match=f"not named as recordings of {name} are: "):
        read_known(name, tmp_path)


def test_what_most_files_belong_to_is_recognised(tmp_path):
    put(tmp_path, iter(["wav/03a01Fa.wav", "other/a.wav"]))
    assert recognise(tmp_path) is None  # half of the files are not most
    put(tmp_path, iter(["wav/03a01Ta.wav"]))
    assert recognise(tmp_path) == "emodb"
    put(tmp_path, (f"male/M01A{take:02d}.wav" for take in range(10)))
    assert recognise(tmp_path) == "shemo"
