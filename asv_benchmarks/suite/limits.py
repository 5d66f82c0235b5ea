"""How far the plan is from what one thread can do: on two, a peak came out ten times too low beside another program.

Multiples of the least possible time, not shares of the best rate: 1.25 is 80 % of the peak. For asv a higher number is
always worse: it would report a share that falls as an improvement.
"""

import numba

from asv_benchmarks.candidates import prepare_plan
from asv_benchmarks.machine import copy_bandwidth, fma_peak, seconds_of
from asv_benchmarks.suite import ALL, ROWS, Benchmark, call_of

COMPUTE = [row for row in ALL if "peak" in ROWS[row].goals and ROWS[row].quick]
MOVE = [row for row in ALL if "copy" in ROWS[row].goals]
CALLS = 20


def least(call):
    """Return the shortest time of a call: the peaks are the best of several runs, too."""
    return min(seconds_of(call) for _ in range(CALLS))


class FmaPeak(Benchmark):
    params = [COMPUTE]
    param_names = ["row"]
    unit = "times the least"

    def setup_cache(self):
        numba.set_num_threads(1)
        return {dtype: fma_peak(dtype, threads=1) for dtype in {ROWS[row].real_dtype for row in COMPUTE}}

    def prepare(self, peaks, row):
        numba.set_num_threads(1)
        return call_of(prepare_plan, row)

    def track_time(self, peaks, row):
        workload = ROWS[row]
        return least(self.call) * peaks[workload.real_dtype] * 1e9 / workload.flops


class CopyBandwidth(Benchmark):
    params = [MOVE]
    param_names = ["row"]
    unit = "times the least"

    def prepare(self, row):
        numba.set_num_threads(1)
        return call_of(prepare_plan, row)

    def track_time(self, row):
        n_bytes = ROWS[row].bytes
        return least(self.call) * copy_bandwidth(n_bytes, threads=1) * 1e9 / n_bytes
