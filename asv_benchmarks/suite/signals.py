"""The signal face: SciPy's own benchmarks under SciPy's names, and the rows of `asv_benchmarks/signals.py`."""

import numpy as np

from asv_benchmarks import signals
from asv_benchmarks.suite import Benchmark
from numba_tconv import resample_poly, upfirdn

TAPS = 8
RATES = [1, 4]
SHAPES_1D = [(length,) for length in (32, 128, 512, 2048)]
SHAPES_2D = [(length, length) for length in (32, 128, 512)]


def pairs(shapes):
    """Return a filter and a signal for each shape."""
    rng = np.random.default_rng(1234)
    return [(rng.standard_normal(TAPS), rng.standard_normal(shape)) for shape in shapes]


class Upfirdn1D(Benchmark):
    params = [RATES, RATES]
    param_names = ["up", "down"]

    def prepare(self, up, down):
        arrays = pairs(SHAPES_1D)
        return lambda: [upfirdn(h, x, up, down) for h, x in arrays]

    def time_upfirdn1d(self, up, down):
        self.call()


class Upfirdn2D(Benchmark):
    params = [RATES, RATES, [0, -1]]
    param_names = ["up", "down", "axis"]

    def prepare(self, up, down, axis):
        arrays = pairs(SHAPES_2D)
        return lambda: [upfirdn(h, x, up, down, axis) for h, x in arrays]

    def time_upfirdn2d(self, up, down, axis):
        self.call()


class ResamplePoly1D(Benchmark):
    """SciPy has no such benchmark: the signals and rates of `Upfirdn1D`, the default filter."""

    params = [RATES, RATES]
    param_names = ["up", "down"]

    def prepare(self, up, down):
        arrays = pairs(SHAPES_1D)
        return lambda: [resample_poly(x, up, down) for _, x in arrays]

    def time_resample_poly(self, up, down):
        self.call()


class Signals(Benchmark):
    """Long signals, 44.1 to 48 kHz, and blocks of 10 ms."""

    params = [[row for row, _ in signals.rows()]]
    param_names = ["row"]

    def prepare(self, row):
        candidates = dict(signals.rows())[row]()
        return next(iter(candidates.values()))  # ours is the first

    def time_ours(self, row):
        self.call()
