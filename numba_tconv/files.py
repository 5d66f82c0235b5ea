"""Signals in files, read and written in blocks: .wav, .npy, .csv, and raw float32 on a pipe.

Here belong the formats; what happens to the blocks in between is `conversion.py`'s business. A block is (samples,
channels), for .npy an array of any shape with time as its first axis. No file is held in memory.
"""

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FORMATS = (".wav", ".npy", ".csv")


class FormatError(ValueError):
    """A file that is not what its name promises, or that its format cannot hold."""


class Source(Protocol):
    """A signal to read: its length where it is known, its sampling rate in Hz where it has one."""

    length: int | None
    rate: int | None

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield the signal, about `size` samples at a time."""


class Sink(Protocol):
    """A signal to write."""

    def write(self, block: Array) -> None:
        """Append a block."""

    def close(self) -> None:
        """Finish the file."""


# -- RIFF WAVE ------------------------------------------------------------------------------------------------------

PCM, IEEE_FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
# Largest file that RIFF's 32-bit sizes can describe.
LARGEST_WAV = (1 << 32) - 1
WAV_HEADER = 44


class WavSource:
    """PCM of 8, 16, 24 or 32 bits, scaled to -1 ... 1, or floats of 32 or 64 bits.

    IBM and Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", 1991, chapter 3.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        if self._file.read(12)[:4] != b"RIFF":
            raise FormatError(f"{path} is not a RIFF WAVE file")
        layout = None
        while True:
            name, size = self._chunk(path)
            if name == b"fmt ":
                layout = self._file.read(size + size % 2)
            elif name == b"data":
                break
            else:
                self._file.seek(size + size % 2, os.SEEK_CUR)
        if layout is None or len(layout) < 16:
            raise FormatError(f"{path} does not say how its samples are stored")
        self.tag, self.channels, self.rate, _, frame, self.bits = struct.unpack("<HHIIHH", layout[:16])
        if self.tag == EXTENSIBLE:
            self.tag = struct.unpack("<H", layout[24:26])[0]
        known = {PCM: (8, 16, 24, 32), IEEE_FLOAT: (32, 64)}
        if self.bits not in known.get(self.tag, ()) or frame != self.channels * self.bits // 8 or not self.channels:
            raise FormatError(f"{path} has samples of format {self.tag} with {self.bits} bits, which is not known here")
        self._frame = frame
        # A writer that could not seek has left a size of all ones, or none.
        rest = path.stat().st_size - self._file.tell()
        self.length: int | None = min(size, rest) // frame

    def _chunk(self, path: Path) -> tuple[bytes, int]:
        header = self._file.read(8)
        if len(header) < 8:
            raise FormatError(f"{path} has no samples")
        name, size = struct.unpack("<4sI", header)
        return name, size

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield float32, or float64 where 32 bits of PCM or 64 of a float would not fit."""
        left = self.length or 0
        while left:
            data = self._file.read(min(size, left) * self._frame)
            count = len(data) // self._frame
            if not count:
                return
            yield _from_wav(data[: count * self._frame], self.tag, self.bits).reshape(count, self.channels)
            left -= count


def _from_wav(data: bytes, tag: int, bits: int) -> Array:
    """Return samples as floats, full scale as 1."""
    if tag == IEEE_FLOAT:
        return np.frombuffer(data, f"<f{bits // 8}")
    if bits == 8:  # the one format without a sign
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
    if bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (wide.view("<i4")[:, 0] >> 8).astype(np.float32) / np.float32(1 << 23)
    kind = np.dtype(np.float32 if bits == 16 else np.float64)
    return np.frombuffer(data, f"<i{bits // 8}").astype(kind) / kind.type(1 << (bits - 1))


class WavSink:
    """The same format that was read, at another rate; PCM is rounded, and clipped at full scale."""

    def __init__(self, file: BinaryIO, source: WavSource, rate: int, length: int) -> None:
        self._file, self._source = file, source
        self.clipped = 0
        frame = source.channels * source.bits // 8
        size = length * frame
        if WAV_HEADER + size + size % 2 > LARGEST_WAV:
            raise FormatError(f"a .wav file holds 4 GiB, and the result has {size / (1 << 30):.1f}: write .npy instead")
        layout = struct.pack("<HHIIHH", source.tag, source.channels, rate, rate * frame, frame, source.bits)
        file.write(struct.pack("<4sI4s4sI", b"RIFF", WAV_HEADER - 8 + size + size % 2, b"WAVE", b"fmt ", 16) + layout)
        file.write(struct.pack("<4sI", b"data", size))
        self._is_odd = size % 2

    def write(self, block: Array) -> None:
        """Append a block."""
        bits = self._source.bits
        if self._source.tag == IEEE_FLOAT:
            self._file.write(np.ascontiguousarray(block, f"<f{bits // 8}").data)
            return
        scale = float(1 << (bits - 1))
        wide = np.rint(block.astype(np.float64) * scale)
        self.clipped += int(np.count_nonzero((wide < -scale) | (wide > scale - 1)))
        whole = np.clip(wide, -scale, scale - 1).astype("<i4")
        if bits == 8:
            data = (whole + 128).astype(np.uint8)
        elif bits == 24:
            data = np.ascontiguousarray(whole.reshape(-1, 1).view(np.uint8)[:, :3])
        else:
            data = np.ascontiguousarray(whole, f"<i{bits // 8}")
        self._file.write(data.data)

    def close(self) -> None:
        """Fill up to whole words, as RIFF wants it."""
        self._file.write(bytes(self._is_odd))


# -- NumPy ----------------------------------------------------------------------------------------------------------


class NpySource:
    """An array in a file, time along any axis; mapped for a block at a time, so that no more of it stays resident."""

    rate = None

    def __init__(self, path: Path, axis: int) -> None:
        self._path = path
        try:
            array = np.load(path, mmap_mode="r")
        except ValueError as error:  # no array, or one of objects
            raise FormatError(f"{path} is not an array of numbers: {error}") from None
        if not -array.ndim <= axis < array.ndim:
            raise FormatError(f"--axis must be an axis of {path}, which has the shape {array.shape}; got {axis}")
        self.axis, self.shape = axis % array.ndim, array.shape
        self.length: int | None = array.shape[self.axis]

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield copies with time as the first axis."""
        for start in range(0, self.length or 0, size):
            array = np.moveaxis(np.load(self._path, mmap_mode="r"), self.axis, 0)
            yield np.array(array[start : start + size])


class NpySink:
    """An array in a file, written run by run: a full disk is an error here, and a crash where a file is mapped."""

    def __init__(self, file: BinaryIO, source: NpySource, dtype: np.dtype[Any], length: int) -> None:
        self._file, self._axis, self._at = file, source.axis, 0
        self._shape = (*source.shape[: source.axis], length, *source.shape[source.axis + 1 :])
        descr = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": descr, "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_2_0(file, header)
        self._begin = file.tell()

    def write(self, block: Array) -> None:
        """Append a block, whose first axis is time."""
        moved = np.ascontiguousarray(np.moveaxis(block, 0, self._axis))
        inner = int(np.prod(self._shape[self._axis + 1 :])) * moved.itemsize
        runs = moved.reshape(-1, block.shape[0] * inner // moved.itemsize) if moved.size else ()
        for k, run in enumerate(runs):
            self._file.seek(self._begin + (k * self._shape[self._axis] + self._at) * inner)
            self._file.write(run.data)
        self._at += block.shape[0]

    def close(self) -> None:
        """Nothing is left to do."""


# -- text -----------------------------------------------------------------------------------------------------------


class CsvSource:
    """Numbers between commas, a line for each sample; a first line of words is kept."""

    rate = None
    length = None

    def __init__(self, file: TextIO, path: Path) -> None:
        self._path = path
        self._file = file
        first = self._file.readline()
        try:
            _numbers([first])
            self.header, self._first = "", [first]
        except ValueError:
            self.header, self._first = first, []

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield float64."""
        lines = chain(self._first, self._file)
        try:
            while block := list(islice(lines, size)):
                yield _numbers(block)
        except ValueError as error:
            raise FormatError(f"{self._path} must have numbers between commas: {error}") from None


def _numbers(lines: list[str]) -> Array:
    values: Array = np.array([[float(cell) for cell in line.split(",")] for line in lines if line.strip()])
    if values.ndim != 2:
        raise ValueError("no numbers")
    return values


class CsvSink:
    """The same, nine digits a number."""

    def __init__(self, file: BinaryIO, source: CsvSource) -> None:
        self._file = file
        file.write(source.header.encode())

    def write(self, block: Array) -> None:
        """Append a block."""
        np.savetxt(self._file, block, fmt="%.9g", delimiter=",")

    def close(self) -> None:
        """Nothing is left to do."""


# -- pipes ----------------------------------------------------------------------------------------------------------


class RawSource:
    """float32 of this machine's byte order on standard input, one channel."""

    rate = None
    length = None

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield float32."""
        rest = b""
        # read1 returns what has come, so that a slow pipe is not held up until a block is full.
        stream: Any = sys.stdin.buffer  # a BufferedReader, more than its type says
        while data := stream.read1(4 * size):
            data = rest + data
            whole = len(data) // 4 * 4
            rest = data[whole:]
            yield np.frombuffer(data[:whole], np.float32).reshape(-1, 1)
        if rest:
            raise FormatError(f"standard input must hold float32 of 4 bytes; got {len(rest)} more")


class RawSink:
    """float32 on standard output."""

    def write(self, block: Array) -> None:
        """Append a block, and let it go at once."""
        sys.stdout.buffer.write(np.ascontiguousarray(block, np.float32).data)
        sys.stdout.buffer.flush()

    def close(self) -> None:
        """Nothing is left to do."""


# -- any of them ----------------------------------------------------------------------------------------------------


@contextmanager
def open_source(name: str, axis: int) -> Iterator[WavSource | NpySource | CsvSource | RawSource]:
    """Open the signal that a name on the command line stands for; `axis` is that of an array."""
    path = Path(name)
    suffix = path.suffix.lower()
    if name == "-":
        yield RawSource()
    elif suffix == ".wav":
        with path.open("rb") as file:
            yield WavSource(file, path)
    elif suffix == ".csv":
        with path.open(encoding="utf-8") as text:
            yield CsvSource(text, path)
    elif suffix == ".npy":
        yield NpySource(path, axis)
    else:
        raise FormatError(f"IN must be '-' or end in {', '.join(FORMATS)}; got {name}")


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` at the end, and vanishes where that is not reached."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
