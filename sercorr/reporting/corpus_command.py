"""The command ``sercorr corpus``: look at a corpus before anything is trained on it."""

import argparse
import os
import shlex
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sercorr.corpora.folders import find_audio
from sercorr.corpora.inspection import find_copies, inspect_files
from sercorr.corpora.known import known_corpora, read_known, recognise
from sercorr.corpora.known_corpus import KnownCorpus
from sercorr.corpora.prepared import Folds, find_manifests, read_prepared
from sercorr.corpora.tables import REQUIRED, read_table, write_table
from sercorr.data.counts import list_counts, require_labels
from sercorr.data.splits import make_splits, missing_classes
from sercorr.data.utterances import Corpus, Utterance
from sercorr.errors import InputError
from sercorr.files import require_writable, write_json
from sercorr.reporting.corpus_figures import clips_of, corpus_figures
from sercorr.reporting.corpus_tables import corpus_parts, fault_parts
from sercorr.reporting.layout import Parts, render

Splits = dict[int, dict[str, list[str]]]

_DATABASE = "db.yaml"  # in the folder of an audformat database
_PICTURES = (".png", ".svg")
_FEW = 2000  # clips, for which small.yaml is meant
_FOLDS = 5  # of speakers, where there are as many
_MOST_GROUPS = 20  # that are left out one by one
_RECIPES = "IEMOCAP, CREMA-D, MSP-Podcast, MELD, MSP-IMPROV"


@dataclass(frozen=True)
class _Source:
    """A corpus that was found, as what, and its folds where manifests have them."""

    corpus: Corpus
    kind: str  # table, known or manifests
    folds: Folds | None = None


def corpus_command(given: argparse.Namespace) -> int:
    """Print what a corpus has, and write its table, figures and picture.

    Arguments
    ---------
    given : argparse.Namespace
        As `sercorr.cli` parses it.

    Returns
    -------
    int
        1 if clips cannot be used, else 0.
    """
    if given.known == "list":
        _refuse(given, "source", "outfile", "json", "plot")
        print(render(_list_parts(known_corpora()), "text"))
        return 0
    if given.plot and Path(given.plot).suffix.lower() not in _PICTURES:
        raise InputError(f"--plot {given.plot}: name it .png or .svg")
    source = _read(given)
    corpus = source.corpus
    labels = _names(given.labels) or list(corpus.emotions)
    require_labels(corpus, labels)
    for file in filter(None, (given.outfile, given.json, given.plot)):
        require_writable(Path(file).parent)
    clips = clips_of(corpus, labels)
    inspection = inspect_files(corpus, clips, given.quiet)
    copies = None
    if not given.no_hash:
        copies = find_copies(corpus, clips, inspection.durations, given.quiet)
    figures = corpus_figures(corpus, labels, inspection, copies, source.folds)
    ends = list(_write(given, corpus, labels, figures, inspection.durations))
    if not given.quiet:
        ends += _next_step(given, source, labels, bool(figures["faults"]))
    faults = fault_parts(figures)
    parts = faults if given.quiet else [*corpus_parts(figures), *ends]
    if parts:
        print(render(parts, "text"))
    return 1 if faults else 0


def _read(given: argparse.Namespace) -> _Source:
    """Find out what was named, and read it."""
    if given.source is None:
        raise InputError(
            "name a table or the folder of a corpus; --known list shows the corpora "
            "that are known by the names of their files"
        )
    source = given.source
    manifests = find_manifests(source)
    if given.known:
        _refuse(given, "mapping", "drop", "data_folder")
        return _Source(read_known(given.known, source), "known")
    if manifests:
        _refuse(given, "mapping", "drop")
        corpus, folds = read_prepared(manifests, given.data_folder)
        return _Source(corpus, "manifests", folds)
    if not os.path.isdir(source) or os.path.isfile(os.path.join(source, _DATABASE)):
        corpus = read_table(
            source,
            given.data_folder,
            given.mapping,
            given.drop,
            _names(given.labels) or None,
        )
        return _Source(corpus, "table")
    name = recognise(source)
    if name is None:
        raise InputError(f"{source}: {_describe(source)}")
    _refuse(given, "mapping", "drop", "data_folder")
    corpus = read_known(name, source)
    title = known_corpora()[name].title
    said = f"taken for {title}, by the names of its files"
    return _Source(replace(corpus, notes=[said, *corpus.notes]), "known")


def _refuse(given: argparse.Namespace, *options: str) -> None:
    """Refuse options that would not do anything."""
    names = {"mapping": "--map", "source": "FILE_OR_FOLDER"}
    for option in options:
        if getattr(given, option):
            name = names.get(option, f"--{option.replace('_', '-')}")
            raise InputError(
                f"{name} {getattr(given, option)}: it says nothing here; leave it out"
                + "; a table can be mapped: write one with --outfile first"
                * (option in {"mapping", "drop"})
            )


def _names(text: str | None) -> list[str]:
    parts = (part.strip() for part in (text or "").split(","))
    return list(dict.fromkeys(filter(None, parts)))


def _describe(folder: str) -> str:
    """Say what is in a folder of no known kind, and what would be."""
    suffixes = Counter(Path(file).suffix.lower() for file in find_audio(folder))
    files = list_counts(suffixes) if suffixes else "no audio files"
    return (
        f"it has {files}, but neither the names of a known corpus (--known list), nor "
        f"manifests (fold_1/train.json), nor a {_DATABASE}. Name a table with the "
        f"columns {', '.join(REQUIRED)}; or, where a corpus has a recipe ({_RECIPES}), "
        "run one of the recipe's programs, and then: sercorr corpus "
        f"OUTPUT_FOLDER/manifests --data-folder {shlex.quote(folder)}"
    )


def _list_parts(corpora: dict[str, KnownCorpus]) -> Parts:
    rows = [
        {
            "name": name,
            "title": known.title,
            "clips": str(known.clips or "-"),
            "licence": known.licence,
        }
        for name, known in corpora.items()
    ]
    return [
        "Corpora that are known by the names of their files:",
        [rows],
        "To write the table of one: sercorr corpus --known NAME FOLDER --outfile FILE",
    ]


def _write(
    given: argparse.Namespace,
    corpus: Corpus,
    labels: Sequence[str],
    figures: dict[str, Any],
    durations: dict[str, float],
) -> Iterator[str]:
    """Write what was asked for, and say what was written."""
    if given.outfile:
        clips = clips_of(corpus, labels)
        write_table(replace(corpus, utterances=clips), given.outfile)
        yield f"{given.outfile}: {len(clips)} clips written"
    if given.json:
        write_json(given.json, figures)
        yield f"{given.json}: all figures written"
    if given.plot:
        from sercorr.reporting.corpus_plot import plot_corpus  # noqa: PLC0415 (slow)

        seconds: dict[str, list[float]] = {label: [] for label in labels}
        for clip in clips_of(corpus, labels):
            if clip.id in durations:
                seconds[str(clip.emotion)].append(durations[clip.id])
        plot_corpus(figures, seconds, given.plot)
        yield f"{given.plot}: picture written"


def _next_step(
    given: argparse.Namespace, source: _Source, labels: Sequence[str], unusable: bool
) -> list[str]:
    """Write the next command, and what stands in its way."""
    if source.kind == "manifests" and not given.outfile:
        return []
    if source.kind == "known" and not given.outfile:
        name, folder = source.corpus.name, shlex.quote(given.source)
        line = f"sercorr corpus --known {name} {folder} --outfile {name}.csv"
        return [f"Next, write its table:\n    {line}"]
    options = {"table": given.outfile or given.source}
    if not given.outfile:
        options |= {"data_folder": given.data_folder, "map": given.mapping}
        options |= {"drop": given.drop, "labels": given.labels}
    corpus = source.corpus
    clips = clips_of(corpus, labels)
    suggested = {}
    if source.kind == "known":
        suggested = dict(known_corpora()[corpus.name].settings)
    with warnings.catch_warnings():  # scikit-learn's of rare classes: said below
        warnings.simplefilter("ignore")
        folds, splits, fault = _choose_folds(corpus, clips, suggested)
    if not splits:
        return [f"No folds that would be fair: {fault}"]
    words = [
        f"--{key} {shlex.quote(str(value))}"
        for key, value in {**options, **folds}.items()
        if value is not None
    ]
    recipe = "recipes/Table"
    settings = "small" if len(clips) < _FEW else "train"
    command = f"python {recipe}/run_folds.py {recipe}/hparams/{settings}.yaml"
    if unusable:
        words.append("--skip_bad_audio True")
    return [
        f"Next, train and test all folds:\n    {' '.join([command, *words])}",
        *([f"Other folds were not taken: {fault}"] if fault else []),
        *missing_classes(splits, {clip.id: clip for clip in clips}, labels),
    ]


def _choose_folds(
    corpus: Corpus, clips: Sequence[Utterance], suggested: dict[str, Any]
) -> tuple[dict[str, Any], Splits, str]:
    """Choose folds of new speakers that can be made.

    The last item says why there are none, or not those that come first, as official
    ones do.
    """
    speakers = len({clip.speaker for clip in clips})
    most = max(Counter(clip.emotion for clip in clips).values())
    tried = [suggested] if suggested else []
    if any(clip.split for clip in clips):
        tried.append({"fold_by": "official", "n_folds": 1})
    elif folds := {clip.fold for clip in clips} - {None}:
        tried.append({"fold_by": "official", "n_folds": len(folds)})
    if corpus.group_name != "speaker" and 2 <= len(corpus.groups) <= _MOST_GROUPS:
        tried.append({"fold_by": "group", "n_folds": len(corpus.groups)})
    tried += [
        {"fold_by": "speaker", "n_folds": number}
        for number in range(min(_FOLDS, speakers, most), 1, -1)
    ]
    faults = []
    for settings in tried:
        try:
            splits = make_splits(corpus, clips, **settings)
        except InputError as error:
            faults.append(str(error))
        else:
            return settings, splits, "".join(faults[:1])
    why = "only one speaker is known"
    return {}, {}, faults[-1] if faults else why
