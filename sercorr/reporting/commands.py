"""The commands of ``sercorr`` that look at corpora and results: their options.

Each imports what it needs when it is run, so that ``--help`` is quick.
"""

import argparse


def add_reporting(commands: argparse._SubParsersAction) -> None:
    """Add ``corpus``, ``results`` and ``compare``; each sets ``run``."""
    _add_corpus(commands)
    results = commands.add_parser(
        "results",
        help="print the results of a run, a grid or a fold, and write them again",
        description="Print the results below FOLDER (folds, seeds, heads of a grid), "
        "and write results.json, results.md and the plots again.",
    )
    results.add_argument("folder", metavar="FOLDER", help="the output_folder of a run")
    results.set_defaults(run=_results)
    _add_compare(commands)


def _add_corpus(commands: argparse._SubParsersAction) -> None:
    corpus = commands.add_parser(
        "corpus",
        help="look at a corpus: clips, speakers, classes, faults, copies; write its "
        "table",
        description="Look at a corpus before anything is trained on it. No sample is "
        "decoded, nothing is changed. The exit status is 1 if clips cannot be used.",
    )
    corpus.add_argument(
        "source",
        nargs="?",
        metavar="FILE_OR_FOLDER",
        help="a table (CSV, JSON Lines) with the columns file, emotion, speaker; the "
        "folder of an audformat database, of a corpus that is known by its file "
        "names, or of manifests that a recipe has written",
    )
    corpus.add_argument(
        "--known",
        metavar="NAME",
        help="which corpus the folder is [found out]; list: show which there are",
    )
    corpus.add_argument(
        "--data-folder",
        metavar="DIR",
        help="what the files of a table are relative to [the table's folder]; where "
        "the recordings of manifests are",
    )
    corpus.add_argument(
        "--map",
        dest="mapping",
        metavar="A=B,...",
        help="labels of the table -> classes, such as happy=hap,excited=hap",
    )
    corpus.add_argument(
        "--drop", metavar="A,...", help="labels of the table that are left out"
    )
    corpus.add_argument("--labels", metavar="A,...", help="the classes [all]")
    corpus.add_argument(
        "--outfile", metavar="FILE.csv", help="write the clips as a table there"
    )
    corpus.add_argument(
        "--plot", metavar="FILE", help="draw a picture there: .png or .svg"
    )
    corpus.add_argument("--json", metavar="FILE", help="write all figures there")
    corpus.add_argument(
        "--no-hash",
        action="store_true",
        help="do not look for files of equal bytes, which reads those of equal size",
    )
    corpus.add_argument(
        "--quiet", action="store_true", help="print only what cannot be used"
    )
    corpus.set_defaults(run=_corpus)


def _add_compare(commands: argparse._SubParsersAction) -> None:
    compare = commands.add_parser(
        "compare",
        help="say which heads differ, and what may be claimed",
        description="Compare every two heads of one corpus and split over folds, seeds "
        "and speakers: differences, intervals, p with Holm, and a sentence for each "
        "pair. Of one FOLDER, comparison.md, .json and .png are written there.",
    )
    compare.add_argument(
        "folders",
        nargs="+",
        metavar="FOLDER",
        help="output_folder of a run, of a head with seeds, or of several heads",
    )
    compare.add_argument(
        "--baseline",
        metavar="NAME",
        help="compare each head with this one alone, by its name in the table [every "
        "pair]",
    )
    compare.add_argument(
        "--rate",
        choices=("wa", "ua", "macro_f1"),
        help="what is compared [the one by which the tested epochs were chosen]",
    )
    compare.add_argument(
        "--outfile", metavar="FILE.json", help="write all figures there"
    )
    compare.set_defaults(run=_compare)


def _corpus(given: argparse.Namespace) -> int:
    from sercorr.reporting.corpus_command import corpus_command

    return corpus_command(given)


def _results(given: argparse.Namespace) -> None:
    from sercorr.reporting.report import report_folder

    print(report_folder(given.folder))


def _compare(given: argparse.Namespace) -> None:
    from sercorr.reporting.comparison_command import compare_command

    compare_command(given)
