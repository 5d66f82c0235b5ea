"""Transposed convolutions of the table: the plan on every row, the rest on those where there is something to see."""

from functools import partial

import numba
import numpy as np

from asv_benchmarks.candidates import (
    Arrays,
    Call,
    options_of,
    prepare_function,
    prepare_function_gradient,
    prepare_plan,
)
from asv_benchmarks.suite import ALL, QUICK, Benchmark, call_of
from asv_benchmarks.workloads import Workload
from numba_tconv import ConvTranspose1d, transposedConv1dLayer

GRADIENTS = {name: partial(prepare_function_gradient, name) for name in ("x", "weight", "bias")}
# Work enough for two threads: a layer of many products, one of few, a signal, and a row that moves memory.
SPLIT = [
    "hifigan 256->128 k16 s8 1x688",
    "bigvgan 48->24 k4 s2 1x12032",
    "fir 1x1000000 k81 s4 float32",
    "bank depthwise 128 k4 s2 4x4096",
]
# The model that runs frame by frame.
STREAMED = [row for row in ALL if row.startswith("mimi ")]
# What MATLAB's layer adds to a plan is the same for every shape.
LAYERS = ["example 64->96 k11 s4 16x256"]


def prepare_stream(workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call that gives a stream the same block again and again."""
    x, weight, bias = arrays
    stream = ConvTranspose1d(weight, bias, **options_of(workload)).stream()
    return lambda: stream.process(x)


def prepare_layer(workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call of `predict` for a row without a crop, its axes in the order of MATLAB's documentation."""
    x, weight, bias = arrays
    options = {"Stride": workload.stride, "Weights": weight.transpose(2, 1, 0), "Bias": bias}
    layer = transposedConv1dLayer(workload.filter_size, workload.out_channels, **options)
    X = np.ascontiguousarray(x.transpose(1, 0, 2))
    return lambda: layer.predict(X, "CBT")


class Plan(Benchmark):
    params = [ALL]
    param_names = ["row"]

    def prepare(self, row):
        return call_of(prepare_plan, row)

    def time_forward(self, row):
        self.call()


class Function(Benchmark):
    params = [QUICK]
    param_names = ["row"]

    def prepare(self, row):
        return call_of(prepare_function, row)

    def time_forward(self, row):
        self.call()


class Gradient(Benchmark):
    params = [list(GRADIENTS), QUICK]
    param_names = ["wrt", "row"]

    def prepare(self, wrt, row):
        return call_of(GRADIENTS[wrt], row)

    def time_backward(self, wrt, row):
        self.call()


class Threads(Benchmark):
    params = [[1, 2], SPLIT]
    param_names = ["threads", "row"]

    def prepare(self, threads, row):
        if threads > numba.config.NUMBA_NUM_THREADS:
            raise NotImplementedError(f"{threads} threads where Numba has {numba.config.NUMBA_NUM_THREADS}")
        numba.set_num_threads(threads)
        return call_of(prepare_plan, row)

    def time_forward(self, threads, row):
        self.call()


class Stream(Benchmark):
    params = [STREAMED]
    param_names = ["row"]

    def prepare(self, row):
        return call_of(prepare_stream, row)

    def time_process(self, row):
        self.call()


class Layer(Benchmark):
    params = [LAYERS]
    param_names = ["row"]

    def prepare(self, row):
        return call_of(prepare_layer, row)

    def time_predict(self, row):
        self.call()
