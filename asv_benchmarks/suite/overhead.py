"""Where nothing is to be computed: 4 samples and 3 taps through every face."""

from functools import partial

from asv_benchmarks.candidates import Arrays, Call, prepare_function, prepare_plan, prepare_plan_gradient
from asv_benchmarks.suite import Benchmark, call_of
from asv_benchmarks.suite.layers import prepare_layer, prepare_stream
from asv_benchmarks.workloads import TINY_CALL, Workload
from numba_tconv import Upsampler, resample_poly, upfirdn


def prepare_upfirdn(workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call of `upfirdn`."""
    x, taps = arrays[0].ravel(), arrays[1].ravel()
    return lambda: upfirdn(taps, x, up=2)


def prepare_resample_poly(workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call of `resample_poly`."""
    x = arrays[0].ravel()
    return lambda: resample_poly(x, 2, 1)


def prepare_upsampler(workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call that gives a stream one block again and again."""
    x, taps = arrays[0].ravel(), arrays[1].ravel()
    upsampler = Upsampler(taps, up=2)
    return lambda: upsampler.process(x)


FACES = {
    "plan": prepare_plan,
    "backward": partial(prepare_plan_gradient, "x"),
    "function": prepare_function,
    "stream": prepare_stream,
    "layer": prepare_layer,
    "upfirdn": prepare_upfirdn,
    "resample_poly": prepare_resample_poly,
    "Upsampler": prepare_upsampler,
}


class TinyCall(Benchmark):
    params = [list(FACES)]
    param_names = ["face"]

    def prepare(self, face):
        return call_of(FACES[face], TINY_CALL.name)

    def time_call(self, face):
        self.call()
