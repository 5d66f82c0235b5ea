"""The forward pass on the simulated GPU against the references: host arrays and arrays on the GPU."""

import numpy as np
import pytest
from cases import Case, assert_close, random_cases, small_cases
from helpers import ON_GPU, here, there

from numba_tconv import conv_transpose1d
from numba_tconv.backends.cuda import launch
from numba_tconv.backends.cuda.compiler import SIMULATED
from numba_tconv.backends.cuda.parts import ALL_COMPLEX, View, parts
from numba_tconv.backends.cuda.problems import Sizes, forward
from numba_tconv.geometry import geometry

CASES = small_cases(1, 300) + ([] if SIMULATED else list(random_cases(2, 700)))


def test_the_cases_reach_what_they_should():
    assert sum(case.branches > 1 for case in CASES) > 100
    assert sum(case.filter_size > case.branches for case in CASES) > 60
    assert sum(case.padding != 0 for case in CASES) > 100
    assert sum(case.groups > 1 for case in CASES) > 100
    assert sum(case.dilation > 1 for case in CASES) > 100
    assert {case.dtype.name for case in CASES} == ON_GPU


@pytest.mark.parametrize("number", range(len(CASES)))
def test_random_cases(number):
    case = CASES[number]
    x, weight, bias = case.arrays()
    expected, magnitude = case.expected(x, weight, bias)
    is_there = (
        number % 2 and {case.x_dtype, case.weight_dtype} <= ON_GPU and "unaligned" != case.x_layout != "byte-swapped"
    )
    out = case.out()
    if is_there:
        target = None if out is None else there(out)
        y = conv_transpose1d(there(x), weight, bias, out=target, **case.options)
        assert target is None or y is target
        y = here(y)
    else:
        y = conv_transpose1d(x, weight, bias, out=out, device="cuda", **case.options)
        assert out is None or np.shares_memory(y, out)
    assert y.dtype == case.dtype
    assert_close(y, expected, magnitude)


@pytest.mark.parametrize(("case", "tile", "splits"), [
    (Case(16, 1, 256, 128, 16, 256, 8), (128, 128), 1),  # many tiles
    (Case(1, 1, 512, 256, 16, 86, 8), (64, 64), 6),  # fewer than multiprocessors
    (Case(1, 1, 64, 8, 8, 121_172, 4), (16, 256), 1),  # 32 rows would fill half of a medium tile
    (Case(1, 1, 1026, 1, 1024, 224, 256), (64, 64), 16),  # a long reduction
    (Case(16, 1, 256, 128, 16, 256, 8, x_dtype="complex64", weight_dtype="complex64"), (64, 64), 1),
])  # fmt: skip
def test_the_rule_that_chooses_tiles(case, tile, splits, real_tiles):
    """On an H100, which has 132 multiprocessors: for shapes of real layers, as docs/cuda.md describes it."""
    shape = geometry(case.length, case.filter_size, case.stride, (0, 0), 0, 1)
    sizes = Sizes(case.batch, case.groups, case.channels, case.filters)
    which = parts("c" in case.weight_dtype, "c" in case.x_dtype, case.dtype.kind == "c")
    nowhere = View(0, (1, 1, 1))
    problem, _ = forward(shape, sizes, which, nowhere, nowhere, 0, nowhere)
    chosen, cut = launch.select(real_tiles[which == ALL_COMPLEX][4], problem, 132)
    assert (chosen.rows, chosen.columns) == tile
    assert cut.splits == splits
    assert cut.splits * cut.slabs * chosen.slab >= problem.k > (cut.splits - 1) * cut.slabs * chosen.slab
