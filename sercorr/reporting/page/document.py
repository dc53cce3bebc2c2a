"""One HTML file of sections that needs nothing else, and the same as plain parts."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import groupby

from sercorr.reporting.layout import Parts, Table, html_text, render


@dataclass(frozen=True)
class Raw:
    """Ready HTML, such as a figure, and what stands for it in plain tables."""

    html: str
    parts: Parts = field(default_factory=list)


@dataclass(frozen=True)
class Folded:
    """What is shown when its title is opened; on paper it is always open."""

    title: str
    content: "Sequence[Block]"
    opened: bool = False


Block = str | Table | Raw | Folded


@dataclass(frozen=True)
class Section:
    """A section of the page; ``name`` is its address in the page."""

    name: str
    title: str
    content: Sequence[Block]


def make_document(title: str, sections: Sequence[Section]) -> str:
    """Make one HTML file that loads nothing: no script but its own can run in it.

    Arguments
    ---------
    title : str
        Of the page.
    sections : sequence of Section
        In the order in which they are read.

    Returns
    -------
    str
        The file's content; the same for the same arguments.

    Example
    -------
    >>> page = make_document("A <b>", [Section("runs", "Runs", ["None."])])
    >>> "<h1>A &lt;b&gt;</h1>" in page, 'href="#runs"' in page
    (True, True)
    """
    folder = files(__package__)
    style = (folder / "page.css").read_text(encoding="utf-8")
    script = (folder / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; media-src data:; base-uri 'none'; "
        f"form-action 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    links = [
        f'<li><a href="#{each.name}">{html_text(each.title)}</a></li>'
        for each in sections
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{html_text(title)}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>\n{style}</style>",
            "</head>",
            "<body>",
            '<a class="skip" href="#main">Skip to the results</a>',
            "<header>",
            f"<h1>{html_text(title)}</h1>",
            '<button type="button" id="theme" hidden>Dark</button>',
            "</header>",
            f'<nav aria-label="Sections"><ol>{"".join(links)}</ol></nav>',
            '<main id="main" tabindex="-1">',
            *(_section(each) for each in sections),
            "</main>",
            f"<script>{script}</script>",
            "</body>",
            "</html>\n",
        ]
    )


def document_parts(title: str, sections: Iterable[Section]) -> Parts:
    """Give what a document says without its pictures and players, for `render`."""
    parts: Parts = [f"# {title}"]
    for section in sections:
        parts += [f"## {section.title}", *_plain(section.content)]
    return parts


def latex_document(parts: Parts) -> str:
    """Make a LaTeX document of parts; of packages it needs booktabs alone."""
    lines = [
        r"\documentclass{article}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage{booktabs}",
        r"\setlength{\parindent}{0pt}",
        r"\setlength{\parskip}{1ex}",
        r"\setlength{\tabcolsep}{4pt}",
        r"\begin{document}",
        r"\footnotesize",
        render(parts, "latex"),
        r"\end{document}",
    ]
    return "\n".join(lines) + "\n"


def _section(section: Section) -> str:
    return (
        f'<section id="{section.name}" aria-labelledby="{section.name}-title">\n'
        f'<h2 id="{section.name}-title">{html_text(section.title)}</h2>\n'
        f"{_blocks(section.content)}\n</section>"
    )


def _blocks(blocks: Sequence[Block]) -> str:
    shown = []
    for kind, some in groupby(blocks, lambda b: b if _is_made(b) else None):
        if isinstance(kind, Raw):
            shown.append(kind.html)
        elif isinstance(kind, Folded):
            opened = " open" if kind.opened else ""
            shown.append(
                f"<details{opened}><summary>{html_text(kind.title)}</summary>\n"
                f'<div class="folded">\n{_blocks(kind.content)}\n</div></details>'
            )
        else:
            shown.append(render([b for b in some if isinstance(b, str | list)], "html"))
    return "\n".join(shown)


def _is_made(block: Block) -> bool:
    return isinstance(block, Raw | Folded)


def _plain(blocks: Iterable[Block]) -> Parts:
    parts: Parts = []
    for block in blocks:
        if isinstance(block, Raw):
            parts += block.parts
        elif isinstance(block, Folded):
            if inside := _plain(block.content):
                parts += [f"### {block.title}", *inside]
        else:
            parts.append(block)
    return parts
