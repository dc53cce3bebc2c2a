"""Write docs/api.md: the public names with their signatures and docstrings.

    python docs/make_api.py    # or: make docs

The source is read, not imported, so that the page is the same wherever it is made.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"

# Modules and their public names; None: those of __all__, or all without an underscore.
Names = dict[str, list[str] | None]
PUBLIC: Names = {
    "sercorr.inference": None,
    "sercorr.inference.predictor": ["Predictor"],
    "sercorr.inference.prediction": ["Answer"],
    "sercorr.inference.parts": ["ModelParts"],
    "sercorr.inference.export": ["export_folder"],
    "sercorr.inference.transformers_export": ["export_transformers"],
    "sercorr.inference.onnx_export": ["export_onnx"],
    "sercorr.lobes": None,
    "sercorr.lobes.upstream": ["FrozenUpstream", "UpstreamInfo"],
    "sercorr.functional": None,
    "sercorr.lengths": None,
    "sercorr.data.utterances": ["Corpus", "Utterance"],
    "sercorr.data.audio": None,
    "sercorr.features": None,
    "sercorr.training": None,
    "sercorr.evaluation.metrics": None,
    "sercorr.errors": ["InputError"],
}

HEADER = """\
# API

Made from the docstrings by `make docs`. Lengths are relative, in (0, 1], as in
SpeechBrain; audio inside the package is mono at 16 kHz.
"""

_WIDTH = 80  # of a signature on one line


def make_page(root: Path = ROOT, public: Names = PUBLIC) -> str:
    """Return the page of the package ``sercorr`` in the folder ``root``."""
    package = griffe.load(
        "sercorr", search_paths=[root], try_relative_path=False, allow_inspection=False
    )
    modules = {name: package.modules_collection[name] for name in public}
    chosen = {name: _chosen(modules[name], names) for name, names in public.items()}
    entries = [each for found in chosen.values() for each in found]
    known = {each.name for each in entries}
    known |= {f"{one.name}.{name}" for one in entries for name in _methods(one)}
    lines = [HEADER]
    lines += [
        f"- [{module}](#{_anchor(module)}): "
        + ", ".join(f"[{each.name}](#{_anchor(each.name)})" for each in found)
        for module, found in chosen.items()
    ]
    for module, found in chosen.items():
        about = modules[module].docstring
        lines += ["", f"## {module}", "", *(_docstring(about.value) if about else [])]
        for each in found:
            lines += _entry(each)
    text = _link("\n".join(lines), known)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _chosen(
    module: griffe.Module, names: list[str] | None
) -> list[griffe.Class | griffe.Function]:
    """Return a module's public classes and functions, from where they are defined."""
    names = names or module.exports
    if names is None:
        names = [
            name
            for name, member in module.members.items()
            if not name.startswith("_")
            and not member.is_alias
            and (member.is_class or member.is_function)
        ]
    found = [module[str(name)] for name in names]
    found = [each.final_target if each.is_alias else each for each in found]
    found = [each for each in found if each.is_class or each.is_function]
    for each in found:
        if not each.docstring:
            raise SystemExit(f"error: {each.path}: a public name without a docstring")
    return found


def _entry(each: griffe.Class | griffe.Function) -> Iterator[str]:
    """Lines for a class with its methods, or for a function."""
    yield from ("", f"### {each.name}", "")
    if each.is_function:
        yield from _function(each, each.name)
        return
    yield from _code(f"class {each.name}", _parameters(each), "")
    yield from _docstring(each.docstring.value, each)
    bases = [base for base in each.bases if not str(base).startswith("_")]
    if bases:
        yield from (f"Base class: `{bases[0].canonical_path}`.", "")
    fields = [one for one in _documented(each).values() if one.is_attribute]
    if fields:
        yield from ("**Attributes**", "")
    for field in fields:
        head = _written(field.name, field.annotation, None).replace(": ", " : ")
        yield f"- `{head}`: {' '.join(field.docstring.value.split())}"
    for name, method in _methods(each).items():
        yield from ("", f"#### {each.name}.{name}", "")
        yield from _function(method, name)


def _documented(each: griffe.Class) -> dict[str, griffe.Object]:
    """The class's own public attributes and methods that have a docstring."""
    return {
        name: member
        for name, member in each.members.items()
        if not name.startswith("_") and not member.is_alias and member.docstring
    }


def _methods(each: griffe.Class | griffe.Function) -> dict[str, griffe.Function]:
    if each.is_function:
        return {}
    return {n: member for n, member in _documented(each).items() if member.is_function}


def _function(function: griffe.Function, name: str) -> Iterator[str]:
    marks = "".join(
        f"@{kind}\n"
        for kind in ("classmethod", "staticmethod")
        if kind in function.labels
    )
    result = f" -> {function.returns}" if function.returns else ""
    yield from _code(marks + name, _parameters(function), result)
    yield from _docstring(function.docstring.value, function)


def _parameters(each: griffe.Class | griffe.Function) -> list[str]:
    """Parameters as they are written, without self and cls."""
    if each.is_class and any(str(base) == "NamedTuple" for base in each.bases):
        fields = [one for one in each.members.values() if one.is_attribute]
        return [_written(one.name, one.annotation, one.value) for one in fields]
    kinds, written = griffe.ParameterKind, []
    for one in each.parameters:
        if one.name in ("self", "cls"):
            continue
        if one.kind is kinds.keyword_only and "*" not in written:
            written.append("*")
        stars = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(one.kind, "")
        default = None if stars else one.default
        written.append(_written(stars + one.name, one.annotation, default))
    return written


def _written(name: str, annotation: object, default: object) -> str:
    """A parameter as ruff would format it."""
    typed = "" if annotation is None else f": {annotation}"
    if default is None:
        return name + typed
    return f"{name}{typed} = {default}" if typed else f"{name}={default}"


def _code(name: str, parameters: list[str], result: str) -> list[str]:
    line = f"{name}({', '.join(parameters)}){result}"
    if name.startswith("class ") and not parameters:
        line = name
    if max(map(len, line.splitlines())) > _WIDTH:
        line = "\n    ".join([f"{name}(", *(f"{one}," for one in parameters)])
        line += f"\n){result}"
    return ["```python", line.replace("'", '"'), "```", ""]


def _docstring(
    text: str, of: griffe.Class | griffe.Function | None = None
) -> Iterator[str]:
    """Give a docstring's lines in Markdown: its sections become lists and code.

    Arguments that class or function ``of`` lacks end the program.
    """
    known = {re.match(r"\**(\w*)", one)[1] for one in _parameters(of)} if of else set()
    parts = re.split(r"^([A-Z]\w+)\n-{3,}$", text, flags=re.M)
    yield from (parts[0].strip(), "")
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        yield from (f"**{heading}**", "")
        if heading == "Example":
            yield from ("```python", body.strip(), "```", "")
            continue
        entries = re.findall(r"^(\S.*)\n((?: {4}.*\n|\n)*)", body + "\n", flags=re.M)
        for head, described in entries:
            for name in head.partition(" : ")[0].split(", "):
                if of and heading == "Arguments" and name.lstrip("*") not in known:
                    raise SystemExit(f"error: {of.path}: no argument {name}")
            yield f"- `{head}`: {' '.join(described.split())}"
        yield ""


def _link(text: str, known: set[str]) -> str:
    """Link `Name` and `Name.method` to their places on the page, but not in code."""

    def link(found: re.Match[str]) -> str:
        name = re.sub(r"sercorr\.([a-z_]+\.)*", "", found[1])
        return f"[{found[0]}](#{_anchor(name)})" if name in known else found[0]

    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    for place in range(0, len(parts), 2):
        parts[place] = re.sub(r"(?<!`)`([\w.]+)`(?!`)", link, parts[place])
    return "".join(parts)


def _anchor(heading: str) -> str:
    """The name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
