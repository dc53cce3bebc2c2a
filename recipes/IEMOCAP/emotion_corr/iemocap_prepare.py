#!/usr/bin/env python3
"""Make the manifests of the five folds from an IEMOCAP release.

Run as a program, or call `prepare_iemocap`::

    python iemocap_prepare.py DATA_FOLDER MANIFEST_FOLDER

Fold K tests session K. Writes ``fold_K/{train,valid,test}.json`` and
``prepare.json``, the record of settings and data by which a later run knows that there
is nothing to do.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from iemocap_counts import Preparation, count_codes, print_remarks, print_table
from iemocap_labels import LABELS, SESSIONS, Labels, Turn, read_labels
from tqdm import tqdm

from sercorr import SAMPLE_RATE, __version__
from sercorr.data.audio import AudioInfo, read_header, require_one_frame
from sercorr.errors import InputError, run_program
from sercorr.files import atomic_path, read_json, require_writable, write_text

__all__ = ["LABELS", "SESSIONS", "Preparation", "prepare_iemocap"]

RECORD = "prepare.json"
SKIPPED = "skipped_audio.txt"
BAD = "bad_audio.txt"

_MAX_LISTED = 20
_READERS = 8  # threads that read headers: more than cores, as they wait for the disk


def prepare_iemocap(
    data_folder: str | os.PathLike,
    manifest_folder: str | os.PathLike,
    valid_ratio: float = 0.2,
    valid_session: int | None = None,
    seed: int = 1234,
    skip_bad_audio: bool = False,
) -> Preparation:
    """Write train, validation and test manifests of all five folds.

    A manifest maps a turn's id to ``wav`` (beginning with ``{data_root}``),
    ``duration`` (seconds), ``emo`` (one of ``LABELS``), ``code`` (the release's own),
    ``speaker``, ``session`` and ``votes`` (each rater's categories). The bytes depend
    on the release and the settings only, not on where the release lies or on the order
    in which the system lists it. With data and settings unchanged, nothing is written.

    Arguments
    ---------
    data_folder : path
        The release: the folder that holds Session1 to Session5.
    manifest_folder : path
        Where to write; made if missing.
    valid_ratio : float
        Share of the other four sessions' clips to validate on, drawn at random.
    valid_session : int, optional
        Validate on this whole session instead (``valid_ratio`` is then unused). In the
        fold that tests it, the next session takes its place (1 follows 5).
    seed : int
        Seed of the draw; each fold draws from its own generator.
    skip_bad_audio : bool
        Leave out clips that are missing, unreadable, truncated or too short, and list
        them in ``skipped_audio.txt``, rather than stop.

    Returns
    -------
    Preparation
        The counts, which are also printed.

    Raises
    ------
    InputError
        Settings out of range; no IEMOCAP release in ``data_folder``; labels that
        cannot be used; unusable clips (up to twenty in the message, all of them in
        ``bad_audio.txt``); ``manifest_folder`` cannot be written.
    """
    settings = _check_settings(valid_ratio, valid_session, seed, skip_bad_audio)
    data_folder, manifest_folder = Path(data_folder), Path(manifest_folder)
    labels = read_labels(data_folder)
    used = [turn for turn in labels.turns if turn.emo is not None]
    data = _data_digest(data_folder, labels, used)
    known = _finished(manifest_folder, settings, data)
    if known is not None:
        print(f"{manifest_folder}: up to date ({known.clips} clips)")
        print_remarks(known, manifest_folder / SKIPPED)
        return known

    require_writable(manifest_folder)
    headers, problems = _read_headers(data_folder, used)
    if problems and not skip_bad_audio:
        raise InputError(_bad_audio_message(problems, manifest_folder))
    used = [turn for turn in used if turn.name in headers]
    counts = count_codes(used)
    _require_all_sessions(data_folder, counts)
    _note_other_formats(headers)
    done = Preparation(
        dialogs=labels.dialogs,
        turns=len(labels.turns),
        counts=counts,
        skipped=len(problems),
        fresh=True,
    )
    texts = _manifests(used, headers, valid_ratio, valid_session, seed)
    if problems:
        texts[SKIPPED] = "\n".join(problems) + "\n"
    _write(manifest_folder, texts, settings, data, done)
    print_table(done)
    print_remarks(done, manifest_folder / SKIPPED)
    return done


def _check_settings(
    valid_ratio: float, valid_session: int | None, seed: int, skip_bad_audio: bool
) -> dict:
    number = isinstance(valid_ratio, (int, float))
    if not number or not 0 < valid_ratio < 1:
        raise InputError(
            f"valid_ratio is {valid_ratio!r}; it must lie between 0 and 1, such as 0.2"
        )
    whole = isinstance(valid_session, int) and not isinstance(valid_session, bool)
    if valid_session is not None and not (whole and valid_session in SESSIONS):
        raise InputError(
            f"valid_session is {valid_session!r}; it must be one of "
            f"{', '.join(map(str, SESSIONS))}, or none for a random share"
        )
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise InputError(f"seed is {seed!r}; it must be a whole number, such as 1234")
    if not isinstance(skip_bad_audio, bool):
        raise InputError(
            f"skip_bad_audio is {skip_bad_audio!r}; it must be True or False"
        )
    return {
        "version": __version__,
        "valid_ratio": valid_ratio,
        "valid_session": valid_session,
        "seed": seed,
        "skip_bad_audio": skip_bad_audio,
    }


def _data_digest(data_folder: Path, labels: Labels, used: Sequence[Turn]) -> str:
    """Hash the labels' bytes and the clips' names, sizes and times."""
    digest = hashlib.sha256(labels.digest.encode())
    for turn in used:
        try:
            status = os.stat(data_folder / turn.wav)
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"{turn.wav}\0{state}\n".encode())
    return digest.hexdigest()


def _read_headers(
    data_folder: Path, used: Sequence[Turn]
) -> tuple[dict[str, AudioInfo], list[str]]:
    """Return the usable clips' headers and one line for each unusable clip."""

    def read(turn: Turn) -> AudioInfo | str:
        path = data_folder / turn.wav
        try:
            info = read_header(path)
            require_one_frame(path, info)
        except InputError as error:
            return f"{error} (labelled in {turn.place})"
        return info

    headers: dict[str, AudioInfo] = {}
    problems: list[str] = []
    with (
        ThreadPoolExecutor(_READERS) as pool,
        contextlib.closing(pool.map(read, used)) as results,  # cancels on Ctrl-C
    ):
        bar = tqdm(
            results,
            total=len(used),
            desc="reading headers",
            unit="clip",
            delay=1,
            disable=None,
        )
        for turn, result in zip(used, bar, strict=True):
            if isinstance(result, str):
                problems.append(result)
            else:
                headers[turn.name] = result
    return headers, problems


def _bad_audio_message(problems: Sequence[str], manifest_folder: Path) -> str:
    lines = [f"{len(problems)} clips cannot be used:", *problems[:_MAX_LISTED]]
    if len(problems) > _MAX_LISTED:
        lines.append(f"... and {len(problems) - _MAX_LISTED} more")
    with contextlib.suppress(OSError, InputError):
        write_text(manifest_folder / BAD, "\n".join(problems) + "\n")
        lines.append(f"all of them are listed in {manifest_folder / BAD}")
    lines.append("mend them, or leave them out with skip_bad_audio (True)")
    return "\n".join(lines)


def _require_all_sessions(data_folder: Path, counts: dict[int, tuple[int, ...]]):
    for session, row in counts.items():
        if not sum(row):
            raise InputError(
                f"{data_folder}/Session{session}: no usable clip in the classes "
                f"{', '.join(LABELS)}; fold {session} would have nothing to test"
            )


def _manifests(
    used: Sequence[Turn],
    headers: dict[str, AudioInfo],
    valid_ratio: float,
    valid_session: int | None,
    seed: int,
) -> dict[str, str]:
    """Return file name -> text of the fifteen manifests."""
    lines = {turn.name: _manifest_line(turn, headers[turn.name]) for turn in used}
    texts = {}
    for fold in SESSIONS:
        test = [turn.name for turn in used if turn.session == fold]
        others = [turn for turn in used if turn.session != fold]
        valid = _draw_valid(others, fold, valid_ratio, valid_session, seed)
        train = [turn.name for turn in others if turn.name not in valid]
        for part, names in (("train", train), ("valid", valid), ("test", test)):
            body = ",\n".join(lines[name] for name in sorted(names))
            texts[f"fold_{fold}/{part}.json"] = f"{{\n{body}\n}}\n"
    return texts


def _draw_valid(
    others: Sequence[Turn],
    fold: int,
    valid_ratio: float,
    valid_session: int | None,
    seed: int,
) -> set[str]:
    if valid_session is not None:
        held_out = valid_session if valid_session != fold else fold % len(SESSIONS) + 1
        return {turn.name for turn in others if turn.session == held_out}
    names = sorted(turn.name for turn in others)
    count = min(max(round(valid_ratio * len(names)), 1), len(names) - 1)
    return set(random.Random(f"{seed}/{fold}").sample(names, count))


def _manifest_line(turn: Turn, info: AudioInfo) -> str:
    """Return one entry on a line of its own: quick to write, easy to compare."""
    entry = {
        "wav": f"{{data_root}}/{turn.wav}",
        "duration": info.seconds,
        "emo": turn.emo,
        "code": turn.code,
        "speaker": turn.speaker,
        "session": turn.session,
        "votes": turn.votes,
    }
    return f'  "{turn.name}": {json.dumps(entry, ensure_ascii=False)}'


def _write(
    folder: Path, texts: dict[str, str], settings: dict, data: str, done: Preparation
) -> None:
    """Write all files to temporary names, then rename them, the record last."""
    record = {
        "settings": settings,
        "data": data,
        "dialogs": done.dialogs,
        "turns": done.turns,
        "counts": {str(session): row for session, row in done.counts.items()},
        "skipped": done.skipped,
        "files": {
            name: hashlib.sha256(text.encode()).hexdigest()
            for name, text in texts.items()
        },
    }
    with contextlib.ExitStack() as stack:
        # The stack renames in reverse order, so the record comes first in it.
        everything = {RECORD: json.dumps(record, indent=2) + "\n", **texts}
        for name, text in everything.items():
            stack.enter_context(atomic_path(folder / name)).write_bytes(text.encode())
        for name in (RECORD, SKIPPED, BAD):
            (folder / name).unlink(missing_ok=True)


def _finished(folder: Path, settings: dict, data: str) -> Preparation | None:
    """Return the finished preparation if it is whole and of these settings and data."""
    try:
        record = read_json(folder / RECORD)
        if record["settings"] != settings or record["data"] != data:
            return None
        for name, digest in record["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                return None
        return Preparation(
            dialogs=record["dialogs"],
            turns=record["turns"],
            counts={int(key): tuple(row) for key, row in record["counts"].items()},
            skipped=record["skipped"],
            fresh=False,
        )
    except (InputError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None  # no record, or a damaged one: prepare again


def _note_other_formats(headers: dict[str, AudioInfo]) -> None:
    other = [
        name
        for name, info in headers.items()
        if info.sample_rate != SAMPLE_RATE or info.channels != 1
    ]
    if other:
        info = headers[other[0]]
        print(
            f"note: {len(other)} clips are not {SAMPLE_RATE} Hz mono and will be "
            f"resampled or mixed down when read; the first is {other[0]} "
            f"({info.sample_rate} Hz, {info.channels} channels)"
        )


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"must be True or False (got {text!r})")
    return text.lower() == "true"


def main() -> int:
    """Prepare from the command line."""
    parser = argparse.ArgumentParser(
        description="Make the manifests of the five folds from an IEMOCAP release."
    )
    parser.add_argument("data_folder", help="the folder with Session1 to Session5")
    parser.add_argument("manifest_folder", help="where to write the manifests")
    parser.add_argument("--valid_ratio", type=float, default=0.2)
    parser.add_argument(
        "--valid_session", type=int, help="validate on this whole session instead"
    )
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument(
        "--skip_bad_audio", type=_truth, nargs="?", const=True, default=False
    )
    prepare_iemocap(**vars(parser.parse_args()))
    return 0


if __name__ == "__main__":
    run_program(main)
