"""``extract_features.py``: in this process, in several, or through a cluster."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from speechbrain.utils.run_opts import RunOptions

from sercorr import SAMPLE_RATE
from sercorr.data.manifests import ManifestPlan
from sercorr.errors import InputError
from sercorr.features import extract
from sercorr.features.extraction import missing_groups
from sercorr.features.processes import WORTH_MEASURING, Speed, choose_processes
from sercorr.features.store import FeatureStore
from sercorr.lobes.upstream import Upstream
from sercorr.threads import use_threads
from sercorr.training.dataio import device_of, feature_options, plan_data
from sercorr.training.launcher.launch import Stage, read_launch, run_stages
from sercorr.training.launcher.local import visible_gpus
from sercorr.training.launcher.options import Launch, threads_of
from sercorr.training.launcher.tasks import extraction_works
from sercorr.training.program import parse_arguments


def extract_features(arguments: Sequence[str]) -> int:
    """Extract what is missing, and say where it is; return the exit status.

    ``arguments`` are what ``train.py`` takes, and the options of a launch
    (`sercorr.training.launcher.options`).
    """
    launch, rest = read_launch(arguments)
    settings = parse_arguments(rest)
    hparams = settings.load()
    if hparams["cache_folder"] is None:
        raise InputError("cache_folder is not set; add: --cache_folder DIR")
    device = device_of(settings.run_opts)
    manifests = plan_data(hparams)
    started = "RANK" in os.environ  # by torchrun
    if started and launch.asked:
        raise InputError("torchrun starts processes already; leave --jobs out")
    threads = threads_of(hparams)
    if not (started or launch.asked):
        jobs, threads = _choose(hparams, manifests, settings.run_opts)
        launch = Launch(jobs if jobs > 1 else None)
    launched = False
    if launch.asked:
        works = extraction_works(
            settings, hparams, manifests, hparams["cache_folder"], launch.shares
        )
        failed = run_stages(
            [Stage(works, [])],
            hparams["cache_folder"],
            launch,
            threads,
            settings.run_opts,
            results=False,
        )
        if failed is None:
            return 0
        if failed:
            print(
                f"error: failed: {', '.join(failed)}. What is done is kept: run the "
                "same command again to go on",
                file=sys.stderr,
            )
            return 1
        launched = bool(works)
    with use_threads(threads):
        stored = extract(
            hparams["upstream"],
            manifests.clips,
            device=device,
            progress=not settings.run_opts.noprogressbar,
            verify=not launched,  # the processes have checked what was there before
            **feature_options(hparams),
        )
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"features of {len(manifests.clips)} clips -> {stored.store.folder}")
    return 0


def _choose(
    hparams: Mapping[str, Any], manifests: ManifestPlan, run_opts: RunOptions
) -> tuple[int, int]:
    """Choose processes and threads of each: one per GPU; on a CPU, by measuring."""
    cores = hparams.get("threads") or torch.get_num_threads()
    if torch.device(device_of(run_opts)).type == "cuda":
        named = run_opts.device not in (None, "cuda")
        return (1 if named else len(visible_gpus())), cores
    options = feature_options(hparams)
    groups = missing_groups(hparams["upstream"], manifests.clips, **options)
    seconds = sum(clip.samples for group in groups for clip in group) / SAMPLE_RATE
    upstream = hparams["upstream"]
    own = not isinstance(upstream, Upstream)  # perhaps it cannot pass to a process
    if seconds < WORTH_MEASURING or own or upstream.info.model_type == "fbank":
        return 1, cores
    precision = options.get("extract_precision", "fp32")
    info = upstream.info.at_precision(precision)
    dtype = options.get("cache_dtype", "float16")
    store = FeatureStore(options["cache_folder"], info, dtype)
    threads = store.threads or hparams.get("threads")
    speeds = choose_processes(
        upstream, precision, groups, torch.get_num_threads(), threads
    )
    if len(speeds) > 1:
        _show(speeds)
    return speeds[0].processes, speeds[0].threads


def _show(speeds: Sequence[Speed]) -> None:
    table = Table("processes", "threads of each", "seconds of audio a second", box=None)
    for speed in sorted(speeds):
        chosen = "  <- chosen" * (speed is speeds[0])
        rate = f"{speed.rate:.1f}{chosen}"
        table.add_row(str(speed.processes), str(speed.threads), rate)
    Console().print(table)
