"""Tables of clips: their dialects, what each column says, and what is refused."""

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from sercorr.corpora.rows import read_rows, read_seconds
from sercorr.corpora.tables import read_table, table_folder, table_labels, write_table
from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def refusal(path: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_table(path, **options)
    return str(caught.value)


def without_place(corpus: Corpus) -> list[Utterance]:
    return [replace(clip, place="") for clip in corpus.utterances]


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


WORDS = ("a.wav", "Ärger, groß", "two; parts", 'a "quoted" word', "é", "line\nbreak")


@pytest.mark.parametrize("seed", range(5))
def test_random_tables_read_the_same_in_every_dialect(tmp_path, seed):
    rng = random.Random(seed)
    columns = ["file", "emotion", "Notes", "speaker"]
    cells = [[rng.choice(WORDS) for _ in columns] for _ in range(30)]
    dialects = [
        (",", "utf-8", "\n", ".csv"),
        (";", "latin-1", "\r\n", ".csv"),
        ("\t", "utf-16", "\n", ".tsv"),
        (";", "utf-8-sig", "\r", ".txt"),
        (",", "utf-16-be", "\r\n", ".csv"),
    ]
    for number, (delimiter, encoding, newline, suffix) in enumerate(dialects):
        lines = [delimiter.join(map(quoted, row)) for row in [columns, *cells]]
        text = ("\ufeff" if encoding == "utf-16-be" else "") + newline.join(lines)
        rows = read_rows(write(tmp_path / f"{number}{suffix}", text, encoding))
        assert [list(row.values()) for row in rows] == cells
        assert [list(row) for row in rows] == [columns] * 30
    objects = [json.dumps(dict(zip(columns, row, strict=True))) for row in cells]
    rows = read_rows(write(tmp_path / "t.jsonl", "\n".join(objects)))
    assert [list(row.values()) for row in rows] == cells


def test_lines_are_counted_as_an_editor_does(tmp_path):
    text = 'file,note\n\na.wav,"one\ntwo"\n,\nb.wav,\n'
    rows = read_rows(write(tmp_path / "t.csv", text))
    assert [(row.line, row["file"]) for row in rows] == [(3, "a.wav"), (6, "b.wav")]
    text = '\n{"file": "a.wav"}\n\n{"file": "b.wav", "end": 2, "x": null}\n'
    rows = read_rows(write(tmp_path / "t.ndjson", text))
    assert [row.line for row in rows] == [2, 4]
    assert rows == [
        {"file": "a.wav", "end": "", "x": ""},
        {"file": "b.wav", "end": "2", "x": ""},
    ]


def test_windows_letters_are_those_of_windows(tmp_path):
    path = write(tmp_path / "t.csv", "file,note\nœuvre.wav,€\n", "cp1252")
    assert read_rows(path) == [{"file": "œuvre.wav", "note": "€"}]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5", 1.5),
        ("0 days 00:00:01.5", 1.5),
        ("1 days 02:03:04", 93784.0),
        ("00:00:00.000000001", 1e-9),
        ("1e-3", 0.001),
    ],
)
def test_times(text, seconds):
    assert read_seconds(text) == seconds


def test_every_column(tmp_path):
    path = write(
        tmp_path / "corpus" / "t.csv",
        " FILE ;Emotion; SPEAKER;start;end;group;Fold;id;comment\n"
        "a.wav;sad;Anna;0.5;0 days 00:00:02;10;2;first;x\n"
        "a.wav;sad;;2;;9;10;second;\n"
        "b.wav;glad;UnKnown;nan;NaT;9;;third;y\n",
    )
    corpus = read_table(path)
    assert without_place(corpus) == [
        Utterance("first", "a.wav", "sad", "Anna", 10, start=0.5, end=2.0, fold=2),
        Utterance("second", "a.wav", "sad", "unknown", 9, start=2.0, fold=10),
        Utterance("third", "b.wav", "glad", "unknown", 9),
    ]
    assert [clip.place for clip in corpus.utterances] == [
        f"{path}, line {line}" for line in (2, 3, 4)
    ]
    assert (corpus.name, corpus.group_name, corpus.groups) == ("t", "group", [9, 10])
    assert corpus.data_folder == str(path.parent) == table_folder(path)
    assert corpus.notes == ["clips whose speaker is unknown: 2"]


def test_defaults(tmp_path):
    text = "file,emotion,speaker,end,split\nb/a.wav,x,07,1,Development\n./c.wav,x,8,,\n"
    corpus = read_table(write(tmp_path / "t.csv", text))
    assert without_place(corpus) == [
        Utterance(
            "b/a.wav#0.0-1.0", "b/a.wav", "x", "07", "07", end=1.0, split="valid"
        ),
        Utterance("c.wav", "c.wav", "x", "8", "8"),
    ]
    assert corpus.group_name == "speaker"


def test_groups_are_numbers_only_if_all_are(tmp_path):
    def groups(*names: str) -> list:
        rows = [f"{i}.wav,x,A,{name}" for i, name in enumerate(names)]
        text = "\n".join(["file,emotion,speaker,group", *rows])
        return read_table(write(tmp_path / "t.csv", text)).groups

    assert groups("10", "9") == [9, 10]
    assert groups("10", "9", "9b") == ["10", "9", "9b"]
    assert groups("10", "09") == ["09", "10"]


@pytest.mark.parametrize(
    ("file", "wav"),
    [
        ("./x/./a.wav", "x/a.wav"),
        ("x\\y\\a.wav", "x/y/a.wav"),
        ("x/back\\slash.wav", "x/back\\slash.wav"),
        ("../a.wav", "../a.wav"),
        ("{here}/data/x/a.wav", "x/a.wav"),
        ("{here}/link/x/a.wav", "x/a.wav"),
        ("{here}/database/a.wav", "{here}/database/a.wav"),
        ("a%20b.wav", "a%20b.wav"),
    ],
)
def test_files(tmp_path, file, wav):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    row = f"{file.format(here=tmp_path)},x,A"
    path = write(tmp_path / "t.csv", f"file,emotion,speaker\n{row}\n")
    (clip,) = read_table(path, data_folder=tmp_path / "link").utterances
    assert clip.wav == clip.id == wav.format(here=tmp_path)


def test_a_working_folder_may_hold_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("t.csv"), f"file,emotion,speaker\n{tmp_path}/x/a.wav,x,A\n")
    corpus = read_table("t.csv")
    assert (corpus.data_folder, corpus.utterances[0].wav) == (".", "x/a.wav")


HEAD = "file,emotion,speaker"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,emotion,spaeker\na,x,A\n",
            "named speaker, but file, emotion, spaeker; ",
        ),
        ("file,emotion,spaeker\na,x,A\n", "did you mean spaeker? rename it"),
        ("file,emotion\na,x\n", "write unknown where nobody knows"),
        ("path,emotion,speaker\na,x,A\n", "no column named file, but path"),
        (f"{HEAD},File\na,x,A,b\n", "two columns named file"),
        (f"{HEAD},split,fold\na,x,A,train,1\n", "columns named split and fold"),
        (f"{HEAD}\n", "no rows below"),
        (f"{HEAD}\na,x,A,B\n", "line 2: too many fields (4, there are 3 columns)"),
        (f'{HEAD}\na,x,A\n"b,x,A\nc,x,A\n', "line 3: not valid CSV"),
        (f"{HEAD}\nhttp://x.org/a.wav,x,A\n", "line 2: file is http://x.org/a.wav"),
        (f"{HEAD}\n,x,A\n", "line 2: file is empty"),
        (
            f"{HEAD},split\na,x,A,eval\n",
            "line 2: split is 'eval'; it must be one of tr",
        ),
        (f"{HEAD},group\na,x,A,\n", "line 2: group is empty"),
        (
            f"{HEAD},start,end\na,x,A,1,1\n",
            "line 2: start is 1 and end 1; it must be 0",
        ),
        (f"{HEAD},start\na,x,A,-1\n", "line 2: start is -1 and end empty"),
        (f"{HEAD};end\na,x\n".replace(",", ";") + "b;x;A;1,5", "decimals with a point"),
        (
            f"{HEAD},end\na,x,A,soon\n",
            "line 2: end is 'soon'; give seconds, such as 1.5",
        ),
        (
            f"{HEAD}\na,x,A\nb,x,A\na,y,A\n",
            "line 4: a is also in line 2, with emotion x",
        ),
        (f"{HEAD}\na,x,A\n./a,x,B\n", "in line 2, with speaker A there, B here"),
        (f"{HEAD},votes_x\na,x,A,1\na,x,A,2\n", "in line 2, with other votes there"),
        (f"{HEAD},id\na,x,A,1\na,x,A,2\n", "in line 2, with id 1 there, 2 here"),
        (f"{HEAD},id\na,x,A,1\nb,x,A,1\n", "line 3: the id 1 is that of line 2, too"),
        (f"{HEAD},votes_x\na,x,A,-1\n", "line 2: votes_x is -1; it must be 0 or more"),
        (f"{HEAD},votes_x\na,x,A,inf\n", "line 2: votes_x is 'inf'; give a number"),
        (f"{HEAD},votes_x,Votes_x\na,x,A,1,1\n", "votes_x and Votes_x are both votes"),
        ("a\0b", "not text; save it as CSV"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    path = write(tmp_path / "t.csv", text)
    error = refusal(path)
    assert error.startswith(str(path))
    assert message in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"file": "a"}\n{"file": \n', "line 2: not JSON"),
        ('{"file": "a"}\n[1]\n', "line 2: '[1]' is no JSON object"),
        ('{"file": "a", "File": "b"}\n', "two columns named file"),
        ("\n\n", "no objects in it"),
    ],
)
def test_json_lines_that_are_refused(tmp_path, text, message):
    assert message in refusal(write(tmp_path / "t.jsonl", text))


def test_a_missing_table_and_an_empty_folder(tmp_path):
    assert "t.csv: cannot be read (No such file" in refusal(tmp_path / "t.csv")
    assert "folder without db.yaml" in refusal(tmp_path)


def test_faults_are_listed_together(tmp_path):
    rows = [f"{i}.wav,x,A,-1" if i % 2 else f"{i}.wav,x,A,0" for i in range(60)]
    error = refusal(write(tmp_path / "t.csv", "\n".join([f"{HEAD},start", *rows])))
    lines = error.splitlines()
    assert lines[0].endswith("t.csv: 30 lines make no sense")
    assert [int(line.split()[1][:-1]) for line in lines[1:21]] == list(range(3, 43, 2))
    assert lines[21:] == ["  and 10 more"]


def test_notes(tmp_path):
    text = (
        "file,emotion,speaker,group\na,x,A,2\na,x,A,2\nb,x,A,1\nc,,B,1\nd,y,B,1\n"
        "e,x,unknown,1\nf,x,unknown,2\ng,x,A,1\n"
    )
    corpus = read_table(write(tmp_path / "t.csv", text), drop="y")
    assert corpus.notes == [
        "1 clips are left out, as their labels are dropped: y (1)",
        "left out, as they have no emotion: 1",
        "rows that repeat another one, taken once: 1",
        "clips whose speaker is unknown: 2",
        "speakers in several groups: 1 of 2, such as A: 2 (line 2), 1 (line 4); "
        "fold_by group would not keep them apart",
    ]
    assert len(corpus.utterances) == 7
    text = "file,emotion,speaker\na,x,1\nb,x,2\n"
    (note,) = read_table(write(tmp_path / "t.csv", text)).notes
    assert note.startswith("every clip has a speaker of its own")


def made(data_folder: Path) -> Corpus:
    """A corpus that uses every column."""
    clips = [
        Utterance("a", "x/a, 1.wav", "sad", "Ann", 2, fold=0, vote_counts={"sad": 2}),
        Utterance("b", "b.wav", "glad", "unknown", 10, start=0.1, end=1 / 3, fold=1),
        Utterance("c", "b.wav", "glad", "Ann", 2, start=1.0, vote_counts={"Ü": 0.7}),
        Utterance("d", "d.wav", None, "Ann", 2, code="other"),
    ]
    return Corpus("made", data_folder, clips, "group")


@pytest.mark.parametrize("near", [True, False])
def test_a_table_reads_back_as_it_was_written(tmp_path, near, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, table = Path("data"), Path("data" if near else "elsewhere") / "made.csv"
    corpus = made(data)
    assert write_table(corpus, table) == 1
    again = read_table(table, data_folder=None if near else data)
    assert without_place(again) == without_place(corpus)[:3]
    assert again.notes[1:] == [
        "no column has votes for glad: they have none (there are votes for Ü, "
        "which no clip is)"
    ]
    files = [row["file"] for row in read_rows(table)]
    assert files == [
        ("" if near else f"{tmp_path}/data/") + file
        for file in ("x/a, 1.wav", "b.wav", "b.wav")
    ]


def test_a_table_above_the_data_is_relative_to_itself(tmp_path):
    clip = Utterance("a.wav", "a.wav", "sad", "Ann", "Ann", split="test")
    write_table(Corpus("x", tmp_path / "data", [clip]), tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    assert text == "file,emotion,speaker,split,id\ndata/a.wav,sad,Ann,test,a.wav\n"
    (again,) = read_table(tmp_path / "t.csv").utterances
    assert again == replace(clip, wav="data/a.wav", place=again.place)


def test_a_table_has_only_the_columns_that_say_something(tmp_path):
    clips = [Utterance(name, name, "sad", "Ann", "Ann") for name in ("a.wav", "b.wav")]
    write_table(Corpus("x", tmp_path, clips), tmp_path / "t.csv")
    text = "file,emotion,speaker\na.wav,sad,Ann\nb.wav,sad,Ann\n"
    assert (tmp_path / "t.csv").read_text() == text
    both = [replace(clips[0], split="test"), replace(clips[1], fold=1)]
    with pytest.raises(InputError, match="both a split and folds"):
        write_table(Corpus("x", tmp_path, both), tmp_path / "u.csv")
    assert not (tmp_path / "u.csv").exists()


def test_labels_are_read_again_only_if_the_table_changed(tmp_path, monkeypatch):
    path = write(tmp_path / "t.csv", f"{HEAD}\na,happy,A\nb,sad,B\n")
    reads = []
    whole = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda self: reads.append(self) or whole(self)
    )
    assert table_labels(path) == ["happy", "sad"]
    assert table_labels(path, {"happy": "glad"}, ["sad"]) == ["glad"]
    assert len(reads) == 1
    write(path, f"{HEAD}\na,angry,A\nb,sad,B\n")  # of the same length
    os.utime(path, ns=(1, 1))
    assert table_labels(path) == ["angry", "sad"]
    assert len(reads) == 2


def test_a_hundred_thousand_rows(tmp_path):
    rows = [f"x/{i}.wav,{'ab'[i % 2]},{i % 700},{i % 5}" for i in range(100_000)]
    text = "\n".join([f"{HEAD},votes_a", *rows])
    corpus = read_table(write(tmp_path / "t.csv", text), labels="a,b")
    assert corpus.emotions == {"a": 50_000, "b": 50_000}
    assert sum((clip.vote_counts or {}).get("a", 0) for clip in corpus.utterances) == (
        20_000 * (1 + 2 + 3 + 4)
    )


def test_speakers_that_differ_in_capitals_are_said(tmp_path):
    path = tmp_path / "t.csv"
    lines = [
        f"{i}.wav,sad,{name}" for i, name in enumerate(["ann", "Ann", "Bo", "B o"])
    ]
    path.write_text("\n".join(["file,emotion,speaker", *lines]), encoding="utf-8")
    (note,) = [n for n in read_table(path).notes if "capitals" in n]
    assert note.startswith("speakers whose names differ in capitals or blanks alone: 1")
    assert "such as Ann, ann;" in note


def test_smoothed_shares_may_be_rounded(tmp_path):
    hard = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0.25, 0.75, 0]]
    for decimals in (2, 3, 6):
        shares = [[round(0.95 * p + 0.0125, decimals) for p in row] for row in hard]
        rows = [
            f"{i}.wav,a,Ann,{','.join(map(str, row))}" for i, row in enumerate(shares)
        ]
        path = tmp_path / "t.csv"
        heads = "file,emotion,speaker,votes_a,votes_b,votes_c,votes_d"
        path.write_text("\n".join([heads, *rows]), encoding="utf-8")
        corpus = read_table(path)
        assert any("smooth" in note for note in corpus.notes)
        found = corpus.utterances[1].vote_counts
        assert found["a"] == found["b"]
        assert set(found) == {"a", "b"}
