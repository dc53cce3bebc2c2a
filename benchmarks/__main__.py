"""Measure speed and memory: ``python -m benchmarks``; see benchmarks/README.md."""

from benchmarks.suite import main
from sercorr.errors import run_program

if __name__ == "__main__":
    run_program(main)
