"""Which machine serves a call: the CPU, or an NVIDIA GPU.

Arrays on a GPU are computed there. For host arrays `device` decides; and for 'auto', whether a GPU saves clearly more
than it takes to copy them there and back.
"""

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

DEVICES = ("auto", "cpu", "cuda")

# Read once: a look into the environment costs a microsecond, a tenth of a small call.
DEFAULT = os.environ.get("NUMBA_TCONV_DEVICE", "auto")

# What `gpu_pays` assumes, all of it cautious: multiply-adds a second of one core and of a GPU, by the bytes of a number
# (double precision is a sixty-fourth of single on most GPUs), bytes a second to and from it, seconds for a launch.
CORE_SPEED = {4: 4e10, 8: 2e10}
GPU_SPEED = {4: 3e12, 8: 1e11}
COPY_SPEED = 8e9
LAUNCH = 1e-4
# How many times as fast the GPU must look: the CPU's answer needs no other machine to be idle.
CLEARLY = 2.0
# Below this no copy pays: nothing else is asked then.
FEWEST_PRODUCTS = 1 << 28


class Work(NamedTuple):
    """What a call costs.

    Attributes
    ----------
    products : int
        Multiply-adds of real numbers.
    bytes : int
        Of the inputs and the result.
    itemsize : int
        Bytes of a real number in the arithmetic.
    """

    products: int
    bytes: int
    itemsize: int


@cache
def backend(name: str) -> ModuleType:
    """Return a module of a backend, as 'cpu.forward'; the first call imports what compiles for that machine."""
    return import_module(f"numba_tconv.backends.{name}")


def check_device(device: object) -> str:
    """Return 'auto', 'cpu' or 'cuda', the last only where a GPU can be used.

    For 'auto', the environment variable `NUMBA_TCONV_DEVICE` decides, as it was when the package was first used.

    Raises
    ------
    TypeError
        For what is not a name.
    ValueError
        For a name that is not a device.
    RuntimeError
        For 'cuda' where there is none; it says what is missing.
    """
    if not isinstance(device, str):
        raise TypeError(f"device must be 'auto', 'cpu' or 'cuda'; got {device!r}")
    name, value = ("NUMBA_TCONV_DEVICE", DEFAULT) if device == "auto" else ("device", device)
    if value not in DEVICES:
        raise ValueError(f"{name} must be 'auto', 'cpu' or 'cuda'; got {value!r}")
    if value == "cuda" and missing_for_cuda():
        raise RuntimeError(f"{name} 'cuda' is not available: {missing_for_cuda()}")
    return value


def missing_for_cuda() -> str:
    """Return what keeps this process from computing on a GPU; nothing, where it can."""
    return _missing(os.getpid())


@cache
def _missing(process: int) -> str:
    if find_spec("numba_cuda_mlir") is None and find_spec("numba_cuda") is None:
        return "the package numba-cuda is not installed: pip install 'numba-tconv[cuda]'"
    from numba_tconv.backends.cuda import compiler

    return compiler.missing()


def gpu_pays(work: Work, cores: int) -> bool:
    """Whether a GPU is clearly faster than so many cores for arrays in host memory, by an estimate on the safe side."""
    if work.products < FEWEST_PRODUCTS:
        return False
    by_cores = work.products / (CORE_SPEED[work.itemsize] * cores)
    by_gpu = LAUNCH + work.bytes / COPY_SPEED + work.products / GPU_SPEED[work.itemsize]
    return by_cores > CLEARLY * by_gpu


def serves_on_gpu(device: str, work: Work) -> bool:
    """Whether a GPU computes a call on host arrays, where `check_device` has returned `device`."""
    if device != "auto":
        return device == "cuda"
    return gpu_pays(work, _cores()) and not missing_for_cuda()


@cache
def _cores() -> int:
    """Return how many cores there are: asked once, because Linux reads a file for the answer, which takes 10 us."""
    return os.cpu_count() or 1
