"""Small random cases for the simulator, and arrays on its GPU."""

import random
from math import gcd

import numpy as np
from cases import KINDS, Case, with_options
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

ON_GPU = {"float16", "float32", "float64", "complex64", "complex128"}
MOST_WORK = 600


def small_case(rng):
    """Return a case of few multiply-adds: the simulator does some thousand a second."""
    while True:
        kind = rng.choice(list(KINDS))
        branches = rng.choice((1, 1, 2, 2, 3, 4, 6, 7))
        step = rng.choice([step for step in (1, 1, 1, 2, 3, 5) if gcd(step, branches) == 1])
        batch = rng.choice((None, 1, 2, 3))
        groups, channels, filters = rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2, 5, 9)), rng.choice((1, 1, 2, 5, 9))
        filter_size, length = rng.choice((1, rng.randint(1, 5), rng.randint(1, 20))), rng.randint(1, 25)
        taps = -(-filter_size // branches)
        work = (batch or 1) * groups * channels * filters * branches * taps * (length + (taps - 1) * step)
        if work <= MOST_WORK:
            case = Case(batch, groups, channels, filters, filter_size, length)
            case = with_options(rng, case, kind, branches, step)
            if case.output_length * (batch or 1) * groups * filters <= MOST_WORK:
                return case


def small_cases(seed, count):
    """Yield random cases of all dtypes and layouts."""
    rng = random.Random(seed)  # noqa: S311 nothing secret
    return [small_case(rng) for _ in range(count)]


def there(array):
    """Return an array on the GPU that lies in memory as `array` does."""
    return FakeCUDAArray(array)


def here(array):
    """Return what lies on the GPU, in host memory."""
    assert isinstance(array, FakeCUDAArray)
    return np.array(array._ary)
