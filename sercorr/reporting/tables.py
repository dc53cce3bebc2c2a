"""Tables as text for the terminal and as pages in Markdown, from the same parts."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table as RichTable


class Table(NamedTuple):
    """Blocks of rows with a line between them; columns of numbers stand to the right.

    Arguments
    ---------
    header : list of str
        One heading per column.
    blocks : list of list of list of str
        Blocks, their rows, their cells.
    """

    header: list[str]
    blocks: list[list[list[str]]]

    def text(self) -> str:
        """Lay the table out for a terminal.

        Example
        -------
        >>> print(make_table([{"fold": "1", "WA %": "5.00"}], [{"fold": "std"}]).text())
        ──────────
        fold  WA %
        ──────────
        1     5.00
        ──────────
        std
        ──────────
        """
        table = RichTable(box=box.HORIZONTALS, pad_edge=False, collapse_padding=True)
        for name, numeric in zip(self.header, self._numeric(), strict=True):
            table.add_column(
                name.replace(" (", "\n("),
                justify="right" if numeric else "left",
                no_wrap=True,
            )
        for block in self.blocks:
            for row in block:
                table.add_row(*row)
            table.add_section()
        text = io.StringIO()
        # as wide as it is: a log file has no width, and numbers must not be broken
        Console(file=text, width=1000, markup=False, highlight=False).print(table)
        return "\n".join(line[1:].rstrip() for line in text.getvalue().splitlines())

    def markdown(self) -> str:
        """Lay the table out in Markdown.

        Example
        -------
        >>> print(make_table([{"fold": "1", "WA %": "5.00"}]).markdown())
        | fold | WA % |
        | ---: | ---: |
        | 1 | 5.00 |
        """
        rules = ["---:" if numeric else "---" for numeric in self._numeric()]
        rows = [self.header, rules, *(row for block in self.blocks for row in block)]
        cells = ([cell.replace("|", "\\|") for cell in row] for row in rows)
        return "\n".join(f"| {' | '.join(row)} |" for row in cells)

    def _numeric(self) -> list[bool]:
        columns = zip(*(row for block in self.blocks for row in block), strict=True)
        return [all(re.match(r"[0-9]|-?$", c) for c in column) for column in columns]


def make_table(*blocks: Sequence[Mapping[str, str]]) -> Table:
    """Make a table of rows that map headings to cells; empty columns are left out."""
    rows = [row for block in blocks for row in block]
    header = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if any(row.get(name) for row in rows)
    ]
    return Table(header, [[[r.get(c, "") for c in header] for r in b] for b in blocks])


Parts = Sequence[str | Table]
"""Paragraphs and tables, in the order in which they are read."""


def as_text(parts: Parts) -> str:
    """Join parts for a terminal; there is no line end after the last line."""
    return "\n\n".join(p if isinstance(p, str) else p.text() for p in parts)


def as_markdown(
    title: str, parts: Parts, plots: Mapping[str, str], settings: Mapping[str, Any]
) -> str:
    """Join parts to a page, with pictures and settings below.

    Arguments
    ---------
    title : str
        The page's heading.
    parts : sequence
        Paragraphs and tables.
    plots : mapping
        Title -> address of each picture, relative to the page.
    settings : mapping
        A settings tree, to be listed; may be empty.
    """
    page = [f"# {title}", *(p if isinstance(p, str) else p.markdown() for p in parts)]
    if plots:
        page.append("## Plots")
        page += [f"![{name}]({address})" for name, address in plots.items()]
    if settings:
        rows = [
            {"setting": f"`{key}`", "value": f"`{_shown(value)}`"}
            for key, value in settings.items()
        ]
        page += ["## Settings", make_table(rows).markdown()]
    return "\n\n".join(page) + "\n"


def _shown(value: Any) -> str:
    """Write a setting as YAML would, on one line."""
    if isinstance(value, Mapping) and "tag" in value:
        return f"{value['tag']} {_shown(value.get('value'))}".strip()
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key}: {_shown(item)}" for key, item in value.items())
        return f"{{{inner}}}" if inner else ""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
