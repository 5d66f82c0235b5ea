"""Layers and signals on a GPU, each call waited for; asv skips them where there is no GPU that can be used."""

from functools import partial

import numpy as np

from asv_benchmarks.candidates import Arrays, Call, options_of
from asv_benchmarks.suite import ALL, QUICK, Benchmark, call_of
from asv_benchmarks.workloads import Workload
from numba_tconv import ConvTranspose1d, backends, upfirdn

SIGNALS = [row for row in ALL if row.startswith("fir ")]


def waited_for(call: Call) -> Call:
    """Return the call that also waits for the GPU."""
    from numba_tconv.backends.cuda.compiler import cuda

    def both() -> None:
        call()
        cuda.synchronize()

    return both


def prepare_plan(workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call of the plan on an array that is on the GPU."""
    from numba_tconv.backends.cuda import memory

    x, weight, bias = arrays
    plan = ConvTranspose1d(weight, bias, **options_of(workload))
    there, out = memory.upload(x), memory.empty(workload.output_shape, x.dtype)
    return waited_for(lambda: plan(there, out))


def prepare_gradient(name: str, workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call for one gradient on arrays that are on the GPU."""
    from numba_tconv.backends.cuda import memory

    x, weight, _ = arrays
    g, there, w = (memory.upload(array) for array in (workload.grad_output(), x, weight))
    return waited_for(partial(ConvTranspose1d(w, **options_of(workload)).backward, g, there, wrt=name))


def prepare_signal(workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call of `upfirdn` on signals that are on the GPU."""
    from numba_tconv.backends.cuda import memory

    x, weight, _ = arrays
    h, there = memory.upload(weight[0, 0]), memory.upload(np.ascontiguousarray(x[:, 0]))
    return waited_for(partial(upfirdn, h, there, workload.stride))


def prepare_host_arrays(workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call of a plan that copies its arrays to the GPU and back."""
    x, weight, bias = arrays
    return partial(ConvTranspose1d(weight, bias, device="cuda", **options_of(workload)), x)


class OnGpu(Benchmark):
    param_names = ["row"]

    def setup(self, *params):
        if missing := backends.missing_for_cuda():
            raise NotImplementedError(missing)  # so asv skips it
        super().setup(*params)


class Plan(OnGpu):
    params = [ALL]

    def prepare(self, row):
        return call_of(prepare_plan, row)

    def time_forward(self, row):
        self.call()


class Gradient(OnGpu):
    params = [["x", "weight"], QUICK]
    param_names = ["wrt", "row"]

    def prepare(self, wrt, row):
        return call_of(partial(prepare_gradient, wrt), row)

    def time_backward(self, wrt, row):
        self.call()


class Signal(OnGpu):
    params = [SIGNALS]

    def prepare(self, row):
        return call_of(prepare_signal, row)

    def time_upfirdn(self, row):
        self.call()


class HostArrays(OnGpu):
    params = [QUICK]

    def prepare(self, row):
        return call_of(prepare_host_arrays, row)

    def time_forward(self, row):
        self.call()
