"""A model hub: its cache's layout, and a server on this machine that plays it."""

import contextlib
import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

COMMIT = "d" * 40


def fill_cache(cache: Path, name: str, versions: dict[str, Path]) -> None:
    """Lay out a hub's cache: commit -> folder whose files that commit holds.

    The first version is the branch ``old``, the second ``main``.
    """
    root = cache / f"models--{name.replace('/', '--')}"
    (root / "blobs").mkdir(parents=True)
    for commit, folder in versions.items():
        snapshot = root / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for path in folder.iterdir():
            blob = root / "blobs" / f"{commit[:4]}-{path.name}"
            shutil.copy(path, blob)
            (snapshot / path.name).symlink_to(blob)
    (root / "refs").mkdir()
    for ref, commit in zip(("old", "main"), versions, strict=True):
        (root / "refs" / ref).write_text(commit)


@contextlib.contextmanager
def serve(folder: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder's files as the main branch of the model ``name``.

    Gives the address and the names of the files that were sent so far.
    """
    sent: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(send=False)

        def do_GET(self) -> None:
            self._answer(send=True)

        def _answer(self, send: bool) -> None:
            path = self.path.partition("?")[0]
            file = folder / path.rpartition("/")[2]
            if path.startswith(f"/api/models/{name}/tree/"):
                entries = [
                    {
                        "type": "file",
                        "path": f.name,
                        "size": f.stat().st_size,
                        "oid": "",
                    }
                    for f in folder.iterdir()
                ]
                self._reply(json.dumps(entries).encode(), send)
            elif path.startswith(f"/api/models/{name}"):
                about = {"id": name, "sha": COMMIT, "siblings": []}
                self._reply(json.dumps(about).encode(), send)
            elif path.startswith(f"/{name}/resolve/") and file.is_file():
                if send:
                    sent.append(file.name)
                self._reply(file.read_bytes(), send)
            elif path.startswith(f"/{name}/"):
                self._reply(b"", send, 404, "EntryNotFound")
            else:
                self._reply(b"", send, 404, "RepoNotFound")

        def _reply(
            self, body: bytes, send: bool, status: int = 200, error: str | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            if error is not None:
                self.send_header("X-Error-Code", error)
            self.end_headers()
            if send:
                self.wfile.write(body)

        def log_message(self, *_arguments) -> None:
            """Stay quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", sent
        finally:
            server.shutdown()
            thread.join()
