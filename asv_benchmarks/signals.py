"""The signal face next to SciPy, and to other resamplers where there is one for the job.

    python -m asv_benchmarks.signals [--threads N] [--rounds N] [--rows REGEX]

Timed as `peers.py` times: one process, candidates in turn, medians. A row's result is compared with SciPy's first; soxr
and torch have filters of their own, so only their lengths are.
"""

import argparse
import importlib.util
import re
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
import scipy.signal

from asv_benchmarks.peers import duration, seconds_in_turn
from numba_tconv import Upsampler, resample_poly, upfirdn

Call = Callable[[], Any]
CHANNELS, LONG, SHORT, BLOCK = 64, 1_000_000, 256, 441
SECONDS = 10
TOLERANCE = 1e-4


def low_pass(up: int, down: int, dtype: str) -> np.ndarray:
    """Return a filter of 20 taps for each unit of the larger rate."""
    rate = max(up, down)
    return scipy.signal.firwin(20 * rate + 1, 1 / rate, window=("kaiser", 5.0)).astype(dtype)


def pair(up: int, down: int, x: np.ndarray, axis: int = -1, taps: np.ndarray | None = None) -> dict[str, Call]:
    """Return `upfirdn` here and in SciPy, and here with `out`."""
    h = low_pass(up, down, x.real.dtype.name) if taps is None else taps
    out = upfirdn(h, x, up, down, axis)
    return {
        "ours": lambda: upfirdn(h, x, up, down, axis),
        "ours, out=": lambda: upfirdn(h, x, up, down, axis, out=out),
        "scipy": lambda: scipy.signal.upfirdn(h, x, up, down, axis),
    }


def audio() -> dict[str, Call]:
    """Return ways from 44.1 to 48 kHz for ten seconds of one channel, each with its own filter."""
    x = np.random.default_rng(0).standard_normal(SECONDS * 44100, dtype=np.float32)
    calls: dict[str, Call] = {
        "ours": lambda: resample_poly(x, 160, 147),
        "scipy": lambda: scipy.signal.resample_poly(x, 160, 147),
    }
    if importlib.util.find_spec("soxr"):
        import soxr

        calls["soxr HQ"] = lambda: soxr.resample(x, 44100, 48000, quality="HQ")
    if importlib.util.find_spec("torch"):
        import torch

        # As torchaudio does: a convolution of stride 147 with one filter for each of 160 phases; 23 taps around each.
        torch.set_num_threads(numba.get_num_threads())
        signal = torch.nn.functional.pad(torch.from_numpy(x)[None, None], (11, 11 + 147))
        phases = torch.randn(160, 1, 22 + 147)
        calls["torch conv1d"] = lambda: (
            torch.nn.functional.conv1d(signal, phases, stride=147).transpose(1, 2).reshape(-1)
        )
    return calls


def block() -> dict[str, Call]:
    """Return 10 ms of audio through a stream; SciPy has none, and would have to be given the block's past again."""
    x = np.random.default_rng(0).standard_normal(BLOCK, dtype=np.float32)
    stream, out = Upsampler(low_pass(160, 147, "float32"), 160, 147), np.empty(480, np.float32)
    stream.process(x)
    return {"ours, out=": lambda: stream.process(x, out=out)}


def rows() -> Iterator[tuple[str, Callable[[], dict[str, Call]]]]:
    """Yield names and what makes the candidates."""
    rng = np.random.default_rng(0)

    def signal(*shape: int, dtype: str = "float32") -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype) * (1 + 1j if dtype == "complex64" else 1)

    for dtype in ("float32", "float64", "complex64"):
        yield f"1 x 1e6 up 4 {dtype}", lambda dtype=dtype: pair(4, 1, signal(LONG, dtype=dtype).astype(dtype))
    taps = scipy.signal.firwin(65, 1 / 2).astype("f")
    yield "64 x 1e5 up 2, last axis", lambda: pair(2, 1, signal(CHANNELS, LONG // 10), -1, taps)
    yield "64 x 1e5 up 2, first axis", lambda: pair(2, 1, signal(LONG // 10, CHANNELS), 0, taps)
    for up, down in ((160, 147), (147, 160), (3, 2), (2, 3), (1, 4)):
        yield f"1 x 1e6 up {up} down {down}", lambda up=up, down=down: pair(up, down, signal(LONG))
    yield "1 x 1e6 up 160 down 147 complex64", lambda: pair(160, 147, signal(LONG, dtype="complex64").astype("F"))
    yield "1,000 x 250 up 25 down 36", lambda: pair(25, 36, signal(1000, 250))
    yield "1 x 256 up 4, 41 taps", lambda: pair(4, 1, signal(SHORT), -1, scipy.signal.firwin(41, 1 / 4).astype("f"))
    yield "audio 44.1 to 48 kHz, 10 s", audio
    yield "audio 44.1 to 48 kHz, blocks of 10 ms", block


def check(calls: dict[str, Call]) -> None:
    """Refuse to time what is wrong."""
    results = {name: np.asarray(call()) for name, call in calls.items()}
    expected = results.get("scipy")
    for name, result in results.items():
        if expected is not None and name.startswith("ours"):
            error = np.abs(result - expected).max() / np.abs(expected).max()
            assert error < TOLERANCE, f"{name}: {error}"


def main(arguments: list[str] | None = None) -> None:
    """Print a table, a row as soon as it is known."""
    parser = argparse.ArgumentParser("python -m asv_benchmarks.signals", description="Compare with SciPy.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--budget", type=float, default=4.0, help="seconds for each row; default: %(default)s")
    parser.add_argument("--rows", default="", metavar="REGEX")
    options = parser.parse_args(arguments)
    numba.set_num_threads(options.threads)
    print(f"{options.threads} threads; times, and the fastest other over ours")
    for name, make in rows():
        if re.search(options.rows, name):
            calls = make()
            check(calls)
            seconds = seconds_in_turn(calls, options.rounds, options.budget)
            others = [t for candidate, t in seconds.items() if not candidate.startswith("ours")]
            ratio = min(others) / seconds.get("ours", np.inf) if others else np.nan
            times = ", ".join(f"{candidate} {duration(t)}" for candidate, t in seconds.items())
            print(f"| {name} | {times} | {'-' if np.isnan(ratio) else f'{ratio:.1f}'} |", flush=True)


if __name__ == "__main__":
    main()
