"""The command `numba-tconv`: files at another rate, a demo on real data, and the facts to put into a bug report.

Here belong the command line and what `info` prints; the demo itself is `demo.py`, the way from file to file
`conversion.py`. Exit codes: 0 done, 1 it could not be done or the demo's check failed (one line on stderr says why), 2
the command line was not understood, 130 interrupted.
"""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from numba_tconv import __version__
from numba_tconv.geometry import as_integer

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
        if arguments.command == "upsample":
            return _upsample(arguments)
        return _demo(arguments.output) if arguments.command == "demo" else _info()
    except BrokenPipeError:  # nobody reads on; Python would complain once more when it closes the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="numba-tconv", description="Fast 1-D transposed convolution for NumPy.")
    parser.add_argument("--version", action="version", version=f"numba-tconv {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="upsample a real ECG, check it against SciPy, time both, draw a PNG")
    demo.add_argument("--output", type=Path, default="numba-tconv-demo.png", help="the PNG (default: %(default)s)")
    upsample = commands.add_parser(
        "upsample", help="change the sampling rate of a .wav, .npy or .csv file, or of a pipe"
    )
    upsample.add_argument("input", metavar="IN", help="a .wav, .npy or .csv file, or - for float32 on standard input")
    upsample.add_argument("output", metavar="OUT", help="a file of the same format, or - for standard output")
    upsample.add_argument("--up", type=_positive, required=True, help="samples to make of each `--down`")
    upsample.add_argument("--down", type=_positive, default=1, help="default: %(default)s")
    filters = upsample.add_mutually_exclusive_group()
    filters.add_argument("--taps", type=Path, help="a .npy file with the low-pass filter, unit gain")
    filters.add_argument("--beta", type=float, default=5.0, help="of the Kaiser window (default: %(default)s)")
    upsample.add_argument("--axis", type=int, default=0, help="time in a .npy file (default: %(default)s)")
    upsample.add_argument("--chunk", type=_positive, default=1 << 18, help="samples at a time (default: %(default)s)")
    commands.add_parser("info", help="print versions, threads, vector width, cache folder")
    return parser


def _positive(text: str) -> int:
    try:
        return as_integer("it", int(text), 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a positive int; got {text}") from None


def _upsample(arguments: argparse.Namespace) -> int:
    from numba_tconv.conversion import convert

    options = {name: getattr(arguments, name) for name in ("up", "down", "taps", "beta", "axis", "chunk")}
    try:
        clipped = convert(arguments.input, arguments.output, **options)
    except (ValueError, TypeError) as error:
        return _fail(str(error))
    if clipped:
        print(f"numba-tconv: {clipped} samples lay beyond full scale, and were clipped", file=sys.stderr)
    return 0


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
        "CUDA": _gpu(),
    }


def _gpu() -> str:
    """Return the GPU that would serve calls, or why there is none."""
    from numba_tconv.backends import missing_for_cuda

    missing = missing_for_cuda()
    if missing:
        return f"no: {missing}"
    from numba_tconv.backends.cuda import compiler

    return f"yes: {compiler.gpu_name()}, by {compiler.PACKAGE}"


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
