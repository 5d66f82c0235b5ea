"""Arrays of the libraries that own memory on GPUs: results, streams, graphs. On a GPU, where they are installed."""

import numpy as np
import pytest

from numba_tconv import ConvTranspose1d, conv_transpose1d, conv_transpose1d_backward, reference, upfirdn


@pytest.fixture
def arrays(rng):
    x, weight = rng.standard_normal((5, 4, 300)).astype("f"), rng.standard_normal((4, 3, 8)).astype("f")
    return x, weight, rng.standard_normal(3).astype("f")


def cupy_array(array):
    return pytest.importorskip("cupy").asarray(array)


def torch_tensor(array):
    return pytest.importorskip("torch").from_numpy(array.copy()).cuda()


def jax_array(array):
    return pytest.importorskip("jax").numpy.asarray(array)


def numba_array(array):
    from numba_tconv.backends.cuda import memory

    return memory.upload(array)


def on_host(array):
    for method in ("get", "copy_to_host"):
        if hasattr(array, method):
            return getattr(array, method)()
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)


MAKERS = (cupy_array, torch_tensor, jax_array, numba_array)


@pytest.mark.parametrize("make", MAKERS)
def test_results_are_arrays_of_the_same_library(make, arrays):
    x, weight, bias = arrays
    there, expected = make(x), reference.scatter(x, weight, bias, stride=2)
    for y in (
        conv_transpose1d(there, weight, bias, stride=2),
        conv_transpose1d(there, make(weight), make(bias), stride=2),
        ConvTranspose1d(weight, bias, stride=2)(there),
    ):
        assert type(y) is type(there)
        np.testing.assert_allclose(on_host(y), expected, atol=2e-5)
    gradients = conv_transpose1d_backward(make(expected.astype("f")), there, make(weight), stride=2)
    for gradient, truth in zip(gradients, reference.gradients(expected, x, weight, stride=2), strict=True):
        assert type(gradient) is type(there)
        np.testing.assert_allclose(on_host(gradient), truth, rtol=1e-5, atol=1e-5 * np.abs(truth).max())
    signal = upfirdn(np.ones(7, np.float32), make(x[0, 0]), 3)
    assert type(signal) is type(there)


def test_host_arrays_with_a_stride_of_zero():
    x, weight = np.broadcast_to(np.float32(3), (1, 1, 1)), np.broadcast_to(np.float32(2), (1, 1, 1))
    assert conv_transpose1d(x, weight, device="cuda") == 6


def test_what_has_only_the_protocol_of_dlpack(arrays):
    x, weight, _ = arrays
    tensor = torch_tensor(x)

    class Capsule:
        def __dlpack__(self, **options):
            return tensor.__dlpack__(**options)

        def __dlpack_device__(self):
            return tensor.__dlpack_device__()

    y = conv_transpose1d(Capsule(), weight, stride=2)
    np.testing.assert_allclose(on_host(y), reference.scatter(x, weight, stride=2), atol=2e-5)


def test_a_call_follows_the_stream_of_its_array(arrays):
    """Behind a long computation of x on a stream of its own, the call has to wait for that, and others for the call."""
    torch = pytest.importorskip("torch")
    x, weight, _ = arrays
    plan = ConvTranspose1d(weight, stride=2)
    expected = reference.scatter(x, weight, stride=2)
    there, large = torch_tensor(x), torch.randn(4096, 4096, device="cuda")
    plan(there)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        late = torch.zeros_like(there)
        for _ in range(20):
            large = torch.tanh(large @ large)
        late += there + 0 * large.sum()
        y = plan(late).clone()
    torch.cuda.synchronize()
    np.testing.assert_allclose(on_host(y), expected, atol=2e-5)


def test_calls_are_captured_in_graphs(arrays):
    torch = pytest.importorskip("torch")
    x, weight, bias = arrays
    plan = ConvTranspose1d(torch_tensor(weight), torch_tensor(bias), stride=2)
    there = torch_tensor(x)
    out = plan(there)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plan(there, out)
    there.mul_(2)
    graph.replay()
    torch.cuda.synchronize()
    np.testing.assert_allclose(on_host(out), reference.scatter(2 * x, weight, bias, stride=2), atol=4e-5)
