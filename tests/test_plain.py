"""The CPU kernels as plain Python, in a process of its own: loops and staging without LLVM, memory checked."""

import os
import subprocess
import sys
from pathlib import Path


def test_kernels_as_plain_python():
    """With the narrowest vectors, so that small problems have many of them; `plain/` says what intrinsics mean."""
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "NUMBA_CPU_FEATURES": "+sse2"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).parent / "plain")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-10_000:] + result.stderr
    *_, summary = result.stdout.strip().splitlines()
    assert "skipped" not in summary
    assert int(summary.split()[0]) > 350
