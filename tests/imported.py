"""What a file of Python imports, read without running it."""

import ast
from collections.abc import Iterator
from pathlib import Path


def imported_names(path: Path, package: str = "") -> Iterator[str]:
    """Find everything that a file imports, in functions too.

    `from a import b` gives `a.b`, whether `b` is a module or a name inside `a`.
    Relative names begin with `package`, the package that the file lies in; a name that
    `import_module` is given as a literal counts as well.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: 1 - node.level or None] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and node.args
            and ast.unparse(node.func).endswith(("import_module", "__import__"))
            and isinstance(name := getattr(node.args[0], "value", None), str)
        ):
            yield name
