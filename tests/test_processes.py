"""What only a process of its own can show: forks, threads, caches, other processors, memory.

Each script runs in a fresh Python with a time limit, because what is feared here is a deadlock, an abort or a crash.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import numba
import pytest

import numba_tconv
from numba_tconv.backends.cpu.target import host

PACKAGE = Path(numba_tconv.__file__).parents[1]
TESTS = Path(__file__).parent

# Three calls above the threshold for parallel kernels: one of each path. Every script starts with it.
SETUP = """
import os
import sys
import threading

import numpy as np

from numba_tconv import ConvTranspose1d, conv_transpose1d, conv_transpose1d_backward
from numba_tconv.reference import zero_insertion

rng = np.random.default_rng(0)
SIGNAL = rng.standard_normal((1, 60_000)).astype(np.float32), rng.standard_normal((1, 1, 41)).astype(np.float32)
LAYER = rng.standard_normal((3, 20, 200)).astype(np.float32), rng.standard_normal((20, 40, 8)).astype(np.float32)
WIDE = rng.standard_normal((1, 64, 16)).astype(np.float32), rng.standard_normal((64, 80, 16)).astype(np.float32)
PROBLEMS = [SIGNAL, LAYER, WIDE]


def compute():
    return [conv_transpose1d(x, weight, stride=4) for x, weight in PROBLEMS]


def check(results):
    for (x, weight), y in zip(PROBLEMS, results, strict=True):
        expected = zero_insertion(x, weight, stride=4)
        assert np.max(abs(y - expected)) < 1e-5 * np.max(abs(expected))


def check_same(results, expected):
    for y, z in zip(results, expected, strict=True):
        assert np.max(abs(y - z)) < 1e-5 * np.max(abs(z))
"""


def run(*command, timeout=300, package=PACKAGE, **environment):
    """Run Python and return what it printed; a variable of None is taken out of the environment."""
    path = os.pathsep.join(map(str, (package, TESTS)))
    changed = {"NUMBA_NUM_THREADS": "4", "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1", **environment}
    merged = {name: str(value) for name, value in {**os.environ, **changed}.items() if value is not None}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env=merged,
        cwd=package,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def run_code(code, **options):
    return run("-c", SETUP + code, **options)


@pytest.fixture(params=["omp", "workqueue"])
def layer(request):
    """Return a threading layer of Numba; both must do, because Numba takes the first that it finds."""
    pytest.importorskip({"omp": "numba.np.ufunc.omppool"}.get(request.param, "numba"), exc_type=ImportError)
    return request.param


# -- threads and forks ---------------------------------------------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@needs_fork
def test_fork_after_a_parallel_call(layer):
    """The child computes the same, on one thread; so does its own child, and the parent goes on in parallel."""
    code = """
import numba

def in_a_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

expected = compute()
check(expected)
assert numba.threading_layer() == LAYER_NAME
plan = ConvTranspose1d(LAYER[1], stride=4)
plan(LAYER[0])

def work():
    check_same(compute(), expected)
    check_same([plan(LAYER[0])], expected[1:2])
    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()

in_a_child(work)
in_a_child(lambda: in_a_child(work))
check_same(compute(), expected)
"""
    run_code(f"LAYER_NAME = {layer!r}\n{code}", NUMBA_THREADING_LAYER=layer)


@needs_fork
def test_fork_after_the_callers_own_parallel_kernel(layer):
    """The package is used for the first time in the child, of a process that already ran parallel code of its own."""
    code = """
import numba

@numba.njit(parallel=True)
def total(values):
    result = 0.0
    for i in numba.prange(values.size):
        result += values[i]
    return result

total(np.ones(1000))
pid = os.fork()
if pid == 0:
    try:
        check(compute())
        os._exit(0)
    finally:
        os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    run_code(code, NUMBA_THREADING_LAYER=layer)


@needs_fork
def test_fork_while_another_thread_computes(layer):
    code = """
expected = compute()
stop = threading.Event()

def work():
    while not stop.is_set():
        compute()

thread = threading.Thread(target=work)
thread.start()
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        try:
            check_same(compute(), expected)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
stop.set()
thread.join()
"""
    run_code(code, NUMBA_THREADING_LAYER=layer)


THREADS = """
barrier, failures = threading.Barrier(8), []
shared = ConvTranspose1d(LAYER[1], stride=4) if PLAN else None

def work(number):
    try:
        barrier.wait()
        for _ in range(REPEATS):
            results = compute()
            if shared is not None:
                results[1] = shared(LAYER[0])
            check_same(results, expected) if expected else check(results)
    except BaseException as error:
        failures.append(error)

threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
"""


def test_eight_threads_at_once(layer):
    run_code(f"PLAN, REPEATS, expected = True, 20, compute()\n{THREADS}", NUMBA_THREADING_LAYER=layer)


def test_first_call_from_eight_threads(layer, tmp_path):
    """They compile, load the threading layer and run, all at once."""
    code = f"del PROBLEMS[1]  # compiles longest\nPLAN, REPEATS, expected = False, 2, None\n{THREADS}"
    run_code(code, NUMBA_THREADING_LAYER=layer, NUMBA_CACHE_DIR=str(tmp_path))


def test_threads_beside_the_callers_own_parallel_kernel():
    """Under OpenMP, where that is allowed at all."""
    pytest.importorskip("numba.np.ufunc.omppool", exc_type=ImportError)
    code = """
import numba

@numba.njit(parallel=True, nogil=True)
def total(values):
    result = 0.0
    for i in numba.prange(values.size):
        result += values[i]
    return result

done = threading.Event()

def work():
    while not done.is_set():
        assert total(np.ones(10_000)) == 10_000

total(np.ones(10))
thread = threading.Thread(target=work)
thread.start()
for _ in range(20):
    results = compute()
done.set()
thread.join()
check(results)
"""
    run_code(code, NUMBA_THREADING_LAYER="omp")


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_pool_of_processes(method, tmp_path):
    code = """
import multiprocessing

def task(seed):
    x = np.random.default_rng(seed).standard_normal(LAYER[0].shape).astype(np.float32)
    return conv_transpose1d(x, LAYER[1], stride=4)

if __name__ == "__main__":
    if sys.argv[1] not in multiprocessing.get_all_start_methods():
        sys.exit()
    task(0)  # in parallel, before any fork
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        results = pool.map(task, range(4))
    check_same(results, [task(seed) for seed in range(4)])
"""
    script = tmp_path / "pool.py"
    script.write_text(SETUP + code, encoding="utf-8")
    run(script, method)


def test_number_of_threads_is_respected():
    code = """
import numba
from numba_tconv.backends.cpu import threads

seen, paths = [], set()
launch = threads.launch

def record(kernel, arguments, n_workers):
    seen.append(n_workers)
    paths.add(kernel.py_func.__module__.rpartition(".")[2])
    launch(kernel, arguments, n_workers)

threads.launch = record
for n in (3, 1, 4, 2):
    numba.set_num_threads(n)
    seen.clear()
    check(compute())
    assert max(seen) == n, seen
    assert numba.get_num_threads() == n
assert paths >= {"fir", "panels", "scatter"}, paths
"""
    run_code(code)


def test_any_number_of_threads_gives_the_same_bits():
    """More threads than processors, too, and more than there are items of work."""
    code = """
import numba
from cases import LARGE

for case in LARGE.values():
    arrays = case.arrays()
    expected = None
    for n in (1, 2, 7):
        numba.set_num_threads(n)
        y = conv_transpose1d(*arrays, **case.options)
        expected = y if expected is None else expected
        assert np.array_equal(y.view(np.uint8), expected.view(np.uint8)), f"{n} threads: {case!r}"
"""
    run_code(code, NUMBA_NUM_THREADS=7)


# -- cache ---------------------------------------------------------------------------------------------------------

# What becomes of the cache is no question of the path, and one compiles faster than three.
ONE_PATH = "del PROBLEMS[1:]\n"


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_second_process_compiles_nothing(tmp_path):
    code = "check(compute())"
    first, second = (run_code(code, NUMBA_CACHE_DIR=tmp_path, NUMBA_DEBUG_CACHE=1) for _ in range(2))
    assert "data saved" in first
    assert "data loaded" in second
    assert "saved" not in second


def test_an_upgrade_leaves_no_kernels_behind(tmp_path):
    """A version whose kernels only call something else, over another one: Numba alone would load the old kernels."""
    shutil.copytree(PACKAGE / "numba_tconv", tmp_path / "numba_tconv", ignore=shutil.ignore_patterns("__pycache__"))
    vectors = tmp_path / "numba_tconv" / "backends" / "cpu" / "vectors.py"
    call = "conv_transpose1d([[1.0] * 40], [[[1.0, 2.0]]], stride=2)"
    code = f"from numba_tconv import conv_transpose1d; print({call}.sum())"
    environment = {"package": tmp_path, "NUMBA_CACHE_DIR": tmp_path / "cache"}
    assert run("-c", code, **environment) == "120.0\n"
    product = "self.builder.call(self._multiply_add, [a, b, c])"
    text = vectors.read_text(encoding="utf-8")
    assert text.count(product) == 1
    vectors.write_text(text.replace(product, "c"), encoding="utf-8")
    assert run("-c", code, **environment) == "0.0\n"


def test_variants_of_one_name():
    """Two variants of a kernel from two processes' caches may have been counted alike; neither may run for the other.

    Here the count starts again before each. Small calls load both; the large one finds its machine code by name.
    """
    code = """
import itertools
from numba.core.bytecode import FunctionIdentity

conv_transpose1d(np.ones((1, 1, 20)), np.ones((1, 1, 8)), stride=3)
for stride in (2, 4):
    FunctionIdentity._unique_ids = itertools.count(1000)
    conv_transpose1d(np.ones((1, 1, 20)), np.ones((1, 1, 8)), stride=stride)
x, weight = rng.standard_normal((1, 1, 300_000)), rng.standard_normal((1, 1, 8))
for stride in (2, 4):
    expected = zero_insertion(x, weight, stride=stride)
    assert np.max(abs(conv_transpose1d(x, weight, stride=stride) - expected)) < 1e-12
"""
    run_code(code, NUMBA_TCONV_CACHE=0)


def test_the_cache_can_be_turned_off(tmp_path):
    run_code(f"{ONE_PATH}check(compute())", NUMBA_CACHE_DIR=tmp_path, NUMBA_TCONV_CACHE=0)
    assert not files_below(tmp_path)


def test_no_folder_for_the_cache(tmp_path):
    """`NUMBA_CACHE_DIR` is below a regular file."""
    (tmp_path / "file").write_text("")
    run_code(f"{ONE_PATH}check(compute())", NUMBA_CACHE_DIR=tmp_path / "file" / "cache")


def test_no_folder_for_the_cache_beside_the_package(tmp_path):
    """Neither `__pycache__` nor the home folder can be written: both are, or are below, a regular file."""
    (tmp_path / "file").write_text("")
    shutil.copytree(PACKAGE / "numba_tconv", tmp_path / "numba_tconv", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (tmp_path / "numba_tconv").rglob("*"):
        if folder.is_dir():
            (folder / "__pycache__").write_text("")
    home = tmp_path / "file" / "home"
    code = "import numba_tconv; assert numba_tconv.__file__.startswith(sys.argv[1]); check(compute())"
    run(
        *("-c", SETUP + ONE_PATH + code, tmp_path),
        package=tmp_path,
        NUMBA_CACHE_DIR=None,
        HOME=home,
        LOCALAPPDATA=home,
        XDG_CACHE_HOME=home,
    )
    assert all(path.suffix in {".py", ".typed", ""} for path in files_below(tmp_path))


def test_folder_for_the_cache_vanishes(tmp_path):
    code = """
import shutil

check(compute())
shutil.rmtree(os.environ["NUMBA_CACHE_DIR"])
open(os.environ["NUMBA_CACHE_DIR"], "w").close()
results = [conv_transpose1d(x.astype(float), weight, stride=4) for x, weight in PROBLEMS]
check(results)
"""
    run_code(ONE_PATH + code, NUMBA_CACHE_DIR=tmp_path / "cache")


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_broken_file_in_the_cache(suffix, tmp_path):
    """As a full disk or a power failure may leave it."""
    code = f"{ONE_PATH}check(compute())"
    run_code(code, NUMBA_CACHE_DIR=tmp_path)
    for path in files_below(tmp_path):
        if path.suffix == suffix:
            path.write_bytes(path.read_bytes()[:100])
    run_code(code, NUMBA_CACHE_DIR=tmp_path)


# -- other processors ----------------------------------------------------------------------------------------------

HASWELL = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+movbe"
OTHERS = {"AVX2": ("haswell", HASWELL), "SSE": ("x86-64", "+sse,+sse2")}


@pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="x86 alone")
@pytest.mark.parametrize("target", [name for name in OTHERS if name != host().name])
def test_other_vector_units(target):
    """All other tests are about that of this machine."""
    cpu, features = OTHERS[target]
    if not all(llvmlite.binding.get_host_cpu_features().get(feature[1:]) for feature in features.split(",")):
        pytest.skip(f"this machine has no {target}")
    code = """
import random
from cases import LARGE, assert_close, check_rates, random_case
from numba_tconv.backends.cpu.target import host

assert host().name == sys.argv[1], host()
rng = random.Random(0)
single, double, half = ("float32", "float32"), ("float64", "float64"), ("float16", "float16")
kinds = [single, single, double, ("complex64", "float32")]
if host().name == "SSE":  # compiling takes most of the time, and its vectors are the ones with fewest lanes
    kinds += [half, ("complex128", "complex128")]
cases = [random_case(rng, kind) for kind in kinds for _ in range(10)]
for case in [*cases, *(LARGE[name] for name in sys.argv[2:])]:
    arrays = case.arrays()
    y = conv_transpose1d(*arrays, **case.options, out=case.out())
    try:
        assert_close(y, *case.expected(*arrays))
    except AssertionError as error:
        error.add_note(repr(case))
        raise
check_rates()
"""
    large = (
        "fir, parallel",
        "fir, complex taps",
        "panels, parallel",
        "panels, blocks of channels and groups of lanes",
        "panels, blocks of taps far apart",
        "panels, short signals, cropped",
        "panels, double",
        "panels, packed on the way, blocks of rows",
        "scatter, sixteen samples",
    )
    run("-c", SETUP + code, target, *large, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features)


@pytest.mark.parametrize(
    ("machine", "features", "avx", "expected"),
    [
        ("arm64", "+neon", True, ("NEON", 128, 32)),
        ("aarch64", "+avx512f", True, ("NEON", 128, 32)),
        ("x86_64", "+avx,+avx2,+avx512f", True, ("AVX-512", 512, 32)),
        ("AMD64", "+avx,+avx2,-avx512f", True, ("AVX2", 256, 16)),
        ("x86_64", "+avx,-avx2", True, ("AVX", 256, 16)),
        ("x86_64", "+avx,+avx2,+avx512f", False, ("SSE", 128, 16)),
        ("x86_64", "", True, ("SSE", 128, 16)),
    ],
)
def test_the_vector_unit_of_a_processor(machine, features, avx, expected, monkeypatch):
    """Width and number of registers as the manuals have them; Numba uses no AVX where NUMBA_ENABLE_AVX is 0."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", features)
    monkeypatch.setattr(numba.config, "ENABLE_AVX", avx)
    found = host.__wrapped__()
    assert (found.name, found.vector_bits, found.registers) == expected


# -- device --------------------------------------------------------------------------------------------------------


def test_the_environment_chooses_the_device():
    code = """
x, weight = np.ones((1, 3)), np.ones((1, 1, 2))
for call in (conv_transpose1d, lambda x, weight, **options: ConvTranspose1d(weight, **options)(x)):
    try:
        call(x, weight)
    except (RuntimeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}")
    assert call(x, weight, device="cpu").shape == (1, 4)
"""
    assert run_code(code, NUMBA_TCONV_DEVICE=None) == run_code(code, NUMBA_TCONV_DEVICE="cpu") == ""
    for line in run_code(code, NUMBA_TCONV_DEVICE="cuda").splitlines():
        assert line.startswith("RuntimeError: NUMBA_TCONV_DEVICE 'cuda' is not available")
    message = "ValueError: NUMBA_TCONV_DEVICE must be 'auto', 'cpu' or 'cuda'; got 'tpu'"
    assert run_code(code, NUMBA_TCONV_DEVICE="tpu").splitlines() == [message] * 2


# -- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs mprotect")
@pytest.mark.parametrize("side", ["end", "start"])
def test_nothing_is_read_or_written_beyond_an_array(side):
    """Arrays lie against pages that cannot be touched, what the package allocates included."""
    code = """
import ctypes
import mmap
from dataclasses import replace
from cases import LARGE, assert_close, check_rates, random_cases

libc = ctypes.CDLL(None, use_errno=True)
empty = np.empty

def guarded(shape, dtype=float):
    dtype = np.dtype(dtype)
    nbytes = dtype.itemsize * int(np.prod(shape))
    pages = -(-max(nbytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, pages + 2 * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for edge in (0, mmap.PAGESIZE + pages):
        assert libc.mprotect(ctypes.c_void_p(address + edge), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    start = mmap.PAGESIZE + (pages - nbytes if sys.argv[1] == "end" else 0)
    return np.frombuffer(memory, np.uint8, nbytes, start).view(dtype).reshape(shape)

def copy(array):
    if array is None:
        return None
    result = guarded(array.shape, array.dtype)
    result[...] = array
    return result

for case in [*random_cases(109, 200), *LARGE.values()]:
    print(case, flush=True)  # the last one printed is the one that crashed
    case = replace(case, x_layout="contiguous", weight_layout="contiguous")
    arrays = [copy(array) for array in case.arrays()]
    expected = case.expected(*arrays)
    np.empty = guarded
    y = conv_transpose1d(*arrays, **case.options)
    assert_close(y, *expected)
    assert_close(ConvTranspose1d(*arrays[1:], **case.options)(arrays[0]), *expected)
    np.empty = empty

def guarded_empty(call):
    np.empty = guarded
    y = call()
    np.empty = empty
    return y

check_rates(copy, guarded_empty)
"""
    run("-c", SETUP + code, side)


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
def test_peak_memory():
    """At most 16 MiB for each thread besides input, output and packed weights, and nothing is left behind."""
    code = """
import gc

MB, THREADS = 1 << 20, 2

def memory(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

def extra(call, x):
    call(x[..., : x.shape[-1] // 4])  # compiles
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    before = memory("VmRSS")
    y = call(x)
    return (memory("VmHWM") - before - y.nbytes) / MB

def backward(x, weight, wrt, **options):
    # The gradient of the output is a broadcast number, which takes no memory.
    def call(x):
        length = (x.shape[-1] - 1) * options.get("stride", 1) + weight.shape[-1]
        g = np.broadcast_to(ones((1, weight.shape[1], 1)), (x.shape[0], weight.shape[1], length))
        return getattr(conv_transpose1d_backward(g, x, weight, wrt=wrt, **options), wrt)

    return call, x

def ones(shape, dtype="f4"):
    return np.ones(shape, dtype)

def plan(shape, dtype="f4", **options):
    return ConvTranspose1d(ones(shape, dtype), **options)

calls = {
    "fir": (plan((1, 1, 9), stride=2), ones((1, 1 << 24))),
    "fir, strided": (plan((1, 1, 9), stride=2), ones((1 << 24, 2))[:, :1].T),
    "fir, complex": (plan((1, 1, 9), stride=2), ones((1, 1 << 23), "c8")),
    "fir, half": (plan((1, 1, 9), "f2", stride=2), ones((1, 1 << 24), "f2")),
    "fir, many channels": (plan((500, 1, 9), stride=2), ones((500, 1 << 15))),
    "fir, depthwise": (plan((64, 1, 4), stride=2, groups=64), ones((64, 1 << 18))),
    "fir, depthwise, few samples": (plan((64, 1, 4), stride=2, groups=64), ones((1 << 14, 64, 16))),
    "panels": (plan((64, 64, 4), stride=2), ones((64, 1 << 18))),
    "panels, strided": (plan((64, 64, 4), stride=2), ones((1 << 18, 64)).T),
    "panels, complex": (plan((32, 32, 4), "c8", stride=2), ones((32, 1 << 18), "c8")),
    "panels, short signals": (plan((64, 64, 4), stride=2), ones((1 << 12, 64, 64))),
    "panels, dilated": (plan((16, 64, 4), stride=2, dilation=3), ones((16, 1 << 19))),
    "panels, dilated far": (plan((16, 16, 4), dilation=1 << 18), ones((16, 1 << 19))),
    "panels, long filter": (plan((1, 2, 1 << 16), stride=16), ones((2, 1, 1 << 14))),
    "panels, long frames": (plan((513, 1, 1024), stride=256), ones((513, 1 << 15))),
    "grad_x": backward(ones((4, 64, 1 << 16)), ones((64, 64, 4)), "x", stride=2),
    "grad_x, long frames": backward(ones((1, 513, 1 << 15)), ones((513, 1, 1024)), "x", stride=256),
    "grad_weight": backward(ones((4, 64, 1 << 16)), ones((64, 64, 4)), "weight", stride=2),
    "grad_weight, fir": backward(ones((1, 1, 1 << 20)), ones((1, 1, 1 << 10)), "weight", stride=2),
    "packs nothing": (lambda x, w=ones((1024, 512, 16)): conv_transpose1d(x, w, stride=8), ones((1024, 16))),
    "packs nothing, long": (lambda x, w=ones((64, 64, 2048)): conv_transpose1d(x, w, stride=8), ones((64, 400))),
}
control = extra(lambda x: (x + 1) * 2, ones((1, 1 << 24)))
assert 60 < control < 70, f"a copy of 64 MB shows as {control:.1f} MB"
for name, (call, x) in calls.items():
    found = extra(call, x)
    print(f"{name}: {found:.1f} MB")
    assert found <= 16 * THREADS + 2, f"{name}: {found:.1f} MB"
"""
    # Large blocks go back to the system when they are freed, and are seen when they are taken. The first call that a
    # GPU might serve would load numba-cuda, 70 MB.
    run_code(code, NUMBA_NUM_THREADS=2, MALLOC_MMAP_THRESHOLD_=65536, NUMBA_TCONV_DEVICE="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stride", "dtype"), [(8, "float32"), (512, "float16"), (12, "float16")], ids=["fir", "panels", "fir, half"]
)
def test_more_than_two_to_the_31_samples(stride, dtype):
    """9 GiB for the first, 4.2 GiB for the others: run by hand with `pytest -m slow`."""
    names = getattr(os, "sysconf_names", {})
    if "SC_AVPHYS_PAGES" in names and os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 10 << 30:
        pytest.skip("needs 10 GiB of free memory")
    code = """
stride, dtype = int(sys.argv[1]), np.dtype(sys.argv[2])
length = (1 << 31) // stride + 1000
x = np.empty((1, length), np.float32 if dtype == np.float32 else np.int8)
x[...] = np.resize(np.arange(-50, 51, dtype=x.dtype), length)  # a period that is prime to every power of two
weight = np.arange(1, stride + 1, dtype=dtype)[None, None]
y = conv_transpose1d(x, weight, stride=stride)[0]
assert y.size == length * stride > 1 << 31
step = 1 << 24
for start in [*range(0, y.size, 1 << 27), (1 << 31) - step // 2, y.size - step]:
    first = start // stride
    rows = x[0, first : first + step // stride].astype(np.float32)
    expected = (rows[:, None] * weight[0]).astype(dtype).ravel()
    np.testing.assert_array_equal(y[first * stride :][: expected.size], expected)
"""
    run("-c", SETUP + code, stride, dtype, timeout=1800)
