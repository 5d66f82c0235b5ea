"""The layer's pages: the property table is that of the declarations, examples run, the display is the layer's.

``python tests/test_layer_docs.py`` writes the table anew.
"""

import re
from pathlib import Path

import pytest

from numba_tconv import TransposedConvolution1DLayer, transposedConv1dLayer
from numba_tconv._properties import declarations

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "layer.md"
BETWEEN_MARKS = re.compile(r"(?<=<!-- properties -->\n).*?(?=<!-- end -->)", re.DOTALL)
ACCESS = {"set": "at any time", "create": "at creation", "read": "read-only"}


def as_default(item):
    if item.default is item.REQUIRED:
        return "required"
    return f"`{item.default!r}`"


def table():
    """Return the table of all properties, as the declarations have them."""
    lines = ["| property | meaning | rule | default | set |", "|---|---|---|---|---|"]
    for name, item in declarations(TransposedConvolution1DLayer).items():
        cells = (f"`{name}`", item.__doc__, str(item.rule), as_default(item), ACCESS[item.access])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def test_table_is_that_of_the_declarations():
    assert BETWEEN_MARKS.search(page("layer.md"))[0] == table(), "python tests/test_layer_docs.py writes it anew"


def test_display_on_the_page_is_the_layers():
    assert f"```\n{transposedConv1dLayer(11, 96, Stride=4)!r}\n```\n" in page("matlab.md")


EXAMPLES = [
    pytest.param(code, id=f"{name}-{number}")
    for name in ("layer.md", "matlab.md")
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", page(name), re.DOTALL | re.MULTILINE))
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_runs(code):
    exec(compile(code, "docs", "exec"), {"__name__": "docs"})  # noqa: S102 our own text


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


if __name__ == "__main__":
    PAGE.write_text(BETWEEN_MARKS.sub(lambda _: table(), page("layer.md")), encoding="utf-8")
