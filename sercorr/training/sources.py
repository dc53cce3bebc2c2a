"""Digests of the code that decides a run's numbers.

A run is signed by its settings, and these name classes. A class of an installed
library is known by the library's version; one's own file, or the parts of this
package that compute, may be edited between two runs, so their code is signed as well.
"""

import ast
import functools
import hashlib
import importlib.util
import pydoc
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from sercorr.errors import InputError


def source_digests(names: Iterable[str]) -> dict[str, str]:
    """Digest the code that decides numbers: name of the module -> digest.

    ``sercorr`` stands for the parts of this package that compute. Every named class
    or function of one's own adds its module, and those of one's own that it imports;
    libraries are known by their versions. Comments, docstrings and layout do not
    count.

    ``names`` are dotted, such as ``my_poolings.MaxPooling``.

    Raises
    ------
    InputError
        A name cannot be found, or its module cannot be imported.

    Example
    -------
    >>> list(source_digests(["torch.optim.Adam", "sercorr.lobes.EmotionHead"]))
    ['sercorr']
    """
    files = own_files(names)
    digests = {name: _digest([path]) for name, path in files.items()}
    return {**dict(sorted(digests.items())), "sercorr": _own_digest()}


def own_files(names: Iterable[str]) -> dict[str, Path]:
    """Find the user's own modules behind named classes: name -> file."""
    waiting = [name for name in map(_module_of, names) if name is not None]
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        path = _own_file(name)
        if path is None or name in found:
            continue
        found[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += _imported(ast.parse(path.read_bytes()), package)
    return found


def _module_of(name: str) -> str | None:
    """Import what a dotted name stands for; return the name of its module."""
    try:
        thing = pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        raise InputError(
            f"{name}: it cannot be imported ({error.value!r}); check this module"
        ) from error.value
    if thing is None:
        raise InputError(
            f"{name}: there is no such class or function; check the name, and that "
            "its file lies beside the settings file or is installed"
        )
    if isinstance(thing, ModuleType):
        return thing.__name__
    return getattr(thing, "__module__", None)


def _own_file(name: str) -> Path | None:
    """Find the file of a module that is neither this package's nor a library's."""
    top = name.partition(".")[0]
    if top in ("", "sercorr") or top in sys.stdlib_module_names:
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return None
    return path


def _imported(tree: ast.Module, package: str) -> list[str]:
    """Names that the code of a module imports; some may be no modules."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            parents = parents[: len(parents) - node.level + 1] if node.level else []
            base = [*parents, *filter(None, [node.module])]
            names.add(".".join(base))
            names |= {".".join([*base, alias.name]) for alias in node.names}
    return sorted(names)


@functools.cache
def _own_digest() -> str:
    """Digest the parts of this package whose code decides numbers."""
    root = Path(__file__).parents[1]
    files = [root / "functional.py", root / "lengths.py"]
    for folder in ("fast", "lobes"):
        files += sorted((root / folder).rglob("*.py"))
    return _digest(files)


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        tree = ast.parse(file.read_bytes())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and _is_text(body[0]):
                body[0] = ast.Pass()
        digest.update(f"{file.name}\n{ast.unparse(tree)}\n".encode())
    return digest.hexdigest()[:16]


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
