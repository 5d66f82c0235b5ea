"""Compile a kernel for one signature, with Numba's on-disk cache where one can be written.

Signatures are explicit, so that a reversed, read-only or Fortran-ordered array of the caller converts to the one
compiled variant and does not compile another. Kernels are compiled when they are first asked for, never at import.
"""

import os
import pickle
import threading
from collections.abc import Callable
from functools import cache, wraps

import numpy as np
from numba import from_dtype, njit, types
from numpy.typing import DTypeLike

from numba_tconv.compiling import without_garbage_collection
from numba_tconv.sources import fingerprint

_compiling = threading.RLock()
_kept: list = []  # machine code that is known by address alone; it goes when Numba's object does

# What a kernel calls. Without Numba's reference counts, which nothing here needs: counted by locked instructions at
# entry and exit of whatever is not inlined, two array arguments made a staged run of 145 samples cost 180 ns, not 45.
# Nor the wrappers by which Python and C could call it, which nobody does: they took 0.2 s of a layer's first call.
_OF_HELPERS = {"_nrt": False, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
helper = njit(**_OF_HELPERS)
# What is called for every number: LLVM's own decision depends on the processor. For a Zen 3 it called a function with
# 24 arguments for each product of `sparse.py`, and ten milliseconds of audio took 140 us, not 20.
inlined = njit(forceinline=True, **_OF_HELPERS)


def renew_lock() -> None:
    """Replace the lock in a forked child: the thread that held it was not copied."""
    global _compiling
    _compiling = threading.RLock()


def once(make: Callable) -> Callable:
    """Cache `make(*key)`, one thread at a time: threads that meet here must not compile the same kernel twice."""
    cached = cache(make)

    @wraps(make)
    def locked(*key):
        with _compiling:
            return cached(*key)

    return locked


def compile_kernel(function: Callable, arguments: tuple) -> Callable:
    """Return `function` compiled for `arguments`; it returns nothing and releases the GIL."""
    return _compile(function, arguments, _nrt=False, no_cfunc_wrapper=True)


def compile_for_address(function: Callable, arguments: tuple, *, parallel: bool = False) -> int:
    """Return where `function` begins, compiled for `arguments`: what compiled code calls there it need not compile."""
    compiled = _compile(function, arguments, _nrt=parallel, parallel=parallel, no_cpython_wrapper=True)
    _kept.append(compiled)
    result = compiled.get_compile_result(compiled.nopython_signatures[0])
    return result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)


def _compile(function, arguments, **options):
    """Compile a function of which only integers make variants: what it captures makes its name.

    Without a folder to write to, and with a damaged file in it, Numba raises at decoration: then the kernel is compiled
    in this process alone.
    `NUMBA_TCONV_CACHE=0` turns the cache off.
    """
    # Numba finds machine code by a name that counts functions in the order of one process: from its disk cache, two
    # variants that were compiled in two processes may come with one name, and then one of them runs for both.
    variant = "".join(f"_{cell.cell_contents}" for cell in function.__closure__ or ())
    function.__qualname__ += f"{variant}_{fingerprint()}"
    signature = types.void(*arguments)
    options = {"nogil": True, "error_model": "numpy", **options}
    with without_garbage_collection():
        if is_cached():
            try:
                return njit(signature, cache=True, **options)(function)
            except RuntimeError as error:
                if "cannot cache" not in str(error):
                    raise
            except (OSError, EOFError, pickle.UnpicklingError):
                pass
        return njit(signature, **options)(function)


def is_cached() -> bool:
    """Whether kernels are kept on disk, as far as the user decides."""
    return os.environ.get("NUMBA_TCONV_CACHE", "1") != "0"


def array(dtype: DTypeLike, ndim: int, layout: str = "C", *, readonly: bool = False) -> types.Array:
    """Return Numba's type of an array."""
    return types.Array(from_dtype(np.dtype(dtype)), ndim, layout, readonly=readonly)


def kernel_arguments(x_dtype: np.dtype, dtype: np.dtype, out_dtype: np.dtype) -> tuple:
    """Return the types of a forward kernel's `(x, panels, bias, out, scratch, problem, turns, worker)`."""
    return (
        array(x_dtype, 4, "A", readonly=True),
        array(dtype, 1, readonly=True),
        array(dtype, 1, readonly=True),
        array(out_dtype, 4, "A"),
        array(dtype, 1),
        array(np.int64, 1, readonly=True),
        array(np.int64, 1),
        types.int64,
    )
