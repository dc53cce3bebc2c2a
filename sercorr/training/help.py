"""``--help`` of the programs: from a settings file and SpeechBrain's options."""

import os
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from speechbrain.utils.run_opts import HELP_TEXTS, RunOptions

from sercorr.training.settings import read_settings

_KEY = re.compile(r"^(?P<key>[A-Za-z]\w*)\s*:(?P<rest>.*)$")
_COMMENT = re.compile(r"(^|\s)#\s?(?P<text>.*)$")
_COLUMN, _WIDTH = 26, 92


class Described(NamedTuple):
    """A key of a settings file: its section, default and comment."""

    section: str
    default: str
    comment: str


def describe_keys(files: Iterable[Path]) -> dict[str, Described]:
    """Read what settings files say about their keys, from their lines.

    A comment of its own line is the heading of the keys below it; one behind a key, or
    on the lines below it that hold nothing else but a comment set further in, is the
    key's.

    ``files`` are a file and those that it is based on: the first has its way.
    """
    found: dict[str, Described] = {}
    for file in reversed(list(files)):
        section, key = "", None
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            match = _KEY.match(line)
            comment = _COMMENT.search(line)
            text = comment["text"].strip() if comment else ""
            if line.startswith("#"):
                section, key = text.rstrip("."), None
            elif match:
                key = match["key"]
                default = _COMMENT.sub("", match["rest"]).strip()
                old = found.get(key)
                found[key] = Described(
                    old.section if old else section,
                    default,
                    text or (old.comment if old else ""),
                )
            elif key and comment and not line[: comment.start()].strip():
                old = found[key]
                found[key] = old._replace(comment=f"{old.comment} {text}".strip())
            elif not line.strip():
                key = None
    return found


def format_help(
    program: str,
    about: str,
    file: Path,
    left_out: Iterable[str] = (),
    first: str = "HPARAMS.yaml",
) -> str:
    """Write the help of a program: usage, the keys of a settings file, run options.

    Arguments
    ---------
    program, about : str
        Its name, such as ``train.py``, and its docstring.
    file : pathlib.Path
        The settings file.
    left_out : iterable of str
        Run options that are not listed.
    first : str
        What the first argument is called.
    """
    files, tree = read_settings(file)
    described = describe_keys(files)
    lines = [
        f"usage: python {program} {first} [--key value ...] [run options]",
        "",
        about.strip(),
        "",
        f"Settings, with the defaults of {os.path.normpath(file)}:",
    ]
    objects, section = [], None
    for key in tree:
        if key.startswith("_") or key not in described:
            continue
        entry = described[key]
        computed = entry.default.startswith("!apply") and entry.comment
        made = entry.default.startswith(("!new", "!name", "!apply"))
        if (made and not computed) or not entry.default:
            objects.append(f"{key} ({entry.default or 'a mapping'})")
            continue
        if entry.section != section:
            section = entry.section
            lines += ["", f"  {section}"] if section else [""]
        required = entry.default.startswith("!PLACEHOLDER")
        default = "required" if required else entry.default.removeprefix("!ref ")
        default = "found out" if computed else default
        lines += _entry(f"--{key}", f"{entry.comment} [{default}]".strip())
    lines += ["", "  Objects: replace them in a settings file of your own"]
    lines += [f"    {text}" for text in objects]
    lines += ["", "SpeechBrain's run options:", ""]
    defaults = RunOptions().as_dict()
    for option, text in sorted(HELP_TEXTS.items()):
        if option in defaults and option not in (*tree, *left_out):
            lines += _entry(f"--{option}", f"{text} [{defaults[option]}]")
    return "\n".join(lines)


def _entry(name: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, _WIDTH - _COLUMN) or [""]
    first = f"    {name}".ljust(_COLUMN)
    if not first.endswith(" "):
        return [first, *(" " * _COLUMN + line for line in wrapped)]
    return [first + wrapped[0], *(" " * _COLUMN + line for line in wrapped[1:])]
