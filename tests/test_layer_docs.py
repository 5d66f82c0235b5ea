"""The pages on layers and training: tables are those of the declarations, the display is the layer's.

``python tests/test_layer_docs.py`` writes the tables anew.
"""

import re
from pathlib import Path

import pytest

from numba_tconv import TransposedConvolution1DLayer, transposedConv1dLayer
from numba_tconv._properties import declarations
from numba_tconv.options import SOLVERS

DOCS = Path(__file__).parents[1] / "docs"
BETWEEN_MARKS = re.compile(r"(?<=<!-- properties -->\n).*?(?=<!-- end -->)", re.DOTALL)
ACCESS = {"set": "at any time", "create": "at creation", "read": "read-only"}


def as_default(item):
    if item.default is item.REQUIRED:
        return "required"
    return f"`{item.default!r}`"


def layer_table():
    """Return the table of all properties, as the declarations have them."""
    lines = ["| property | meaning | rule | default | set |", "|---|---|---|---|---|"]
    for name, item in declarations(TransposedConvolution1DLayer).items():
        cells = (f"`{name}`", item.__doc__, str(item.rule), as_default(item), ACCESS[item.access])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def options_table():
    """Return the table of all training options; where solvers differ, each has its default."""
    solvers = {name: declarations(options_class) for name, options_class in SOLVERS.items()}
    lines = ["| option | meaning | rule | default |", "|---|---|---|---|"]
    for name in dict.fromkeys(name for declared in solvers.values() for name in declared):
        items = {solver: declared[name] for solver, declared in solvers.items() if name in declared}
        defaults = {solver: as_default(item) for solver, item in items.items()}
        item = next(iter(items.values()))
        default = ", ".join(f"{solver}: {text}" for solver, text in defaults.items())
        if len(items) == len(solvers) and len(set(defaults.values())) == 1:
            default = as_default(item)
        lines.append(f"| `{name}` | {item.__doc__} | {item.rule} | {default} |")
    return "\n".join(lines) + "\n"


TABLES = {"layer.md": layer_table, "training.md": options_table}


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TABLES)
def test_table_is_that_of_the_declarations(name):
    assert BETWEEN_MARKS.search(page(name))[0] == TABLES[name](), "python tests/test_layer_docs.py writes it anew"


def test_display_on_the_page_is_the_layers():
    assert f"```text\n{transposedConv1dLayer(11, 96, Stride=4)!r}\n```\n" in page("matlab.md")


if __name__ == "__main__":
    for name, table in TABLES.items():
        written = BETWEEN_MARKS.sub(lambda _, table=table: table(), page(name))
        (DOCS / name).write_text(written, encoding="utf-8")
