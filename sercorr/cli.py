"""The command ``sercorr``. Commands import what they need when they are run."""

import argparse
from collections.abc import Sequence

from sercorr import __version__
from sercorr.errors import run_program
from sercorr.reporting.commands import add_reporting


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line.

    Returns
    -------
    argparse.ArgumentParser
        Each command sets ``run``, a function of the parsed arguments.
    """
    parser = argparse.ArgumentParser(
        prog="sercorr",
        description="Speech emotion recognition: use trained models, look at results "
        "and stored features. Training is done by the programs in recipes/.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_predict(commands)
    _add_timeline(commands)
    _add_app(commands)
    _add_export(commands)
    add_reporting(commands)
    _add_report(commands)
    _add_cache(commands)
    _add_jobs(commands)
    return parser


def _add_predict(commands: argparse._SubParsersAction) -> None:
    predict = commands.add_parser(
        "predict",
        help="classify the emotion in recordings",
        description="Classify files, or windows of them. One bad file never stops the "
        "rest: it is listed at the end, and the exit status is 1. With --outfile, rows "
        "are written one by one, and the same command goes on where it was stopped.",
        epilog="CSV has the columns file,start,end,emotion and one probability per "
        "label, with seconds as numbers, as audformat reads it.",
    )
    predict.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="audio files, folders (with all that is below them) or patterns such as "
        "'calls/*.wav'",
    )
    predict.add_argument(
        "--list",
        metavar="FILE",
        help="CSV with a column file and, if wanted, start and end in seconds; "
        "relative files are looked for beside it",
    )
    _add_model(predict)
    _add_windows(predict, window=None, hop=None)
    predict.add_argument(
        "--format",
        choices=("table", "csv", "jsonl"),
        help="a table to look at, CSV, or one JSON object a line [by the name of the "
        "outfile; table]",
    )
    predict.add_argument(
        "--outfile",
        metavar="FILE",
        help="write there instead of to the terminal; a hidden file beside it says "
        "what is finished",
    )
    predict.add_argument(
        "--restart",
        action="store_true",
        help="begin --outfile anew instead of going on",
    )
    predict.add_argument(
        "--embeddings",
        metavar="FOLDER",
        help="write the pooled vectors there, one .npy file per row, named like its "
        "input",
    )
    predict.add_argument(
        "--plot",
        metavar="FOLDER",
        help="draw each file there: waveform, attention, probabilities",
    )
    predict.add_argument(
        "--quiet", action="store_true", help="no progress bar, no summary"
    )
    predict.set_defaults(run=_predict)


def _add_timeline(commands: argparse._SubParsersAction) -> None:
    timeline = commands.add_parser(
        "timeline",
        help="write which emotion is heard when in a recording",
        description="Classify overlapping windows of a recording of any length, and "
        "write cells of one hop, each with the mean of the windows that cover it.",
    )
    timeline.add_argument("file", metavar="FILE", help="an audio file")
    _add_model(timeline)
    _add_windows(timeline, window=4.0, hop=1.0)
    timeline.add_argument(
        "--format",
        choices=("textgrid", "eaf", "audacity", "csv", "json"),
        help="Praat's TextGrid (long format), ELAN's eaf, Audacity's labels, csv as "
        "of predict, or json [by the name of the outfile; csv]",
    )
    timeline.add_argument(
        "--outfile", metavar="FILE", help="write there instead of to the terminal"
    )
    timeline.add_argument("--quiet", action="store_true", help="no progress bar")
    timeline.set_defaults(run=_timeline)


def _add_app(commands: argparse._SubParsersAction) -> None:
    app = commands.add_parser(
        "app",
        help="a page in the browser: drop or record a file, look at the answer",
        description="Serve a page on this machine. Needs pip install 'sercorr[app]'.",
    )
    _add_model(app)
    _add_windows(app, window=4.0, hop=1.0)
    app.add_argument(
        "--host",
        default="127.0.0.1",
        help="0.0.0.0 lets the network in [127.0.0.1: only this machine]",
    )
    app.add_argument("--port", type=int, default=7860, help="[7860]; 0: any free one")
    app.add_argument(
        "--max-megabytes", type=float, default=200.0, help="largest upload [200]"
    )
    app.add_argument(
        "--max-minutes", type=float, default=60.0, help="longest recording [60]"
    )
    app.add_argument(
        "--open", action="store_true", help="open the page in the default browser"
    )
    app.set_defaults(run=_app)


def _add_export(commands: argparse._SubParsersAction) -> None:
    export = commands.add_parser(
        "export",
        help="write a trained head as a folder to share, or as an ONNX file",
        description="Write a head with its labels, settings and a model card, so that "
        "loading it runs no code. Folders can be uploaded with hf upload.",
    )
    _add_model(export, positional=True)
    export.add_argument(
        "--out", required=True, metavar="FOLDER", help="a new folder, or a file *.onnx"
    )
    export.add_argument(
        "--format",
        choices=("sercorr", "transformers", "onnx"),
        default="sercorr",
        help="sercorr: any of the package's heads; transformers: a mean head, for "
        "pipeline('audio-classification'); onnx: the whole graph from waveform to "
        "probabilities [sercorr]",
    )
    export.add_argument(
        "--with-upstream",
        action="store_true",
        help="put the upstream's files into the folder, too",
    )
    export.set_defaults(run=_export)


def _add_report(commands: argparse._SubParsersAction) -> None:
    report = commands.add_parser(
        "report",
        help="write all results of a run, a grid or an experiment as one HTML file",
        description="Write one HTML file that needs no network: what was run, tables "
        "to sort, comparison, figures, calibration, groups, and clips to listen to "
        "with the attention over them; beside it all tables as .md and as .tex "
        "(booktabs).",
    )
    report.add_argument("folder", metavar="FOLDER", help="the output_folder of a run")
    report.add_argument(
        "--outfile", metavar="FILE.html", help="where to [FOLDER/report.html]"
    )
    report.add_argument(
        "--head",
        metavar="NAME",
        help="which head is listened to and grouped [the best on validation clips]",
    )
    report.add_argument(
        "--data-folder",
        metavar="DIR",
        help="where the recordings are [where run.json says]",
    )
    report.add_argument(
        "--clips",
        type=int,
        default=6,
        metavar="N",
        help="confident errors, and as many rare successes, to listen to [6]",
    )
    report.add_argument(
        "--max-mb",
        type=float,
        default=20.0,
        metavar="MB",
        help="largest file, in megabytes; what does not fit is named [20]",
    )
    report.add_argument(
        "--upstream",
        metavar="SOURCE",
        help="folder or hub name of the upstream, if it is not where run.json says",
    )
    report.add_argument("--device", help="cpu, cuda or cuda:0 [a GPU if there is one]")
    report.set_defaults(run=_report)


def _add_cache(commands: argparse._SubParsersAction) -> None:
    cache = commands.add_parser("cache", help="look after stored features")
    actions = cache.add_subparsers(required=True, metavar="COMMAND")
    info = actions.add_parser("info", help="list what is there: models, clips, bytes")
    verify = actions.add_parser("verify", help="compare every byte with the checksums")
    prune = actions.add_parser("prune", help="remove leftovers and damaged files")
    for action in (info, verify, prune):
        action.add_argument("folder", metavar="FOLDER", help="the cache_folder")
    verify.add_argument(
        "--remove", action="store_true", help="delete the bad files that are found"
    )
    prune.add_argument(
        "--signature",
        metavar="NAME",
        help="delete this folder of features, too (its name, or the digits in it)",
    )
    prune.add_argument(
        "--older-than",
        type=float,
        metavar="DAYS",
        help="delete every folder of features, too, to which nothing was added since",
    )
    prune.add_argument(
        "--dry-run", action="store_true", help="only say what would be deleted"
    )
    info.set_defaults(run=_cache_info)
    verify.set_defaults(run=_cache_verify)
    prune.set_defaults(run=_cache_prune)


def _add_jobs(commands: argparse._SubParsersAction) -> None:
    jobs = commands.add_parser(
        "jobs",
        help="what became of processes that --jobs or --launcher started",
        description="Print what is waiting, running, done, failed or lost. The exit "
        "status is 1 if something failed, stopped or is lost; the same command that "
        "started them goes on with what is not done.",
    )
    jobs.add_argument(
        "folder",
        metavar="FOLDER",
        help="the output_folder of run_folds.py, run_grid.py or run_experiment.py, or "
        "the cache_folder of extract_features.py",
    )
    jobs.add_argument(
        "--watch", action="store_true", help="print it anew until all have ended"
    )
    jobs.set_defaults(run=_jobs)


def _add_model(parser: argparse.ArgumentParser, positional: bool = False) -> None:
    """Add the options that say which model is used, and where."""
    kinds = "a run's output_folder, an exported folder, a SUPERB-style emotion model, "
    if positional:
        parser.add_argument("model", metavar="RUN", help=f"{kinds}or a hub name")
    else:
        parser.add_argument(
            "--model",
            required=True,
            metavar="MODEL",
            help=f"{kinds}a hub name, or a .onnx file",
        )
    parser.add_argument(
        "--fold",
        type=_fold,
        metavar="K|all",
        help="of a run: whose head; all: the mean of the folds' probabilities [1]",
    )
    parser.add_argument("--revision", help="commit, tag or branch of a hub name")
    parser.add_argument(
        "--upstream",
        metavar="SOURCE",
        help="folder or hub name of the upstream, if it is not where the model says",
    )
    if positional:
        parser.set_defaults(device="cpu")
    else:
        parser.add_argument(
            "--device", help="cpu, cuda or cuda:0 [a GPU if there is one]"
        )


def _add_windows(
    parser: argparse.ArgumentParser, window: float | None, hop: float | None
) -> None:
    parser.add_argument(
        "--window",
        type=float,
        metavar="S",
        default=window,
        help=f"seconds of a window [{window or 'the whole file'}]",
    )
    parser.add_argument(
        "--hop",
        type=float,
        metavar="S",
        default=hop,
        help=f"seconds from one window to the next [{hop or 'the window'}]",
    )
    parser.add_argument(
        "--silence",
        type=float,
        metavar="DB",
        help="leave windows out that are quieter, in dB of full scale, such as -50 "
        "[all are classified]",
    )


def _fold(text: str) -> int | str:
    """Read the value of --fold."""
    if text == "all":
        return text
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor all")
    return int(text)


def _predict(given: argparse.Namespace) -> int:
    from sercorr.inference.predict_command import predict_command

    return predict_command(given)


def _timeline(given: argparse.Namespace) -> int:
    from sercorr.inference.timeline_command import timeline_command

    return timeline_command(given)


def _app(given: argparse.Namespace) -> int:
    from sercorr.inference.app import app_command

    return app_command(given)


def _export(given: argparse.Namespace) -> int:
    from sercorr.inference.export import export_command

    return export_command(given)


def _report(given: argparse.Namespace) -> None:
    from sercorr.inference.report_command import report_command

    report_command(given)


def _cache_info(given: argparse.Namespace) -> None:
    from sercorr.features.maintenance import show_info

    show_info(given.folder)


def _cache_verify(given: argparse.Namespace) -> int:
    from sercorr.features.maintenance import verify_cache

    return verify_cache(given.folder, given.remove)


def _cache_prune(given: argparse.Namespace) -> None:
    from sercorr.features.maintenance import prune_cache

    prune_cache(given.folder, given.signature, given.older_than, given.dry_run)


def _jobs(given: argparse.Namespace) -> int:
    from sercorr.training.launcher.jobs_command import jobs_command

    return jobs_command(given.folder, given.watch)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its status."""
    given = make_parser().parse_args(arguments)
    run_program(lambda: given.run(given))
