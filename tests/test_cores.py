"""Workers of one launch move off each other's cores, and may run where they were allowed before."""

import ctypes
import os
import sys

import numba
import numpy as np
import pytest

from numba_tconv.backends.cpu import cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is done elsewhere")


@pytest.fixture
def allowed():
    """Return the cores that this thread may run on, as it may again afterwards."""
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


def core():
    return ctypes.CDLL(None).sched_getcpu()


@numba.njit
def _settle(turns, worker, n_workers):
    cores.settle(turns, worker, n_workers)


@numba.njit
def _leave(turns, worker):
    cores.leave(turns, worker)


def settle(others, worker=0):
    """Begin as a worker beside others, each given by its entry; return all entries."""
    turns = np.zeros(cores.size(len(others) + 1), np.int64)
    entries = turns[cores.CORES : cores.CORES + len(others) + 1]
    entries[:] = np.insert(others, worker, 0)
    _settle(turns.ctypes.data, worker, len(entries))
    return list(entries)


@pytest.mark.parametrize("worker", [0, 1])
def test_two_on_a_core(allowed, worker):
    if len(allowed) < 2:
        pytest.skip("one core")
    for here in sorted(allowed)[:2]:
        os.sched_setaffinity(0, {here})
        os.sched_setaffinity(0, allowed)
        entries = settle([here + 1], worker)
        assert entries[worker] - 1 in allowed - {here}
        assert entries[1 - worker] == here + 1
        assert os.sched_getaffinity(0) == allowed


def test_no_core_is_left(allowed):
    """More workers than cores: each stays where it is."""
    entries = settle([number + 1 for number in allowed])
    assert entries[0] - 1 in allowed
    assert os.sched_getaffinity(0) == allowed


def test_pinned_threads_stay(allowed):
    here = core()
    os.sched_setaffinity(0, {here})
    assert settle([here + 1])[0] == here + 1
    assert os.sched_getaffinity(0) == {here}


@pytest.mark.parametrize("other", [0, -1])
def test_alone(allowed, other):
    """Beside a worker that has not begun, or is done, none moves."""
    here = max(allowed)
    os.sched_setaffinity(0, {here})
    assert settle([other])[0] == here + 1
    assert os.sched_getaffinity(0) == {here}


def test_a_worker_that_is_done_holds_no_core():
    turns = np.zeros(cores.size(2), np.int64)
    _leave(turns.ctypes.data, 1)
    assert list(turns[cores.CORES : cores.CORES + 2]) == [0, -1]
