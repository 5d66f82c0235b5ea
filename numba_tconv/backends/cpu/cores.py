"""The workers of one launch, each on a core of its own.

In a virtual machine, Linux often wakes a thread on the core of the one that wakes it, although another core is idle,
and leaves both there until a tick of its scheduler; meanwhile OpenMP spins on that core and the other thread waits for
it. Of calls of 0.4 ms on two threads, each after a rest of 50 ms, half took 2.2 ms or more and a tenth 5.5; of the
calls that came next, a tenth took 8. With what is done here it is 0.87, 0.94 and 0.55.

A worker that finds another one on its core asks for any core but those of the others, which moves it at once, and then
for all those again that it was allowed before. So nothing stays pinned, and threads that somebody has pinned stay.
"""

import sys

from numba import types

from numba_tconv.backends.cpu import jit, turns
from numba_tconv.backends.cpu.staging import copy_bytes
from numba_tconv.backends.cpu.vectors import integers_at

# Words of a set of cores: as many as the C library's `cpu_set_t` has.
WORDS = 16
# Of `turns`, behind what `turns.py` keeps: the core of each worker, plus one; 0 before it begins, -1 when it is done.
CORES = turns.SIZE


def size(n_workers: int) -> int:
    """Return how many numbers `turns` has for some workers: their cores, and two sets of cores for each."""
    return CORES + n_workers * (1 + 2 * WORDS)


_get_core = types.ExternalFunction("sched_getcpu", types.int32())
_let_others_run = types.ExternalFunction("sched_yield", types.int32())
_get_allowed = types.ExternalFunction("sched_getaffinity", types.int32(types.int32, types.uintp, types.intp))
_set_allowed = types.ExternalFunction("sched_setaffinity", types.int32(types.int32, types.uintp, types.intp))


@jit.helper
def _move(turns, worker, n_workers):
    """Go to a core that no worker is on, if there is one."""
    wanted, n_bytes = turns + 8 * (CORES + n_workers + worker * 2 * WORDS), 8 * WORDS
    allowed = wanted + n_bytes
    if _get_allowed(0, n_bytes, allowed) < 0:
        return  # there are more cores than the set has room for
    copy_bytes(wanted, allowed, n_bytes)
    for other in range(n_workers):
        core = integers_at(turns)[CORES + other] - 1
        if 0 <= core < 64 * WORDS:
            integers_at(wanted)[core >> 6] &= ~(1 << (core & 63))
    if _set_allowed(0, n_bytes, wanted) == 0:
        _set_allowed(0, n_bytes, allowed)


def _settle(turns, worker, n_workers):
    """Begin as a worker; `turns` is the address of what all of them share."""
    cores, core, is_shared, has_all_begun = integers_at(turns), _get_core() + 1, False, True
    for other in range(n_workers):
        is_shared |= cores[CORES + other] == core
        has_all_begun &= other == worker or cores[CORES + other] != 0
    cores[CORES + worker] = core
    if is_shared:
        _move(turns, worker, n_workers)
        cores[CORES + worker] = _get_core() + 1
    elif not has_all_begun:
        _let_others_run()  # one of them may wait for this very core


def _begin(turns, worker, n_workers):
    """Begin where nothing of all that is known."""


settle = jit.helper(_settle if sys.platform == "linux" else _begin)


@jit.helper
def leave(turns, worker):
    """Leave the core to others: under some threading layers the next worker runs on this very thread."""
    integers_at(turns)[CORES + worker] = -1
