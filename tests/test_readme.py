"""README's Python examples run, and its second code block is what continuous integration runs."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
EXAMPLES = [code for language, code in BLOCKS if language == "python"]


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_runs(code):
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102 our own text


def test_first_two_blocks_are_the_demo_and_the_tests():
    (_, demo), (_, tests) = BLOCKS[:2]
    assert demo.splitlines()[-1] == "numba-tconv demo"
    assert "python -m pytest" in tests.splitlines()
