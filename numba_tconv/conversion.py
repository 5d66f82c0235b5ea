"""A file at another rate: `numba-tconv upsample`.

Here belongs the way from one file to the other, block by block; the formats are `files.py`'s.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from math import gcd
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from numba_tconv.arguments import as_array
from numba_tconv.files import (
    CsvSink,
    CsvSource,
    FormatError,
    NpySink,
    NpySource,
    RawSink,
    RawSource,
    Sink,
    WavSink,
    WavSource,
    open_source,
    replaced,
)
from numba_tconv.resampling import Upsampler, low_pass

Source = WavSource | NpySource | CsvSource | RawSource


def convert(
    source_name: str, target_name: str, *, up: int, down: int, taps: Path | None, beta: float, axis: int, chunk: int
) -> int:
    """Write a file's signal at `up/down` times its rate to another file of the same format.

    Sample 0 stays sample 0, and of `length` samples `ceil(length*up/down)` are made, as by `resample_poly`.

    Parameters
    ----------
    source_name, target_name : str
        Names of files, or '-' for pipes. The target appears when it is complete; until then, and if that fails, what
        had its name stays.
    up, down : int
        The rates.
    taps : Path or None
        A .npy file with the low-pass filter, as the `window` of `resample_poly`; None designs it.
    beta : float
        Of the Kaiser window for the design.
    axis : int
        Time in a .npy file.
    chunk : int
        Samples that are read at a time.

    Returns
    -------
    int
        Samples beyond full scale, which PCM has clipped.

    Raises
    ------
    FormatError
        For a file that cannot be read, or a result that its format cannot hold.
    OSError
        For a file that is not there, a full disk and the like.
    """
    up, down = up // gcd(up, down), down // gcd(up, down)
    if (source_name == "-") != (target_name == "-") or Path(source_name).suffix.lower() != Path(
        target_name
    ).suffix.lower():
        raise FormatError(f"OUT must have the format of IN, {source_name}; got {target_name}")
    with open_source(source_name, axis) as source:
        blocks = source.blocks(chunk)
        first = next(blocks, None)
        if first is None:
            raise FormatError(f"{source_name} has no samples")
        first = as_array(source_name, first)
        window = ("kaiser", beta) if taps is None else load_taps(taps)
        is_copy = up == down and taps is None
        h, centre = (np.ones(1, np.float32), 0) if is_copy else low_pass(first.dtype, up, down, window)
        with opened(target_name, source, up, down, np.result_type(h, first, np.float32)) as sink:
            with bar(source.length) as show:
                _pump(chain([first], blocks), sink, (h, centre), (up, down), show)
            return sink.clipped if isinstance(sink, WavSink) else 0


def _pump(
    blocks: Iterable[NDArray[Any]], sink: Sink, taps: tuple[NDArray[Any], int], rates: tuple[int, int],
    show: Callable[[int], Any],
) -> None:  # fmt: skip
    """Filter blocks on their way to the sink; `taps` are the filter and the place of its centre."""
    (h, centre), (up, down) = taps, rates
    # With zeros before it, the filter's centre lies on an output that is kept.
    before = -centre % down
    upsampler = Upsampler(np.concatenate([np.zeros(before, h.dtype), h]), up, down, axis=0)
    late = (centre + before) // down
    received = written = 0
    for block in blocks:
        received += block.shape[0]
        result = upsampler.process(block)
        sink.write(result[late:])
        written, late = written + max(0, result.shape[0] - late), max(0, late - result.shape[0])
        show(block.shape[0])
    tail = upsampler.flush()[late:][: -(-received * up // down) - written]
    sink.write(tail)
    # A filter of one's own may end before the last output.
    missing = -(-received * up // down) - written - tail.shape[0]
    sink.write(np.zeros((missing, *tail.shape[1:]), tail.dtype))
    sink.close()


def load_taps(path: Path) -> NDArray[Any]:
    """Return the filter in a .npy file."""
    try:
        taps: NDArray[Any] = np.load(path)
    except ValueError as error:
        raise FormatError(f"--taps {path} is not an array of numbers: {error}") from None
    return taps


@contextmanager
def opened(name: str, source: Source, up: int, down: int, dtype: np.dtype[Any]) -> Iterator[Sink]:
    """Open the sink for a source; its file is in place when all went well."""
    if isinstance(source, RawSource):
        yield RawSink()
        return
    length = -(-(source.length or 0) * up // down)
    with replaced(Path(name)) as file:
        yield _sink(file, source, up, down, dtype, length)


def _sink(
    file: BinaryIO, source: WavSource | NpySource | CsvSource, up: int, down: int, dtype: np.dtype[Any], length: int
) -> Sink:
    if isinstance(source, CsvSource):
        return CsvSink(file, source)
    if isinstance(source, NpySource):
        return NpySink(file, source, dtype, length)
    if source.rate * up % down:
        raise FormatError(f"--up/--down must give a whole sampling rate; got {source.rate} Hz times {up}/{down}")
    return WavSink(file, source, source.rate * up // down, length)


@contextmanager
def bar(length: int | None) -> Iterator[Any]:
    """Return a function that counts samples: a bar on a terminal where tqdm is installed, else nothing."""
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ModuleNotFoundError:
            pass
        else:
            with tqdm(total=length, unit=" samples", unit_scale=True) as shown:
                yield shown.update
            return
    yield lambda count: None
