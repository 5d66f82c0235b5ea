"""What every test shares: a compile cache that belongs to these very sources, and seeded randomness."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from numba_tconv.sources import fingerprint

ROOT = Path(__file__).parents[1]

# A folder for Numba's disk cache in each state of the sources, so that outdated kernels do not pile up.
CACHE = ROOT / ".pytest_cache" / f"numba-{fingerprint()}"
for outdated in set(CACHE.parent.glob("numba-*")) - {CACHE}:
    shutil.rmtree(outdated, ignore_errors=True)
# Numba reads it when it is imported, which no test module has done yet; subprocesses inherit it.
os.environ["NUMBA_CACHE_DIR"] = str(CACHE)


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)
