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


# Their kernels are compiled in another way, or not at all, which a process decides once: they run where they are named.
ALONE = [Path(__file__).parent / name for name in ("cuda", "plain")]


def is_named(folder, config):
    paths = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    return any(path.is_relative_to(folder) for path in paths)


def pytest_ignore_collect(collection_path, config):
    folders = [folder for folder in ALONE if collection_path.is_relative_to(folder)]
    return not all(is_named(folder, config) for folder in folders) or None


def pytest_configure(config):
    """Hide GPUs from the tests that are not for them, whose calls must be computed by the same code everywhere."""
    if not is_named(ALONE[0], config):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)
