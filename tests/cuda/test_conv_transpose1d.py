"""The forward pass on the simulated GPU against the references: host arrays and arrays on the GPU."""

import numpy as np
import pytest
from cases import assert_close
from helpers import ON_GPU, here, small_cases, there

from numba_tconv import conv_transpose1d

CASES = small_cases(1, 300)


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
    if not is_there:
        y = conv_transpose1d(x, weight, bias, out=out, device="cuda", **case.options)
    elif out is None:
        y = here(conv_transpose1d(there(x), weight, bias, **case.options))
    else:
        y = conv_transpose1d(there(x), weight, bias, out=there(out), **case.options)._ary
    assert y.dtype == case.dtype
    assert out is None or np.shares_memory(y, out)
    assert_close(y, expected, magnitude)
