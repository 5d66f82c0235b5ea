"""The command `numba-tconv`: a demo on real data, and the facts to put into a bug report.

Here belong the command line and what `info` prints; the demo itself is `demo.py`. Exit codes: 0 done, 1 it could not
be done or the demo's check failed (one line on stderr says why), 2 the command line was not understood.
"""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from numba_tconv import __version__

PACKAGES = ("numpy", "numba", "llvmlite", "scipy")
DEMO_EXTRA = ("pywt", "matplotlib")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the command's name; those of this process by default.

    Returns
    -------
    int
        The exit code.
    """
    arguments = _parser().parse_args(argv)
    try:
        return _demo(arguments.output) if arguments.command == "demo" else _info()
    except OSError as error:
        return _fail(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="numba-tconv", description="Fast 1-D transposed convolution for NumPy.")
    parser.add_argument("--version", action="version", version=f"numba-tconv {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="upsample a real ECG, check it against SciPy, time both, draw a PNG")
    demo.add_argument("--output", type=Path, default="numba-tconv-demo.png", help="the PNG (default: %(default)s)")
    commands.add_parser("info", help="print versions, threads, vector width, cache folder")
    return parser


def _fail(message: str) -> int:
    print(f"numba-tconv: error: {message}", file=sys.stderr)
    return 1


def _demo(output: Path) -> int:
    if output.is_dir() or not output.absolute().parent.is_dir():
        return _fail(f"--output must be a file in an existing folder; got {output}")
    try:
        from numba_tconv.demo import TOLERANCE, run_demo
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in DEMO_EXTRA:
            raise
        return _fail(f'the demo needs {package}, which is not installed: pip install "numba-tconv[demo]"')
    deviation = run_demo(output)
    if not deviation <= TOLERANCE:
        return _fail(f"the deviation from SciPy must be at most {TOLERANCE:.0e}; got {deviation:.1e}")
    return 0


def _info() -> int:
    facts = {
        "numba_tconv": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()}, {platform.platform()})",
        **{name: version(name) for name in PACKAGES},
        **_engine_facts(),
    }
    width = max(map(len, facts))
    for name, fact in facts.items():
        print(f"{name:{width}}  {fact}")
    return 0


def _engine_facts() -> dict[str, str]:
    import numba

    from numba_tconv.backends.cpu.target import host

    target = host()
    return {
        "vectors": f"{target.name}, {target.vector_bits} bits, {target.registers} registers",
        "tile": f"{target.panel_rows} rows x 2 vectors; single channels: {target.fir_vectors(1)} vectors",
        "threads": f"{numba.get_num_threads()} ({_threading_layer()})",
        "cache": _cache_folder(),
        "CUDA": "no: this version has no CUDA backend",
    }


def _threading_layer() -> str:
    """Return the layer that Numba settled on, which it does when the first parallel kernel starts: so run one."""
    import numba
    import numpy as np

    from numba_tconv import conv_transpose1d

    conv_transpose1d(np.zeros((1, 1 << 20), np.float32), np.ones((1, 1, 16), np.float32), stride=4)
    try:
        return f"threading layer {numba.threading_layer()}"
    except ValueError:
        return "no threading layer in use"


def _cache_folder() -> str:
    """Return where Numba keeps this package's compiled kernels; it looks for a writable folder itself."""
    from numba.core.caching import FunctionCache

    from numba_tconv.backends.cpu import jit

    if os.environ.get("NUMBA_TCONV_CACHE", "1") == "0":
        return "off: NUMBA_TCONV_CACHE=0"
    try:
        return f"{FunctionCache(jit.compile_kernel).cache_path} (writable)"
    except RuntimeError:
        return "off: no writable folder; set NUMBA_CACHE_DIR to one"
