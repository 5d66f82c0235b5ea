"""When a kernel may run on several threads, and how it is launched so that nobody's process dies.

Both were reproduced: Numba's `workqueue` layer aborts the process when two Python threads are inside parallel kernels
at once, and GNU OpenMP kills a forked child that enters one. So a forked child runs serially, and under `workqueue`
(or before the layer is known) one parallel launch runs at a time while the others run serially. Nothing global is
changed; `numba.set_num_threads` is respected.
"""

import os
import threading
from collections.abc import Callable

import numba

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
    if _forked or work < PARALLEL_WORK:
        return 1
    return numba.get_num_threads()


def _layer() -> str:
    try:
        return numba.threading_layer()
    except ValueError:  # nothing parallel ran in this process yet
        return "unknown"


def launch(kernel: Callable[[bool], Callable], n_workers: int, arguments: tuple) -> None:
    """Run `kernel(parallel)` on `arguments`, the parallel one where that is safe just now."""
    if n_workers == 1:
        kernel(False)(*arguments)
    elif _layer() in ("omp", "tbb"):
        kernel(True)(*arguments)
    elif _one_launch.acquire(blocking=False):
        try:
            kernel(True)(*arguments)
        finally:
            _one_launch.release()
    else:
        kernel(False)(*arguments)
