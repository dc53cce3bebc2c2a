"""docs/api.md: what its generator makes of the docstrings."""

import re
import runpy
from pathlib import Path

import pytest

import sercorr.inference
import sercorr.lobes

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
GENERATOR = ROOT / "docs" / "make_api.py"


@pytest.fixture(scope="module")
def generator() -> dict:
    return runpy.run_path(str(GENERATOR))


def test_the_page_is_up_to_date(generator):
    assert PAGE.read_text(encoding="utf-8") == generator["make_page"](), "make docs"


def test_it_has_every_public_name_and_no_broken_link(generator):
    page = generator["make_page"]()
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", page, flags=re.S), re.M
    )
    assert {*sercorr.inference.__all__, "Predictor", "EmotionBrain"} <= set(headings)
    assert set(sercorr.lobes.__all__) - {"POOLINGS"} <= set(headings)
    anchors = [heading.lower().replace(".", "") for heading in headings]
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= set(anchors)


DOCUMENTED = '''
"""A package."""

__all__ = ["Thing", "make"]


class Thing:
    """A thing of one `Thing.part`.

    Arguments
    ---------
    size : int
        How large,
        in metres.

    Example
    -------
    >>> Thing(2).size
    2
    """

    def __init__(self, size: int, *, kind: str = 'round') -> None:
        self.size = size

    @classmethod
    def part(cls, names: list[str]) -> "Thing":
        """Take a part."""

    def _hidden(self):
        """Not shown."""


def make(ARGUMENT):
    """Make a `Thing`.

    Arguments
    ---------
    number : int
        Of things.
    """
'''
SHOWN = """
### Thing

```python
class Thing(size: int, *, kind: str = "round")
```

A thing of one [`Thing.part`](#thingpart).

**Arguments**

- `size : int`: How large, in metres.

**Example**

```python
>>> Thing(2).size
2
```

#### Thing.part

```python
@classmethod
part(names: list[str]) -> Thing
```

Take a part.

### make

```python
make(number)
```

Make a [`Thing`](#thing).

**Arguments**

- `number : int`: Of things.
"""


@pytest.mark.parametrize("argument", ["number", "count"])
def test_docstrings_become_markdown(generator, tmp_path, argument):
    (tmp_path / "sercorr").mkdir()
    source = tmp_path / "sercorr" / "__init__.py"
    source.write_text(DOCUMENTED.replace("ARGUMENT", argument))
    make_page = generator["make_page"]
    if argument == "number":
        assert make_page(tmp_path, {"sercorr": None}).endswith(SHOWN)
    else:
        with pytest.raises(SystemExit, match=r"sercorr\.make: no argument number"):
            make_page(tmp_path, {"sercorr": None})
