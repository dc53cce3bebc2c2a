#!/usr/bin/env python3
"""Run an experiment of the paper, or one's own: its tables and figures.

    python run_experiment.py experiments/table1.yaml --data_folder DIR

with --cache_folder DIR, --output_folder DIR, and, to run something else than the file
says, --upstreams A,B --corpora A,B --heads a,b --seeds 1,2,3 --folds 1,2 and --settings
hparams/small.yaml. An experiment file says which upstreams, corpora, heads, seeds and
folds there are, and which settings file they share. What is finished is skipped: the
same command goes on after Ctrl-C, and another seed, head or upstream adds to what is
there. It takes what ``train.py`` takes, for all runs.
"""

from sercorr.training.experiment import run_experiment
from sercorr.training.experiment_file import base_settings
from sercorr.training.launcher.options import HELP
from sercorr.training.program import program

if __name__ == "__main__":
    program(run_experiment, f"{__doc__}\n{HELP}", base_settings)
