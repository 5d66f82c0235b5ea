"""The drawings of the documentation are what `docs/draw.py` draws of this state of the package, each on one page."""

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
DRAWN = {draw.__name__: draw for draw in runpy.run_path(str(DOCS / "draw.py"))["DRAWINGS"]}
SHOWN = [image for page in DOCS.glob("*.md") for image in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text("utf-8"))]


@pytest.mark.parametrize("name", DRAWN)
def test_file_is_what_is_drawn(name):
    text = (DOCS / "_static" / f"{name}.svg").read_text(encoding="utf-8")
    assert text == DRAWN[name]().svg(), "run `python docs/draw.py`"


@pytest.mark.parametrize("name", DRAWN)
def test_drawing_is_shown_once(name):
    assert SHOWN.count(f"_static/{name}.svg") == 1
