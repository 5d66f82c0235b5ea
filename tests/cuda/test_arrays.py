"""Arrays on the simulated GPU as arguments: views, results, streams, what is refused; and host arrays in chunks."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import here, there

from numba_tconv import ConvTranspose1d, conv_transpose1d, conv_transpose1d_backward, reference, transposedConv1dLayer
from numba_tconv.backends.cuda import staging
from numba_tconv.device_array import as_device_array, empty_like, is_on_gpu, kind


class Exposed:
    """An array of some library that has the CUDA array interface."""

    def __init__(self, array, **interface):
        self.array = array
        self.__cuda_array_interface__ = array.__array_interface__ | {"version": 3, "stream": None} | interface


@pytest.fixture
def arrays(rng):
    x, weight = rng.standard_normal((5, 2, 9)).astype("f"), rng.standard_normal((2, 3, 4)).astype("f")
    return x, weight, rng.standard_normal(3).astype("f")


def test_any_array_with_the_interface_is_computed_where_it_is(arrays):
    x, weight, bias = arrays
    y = conv_transpose1d(Exposed(x), Exposed(weight), Exposed(bias), stride=2)
    np.testing.assert_allclose(here(y), reference.scatter(x, weight, bias, stride=2), atol=1e-5)
    with pytest.raises(ValueError, match=r"bias on a GPU must be contiguous; got the strides \(-4,\)"):
        conv_transpose1d(Exposed(x), Exposed(weight), Exposed(bias[::-1]), stride=2)


def test_a_plan_copies_host_weights_once(arrays, monkeypatch):
    x, weight, bias = arrays
    plan = ConvTranspose1d(weight, bias, stride=2)
    expected = reference.scatter(x, weight, bias, stride=2)
    np.testing.assert_allclose(here(plan(there(x))), expected, atol=1e-5)
    uploads = []
    monkeypatch.setattr("numba_tconv.backends.cuda.memory.upload", lambda *args, **kwargs: uploads.append(args))
    np.testing.assert_allclose(here(plan(there(x))), expected, atol=1e-5)
    assert not uploads
    np.testing.assert_allclose(plan(x), expected, atol=1e-5)  # the same plan serves host arrays on the CPU


def test_a_plan_with_weights_on_the_gpu(arrays):
    x, weight, bias = arrays
    plan = ConvTranspose1d(there(weight), there(bias), stride=2)
    np.testing.assert_allclose(here(plan(there(x))), reference.scatter(x, weight, bias, stride=2), atol=1e-5)
    with pytest.raises(TypeError, match="weight must be in host memory where x is; got FakeCUDAArray on a GPU"):
        plan(x)
    with pytest.raises(TypeError, match="weight must be in host memory where x is; got FakeCUDAArray on a GPU"):
        plan.stream().process(x)


def test_out_on_the_gpu(arrays):
    x, weight, bias = arrays
    memory = np.zeros((5, 3, 40), np.float32)
    out = there(memory[..., ::-2])
    assert conv_transpose1d(there(x), weight, bias, stride=2, out=out) is out
    np.testing.assert_allclose(out._ary, reference.scatter(x, weight, bias, stride=2), atol=1e-5)
    assert not memory[..., ::2].any()


@pytest.mark.parametrize(("out", "error", "message"), [
    (np.zeros((5, 3, 20), "f"), TypeError, "out must be on the GPU where x is; got ndarray"),
    (there(np.zeros((5, 3, 20))), TypeError, "out must have the dtype float32; got float64"),
    (there(np.zeros((5, 3, 19), "f")), ValueError, r"out must have the shape \(5, 3, 20\); got \(5, 3, 19\)"),
    (Exposed(np.zeros((5, 3, 20), "f"), data=(64, True)), ValueError, "out must be writeable and aligned"),
    (there(np.broadcast_to(np.zeros(20, "f"), (5, 3, 20))), ValueError, "writeable"),
    (there(np.lib.stride_tricks.as_strided(np.zeros(20, "f"), (5, 3, 20), (0, 0, 4))), ValueError, "repeat its own"),
])  # fmt: skip
def test_out_that_does_not_fit(arrays, out, error, message):
    x, weight, _ = arrays
    with pytest.raises(error, match=message):
        conv_transpose1d(there(x), weight, stride=2, out=out)


def test_out_that_overlaps_x():
    memory = np.ones((1, 10), np.float32)
    with pytest.raises(ValueError, match="out must not overlap x, weight or bias"):
        conv_transpose1d(there(memory[:, :5]), np.ones((1, 1, 1), "f"), out=there(memory[:, 4:9]))
    conv_transpose1d(there(memory[:, :5]), np.full((1, 1, 1), 2, "f"), out=there(memory[:, 5:]))
    assert (memory == [[1] * 5 + [2] * 5]).all()


def test_streams_of_other_libraries(arrays):
    x, weight, _ = arrays
    expected = reference.scatter(x, weight)
    protocol = SimpleNamespace(__cuda_stream__=lambda: (0, 1))
    for stream in (1, protocol, SimpleNamespace(ptr=1), SimpleNamespace(cuda_stream=1)):
        np.testing.assert_allclose(here(conv_transpose1d(there(x), weight, stream=stream)), expected, atol=1e-5)
    np.testing.assert_allclose(here(conv_transpose1d(Exposed(x, stream=7), weight)), expected, atol=1e-5)
    for stream, error in (("default", TypeError), (-1, ValueError), (1.0, TypeError)):
        with pytest.raises(error, match="stream must be a non-negative int; got"):
            conv_transpose1d(there(x), weight, stream=stream)


def test_a_batch_in_chunks(arrays, monkeypatch):
    """One to three samples at a time, so that slots are used again and the last chunk is smaller."""
    x, weight, bias = arrays
    expected = reference.scatter(x, weight, bias, stride=2)
    for samples in (1, 2, 3, 9):
        monkeypatch.setattr(staging, "CHUNK_BYTES", samples * (x.nbytes + 4 * expected.size) // len(x))
        out = np.zeros((5, 3, 40), "f")[..., ::-2]
        conv_transpose1d(x[:, ::-1][:, ::-1], weight, bias, stride=2, out=out, device="cuda")
        np.testing.assert_allclose(out, expected, atol=1e-5)


def test_empty_batches(arrays):
    x, weight, bias = arrays
    assert conv_transpose1d(x[:0], weight, bias, device="cuda").shape == (0, 3, 12)
    assert here(conv_transpose1d(there(x[:0].copy()), weight)).shape == (0, 3, 12)
    gradients = conv_transpose1d_backward(there(np.ones((0, 3, 12), "f")), there(x[:0].copy()), weight)
    assert not here(gradients.weight).any()
    assert not here(gradients.bias).any()


def test_a_real_gradient_of_a_complex_result(arrays):
    x, weight, _ = arrays
    g = np.ones((5, 3, 12), np.float32)
    expected = reference.gradients(g, x * 1j, weight)
    gradients = conv_transpose1d_backward(g, x * np.complex64(1j), weight, device="cuda")
    np.testing.assert_allclose(gradients.x, expected[0], atol=1e-4)
    np.testing.assert_allclose(gradients.weight, expected[1].real, atol=1e-4)
    with pytest.raises(TypeError, match="grad_output on a GPU must be complex where x or weight is; got float32"):
        conv_transpose1d_backward(there(g), there(x * np.complex64(1j)), weight)


def test_the_layer(arrays):
    x, weight, bias = arrays
    layer = transposedConv1dLayer(4, 3, Stride=2, Weights=weight.T, Bias=bias[None])
    for device in ("cuda", "cpu", "cuda"):
        np.testing.assert_allclose(layer.predict(x, "BCT", device=device), layer.predict(x, "BCT"), atol=1e-5)
    y = layer.forward(x, "BCT")
    on_gpu, on_cpu = (layer.backward(x, y, "BCT", device=device) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(on_gpu[0], on_cpu[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(on_gpu[1]["Weights"], on_cpu[1]["Weights"], rtol=1e-4, atol=1e-4)


def test_whose_array_it_is():
    """Results come from the library of x; here, of modules that only bear their names."""
    library = SimpleNamespace(
        cupy=type("ndarray", (Exposed,), {"__module__": "cupy"}),
        torch=type("Tensor", (Exposed,), {"__module__": "torch"}),
        jax=type("ArrayImpl", (Exposed,), {"__module__": "jaxlib._jax"}),
    )
    assert [kind(of(np.ones(3))) for of in vars(library).values()] == ["cupy", "torch", "jax"]
    assert kind(there(np.ones(3))) == kind(Exposed(np.ones(3))) == "numba"


def test_results_of_cupy(monkeypatch):
    made = type("ndarray", (Exposed,), {"__module__": "cupy"})
    monkeypatch.setitem(__import__("sys").modules, "cupy", SimpleNamespace(empty=lambda *how: made(np.empty(*how))))
    y = conv_transpose1d(made(np.ones((1, 5))), np.ones((1, 1, 2)), stride=2)
    assert type(y) is made
    assert (y.array == 1).all()


def test_masked_and_unreadable_arrays():
    with pytest.raises(TypeError, match="x must be an array whose memory on the GPU can be read; got a masked array"):
        conv_transpose1d(Exposed(np.ones((1, 5)), mask=there(np.ones(5))), np.ones((1, 1, 2)))

    class WantsGradient:
        @property
        def __cuda_array_interface__(self):
            raise RuntimeError("a tensor that requires grad")

    assert is_on_gpu(WantsGradient())
    with pytest.raises(TypeError, match=r"x must be an array whose memory .*; got a tensor that requires grad"):
        conv_transpose1d(WantsGradient(), np.ones((1, 1, 2)))


def test_views():
    array = np.arange(24.0).reshape(2, 3, 4)[:, ::-1]
    view = as_device_array("x", there(array))
    assert (view.shape, view.strides, view.ndim, view.size) == (array.shape, array.strides, 3, 24)
    low, high = view.extent
    assert high - low == 24 * 8
    assert low == view.pointer - 2 * 4 * 8
    assert view[None].shape == (1, 2, 3, 4)
    made = empty_like(view, (2, 2), np.dtype(np.float32), lambda *how: np.empty(*how))
    assert made.shape == (2, 2)
