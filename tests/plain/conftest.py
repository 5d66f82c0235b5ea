"""The CPU kernels as plain Python, with `NUMBA_DISABLE_JIT=1`: `tests/test_plain.py` runs them in a process of its own.

Nothing here is fast, so problems are small, and so are the blocks that the kernels work in.
"""

import os

import pytest

if os.environ.get("NUMBA_DISABLE_JIT") != "1":
    raise pytest.UsageError("set NUMBA_DISABLE_JIT=1 to run these tests")


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    import intrinsics

    intrinsics.install(monkeypatch)
