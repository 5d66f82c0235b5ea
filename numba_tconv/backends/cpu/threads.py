"""When a kernel may run on several threads, and how it is launched so that nobody's process dies.

Both were reproduced: Numba's `workqueue` layer aborts the process when two Python threads are inside parallel kernels
at once, and GNU OpenMP kills a forked child that enters one. So a forked child runs serially, and under `workqueue`
(or before the layer is known) one parallel launch runs at a time while the others run serially. Nothing global is
changed; `numba.set_num_threads` is respected.
"""

import os
import threading
from typing import Any

import numba
import numpy as np
from numba import prange, types

from numba_tconv.backends.cpu import jit

# Below this many multiply-adds, waking a thread costs more than it saves: on two cores, serial and parallel meet
# between 0.5 and 1 million (about 10 us).
PARALLEL_WORK = 1 << 20

_forked = False
_one_launch = threading.Lock()


def _enter_forked_child() -> None:
    global _forked
    _forked = True
    jit.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_enter_forked_child)


def workers(work: int) -> int:
    """Return how many threads a problem of `work` multiply-adds is split over."""
    if work < PARALLEL_WORK or _forked:
        return 1
    return numba.get_num_threads()


def _layer() -> str:
    try:
        return numba.threading_layer()
    except ValueError:  # nothing parallel ran in this process yet
        return "unknown"


@jit.once
def _spread(signature):
    """Return the launcher `(kernel, arguments, n_workers)` of kernels with one signature.

    The kernel is called through its address: compiled into a parallel loop, it would be optimised a second time, and
    a first call in an empty cache would take twice as long.
    """
    arguments = types.Tuple(signature.args[:-2])

    def spread(kernel, arguments, n_workers):
        for worker in prange(n_workers):
            kernel(*arguments, np.int64(worker), n_workers)

    return jit.compile_kernel(spread, (types.FunctionType(signature), arguments, types.int64), parallel=True)


def launch(kernel: Any, arguments: tuple, n_workers: int) -> None:
    """Run `kernel(*arguments, worker, n_workers)` for every worker, on one thread each where that is safe just now."""
    if n_workers == 1:
        kernel(*arguments, 0, 1)
    elif _layer() in ("omp", "tbb"):
        _spread(kernel.nopython_signatures[0])(kernel, arguments, n_workers)
    elif _one_launch.acquire(blocking=False):
        try:
            _spread(kernel.nopython_signatures[0])(kernel, arguments, n_workers)
        finally:
            _one_launch.release()
    else:
        for worker in range(n_workers):
            kernel(*arguments, worker, n_workers)
