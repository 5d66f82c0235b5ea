"""What a new Python process waits for: the import, and the first call with and without Numba's cache."""

from asv_benchmarks.suite import ROWS

FIRST_CALLS = ["fir 1x256 k41 s4 float32", "example 64->96 k11 s4 16x256"]
# What is imported before the clock starts; the call itself imports the rest. (asv would call a thing named SETUP.)
BEFORE = """
import os
os.environ["NUMBA_TCONV_CACHE"] = "{cache}"
import numba
import numpy as np
from numba_tconv import conv_transpose1d
x, weight = np.ones({x}, np.float32), np.ones({weight}, np.float32)
"""
CACHES = {"cached": 1, "cold": 0}

# asv reads these: every sample is a process of its own, and compiling takes seconds.
rounds = 1
repeat = 3


def timeraw_import():
    return "import numba_tconv"


class FirstCall:
    """Cached from the start: asv warms up with one sample, which fills the cache."""

    params = [list(CACHES), FIRST_CALLS]
    param_names = ["cache", "row"]

    def timeraw_first_call(self, cache, row):
        workload = ROWS[row]
        before = BEFORE.format(cache=CACHES[cache], x=workload.input_shape, weight=workload.weight_shape)
        return f"conv_transpose1d(x, weight, stride={workload.stride})", before
