"""The benchmarks' table of shapes and their comparison: what is claimed about them, not how fast anything is."""

import subprocess
import sys
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest

from asv_benchmarks import peers
from asv_benchmarks.workloads import KINDS, QUICK, WORKLOADS, Workload

ROWS = {workload.name: workload for workload in WORKLOADS}
SMALL = Workload("small", "small", 2, 4, 6, 5, 7, 3)


def result(name, *, wrong=(), **seconds):
    return peers.Result(ROWS[name], seconds, list(wrong), peak=200.0, copy=100.0)


def test_names_are_unique():
    assert len(ROWS) == len(WORKLOADS)


def test_every_family_has_all_its_layers():
    layers = {workload.family: set() for workload in WORKLOADS}
    for workload in WORKLOADS:
        layers[workload.family].add((workload.weight_shape, workload.stride))
    assert {family: len(shapes) for family, shapes in layers.items()} == {
        "hifigan": 4,
        "bigvgan": 6,
        "dac": 4,
        "encodec": 4,
        "mimi": 5,
        "wavegan": 5,
        "demucs": 6,
        "convtasnet": 1,
        "waveunet": 3,
        "istft": 2,
        "example": 1,
        "fir": 6,
        "bank": 1,
    }


def test_the_quick_rows_touch_every_kind():
    assert set(ROWS) >= QUICK
    assert {workload.kind for workload in WORKLOADS if workload.quick} == {workload.kind for workload in WORKLOADS}
    assert {workload.kind for workload in WORKLOADS} == set(KINDS)


def test_every_row_fits_a_small_machine():
    assert max(workload.bytes for workload in WORKLOADS) < 2**29


@pytest.mark.parametrize("workload", [workload for workload in WORKLOADS if workload.padding == "same"])
def test_same_multiplies_the_length_by_the_stride(workload):
    left, right = workload.crop
    assert workload.output_length == workload.length * workload.stride
    assert right - left in (0, 1)


@pytest.mark.parametrize(
    "workload",
    [
        SMALL,
        replace(SMALL, padding=(1, 4)),
        replace(SMALL, padding=(9, 6)),
        replace(SMALL, padding="same"),
        replace(SMALL, groups=2),
        replace(SMALL, filter_size=2),
        replace(SMALL, dtype="complex64"),
    ],
)
def test_flops_count_the_products_that_reach_the_output(workload):
    left = workload.crop[0]
    products = sum(
        left <= workload.stride * i + k < left + workload.output_length
        for i, k in product(range(workload.length), range(workload.filter_size))
    )
    pairs_of_channels = workload.in_channels * workload.out_channels // workload.groups
    flops_per_product = 4 if workload.dtype == "complex64" else 2
    assert workload.flops == flops_per_product * workload.batch * pairs_of_channels * products


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_are_what_the_row_says(kind, dtype):
    workload = replace(SMALL, groups=2, kind=kind, dtype=dtype)
    x, weight, bias = workload.arrays(np.random.default_rng(0))
    assert x.shape == (2, 4, 5)
    assert x.dtype == dtype
    assert weight.shape == (4, 3, 7)
    assert weight.dtype == x.real.dtype
    assert (bias is None) == (kind == "fir")
    assert workload.output_shape == (2, 6, 19)
    assert workload.bytes == x.nbytes + weight.nbytes + prod(workload.output_shape) * x.itemsize


@pytest.mark.parametrize(
    ("name", "goals"),
    [
        ("hifigan 256->128 k16 s8 1x688", {"peak": 0.85}),
        ("hifigan 256->128 k16 s8 16x256", {}),  # too short
        ("hifigan 64->32 k4 s2 16x4096", {}),  # 128 products a sample
        ("wavegan 64->1 k25 s4 64x4096", {"peak": 0.85}),
        ("bank depthwise 128 k4 s2 4x4096", {"copy": 0.70}),
        ("mimi depthwise 512 k4 s2 1x1", {}),  # a few kilobytes
        ("fir 1x1000000 k81 s4 float32", {"scipy": 40.0}),
        ("fir 1x1000000 k81 s4 float64", {}),
        ("fir 1x1000000 k81 s4 complex64", {"scipy": 100.0}),
        ("fir 1x256 k41 s4 float32", {}),  # overhead of a call
    ],
)
def test_goals_follow_from_the_row(name, goals):
    assert ROWS[name].goals == goals


def test_no_miss_goes_unnamed():
    nn, memory, fir = "hifigan 256->128 k16 s8 1x688", "bank depthwise 128 k4 s2 4x4096", "fir 1x1000000 k81 s4 float32"
    fast = [
        result(nn, plan=4e-3, function=4e-3, torch=8e-3, openvino=9e-3),
        result(memory, plan=3e-4, function=3e-4, torch=6e-4),
        result(fir, plan=1e-3, function=1e-3, scipy=50e-3),
    ]
    assert [miss for row in fast for miss in peers.misses(row)] == []
    assert "fastest peer / plan, 1 rows of kind nn: geometric mean 2.00" in peers.summary(fast)

    slow = [
        result(nn, plan=8e-3, function=9e-3, torch=8.5e-3, openvino=6e-3),
        result(memory, plan=1e-3, function=1e-3, wrong=["torch"]),
        result(fir, plan=2e-3, function=2e-3, scipy=50e-3),
    ]
    assert [miss for row in slow for miss in peers.misses(row)] == [
        ("plan", "0.75"),
        ("function", "0.94"),
        ("peak", "45% of 85%"),
        ("wrong", "torch"),
        ("copy", "25% of 70%"),
        ("scipy", "25 of 40"),
    ]
    assert f"    {fir}: 25 of 40" in peers.summary(slow)


def test_a_wrong_peer_is_not_timed(monkeypatch):
    def prepare(workload, arrays, threads):
        return lambda: np.zeros(workload.output_shape, np.float32)

    monkeypatch.setitem(peers.PEERS, "torch", prepare)
    seconds, wrong = peers.compare(SMALL, ["torch"], peers.parse(["--rounds", "1"]))
    assert wrong == ["torch"]
    assert set(seconds) == {"plan", "function"}


def test_the_comparison_runs_without_peers(tmp_path):
    copy = tmp_path / "copy.txt"
    options = ["--peers=", "--rows=fir 1x256 .* float32", "--threads=1", "--rounds=1", f"--out={copy}"]
    run = subprocess.run(
        [sys.executable, "-m", "asv_benchmarks.peers", *options],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line for line in run.stdout.splitlines() if line.startswith("fir 1x256 k41 s4 float32 ")]
    assert len(rows) == 1
    assert copy.read_text(encoding="utf-8") == run.stdout
