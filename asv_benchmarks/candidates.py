"""How to call each candidate at its best: the package itself and the libraries that it is compared with.

A `prepare_*` function takes a workload, its arrays and a number of threads, and does outside the timing whatever a
program would do once. It returns a call without arguments, or None where the library cannot compute such a row. The
libraries are imported on first use, so a missing one costs only its column.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from asv_benchmarks.workloads import Workload
from numba_tconv import ConvTranspose1d, conv_transpose1d, conv_transpose1d_backward

Call = Callable[[], Any]
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def options_of(workload: Workload) -> dict[str, Any]:
    """Return a row's options under our names."""
    return {"stride": workload.stride, "padding": workload.padding, "groups": workload.groups}


def prepare_plan(workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call of the plan, made beforehand."""
    x, weight, bias = arrays
    plan = ConvTranspose1d(weight, bias, **options_of(workload))
    return lambda: plan(x)


def prepare_function(workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call of the function, which packs the weights each time."""
    x, weight, bias = arrays
    return lambda: conv_transpose1d(x, weight, bias, **options_of(workload))


def prepare_torch(workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call of PyTorch; it has only symmetric padding, the rest of a crop is cut by a view, as models do it."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    # Data and weights must have one dtype.
    tensors = [None if array is None else torch.from_numpy(array.astype(workload.dtype)) for array in arrays]
    padding = min(workload.crop)
    begin = workload.crop[0] - padding
    end = begin + workload.output_length
    options = {"stride": workload.stride, "padding": padding, "groups": workload.groups}
    convolve = torch.nn.functional.conv_transpose1d
    if workload.crop == (padding, padding):
        return lambda: convolve(*tensors, **options)
    return lambda: convolve(*tensors, **options)[..., begin:end]


def onnx_model(workload: Workload, weight: np.ndarray, bias: np.ndarray | None) -> bytes:
    """Return a model of one ConvTranspose whose weights are constants, so that a runtime may pack them beforehand."""
    from onnx import TensorProto, helper, numpy_helper

    constants = [numpy_helper.from_array(weight, "weight")]
    if bias is not None:
        constants.append(numpy_helper.from_array(bias, "bias"))
    node = helper.make_node(
        "ConvTranspose",
        ["x", *(constant.name for constant in constants)],
        ["y"],
        kernel_shape=[workload.filter_size],
        strides=[workload.stride],
        pads=workload.crop,
        group=workload.groups,
    )
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, workload.input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, workload.output_shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def prepare_onnxruntime(workload: Workload, arrays: Arrays, threads: int) -> Call | None:
    """Return a call of ONNX Runtime without its copies from and to NumPy."""
    import onnxruntime

    if workload.dtype != "float32":  # the only type that its CPU kernel takes
        return None
    x, weight, bias = arrays
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    model = onnx_model(workload, weight, bias)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"x": onnxruntime.OrtValue.ortvalue_from_numpy(x)}
    return lambda: session.run_with_ort_values(["y"], feed)[0]


def prepare_openvino(workload: Workload, arrays: Arrays, threads: int) -> Call | None:
    """Return a call of OpenVINO on shared input; it writes every result to the same place, an advantage left to it."""
    import openvino

    if workload.kind == "fir":
        return None
    x, weight, bias = arrays
    core = openvino.Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        # It would take bfloat16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(onnx_model(workload, weight, bias)), "CPU", options)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    result = request.get_output_tensor()

    def call() -> np.ndarray:
        request.infer()
        return result.data

    return call


def prepare_scipy(workload: Workload, arrays: Arrays, threads: int) -> Call | None:
    """Return a call of scipy.signal.upfirdn, for signals."""
    from scipy.signal import upfirdn

    if workload.kind != "fir":
        return None
    x, weight, _ = arrays
    taps, up = weight[0, 0], workload.stride
    return lambda: upfirdn(taps, x, up)


def _picked(gradients: Any, name: str) -> Any:
    """Return one gradient, or those of x, weight and bias."""
    return tuple(gradients) if name == "all" else getattr(gradients, name)


def prepare_plan_gradient(name: str, workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call of the plan's backward pass for one of its gradients, or for all."""
    x, weight, _ = arrays
    # A filter has no bias, and its plan no gradient of one.
    plan = ConvTranspose1d(weight, np.zeros(workload.out_channels, workload.dtype), **options_of(workload))
    grad_output, options = workload.grad_output(), {} if name == "all" else {"wrt": name}
    return lambda: _picked(plan.backward(grad_output, x, **options), name)


def prepare_function_gradient(name: str, workload: Workload, arrays: Arrays, threads: int) -> Call:
    """Return a call of `conv_transpose1d_backward` for one of its gradients, or for all."""
    x, weight, _ = arrays
    grad_output, options = workload.grad_output(), options_of(workload)
    options |= {} if name == "all" else {"wrt": name}
    return lambda: _picked(conv_transpose1d_backward(grad_output, x, weight, **options), name)


def prepare_torch_gradient(name: str, workload: Workload, arrays: Arrays, threads: int) -> Call | None:
    """Return a call of what PyTorch's autograd runs, for one gradient or all; an uneven crop is undone beforehand."""
    import torch

    if np.dtype(workload.dtype).kind == "c":  # its kernels take none
        return None
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    padding = min(workload.crop)
    begin = workload.crop[0] - padding
    full_length = (workload.length - 1) * workload.stride + workload.filter_size - 2 * padding
    grad_output = np.zeros((*workload.output_shape[:2], full_length), workload.dtype)
    grad_output[..., begin : begin + workload.output_length] = workload.grad_output()
    tensors = [torch.from_numpy(array.astype(workload.dtype)) for array in (grad_output, *arrays[:2])]
    sizes = ([workload.stride], [padding], [1], True, [0], workload.groups)
    if name == "all":
        all_sizes = ([workload.out_channels], *sizes, [True] * 3)
        return lambda: torch.ops.aten.convolution_backward(*tensors, *all_sizes)
    wanted = [name == "x", name == "weight", False]
    return lambda: torch.ops.aten.convolution_backward(*tensors, None, *sizes, wanted)[wanted.index(True)]


OURS = {"plan": prepare_plan, "function": prepare_function}
PEERS = {
    "torch": prepare_torch,
    "onnxruntime": prepare_onnxruntime,
    "openvino": prepare_openvino,
    "scipy": prepare_scipy,
}
NEEDS = {"torch": "torch", "onnxruntime": "onnxruntime onnx", "openvino": "openvino onnx", "scipy": "scipy"}

# What can be compared: the forward pass, each gradient of many products by itself, and all three together.
PASSES: dict[str, tuple[dict[str, Callable], dict[str, Callable]]] = {
    "forward": (OURS, PEERS),
    **{
        direction: (
            {"plan": partial(prepare_plan_gradient, name), "function": partial(prepare_function_gradient, name)},
            {"torch": partial(prepare_torch_gradient, name)},
        )
        for direction, name in (("grad_x", "x"), ("grad_weight", "weight"), ("backward", "all"))
    },
}
