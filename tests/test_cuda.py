"""What is known of CUDA where no GPU is: who serves a call, what is missing; and the kernels on Numba's simulator."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from numba_tconv import ConvTranspose1d, backends, conv_transpose1d, gpu, upfirdn
from numba_tconv.backends import Work, gpu_pays
from numba_tconv.device_array import DeviceArray, as_device_array, empty_like

FOLDER = Path(__file__).parent / "cuda"


def test_kernels_on_the_simulator():
    """In a process of its own, for Numba takes it or the compiler when it is imported."""
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-10_000:] + result.stderr
    *_, summary = result.stdout.strip().splitlines()
    assert "skipped" not in summary
    assert int(summary.split()[0]) > 600


@pytest.mark.skipif(sys.platform == "darwin", reason="there is no CUDA for macOS")
def test_a_second_process_finds_kernels_on_disk():
    """What Numba's disk cache knows a kernel by is the same in every process: its code and what it captures."""
    code = """
import hashlib
from numba.cuda import serialize
from numba_tconv.backends.cuda import contraction, fir, launch, rates, sums
from numba_tconv.backends.cuda.compiler import types
from numba_tconv.backends.cuda.parts import Parts
from numba_tconv.backends.cuda.problems import Lanes
number = types.float32
lanes, one = Lanes(False, True), Parts(1, 1, 1)
kernels = [contraction.make_kernel(tile, lanes, one, False, number) for tile in launch.TILES[4]]
kernels += [fir.make_kernel(fir.TILES[4], fir.Kind(4, reach, 1, True, True), number) for reach in (0, 1)]
kernels += [rates.make_kernel(256, 1, 2, number, is_row=True), rates.make_packer(256, 2, number)]
kernels += [sums.make_kernel(256, 2, number)]
for kernel in kernels:
    captured = tuple(cell.cell_contents for cell in kernel.py_func.__closure__)
    print(hashlib.sha256(kernel.py_func.__code__.co_code + serialize.dumps(captured)).hexdigest())
"""
    environments = [os.environ | {"PYTHONHASHSEED": seed} for seed in "12"]
    keys = [
        subprocess.run([sys.executable, "-c", code], env=one, capture_output=True, text=True, check=True).stdout
        for one in environments
    ]
    assert keys[0] == keys[1]
    assert len(set(keys[0].split())) == 8


def test_nothing_of_cuda_is_imported_for_host_arrays():
    code = """
import sys, numpy as np
from numba_tconv import conv_transpose1d, upfirdn
conv_transpose1d(np.ones((2, 9)), np.ones((2, 3, 4)), stride=2)
upfirdn(np.ones(5), np.ones(9), 2)
assert "numba_tconv.backends.cpu.forward" in sys.modules
of_cuda = "numba_cuda", "numba.cuda.", "cuda", "numba_tconv.backends.cuda"
print(*(name for name in sys.modules if name.startswith(of_cuda)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not result.stdout.split()


def test_without_a_gpu_cuda_is_refused_with_the_reason():
    with pytest.raises(RuntimeError, match=r"device 'cuda' is not available: .*(driver|not installed)"):
        conv_transpose1d(np.ones((1, 5)), np.ones((1, 1, 3)), device="cuda")
    with pytest.raises(RuntimeError, match="device 'cuda' is not available"):
        ConvTranspose1d(np.ones((1, 1, 3)), device="cuda")
    with pytest.raises(RuntimeError, match="device 'cuda' is not available"):
        upfirdn(np.ones(3), np.ones(5), device="cuda")


@pytest.mark.parametrize(("work", "cores", "pays"), [
    (Work(0, 0, 4), 1, False),
    (Work(backends.FEWEST_PRODUCTS - 1, 0, 4), 1, False),  # too little, wherever it lies
    (Work(1 << 34, 1 << 24, 4), 2, True),  # a large layer on a laptop
    (Work(1 << 34, 1 << 24, 4), 128, False),  # on a server
    (Work(1 << 34, 1 << 24, 4), 8, True),  # on eight cores
    (Work(1 << 34, 1 << 24, 8), 8, False),  # and in double precision
    (Work(1 << 30, 1 << 30, 4), 2, False),  # copies
])  # fmt: skip
def test_when_a_gpu_pays(work, cores, pays):
    assert gpu_pays(work, cores) == pays


def test_a_gpu_is_used_where_it_pays_and_is_there(monkeypatch):
    """The decision, with a GPU that is only said to be there."""
    large = Work(1 << 40, 1 << 24, 4)
    monkeypatch.setattr(backends, "missing_for_cuda", lambda: "")
    assert backends.serves_on_gpu("auto", large)
    assert not backends.serves_on_gpu("auto", Work(1, 1, 4))
    assert not backends.serves_on_gpu("cpu", large)
    monkeypatch.setattr(backends, "missing_for_cuda", lambda: "no driver")
    assert not backends.serves_on_gpu("auto", large)


def test_the_work_of_a_layer(monkeypatch):
    """Multiply-adds and bytes by hand: batch 2, 6 to 8 channels in two groups, 5 samples to 12, 4 taps, stride 2."""
    asked = []
    monkeypatch.setattr(gpu, "FEWEST_PRODUCTS", 0)
    monkeypatch.setattr(gpu, "serves_on_gpu", lambda device, work: asked.append(work))
    for dtype in "f", "F":
        conv_transpose1d(np.ones((2, 6, 5), dtype), np.ones((6, 4, 4), dtype), stride=2, groups=2)
    products, samples = 2 * 5 * 6 * 4 * 4, 2 * 6 * 5 + 2 * 8 * 12
    assert asked == [Work(products, 4 * samples, 4), Work(4 * products, 8 * samples, 4)]


class Elsewhere:
    """What looks like an array on a GPU; no memory is behind it."""

    def __init__(self, array):
        self.__cuda_array_interface__ = array.__array_interface__ | {"version": 3, "stream": None}


def test_arrays_on_a_gpu_beside_an_x_in_host_memory_are_refused():
    x, weight, out = np.ones((1, 5)), np.ones((1, 1, 3)), np.ones((1, 7))
    with pytest.raises(TypeError, match="weight must be in host memory where x is; got Elsewhere on a GPU"):
        conv_transpose1d(x, Elsewhere(weight))
    lazy = pytest.importorskip("dask.array").from_array(x)
    with pytest.raises(TypeError, match="weight must be in host memory where x is; got Elsewhere on a GPU"):
        conv_transpose1d(lazy, Elsewhere(weight))  # not only when it is computed
    with pytest.raises(TypeError, match="weight must be in host memory where x is; got Elsewhere on a GPU"):
        ConvTranspose1d(Elsewhere(weight))(lazy)
    with pytest.raises(TypeError, match="bias must be in host memory where weight is"):
        conv_transpose1d(x, weight, Elsewhere(np.ones(1)))
    with pytest.raises(TypeError, match="out must be in host memory where x is"):
        conv_transpose1d(x, weight, out=Elsewhere(out))
    with pytest.raises(TypeError, match="h must be in host memory where x is"):
        upfirdn(Elsewhere(np.ones(3)), np.ones(5))
    with pytest.raises(TypeError, match="stream must be left out where x is in host memory; got 7"):
        conv_transpose1d(x, weight, stream=7)
    with pytest.raises(TypeError, match="stream must be left out where x is in host memory; got 7"):
        ConvTranspose1d(weight)(x, stream=7)


def test_arrays_on_a_gpu_that_cannot_be_used():
    x = Elsewhere(np.ones((1, 5)))
    with pytest.raises(ValueError, match="device must be 'auto' or 'cuda' where x is on a GPU; got 'cpu'"):
        conv_transpose1d(x, np.ones((1, 1, 3)), device="cpu")
    with pytest.raises(RuntimeError, match="device 'cuda' is not available"):
        conv_transpose1d(x, np.ones((1, 1, 3)))
    with pytest.raises(TypeError, match="x on a GPU must be float16/32/64 or complex64/128; got int64"):
        conv_transpose1d(Elsewhere(np.ones((1, 5), int)), np.ones((1, 1, 3)))
    with pytest.raises(ValueError, match="x must be aligned; got the strides"):
        conv_transpose1d(Elsewhere(np.zeros(41, np.int8)[1:].view(float).reshape(1, 5)), np.ones((1, 1, 3)))
    masked = Elsewhere(np.ones((1, 5)))
    masked.__cuda_array_interface__["mask"] = masked
    with pytest.raises(TypeError, match="x must be an array whose memory on the GPU can be read; got a masked array"):
        conv_transpose1d(masked, np.ones((1, 1, 3)))


class Exchanged:
    """What tells of its memory by DLPack alone; it lies on the host, and says that it does not."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return 2, 3


@pytest.mark.skipif(sys.platform == "darwin", reason="there is no CUDA for macOS")
@pytest.mark.parametrize(
    ("array", "says_strides"), [(np.ones((2, 6)), True), (np.ones((2, 6)), False), (np.ones((2, 6))[:, ::2], True)]
)
def test_arrays_of_dlpack(array, says_strides, monkeypatch):
    from cuda.core.utils import StridedMemoryView

    # Nothing here has a GPU to ask for the stream; the capsule is NumPy's.
    read = StridedMemoryView.from_dlpack

    def from_dlpack(value, stream_ptr):
        view = read(value.array, stream_ptr=stream_ptr)
        said = {name: getattr(view, name) for name in ("ptr", "shape", "strides", "dtype", "readonly")}
        return SimpleNamespace(**said if says_strides else said | {"strides": None})

    monkeypatch.setattr("cuda.core.utils.StridedMemoryView", SimpleNamespace(from_dlpack=from_dlpack))
    view = as_device_array("x", Exchanged(array))
    assert (view.pointer, view.shape, view.strides, view.dtype) == (
        array.ctypes.data, array.shape, array.strides, array.dtype,
    )  # fmt: skip


@pytest.mark.parametrize("library", ["cupy", "jax"])
def test_a_new_array_is_of_the_callers_library(library, monkeypatch):
    """With stand-ins for libraries that take a GPU."""
    made = []

    class Made(SimpleNamespace):
        def block_until_ready(self):
            return self

    def empty(shape, dtype, **options):
        made.append(Made(shape=shape, dtype=dtype, **options))
        return made[-1]

    monkeypatch.setitem(sys.modules, library, SimpleNamespace(empty=empty, numpy=SimpleNamespace(empty=empty)))
    owner = type("Array", (), {"__module__": f"{library}.core", "device": "GPU 1"})()
    array = DeviceArray(owner, 0, (1, 5), (20, 4), np.dtype("f4"), None, True, None)
    result = empty_like(array, (2, 9), np.dtype("c8"), lambda *how: pytest.fail("Numba's"))
    assert result is made[0]
    assert (result.shape, result.dtype) == ((2, 9), np.dtype("c8"))
    assert getattr(result, "device", None) == ("GPU 1" if library == "jax" else None)


@pytest.fixture
def compiler(monkeypatch):
    """Return the compiler with a stand-in for a GPU of compute capability 9.0."""
    if sys.platform == "darwin":
        pytest.skip("there is no CUDA for macOS")
    from numba_tconv.backends.cuda import compiler

    device = SimpleNamespace(compute_capability=(9, 0), name=b"GPU 9")
    gpu = SimpleNamespace(device=device, get_current_device=lambda: device, is_available=lambda: True)
    monkeypatch.setattr(compiler, "cuda", gpu)
    return compiler


def test_what_is_missing_for_a_gpu(compiler, monkeypatch):
    assert compiler.missing() == ""
    assert compiler.gpu_name() == "GPU 9 (compute capability 9.0)"
    compiler.cuda.device.name = "GPU 10"
    assert compiler.gpu_name() == "GPU 10 (compute capability 9.0)"
    compiler.cuda.device.compute_capability = (7, 0)
    assert compiler.missing() == "the GPU must have compute capability 7.5 or higher; it has 7.0"
    compiler.cuda.is_available = lambda: False
    assert "finds a GPU, but not the libraries of the CUDA toolkit" in compiler.missing()
    monkeypatch.setattr(compiler, "_PROCESS", os.getpid() + 1)
    assert compiler.missing() == "CUDA was set up in the parent of this forked process; start it by spawn"


def test_without_numba_cuda_the_package_is_named(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert "pip install 'numba-tconv[cuda]'" in backends._missing(-1)


def test_kernels_for_a_gpu_are_kept_on_disk_where_they_can_be(compiler, monkeypatch):
    def jit(cache=False, **options):
        if cache and error:
            raise RuntimeError(error)
        return lambda function: (function, cache, options)

    compiler.cuda.jit = jit

    def compiled():
        function, cache, options = compiler.compile_kernel(lambda: None, 256, 2)
        assert options == {"launch_bounds": (256, 2)}
        assert function.__qualname__.endswith(compiler.fingerprint())
        return cache

    error = ""
    assert compiled()
    error = "cannot cache function: no locator available"
    assert not compiled()
    error = "something else"
    with pytest.raises(RuntimeError, match="something else"):
        compiled()
    monkeypatch.setenv("NUMBA_TCONV_CACHE", "0")
    assert not compiled()
