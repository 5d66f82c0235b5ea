"""Peak memory of a process, arrays included; the first row has next to none."""

from asv_benchmarks.candidates import prepare_function
from asv_benchmarks.suite import Benchmark, call_of
from asv_benchmarks.suite.layers import GRADIENTS
from asv_benchmarks.workloads import TINY_CALL

PASSES = {"forward": prepare_function, **GRADIENTS}
# Many samples, a filter of a whole window and weights that outweigh the data: where a column buffer would be gigabytes.
LARGE = [
    TINY_CALL.name,
    "fir 1x1000000 k161 s8 float32",
    "istft 2049->1 k4096 s1024 12x340",
    "demucs 2048->1024 k8 s4 1x117",
    "demucs 64->8 k8 s4 1x121172",
]


class Memory(Benchmark):
    params = [list(PASSES), LARGE]
    param_names = ["pass", "row"]

    def setup_cache(self):
        """Fill Numba's cache from another process: compiling takes more memory than most rows."""
        for prepare in PASSES.values():
            for row in LARGE:
                call_of(prepare, row)()

    def prepare(self, direction, row):
        return call_of(PASSES[direction], row)

    def peakmem_call(self, direction, row):
        self.call()
