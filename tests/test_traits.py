"""Traits of clips: from tables and file names to manifests and back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from diary import make_diary, prepare
from looking import look
from releases import contents, read_manifests

from sercorr.corpora.known import read_known
from sercorr.corpora.prepared import read_prepared
from sercorr.corpora.tables import read_table, write_table
from sercorr.data.cross_corpus import as_other_corpus
from sercorr.data.splits import make_splits
from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError

HEAD = "file,emotion,speaker,Gender,style,TRAIT_accent"
ROWS = ["a.wav,x,A,female,unknown,", "b.wav,y,B,,scripted,north", "c.wav,y,C,nan,,"]
TRAITS = [{"gender": "female"}, {"style": "scripted", "accent": "north"}, None]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def traits_of(corpus: Corpus) -> dict:
    return {clip.id: clip.traits for clip in corpus.utterances}


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    """The diary, of whose clips two in three have traits, in no order."""
    known = ({"style": "read", "gender": "female"}, {"gender": "male"}, None)
    made = make_diary(tmp_path / "data")
    clips = [
        replace(clip, traits=known[number % 3])
        for number, clip in enumerate(made.utterances)
    ]
    return replace(made, utterances=clips)


def test_columns_of_a_table(tmp_path):
    found = read_table(write(tmp_path / "t.csv", HEAD, *ROWS))
    assert list(traits_of(found).values()) == TRAITS
    objects = [
        {"file": "a.wav", "emotion": "x", "speaker": "A", "gender": "female"},
        {"file": "b.wav", "emotion": "y", "speaker": "B", "trait_age": 31},
        {"file": "c.wav", "emotion": "y", "speaker": "C", "trait_age": None},
    ]
    lines = map(json.dumps, objects)
    found = read_table(write(tmp_path / "t.jsonl", *lines))
    assert list(traits_of(found).values()) == [
        {"gender": "female"},
        {"age": "31"},
        None,
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["file,emotion,speaker,gender,trait_gender", "a.wav,x,A,f,f"],
            r"t\.csv: gender and trait_gender are both the trait gender; rename or",
        ),
        (
            ["file,emotion,speaker,trait_age,Trait_age", "a.wav,x,A,1,2"],
            r"t\.csv: trait_age and Trait_age are both the trait age; rename or",
        ),
        (
            ["file,emotion,speaker,gender", "a.wav,x,A,f", "a.wav,x,A,m"],
            r"line 3: a\.wav is also in line 2, with traits \{'gender': 'f'\} there",
        ),
    ],
)
def test_what_a_table_may_not_say(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path / "t.csv", *lines))


def test_a_table_reads_back(tmp_path):
    first = read_table(write(tmp_path / "t.csv", HEAD, *ROWS))
    write_table(first, tmp_path / "u.csv")
    head = (tmp_path / "u.csv").read_text().splitlines()[0]
    assert head == "file,emotion,speaker,trait_accent,gender,style"
    assert traits_of(read_table(tmp_path / "u.csv")) == traits_of(first)


def test_manifests_have_them_and_read_back(corpus, tmp_path):
    prepare(corpus, tmp_path / "out")
    manifests = read_manifests(tmp_path / "out")
    everything = {
        id_: entry for some in manifests.values() for id_, entry in some.items()
    }
    for clip in corpus.utterances:
        if clip.emotion:
            assert everything[clip.id].get("traits") == clip.traits
    texts = [
        list(e["traits"]) for e in everything.values() if len(e.get("traits", "")) > 1
    ]
    assert texts == [["gender", "style"]] * len(texts)  # in one order, whatever it was
    read, _ = read_prepared(tmp_path / "out", corpus.data_folder)
    known = traits_of(corpus)
    assert traits_of(read) == {id_: known[id_] for id_ in traits_of(read)}
    assert read.group_name == "day"  # traits are no group


def test_they_are_part_of_the_data_and_decide_nothing_else(corpus, tmp_path):
    settings = {"n_folds": 3, "valid_by": "random"}
    clips = [clip for clip in corpus.utterances if clip.emotion]
    bare = [replace(clip, traits=None) for clip in clips]
    assert make_splits(corpus, clips, **settings) == make_splits(
        corpus, bare, **settings
    )
    prepare(corpus, tmp_path)
    assert not prepare(corpus, tmp_path).texts
    before = contents(tmp_path)
    again = replace(
        corpus, utterances=[replace(c, traits=None) for c in corpus.utterances]
    )
    assert prepare(again, tmp_path).texts
    assert contents(tmp_path) != before
    assert not any(
        "traits" in e for m in read_manifests(tmp_path).values() for e in m.values()
    )


def test_another_corpus_keeps_them():
    clips = [Utterance("a", "a.wav", "x", "A", "A", traits={"gender": "female"})]
    (clip,) = as_other_corpus(Corpus("b", "/b", clips)).utterances
    assert (clip.id, clip.traits) == ("b/a", {"gender": "female"})


def test_a_description_of_ones_own_is_checked(tmp_path):
    (tmp_path / "h1.wav").write_bytes(b"")
    lines = [
        "own: {title: a, reference: b, licence: c, example: h1, published: {},",
        "  settings: {}, meaning: d, id: '{speaker}{emotion}', emotions: {h: happy},",
        r"  pattern: '(?P<emotion>\w)(?P<speaker>\d)', traits: TRAITS}",
    ]
    for traits, message in (
        ("{gender: {male: '(1'}}", r"own: \(1: no regular expression"),
        ("{gender: male}", "own: .*; mend the entry"),
        ("male", "own: .*; mend the entry"),
    ):
        text = "\n".join(lines).replace("TRAITS", traits)
        file = write(tmp_path / "own.yaml", text)
        with pytest.raises(InputError, match=message):
            read_known("own", tmp_path, file)
    text = "\n".join(lines).replace("TRAITS", "{gender: {male: '1.*', female: '2.*'}}")
    (clip,) = read_known("own", tmp_path, write(tmp_path / "own.yaml", text)).utterances
    assert (clip.id, clip.traits) == ("1h", {"gender": "male"})


def test_clips_by_trait_are_counted(corpus, tmp_path, capsys):
    table = tmp_path / "data" / "diary.csv"
    write_table(corpus, table)
    text, _ = look(capsys, table, "--json", tmp_path / "f.json")
    lines = text.splitlines()
    clips = [clip for clip in corpus.utterances if clip.emotion]
    female, male = (
        sum((clip.traits or {}).get("gender") == word for clip in clips)
        for word in ("female", "male")
    )
    rest = len(clips) - female - male
    assert lines[1] == f"gender: female ({female}), male ({male}), unknown ({rest})"
    assert lines[2] == f"style: read ({female}), unknown ({36 - female})"
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["traits"] == {
        "gender": {"female": female, "male": male},
        "style": {"read": female},
    }
