"""Pictures of `sercorr.reporting.plots` inside a page."""

import html
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from sercorr.reporting.page.document import Raw


def draw_inline(draw: Callable[[Path], object], name: str, title: str) -> Raw:
    """Draw a figure as SVG that can stand in a page beside others.

    Arguments
    ---------
    draw : callable
        Writes the figure to the path that it is given.
    name : str
        Letters and digits that no other figure of the page has: the figure's ids begin
        with it.
    title : str
        What the figure shows, for those who do not see it; also its caption.

    Returns
    -------
    Raw
        The figure.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.svg"
        draw(path)
        return inline_svg(path.read_text(encoding="utf-8"), name, title)


def inline_svg(svg: str, name: str, title: str) -> Raw:
    """Make an SVG file of matplotlib a figure of a page; see `draw_inline`."""
    return Raw(
        f'<figure class="plot">\n{_inside(svg, name, title)}\n'
        f"<figcaption>{html.escape(title)}</figcaption>\n</figure>"
    )


def _inside(svg: str, name: str, title: str) -> str:
    """Make a file of matplotlib a part of a page."""
    svg = svg[svg.index("<svg") :].rstrip()
    for needless in ("metadata", "style"):  # the style would be that of the whole page
        svg = re.sub(rf"<{needless}\b.*?</{needless}>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    # only inside tags: texts may look like anything
    svg = re.sub(r"<[^>]*>", lambda tag: _own_ids(tag[0], name), svg)
    view = re.search(r'viewBox="[^"]*"', svg)
    opening = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {view[0] if view else ""} '
        f'role="img" aria-labelledby="{name}-title">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
    )
    return re.sub(r"^<svg[^>]*>", lambda _: opening, svg)


def _own_ids(tag: str, name: str) -> str:
    tag = re.sub(r'\b(id="|href="#|url\(#)', rf"\1{name}-", tag)
    return re.sub(r' d="[^"]*"', _short_path, tag)


def _short_path(match: re.Match[str]) -> str:
    """Leave two decimals, a hundredth of a point, and no line ends."""
    numbers = re.sub(r"(\.[0-9]{2})[0-9]+", r"\1", match[0])
    return " " + " ".join(numbers.split()).replace(' "', '"')
