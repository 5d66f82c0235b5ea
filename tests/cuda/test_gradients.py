"""The gradients on the simulated GPU against their definition."""

import numpy as np
import pytest
from cases import assert_gradients_close, random_cases, random_values, small_cases
from helpers import ON_GPU, here, there

from numba_tconv import ConvTranspose1d, conv_transpose1d_backward
from numba_tconv.backends.cuda.compiler import SIMULATED

CASES = small_cases(2, 100) + ([] if SIMULATED else list(random_cases(3, 300)))


@pytest.mark.parametrize("number", range(len(CASES)))
def test_random_cases(number):
    case = CASES[number]
    x, weight, _ = case.arrays()
    rng = np.random.default_rng(case.seed)
    batch = () if case.batch is None else (case.batch,)
    g = random_values(rng, (*batch, case.groups * case.filters, case.output_length), case.dtype.name)
    if number % 2 and {case.x_dtype, case.weight_dtype} <= ON_GPU and "unaligned" != case.x_layout != "byte-swapped":
        gradients = conv_transpose1d_backward(there(g), there(x), weight, **case.options)
        gradients = [here(gradient) for gradient in gradients]
    else:
        gradients = conv_transpose1d_backward(g, x, weight, device="cuda", **case.options)
    assert_gradients_close(gradients, case, g, x, weight)


def test_only_what_is_asked_for():
    x, weight = np.ones((2, 3, 5), np.float32), np.ones((3, 2, 4), np.float32)
    plan = ConvTranspose1d(weight, np.zeros(2, np.float32), device="cuda")
    gradients = plan.backward(np.ones((2, 2, 8), np.float32), x, wrt="weight")
    assert gradients.x is None
    assert gradients.bias is None
    assert (gradients.weight == 10).all()
