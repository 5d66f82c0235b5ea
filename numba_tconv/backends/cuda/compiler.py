"""The compiler of kernels for NVIDIA GPUs: which package it is, how a kernel is made, and why there is none.

Here belongs everything that depends on the package: `numba-cuda-mlir`, where that is installed, else `numba-cuda`, or
the simulator of the latter. Kernels use what all of them accept.
"""

import os
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from numba_tconv.sources import fingerprint

PACKAGE = "numba_cuda_mlir" if find_spec("numba_cuda_mlir") else "numba"
cuda: Any = import_module(f"{PACKAGE}.cuda")
types: Any = import_module("numba_cuda_mlir.types" if PACKAGE == "numba_cuda_mlir" else "numba.types")

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" and PACKAGE == "numba"
LOWEST_CAPABILITY = (7, 5)
_PROCESS = os.getpid()
# Of shared memory that is read 16 bytes at a time. The simulator refuses to be told.
ALIGNMENT = None if SIMULATED else 16

# Inlined, a function needs no linker, which needs a driver: so kernels can be compiled where no GPU is.
inlined: Callable = cuda.jit(device=True, inline="always")


def number(dtype: np.dtype) -> Any:
    """Return the compiler's type of a number."""
    return getattr(types, dtype.name)


def unrolled(step: Callable, times: int) -> Callable:
    """Return the function that does step(first, state), step(first + 1, state), ... `times` times, as straight code.

    The compiler decides by size which loops it unrolls. But a thread's sums stay in registers only where all their
    indices are constants, and loads for the next k only go ahead of the products of this one in straight code.
    """
    if times == 1:
        return step
    left, right = unrolled(step, times // 2), unrolled(step, times - times // 2)

    @inlined
    def both(first, state):
        left(first, state)
        right(first + times // 2, state)

    return both


def compile_kernel(function: Callable, threads: int, blocks: int) -> Any:
    """Return a kernel for blocks of `threads`, with registers for `blocks` of them on a multiprocessor.

    What it captures are integers and types. It is compiled by its first launch, and kept on disk where Numba finds a
    folder to write to, unless `NUMBA_TCONV_CACHE=0`.
    """
    if SIMULATED:
        return cuda.jit(function)
    function.__qualname__ += f"_{fingerprint()}"
    options = {"launch_bounds": (threads, blocks)}
    if os.environ.get("NUMBA_TCONV_CACHE", "1") != "0":
        try:
            return cuda.jit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
    return cuda.jit(**options)(function)


def _configured(kernel: Any, blocks: int, threads: int, stream: Any) -> Any:
    """Return a launch of a kernel, which takes its arguments.

    A small problem has few blocks, which is nobody's fault: of that the compiler's package would warn.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kernel[blocks, threads, stream]


# The simulator's kernels are their own launches, and are configured anew each time.
configured = _configured if SIMULATED else lru_cache(maxsize=1024)(_configured)


def missing() -> str:
    """Return what keeps kernels from running in this process; nothing, where they run."""
    if SIMULATED:
        return ""
    if os.getpid() != _PROCESS:
        return "CUDA was set up in the parent of this forked process; start it by spawn"
    try:
        capability = cuda.get_current_device().compute_capability
    except Exception as error:  # drivers fail in their own ways, and none of them may break device='auto'
        return f"{PACKAGE}.cuda finds no GPU that it can use: {' '.join(str(error).split())}"
    if not cuda.is_available():
        return f"{PACKAGE}.cuda finds a GPU, but not the libraries of the CUDA toolkit"
    if capability < LOWEST_CAPABILITY:
        got, lowest = (".".join(map(str, version)) for version in (capability, LOWEST_CAPABILITY))
        return f"the GPU must have compute capability {lowest} or higher; it has {got}"
    return ""


def gpu_name() -> str:
    """Return the name and the compute capability of the GPU, where nothing is missing."""
    if SIMULATED:
        return "Numba's simulator"
    device = cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    return f"{name} (compute capability {'.'.join(map(str, device.compute_capability))})"
