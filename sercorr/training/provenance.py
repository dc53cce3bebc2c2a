"""What a run was made with: versions of libraries, commit of the package."""

import contextlib
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from sercorr import __version__


def installed_versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries it requires."""
    found = {"python": platform.python_version(), "sercorr": __version__}
    with contextlib.suppress(PackageNotFoundError):  # not installed, only on the path
        for line in requires("sercorr") or []:
            name = re.split(r"[^\w.-]", line)[0]
            if "extra ==" not in line:
                found[name] = version(name)
    return found


def git_state() -> dict[str, Any] | None:
    """Commit of the package's checkout and whether files were changed since."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *words],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # not another project
        commit = git("rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return None
