"""Memory for results: a large one gets that of an earlier result, and never of one that somebody still sees."""

import copy
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from numba_tconv import conv_transpose1d, outputs, upfirdn

SIZE = 100
FLOAT64 = np.dtype("d")


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    """Call 800 bytes large, and those of 1,600 the most to keep."""
    monkeypatch.setattr(outputs, "LARGE", 8 * SIZE)
    monkeypatch.setattr(outputs, "MOST_SPARE", 16 * SIZE + outputs.LINE)
    outputs._spare.clear()
    yield
    outputs._spare.clear()


def address(array):
    return array.ctypes.data


def first_line(memory):
    return address(memory) + -address(memory) % outputs.LINE


@pytest.mark.parametrize("shape", [(SIZE,), (2, 50), (5, 1, 20)])
@pytest.mark.parametrize("dtype", ["d", "F"])
def test_a_large_result_is_an_array_like_any_other(shape, dtype):
    result = outputs.new(shape, np.dtype(dtype))
    assert (type(result), result.shape, result.dtype) == (np.ndarray, shape, np.dtype(dtype))
    assert result.flags.c_contiguous
    assert result.flags.writeable
    assert address(result) % outputs.LINE == 0
    result[...] = 3
    assert_array_equal(copy.deepcopy(result), np.full(shape, 3, dtype), strict=True)


def test_memory_is_used_again_once_nobody_holds_it():
    first = outputs.new((SIZE,), FLOAT64)
    begin = address(first)
    second = outputs.new((SIZE,), FLOAT64)
    assert address(second) != begin
    del first
    third = outputs.new((2, SIZE // 2), np.dtype("q"))  # another shape and another dtype of the same size
    assert address(third) == begin


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array[::3],
        lambda array: array.reshape(10, 10).T[2:],
        lambda array: array.view(np.uint8)[1:2],
        lambda array: array[...].base,
        memoryview,
        lambda array: np.frombuffer(array, "f"),
        lambda array: array.flat,
        lambda array: np.broadcast_to(array[:1], 7),
    ],
    ids=["slice", "transposed", "bytes", "base", "memoryview", "frombuffer", "flat", "broadcast"],
)
def test_any_view_keeps_the_memory(view):
    result = outputs.new((SIZE,), FLOAT64)
    begin, seen = address(result), view(result)
    del result
    others = [outputs.new((SIZE,), FLOAT64) for _ in range(3)]
    assert begin not in map(address, others)
    del seen
    assert address(outputs.new((SIZE,), FLOAT64)) == begin


@pytest.mark.parametrize(
    ("earlier", "later", "is_used"),
    [(SIZE, SIZE + 1, False), (113, SIZE, True), (114, SIZE, False), (200, 200, True), (201, 201, False)],
    ids=["too small", "an eighth larger", "more than an eighth", "the most kept", "more than that"],
)
def test_which_memory_serves(earlier, later, is_used):
    result = outputs.new((earlier,), FLOAT64)
    begin = address(result)
    owner = weakref.ref(result.base)
    del result
    assert owner() is None
    kept = [first_line(memory) for memory in outputs._spare]
    assert kept == ([begin] if earlier <= 200 else [])
    other = outputs.new((later,), FLOAT64)
    assert not outputs._spare, "what does not fit is freed, not kept beside the result"
    assert (kept == [address(other)]) == is_used


def test_small_results_own_their_memory():
    assert outputs.new((SIZE - 1,), FLOAT64).flags.owndata
    assert not outputs._spare


def test_no_more_than_one_lies_unused():
    results = [outputs.new((SIZE,), FLOAT64) for _ in range(5)]
    last = address(results[-1])
    while results:
        results.pop(0)
    assert [first_line(memory) for memory in outputs._spare] == [last]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: upfirdn(np.ones(3), x, 2),
        lambda x: conv_transpose1d(x, np.ones((1, 1, 3)), stride=2),
    ],
    ids=["upfirdn", "conv_transpose1d"],
)
def test_results_of_calls(call):
    x = np.arange(60.0)[None]
    first = call(x)
    begin, expected = address(first), first.copy()
    first[...] = np.nan  # what lies there is written over, all of it
    del first
    second = call(x)
    assert address(second) == begin
    assert_array_equal(second, expected)


def test_threads_never_share_memory():
    wrong = []

    def work(number):
        for _ in range(2000):
            result = outputs.new((SIZE,), FLOAT64)
            result[...] = number
            if not (result == number).all():
                wrong.append(number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_what_is_alive_at_the_end_of_a_program_ends_quietly():
    """NumPy is imported first and ends last: its result goes when the names of `outputs` are gone."""
    script = (
        "import numpy as np; from numba_tconv import outputs; np.kept = outputs.new((1 << 23,), np.dtype('f'));"
        "assert not np.kept.flags.owndata; np.module = outputs"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
