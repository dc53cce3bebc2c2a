"""A folder in the place of the Hub. Nothing here is a test."""

import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest


class FakeHub:
    """Serves ``folder`` under any name, in a cache of one commit.

    ``sent`` are the files that were asked for, ``revisions`` those of each call.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, cache: Path):
        self.folder = folder
        self.snapshot = cache / "snapshots" / ("d" * 40)
        self.sent: set[str] = set()
        self.revisions: list[str | None] = []
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self._download)

    def _download(self, name, *, revision, cache_dir, allow_patterns):
        assert (name, cache_dir) == ("org/name", None)
        self.revisions.append(revision)
        self.snapshot.mkdir(parents=True, exist_ok=True)
        for path in filter(Path.is_file, self.folder.rglob("*")):
            file = path.relative_to(self.folder).as_posix()
            if any(fnmatch(file, pattern) for pattern in allow_patterns):
                self.sent.add(file)
                (self.snapshot / file).parent.mkdir(exist_ok=True)
                shutil.copy(path, self.snapshot / file)
        return str(self.snapshot)
