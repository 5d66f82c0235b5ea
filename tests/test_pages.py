"""The pages that people read: examples run, links lead somewhere, chart and numbers are those of the table."""

import os
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *DOCS.glob("*.md"))
}
# "no-run" needs a GPU.
LANGUAGES = {"python", "python no-run", "bash", "text", "matlab", "{toctree}", "{eval-rst}", "{include}"}
FENCE = re.compile(r"^( *)```([^\s`]*(?: no-run)?)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


def blocks(page, language):
    return [textwrap.dedent(text) for _, name, text in FENCE.findall(PAGES[page]) if name == language]


WITH_EXAMPLES = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize("page", [page for page in WITH_EXAMPLES if page != "docs/pytorch.md"])
def test_examples_run_one_after_another(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), names)  # noqa: S102 our own text


@pytest.mark.peers
def test_examples_in_pytorch_run(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the page on PyTorch takes torch, extra [torch]")
    test_examples_run_one_after_another("docs/pytorch.md", tmp_path, monkeypatch)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_names_its_language(page):
    """A block without one, or an indented one, would be an example that nobody runs."""
    assert {name for _, name, _ in FENCE.findall(PAGES[page])} <= LANGUAGES
    assert not re.search(r"\n\n {4,}\S", FENCE.sub("", PAGES[page]))


def test_commands_on_files_run(tmp_path):
    scipy.io.wavfile.write(tmp_path / "in.wav", 44100, np.zeros((441, 2), np.int16))
    np.save(tmp_path / "in.npy", np.ones((2, 300)))
    np.save(tmp_path / "h.npy", np.hamming(9))
    (tmp_path / "in.csv").write_text("left,right\n1,2\n3,4\n")
    (commands,) = blocks("docs/files.md", "bash")
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"sensor() {{ head -c 4000 /dev/zero; }}\n{commands}"],  # noqa: S607
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert scipy.io.wavfile.read(tmp_path / "out.wav")[1].shape == (480, 2)
    assert np.load(tmp_path / "out.npy").shape == (2, 1200)
    assert (tmp_path / "out.csv").read_text().count("\n") == 5
    assert (tmp_path / "upsampled.f32").stat().st_size == 16000


def test_first_two_blocks_of_readme_are_the_demo_and_the_tests():
    demo, tests = blocks("README.md", "bash")[:2]
    assert demo.splitlines()[-1] == "numba-tconv demo"
    assert "python -m pytest" in tests.splitlines()


def anchors(text):
    """Return the anchors that code hosts, and Sphinx, give to headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", FENCE.sub("", PAGES[page])):
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


CHART = runpy.run_path(str(DOCS / "chart.py"))


def test_chart_is_what_is_drawn():
    assert CHART["FILE"].read_text(encoding="utf-8") == CHART["draw"](), "python docs/chart.py draws it anew"


def test_readme_has_the_numbers_of_the_page_on_performance():
    rows = re.findall(r"^\| (\w.*) \|$", PAGES["README.md"], re.MULTILINE)
    measured = CHART["measured"]()
    assert len(rows) > 5
    for row in rows:
        name, *times = row.split(" | ")
        assert times == list(measured[name].values())[1 : len(times) + 1]
    ahead = sum(float(row["fastest peer / plan"]) > 1 for row in measured.values())
    assert f"on {ahead} of {len(measured)} rows" in PAGES["README.md"]
