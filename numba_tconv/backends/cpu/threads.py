"""When a kernel may run on several threads, and how it is launched so that nobody's process dies.

Both were reproduced: Numba's `workqueue` layer aborts the process when two Python threads are inside parallel kernels
at once, and GNU OpenMP kills a forked child that enters one. So a forked child runs serially, and under `workqueue`
(or before the layer is known) one parallel launch runs at a time while the others run serially. Nothing global is
changed; `numba.set_num_threads` is respected.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import prange, types

from numba_tconv.backends.cpu import cores, jit
from numba_tconv.backends.cpu.turns import take_part

# Below this many multiply-adds a call stays on its thread. Where two awake threads of a Zen 4 begin to win: 0.5 million
# for a FIR filter, 0.4 for dense layers, 0.1 for a depthwise one, which waits for memory. A launch costs 3 us more.
PARALLEL_WORK = 1 << 19


def _is_forked_child() -> bool:
    """Whether Numba's threads were started in another process: then this one has a single thread.

    Without it, a child that is forked after a parallel kernel of the caller's, and uses this package for the first
    time, would be killed. Only Linux tells; only there GNU OpenMP is Numba's usual layer.
    """
    tasks = Path("/proc/self/task")
    return _layer() != "unknown" and tasks.is_dir() and len(list(tasks.iterdir())) == 1


def _layer() -> str:
    try:
        return numba.threading_layer()
    except ValueError:  # nothing parallel ran in this process yet
        return "unknown"


_forked = _is_forked_child()
_NO_TURNS = np.zeros(1, np.int64)  # copied in 0.2 us; new zeros take 0.4
_one_launch = threading.Lock()
_here = threading.local()


def _enter_forked_child() -> None:
    global _forked
    _forked = True
    jit.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_enter_forked_child)


def workers(work: int) -> int:
    """Return how many threads a problem of `work` multiply-adds is split over."""
    if work < PARALLEL_WORK or _forked or getattr(_here, "is_alone", False):
        return 1
    return numba.get_num_threads()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep what this Python thread calls on it, for pools that have a thread for every core already.

    `numba.set_num_threads(1)` would do so too, but starts Numba's own threads first.
    """
    before, _here.is_alone = getattr(_here, "is_alone", False), True
    try:
        yield
    finally:
        _here.is_alone = before


@jit.once
def _address(kernel):
    """Return where a compiled kernel begins.

    It is called there: compiled into a parallel loop it would be optimised a second time (a layer's first call compiled
    for 4 s instead of 3). And not as a function object, which costs 35 us a launch to unbox.
    """
    compiled = kernel.get_compile_result(kernel.nopython_signatures[0])
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)


@jit.once
def _spread(kernel):
    """Return the launcher `(addresses, arguments, turns, n_workers)` for a kernel, and the addresses."""
    addresses = _address(cores.settler()), _address(kernel)
    return _launcher(kernel.nopython_signatures[0].args[:-2]), addresses


@jit.once
def _launcher(arguments):
    def spread(addresses, arguments, turns, n_workers):
        for worker in prange(n_workers):
            take_part(addresses[0], (n_workers,), turns, worker)
            take_part(addresses[1], arguments, turns, worker)
            cores.leave(turns, worker)

    kinds = (types.UniTuple(types.intp, 2), types.Tuple(arguments), jit.array(np.int64, 1), types.int64)
    return jit.compile_kernel(spread, kinds, parallel=True)


def launch(kernel: Any, arguments: tuple, n_workers: int) -> None:
    """Run `kernel(*arguments, turns, worker)` for every worker, on one thread each where that is safe just now."""
    if n_workers > 1:
        turns = np.zeros(cores.size(n_workers), np.int64)
        spread, addresses = _spread(kernel)
        if _layer() in ("omp", "tbb"):
            spread(addresses, arguments, turns, n_workers)
            return
        if _one_launch.acquire(blocking=False):
            try:
                spread(addresses, arguments, turns, n_workers)
            finally:
                _one_launch.release()
            return
    kernel(*arguments, _NO_TURNS.copy(), 0)
