"""The documentation builds without a warning, and the gallery's examples, which run meanwhile, do what they say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "docs" / "gallery"
SAYS = {
    "audio_rates": "numba_tconv  error  -89",
    "chirp": "largest difference from SciPy",
    "learn_interpolation": "error on the third beat, learned, 33 taps",
    "streaming": "the stream has the bits of the whole signal",
    "upsample_ecg": "R peak at 527.8 ms; between samples, at 528.5 ms",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build a copy, because Sphinx writes pages beside its sources; return the folder of the pages."""
    copy = tmp_path_factory.mktemp("documentation")
    generated = shutil.ignore_patterns("_build", "api", "examples", "__pycache__")
    shutil.copytree(ROOT / "docs", copy / "docs", ignore=generated)
    for page in ("CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / page, copy)
    run = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", "site"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    assert {path.name for path in (copy / "docs" / "gallery").iterdir()} == {
        path.name for path in GALLERY.iterdir() if path.name != "__pycache__"
    }
    return copy / "site"


def output(site, name):
    """Return what an example has printed, as its page has it."""
    page = (site / "examples" / f"{name}.html").read_text(encoding="utf-8")
    return "\n".join(re.findall(r'class="sphx-glr-script-out.*?<pre>(?:<span></span>)?(.*?)</pre>', page, re.DOTALL))


def test_every_example_is_looked_at():
    assert {path.stem for path in GALLERY.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_example_says_and_draws(name, site):
    assert SAYS[name] in output(site, name)
    assert "Warning" not in output(site, name)
    assert (site / "_images" / f"sphx_glr_{name}_001.png").stat().st_size > 10_000


def test_learned_filter_is_better_than_the_textbooks(site):
    printed = output(site, "learn_interpolation")
    errors = {name: float(error) for name, error in re.findall(r"error on the third beat, (.+): (.+)$", printed, re.M)}
    assert list(errors) == ["windowed sinc, 81 taps", "windowed sinc, 33 taps", "learned, 33 taps"]
    assert errors["learned, 33 taps"] < 0.7 * errors["windowed sinc, 81 taps"]
