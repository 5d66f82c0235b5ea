"""What every test shares: a compile cache that belongs to these very sources, and seeded randomness."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def _cache_folder():
    """Return a folder for Numba's on-disk cache, named after everything that is compiled.

    Numba's cache notices an edit in the file of the kernel itself, not in the file of a function that the kernel calls:
    in an ordinary cache folder the tests would go on to pass, or to fail, with yesterday's code.
    """
    digest = hashlib.sha256()
    for source in sorted((ROOT / "numba_tconv" / "backends").rglob("*.py")):
        digest.update(source.read_bytes())
    return ROOT / ".pytest_cache" / f"numba-{digest.hexdigest()[:16]}"


CACHE = _cache_folder()
for outdated in set(CACHE.parent.glob("numba-*")) - {CACHE}:
    shutil.rmtree(outdated, ignore_errors=True)
# Numba reads it when it is imported, which no test module has done yet; subprocesses inherit it.
os.environ["NUMBA_CACHE_DIR"] = str(CACHE)


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)
