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
from numba_tconv.backends.cpu.turns import LAUNCHER, SIZE, WORK, WORKERS, call_at

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
_NO_TURNS = np.zeros(SIZE, np.int64)  # copied in 0.2 us; new zeros take 0.4
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
def _launcher():
    """Return the addresses of what a launch runs on all threads, and of what each of them does.

    A kernel is called by address: compiled into a parallel loop it would be optimised a second time (a layer's first
    call compiled for 4 s instead of 3). So is all that a worker does, of which Numba would optimise four copies.
    """

    def work(repeater, call, turns, worker, n_workers):
        cores.settle(turns, worker, n_workers)
        call_at(repeater, (call, worker))
        cores.leave(turns, worker)

    def spread(work, repeater, call, turns, n_workers):
        for worker in prange(n_workers):
            call_at(work, (repeater, call, turns, worker, n_workers))

    words = types.intp, types.intp, types.intp, types.int64, types.int64
    return (
        jit.compile_for_address(spread, (types.intp, *words[:4]), parallel=True),
        jit.compile_for_address(work, words),
    )


def launch(kernel: Any, arguments: tuple, n_workers: int) -> None:
    """Run `kernel(*arguments, turns, worker)` for every worker, on one thread each where that is safe just now."""
    if n_workers > 1:
        launcher, work = _launcher()  # Numba knows its layer from then on
        turns = np.zeros(cores.size(n_workers), np.int64)
        turns[LAUNCHER], turns[WORK], turns[WORKERS] = launcher, work, n_workers
        if _layer() in ("omp", "tbb"):
            kernel(*arguments, turns, 0)
            return
        if _one_launch.acquire(blocking=False):
            try:
                kernel(*arguments, turns, 0)
            finally:
                _one_launch.release()
            return
    kernel(*arguments, _NO_TURNS.copy(), 0)
