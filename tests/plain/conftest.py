"""The CPU kernels as plain Python, with `NUMBA_DISABLE_JIT=1`: `tests/test_plain.py` runs them in a process of its own.

Nothing here is fast, so problems are small, and so are the blocks that the kernels work in.
"""

import os
from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path, config):
    """Only where they are asked for by name: a process compiles kernels, or none."""
    folder = Path(__file__).parent
    if not any(Path(argument.partition("::")[0]).resolve().is_relative_to(folder) for argument in config.args):
        return True
    if os.environ.get("NUMBA_DISABLE_JIT") != "1":
        raise pytest.UsageError("set NUMBA_DISABLE_JIT=1 to run these tests")
    return None


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    import intrinsics

    intrinsics.install(monkeypatch)
