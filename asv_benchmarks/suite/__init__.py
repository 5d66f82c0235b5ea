"""What airspeed velocity runs, over the tables of `workloads.py` and `signals.py`; docs/benchmarks.md says how.

Each benchmark has a process of its own for every combination of its parameters. Here belongs what the modules share.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from asv_benchmarks.candidates import Call
from asv_benchmarks.workloads import TINY_CALL, WORKLOADS

ROWS = {workload.name: workload for workload in (*WORKLOADS, TINY_CALL)}
ALL = [workload.name for workload in WORKLOADS]
QUICK = [workload.name for workload in WORKLOADS if workload.quick]


class Benchmark:
    """Measures what `prepare` returns for its parameters.

    asv calls `setup` before every sample, and takes one call for a sample: so the call is made once, and there are many
    samples where they are short.
    """

    repeat = (5, 200, 0.5)  # at least, at most, and seconds for all

    def setup(self, *params):
        if not hasattr(self, "call"):
            self.call = self.prepare(*params)
            self.call()  # compiles, or loads from Numba's cache; asv would take that for the time of every call


def call_of(prepare: Callable[..., Any], row: str) -> Call:
    """Return what a `prepare_*` of `candidates.py` makes of a row, on all threads that Numba has."""
    workload = ROWS[row]
    return prepare(workload, workload.arrays(np.random.default_rng(0)), numba.get_num_threads())
