"""Pages of paragraphs and tables: for a terminal, and in Markdown, HTML and LaTeX.

What others have named (files, classes, heads) is escaped in each of them. A cell that
stands in backticks is code; a paragraph that begins with ``# ``, ``## ``, ... is a
heading.
"""

import html
import io
import re
import unicodedata
from itertools import chain
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

# Blocks of rows, with a line between blocks; a row maps headings to cells.
Table = list[list[dict[str, str]]]
# Paragraphs and tables, in the order in which they are read.
Parts = list[str | Table]
Format = Literal["text", "markdown", "html", "latex"]

_NUMBER = re.compile(r"[-+\u2212<]?\.?[0-9]|-?$")
_TALL = 24  # rows; a table with more is scrolled on a screen
_LATEX_ROWS = 45  # of a table on one page
_LATEX_LETTERS = 60  # of a cell on one line
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
    "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "*": "{*}",
    "±": r"$\pm$", "\u00d7": r"$\times$", "\u2212": "$-$", "≤": r"$\leq$",
    "≥": r"$\geq$",
    "\u2013": "--", "—": "---", "…": r"\ldots{}", "→": r"$\to$", "\n": "\\\\\n",
}  # fmt: skip


def render(parts: Parts, form: Format) -> str:
    r"""Join parts to a page.

    Arguments
    ---------
    parts : list
        Paragraphs and tables. A line end inside a paragraph is kept.
    form : str
        ``text`` is for a terminal. ``html`` is what stands inside a section: a
        paragraph that ends with a colon is the caption of the table behind it.
        ``latex`` needs the package booktabs, and T1 as its font encoding; long tables
        are cut into pages.

    Returns
    -------
    str
        The page, without a line end at its end.

    Example
    -------
    >>> page = ["Scores:", [[{"head": "a&b", "WA %": "65.60"}]]]
    >>> print(render(page, "markdown"))
    Scores:
    <BLANKLINE>
    | head | WA % |
    | --- | ---: |
    | a&b | 65.60 |
    >>> print(render(page, "latex"))
    Scores:
    <BLANKLINE>
    \begin{tabular}{lr}
    \toprule
    head & WA \% \\
    \midrule
    a\&b & 65.60 \\
    \bottomrule
    \end{tabular}
    """
    if form == "html":
        return _as_html(parts)
    show = {"text": _as_text, "markdown": _as_markdown, "latex": _as_latex}[form]
    say = _latex_paragraph if form == "latex" else str
    return "\n\n".join(say(p) if isinstance(p, str) else show(p) for p in parts)


def html_text(text: str) -> str:
    """Escape a text for HTML; its line ends are kept."""
    return html.escape(text).replace("\n", "<br>\n")


def latex_text(text: str) -> str:
    r"""Escape a text for LaTeX; a letter that needs a font of its own gets its number.

    Example
    -------
    >>> print(latex_text("50 % of a_b, 声"))
    50 \% of a\_b, {[}U+58F0{]}
    """
    text = unicodedata.normalize("NFC", text)
    known = (c if _in_t1(c) else f"[U+{ord(c):04X}]" for c in text)
    return "".join(_LATEX.get(c, c) for c in "".join(known))


def _in_t1(letter: str) -> bool:
    """Whether LaTeX has a letter, in T1 or by `_LATEX`."""
    european = "À" <= letter <= "ž" and letter not in "ĦħĸĿŀŉŦŧ"
    return letter in _LATEX or " " <= letter <= "~" or european


def _as_text(table: Table) -> str:
    shown = RichTable(box=box.HORIZONTALS, pad_edge=False, collapse_padding=True)
    columns = _columns(table)
    for name, numeric in columns.items():
        heading = name.replace(" (", "\n(")
        shown.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    for block in table:
        for row in block:
            shown.add_row(*(row.get(name, "") for name in columns))
        shown.add_section()
    text = io.StringIO()
    # as wide as it is: a log file has no width, and numbers must not be broken
    Console(file=text, width=1000, markup=False, highlight=False).print(shown)
    return "\n".join(line[1:].rstrip() for line in text.getvalue().splitlines())


def _as_markdown(table: Table) -> str:
    columns = _columns(table)
    rules = {name: "---:" if numeric else "---" for name, numeric in columns.items()}
    rows = [dict(zip(columns, columns, strict=True)), rules, *chain(*table)]
    cells = [[_markdown_cell(row.get(c, "")) for c in columns] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _markdown_cell(cell: str) -> str:
    text = " ".join(cell.split("\n")).replace("|", "\\|")
    return text if _code(cell) else re.sub(r"<(?=[\w/!?])", r"\\<", text)


def _as_html(parts: Parts) -> str:
    shown, caption = [], ""
    for place, part in enumerate(parts):
        following = parts[place + 1] if place + 1 < len(parts) else ""
        if not isinstance(part, str):
            shown.append(_html_table(part, caption))
            caption = ""
        elif part.endswith(":") and not isinstance(following, str):
            caption = part
        elif heading := _heading(part):
            level, text = heading
            shown.append(f"<h{level}>{html_text(text)}</h{level}>")
        else:
            shown.append(f"<p>{html_text(part)}</p>")
    return "\n".join(shown)


def _html_table(table: Table, caption: str) -> str:
    columns = _columns(table)
    hidden = "" if caption else ' class="hidden"'
    title = html_text(caption or f"Table of {', '.join(columns)}")
    kinds = {name: ' class="number"' if n else "" for name, n in columns.items()}
    tall = " tall" if sum(map(len, table)) > _TALL else ""
    lines = [
        f'<div class="table{tall}">',
        "<table>",
        f"<caption{hidden}>{title}</caption>",
        "<thead><tr>",
        *(f'<th scope="col"{k}>{html_text(n)}</th>' for n, k in kinds.items()),
        "</tr></thead>",
    ]
    for block in filter(None, table):
        lines.append("<tbody>")
        for row in block:
            cells = [(_html_cell(row.get(n, "")), kind) for n, kind in kinds.items()]
            (first, kind), *others = cells
            lines.append(f'<tr><th scope="row"{kind}>{first}</th>')
            lines.append("".join(f"<td{k}>{cell}</td>" for cell, k in others) + "</tr>")
        lines.append("</tbody>")
    return "\n".join([*lines, "</table>", "</div>"])


def _html_cell(cell: str) -> str:
    code = _code(cell)
    return html_text(cell) if code is None else f"<code>{html_text(code)}</code>"


def _as_latex(table: Table) -> str:
    columns = _columns(table)
    heading = " & ".join(map(latex_text, columns)) + r" \\"
    wide = {
        name
        for name in columns
        if any(len(row.get(name, "")) > _LATEX_LETTERS for row in chain(*table))
    }
    rules = "".join(
        r"p{0.6\textwidth}" if name in wide else "r" if numeric else "l"
        for name, numeric in columns.items()
    )
    lines: list[str] = []
    for block in filter(None, table):
        lines += [r"\midrule"] if lines else []
        for row in block:
            cells = (_latex_cell(row.get(name, "")) for name in columns)
            lines.append(" & ".join(cells) + r" \\")
    pages = [lines[at : at + _LATEX_ROWS] for at in range(0, len(lines), _LATEX_ROWS)]
    begin = [f"\\begin{{tabular}}{{{rules}}}", r"\toprule", heading, r"\midrule"]
    shown = []
    for page in pages:  # a line between blocks may be the first or the last of a page
        first, last = page[0] == r"\midrule", page[-1] == r"\midrule"
        rows = page[first : len(page) - last]
        shown.append("\n".join([*begin, *rows, r"\bottomrule", r"\end{tabular}"]))
    return "\n\n".join(shown)


def _latex_cell(cell: str) -> str:
    code = _code(cell)
    if code is not None:
        return rf"\texttt{{{latex_text(' '.join(code.split()))}}}"
    text = latex_text(" ".join(cell.split("\n")))
    return re.sub(r"(?<![\w.-])-(?=[0-9])", "$-$", text)


def _latex_paragraph(text: str) -> str:
    if heading := _heading(text):
        level, title = heading
        kind = "sub" * min(max(level - 1, 0), 2) + "section"
        return rf"\{kind}*{{{latex_text(title)}}}"
    return latex_text(text.strip())


def _heading(text: str) -> tuple[int, str] | None:
    """Give the level and the text of a paragraph that is a heading."""
    match = re.fullmatch(r"(#{1,6}) ([^\n]+)", text)
    return (len(match[1]), match[2]) if match else None


def _code(cell: str) -> str | None:
    """Give what stands in backticks; None for a cell that is no code."""
    match = re.fullmatch(r"`([^`]*)`", cell)
    return match[1] if match else None


def _columns(table: Table) -> dict[str, bool]:
    """Say of each heading whether numbers stand below; empty columns are left out."""
    cells: dict[str, list[str]] = {}
    for row in chain(*table):
        for name, cell in row.items():
            cells.setdefault(name, []).append(cell)
    return {
        name: all(_NUMBER.match(cell) for cell in column)
        for name, column in cells.items()
        if any(column)
    }
