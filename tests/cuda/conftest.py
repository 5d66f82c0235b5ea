"""Tests of the CUDA backend on Numba's simulator: `tests/test_cuda.py` runs them in a process of their own.

The simulator runs every thread of a kernel as one of Python, a thousand times slower than the CPU: so tiles are tiny
here, which also makes small problems cross all their edges.
"""

import os
import sys

import pytest

IS_SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
collect_ignore_glob = [] if IS_SIMULATED else ["test_*.py"]


@pytest.fixture(autouse=True)
def real_tiles(monkeypatch):
    """Make every launch small; return the tiles that GPUs have, for real and for complex products."""
    from numba_tconv.backends.cuda import fir, launch, rates, sums
    from numba_tconv.backends.cuda.problems import Tile

    of_gpus = launch.TILES, launch.SPARING_TILES

    tiles = {Tile(16, 8, 4, 4, 2, 1): 0.9, Tile(8, 8, 4, 4, 2, 1): 0.8, Tile(4, 16, 4, 4, 2, 1): 0.7}
    monkeypatch.setattr(launch, "TILES", {4: tiles, 8: tiles})
    monkeypatch.setattr(launch, "SPARING_TILES", {4: tiles, 8: tiles})
    monkeypatch.setattr(launch, "multiprocessors", lambda: 6)
    rows = fir.Tile(threads=8, taps=4, reach=8, blocks=1)
    monkeypatch.setattr(fir, "TILES", {4: rows, 8: rows})
    monkeypatch.setattr(rates, "THREADS", 8)
    monkeypatch.setattr(sums, "THREADS", 8)
    return of_gpus
    monkeypatch.setattr(launch, "MOST_BLOCKS", 5)


@pytest.fixture(autouse=True)
def _frequent_switches():
    """Keep the simulator's main thread, which polls the others, from holding them up four fifths of the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-3)
    yield
    sys.setswitchinterval(before)
