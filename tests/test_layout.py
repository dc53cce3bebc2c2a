"""Parts as pages: each form shows every cell, and nothing in it is code."""

import html
import re
from html.parser import HTMLParser

import pytest

from sercorr.reporting.layout import latex_text, render
from sercorr.reporting.page.document import latex_document

ODD = r"""<script>alert('1')</script> & "x" | a_b^2 ~ 5 % #1 $x$ {y} \z [n] *"""
TABLE = [
    [{"head": "mean", "WA %": "65.20", "gap": "-1.5"}, {"head": ODD, "WA %": "-"}],
    [{"head": "all", "WA %": "7.10", "note": "`a<b`"}],
]


class Cells(HTMLParser):
    """Collects the rows of tables, with the classes of their cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.classes: list[str] = []
        self.tags: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.inside = True
            self.tables[-1][-1].append("")
            self.classes.append(dict(attrs).get("class", ""))

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.tables[-1][-1][-1] += data


def test_html_has_every_cell_as_text():
    cells = Cells(render([TABLE], "html"))
    assert cells.tables == [
        [
            ["head", "WA %", "gap", "note"],
            ["mean", "65.20", "-1.5", ""],
            [ODD, "-", "", ""],
            ["all", "7.10", "", "a<b"],
        ]
    ]
    assert cells.classes == ["", "number", "number", ""] * 4
    assert "script" not in cells.tags
    assert cells.tags.count("tbody") == 2
    assert cells.tags.count("code") == 1


def test_html_names_rows_columns_and_the_table():
    text = render(["Rates:", TABLE, "A note:", "another\nline", TABLE], "html")
    assert text.count('<th scope="col"') == 8
    assert text.count('<th scope="row"') == 6
    assert "<caption>Rates:</caption>" in text
    assert '<caption class="hidden">Table of head, WA %, gap, note</caption>' in text
    assert "<p>A note:</p>\n<p>another<br>\nline</p>" in text


def test_headings_and_names_that_look_like_code():
    assert render(["### a & b"], "html") == "<h3>a &amp; b</h3>"
    assert render(["### a & b"], "latex") == r"\subsubsection*{a \& b}"
    assert render(["#a"], "html") == "<p>#a</p>"
    for text in (ODD, "## " + ODD):
        shown = render([text], "html")
        assert html.unescape(re.sub("<[^>]*>", "", shown)) == text.removeprefix("## ")


def test_markdown_cells_are_neither_columns_nor_tags():
    lines = render([TABLE], "markdown").splitlines()
    assert lines[1] == "| --- | ---: | ---: | --- |"
    assert lines[3].startswith(r"| \<script>alert('1')\</script> & ")
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [5] * 5
    assert lines[4] == "| all | 7.10 |  | `a<b` |"


@pytest.mark.parametrize("text", [ODD, "".join(map(chr, range(32, 0x3000, 7)))])
def test_latex_has_no_letter_with_a_meaning(text):
    shown = latex_text(text)
    for command in re.findall(r"\\[a-z]+\{\}|\$\\[a-z]+\$|\$-\$|\\[&%$#_{}]", shown):
        shown = shown.replace(command, "", 1)
    shown = re.sub(r"\{([][*])\}", "", shown)
    assert not set(shown) & set(r'\{}$&#%_^~<>|"')
    assert all(ord(letter) < 0x180 for letter in shown)


def test_latex_rows_have_their_columns_and_pages():
    rows = [{"id": f"c_{n}", "p": f"{n}.5", "x": "-1.50"} for n in range(100)]
    pages = render([[rows[:45], rows[45:]]], "latex").split("\n\n")
    assert len(pages) == 3
    found = []
    for page in pages:
        begin, top, heading, middle, *lines, bottom, end = page.splitlines()
        assert (begin, end) == (r"\begin{tabular}{lrr}", r"\end{tabular}")
        assert (top, middle, bottom) == (r"\toprule", r"\midrule", r"\bottomrule")
        assert heading == r"id & p & x \\"
        assert r"\midrule" not in (lines[0], lines[-1])
        found += [line for line in lines if line != r"\midrule"]
    assert found == [rf"c\_{n} & {n}.5 & $-$1.50 \\" for n in range(100)]


def test_a_latex_document_needs_booktabs_alone():
    text = latex_document(["# Title", [[{"a": "x" * 61, "b": "`c d`"}]]])
    assert re.findall(r"\\usepackage.*", text) == [
        r"\usepackage[T1]{fontenc}",
        r"\usepackage{booktabs}",
    ]
    assert r"\begin{tabular}{p{0.6\textwidth}l}" in text
    assert rf"{'x' * 61} & \texttt{{c d}} \\" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
