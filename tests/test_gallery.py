"""The gallery's examples run, without a screen and without a warning, and write no file.

What `learn_interpolation.py` promises is checked in `test_training.py`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
SAYS = {
    "audio_rates": "numba_tconv  error  -89",
    "chirp": "largest difference from SciPy",
    "streaming": "the stream has the bits of the whole signal",
    "upsample_ecg": "R peak at 527.8 ms; between samples, at 528.5 ms",
}


def test_every_example_is_run():
    assert {path.stem for path in GALLERY.glob("*.py")} == {*SAYS, "learn_interpolation"}


@pytest.mark.parametrize("name", SAYS)
def test_example(name, tmp_path):
    pytest.importorskip("matplotlib", reason="the gallery takes the extra [demo]")
    pytest.importorskip("pywt", reason="the gallery takes the extra [demo]")
    run = subprocess.run(
        [sys.executable, "-W", "error", GALLERY / f"{name}.py"],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(GALLERY.parents[1])},
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert SAYS[name] in run.stdout
    assert not list(tmp_path.iterdir())
