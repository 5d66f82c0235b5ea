"""Tests of the CUDA backend, on Numba's simulator or on a GPU: they run only where this folder is named to pytest.

`tests/test_cuda.py` runs them on the simulator, in a process of their own; `pytest tests/cuda` runs them on the GPU.
The simulator runs every thread of a kernel as one of Python, a thousand times slower than the CPU: so tiles are tiny
there, which also makes small problems cross all their edges.
"""

import os

import pytest

from numba_tconv import backends

if missing := backends.missing_for_cuda():
    raise pytest.UsageError(f"set NUMBA_ENABLE_CUDASIM=1 to run these tests on Numba's simulator: {missing}")
IS_SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def pytest_ignore_collect(collection_path, config):
    """Leave out the tests of imitated libraries on a GPU, and those of real ones on the simulator."""
    return collection_path.name == ("test_libraries.py" if IS_SIMULATED else "test_arrays.py") or None


@pytest.fixture(autouse=True)
def real_tiles(monkeypatch):
    """Return the tiles that GPUs have, for real and for complex products; on the simulator, make every launch small."""
    from numba_tconv.backends.cuda import fir, launch, rates, sums, tap_sums
    from numba_tconv.backends.cuda.problems import Tile

    of_gpus = launch.TILES, launch.SPARING_TILES
    if not IS_SIMULATED:
        return of_gpus

    tiles = {Tile(16, 8, 4, 4, 2, 1): 0.9, Tile(8, 8, 4, 4, 2, 1): 0.8, Tile(4, 16, 4, 4, 2, 1): 0.7}
    monkeypatch.setattr(launch, "TILES", {4: tiles, 8: tiles})
    monkeypatch.setattr(launch, "SPARING_TILES", {4: tiles, 8: tiles})
    monkeypatch.setattr(launch, "multiprocessors", lambda device: 6)
    monkeypatch.setattr(launch, "MOST_BLOCKS", 5)
    rows = fir.Tile(threads=8, taps=4, reach=8, blocks=1)
    monkeypatch.setattr(fir, "TILES", {4: rows, 8: rows})
    monkeypatch.setattr(rates, "THREADS", 8)
    monkeypatch.setattr(sums, "THREADS", 8)
    monkeypatch.setattr(tap_sums, "THREADS", 8)
    return of_gpus


@pytest.fixture(autouse=True)
def _turns(monkeypatch):
    """Let simulated threads take turns."""
    if IS_SIMULATED:
        import simulator

        monkeypatch.setattr(simulator.kernel, "BlockManager", simulator.Block)
