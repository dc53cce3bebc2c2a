"""Freed memory stays with the process: tensors do not fetch it page by page."""

import ctypes
import platform
import subprocess
import sys

import pytest

from sercorr.fast.memory import keep_freed_memory

SCRIPT = """
import resource, sys, torch
from sercorr.fast.memory import keep_freed_memory

print(keep_freed_memory() if "keep" in sys.argv else None)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(12):  # holes of nearly the right size are left at first
    torch.ones(10 * 2**20)  # 40 MiB
before = faults()
for _ in range(4):
    torch.ones(10 * 2**20)
print(faults() - before)
"""


def run(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library than glibc"
)
def test_a_large_tensor_takes_the_memory_of_the_last_one():
    taken, faults = run("keep")
    assert taken == "True"
    assert int(faults) < 10
    _, before = run()
    assert int(before) >= 4 * 40 / 2  # even in pages of 2 MiB


def test_without_glibc_nothing_happens(monkeypatch):
    def no_library(_name):
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    assert keep_freed_memory() is False
