"""`numba-tconv upsample`: every format, in blocks, and what happens when something goes wrong."""

import io
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.io.wavfile

from numba_tconv import conversion, resample_poly
from numba_tconv.cli import main
from numba_tconv.files import replaced

LENGTH = 3000


def run(*arguments, **options):
    command = [sys.executable, "-m", "numba_tconv", "upsample", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, **options)


def tones(channels, dtype=np.float32):
    t = np.arange(LENGTH)[:, None] / 48
    return (0.4 * np.sin(2 * np.pi * (1 + np.arange(channels)) * t)).astype(dtype)


def write_wav(path, x, bits, tag):
    """Write by the book, 24 bits and WAVE_FORMAT_EXTENSIBLE included."""
    channels = x.shape[1]
    if tag == 3:
        data = x.astype(f"<f{bits // 8}").tobytes()
    else:
        whole = np.rint(x * (1 << (bits - 1))).astype("<i4")
        raw = (whole + 128).astype(np.uint8) if bits == 8 else whole.reshape(-1, 1).view(np.uint8)[:, : bits // 8]
        data = raw.tobytes()
    frame = channels * bits // 8
    layout = struct.pack("<HHIIHH", 0xFFFE if bits == 24 else tag, channels, 48000, 48000 * frame, frame, bits)
    if bits == 24:
        layout += struct.pack("<HHIH", 22, bits, 0, tag) + bytes.fromhex("000000001000800000aa00389b71")
    other = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # a chunk that nobody asked for, of odd size
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(layout)) + layout + other
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize(("bits", "tag"), [(8, 1), (16, 1), (24, 1), (32, 1), (32, 3), (64, 3)])
def test_wav(bits, tag, channels, tmp_path):
    x = tones(channels, np.float64)
    write_wav(tmp_path / "in.wav", x, bits, tag)
    assert (
        main(["upsample", f"{tmp_path}/in.wav", f"{tmp_path}/out.wav", "--up", "3", "--down", "2", "--chunk", "700"])
        == 0
    )
    rate, y = scipy.io.wavfile.read(tmp_path / "out.wav")
    assert rate == 72000
    y = y.reshape(len(y), -1)
    if y.dtype.kind in "iu":
        # SciPy reads 24 bits into the upper ones of 32.
        y = (y - 128.0) / 128 if bits == 8 else y / np.iinfo(y.dtype).max
    step = 2.0 ** (1 - bits) if tag == 1 else 0
    np.testing.assert_allclose(y, resample_poly(x, 3, 2), atol=2 * step + 1e-6)


def test_pcm_is_clipped_and_says_so(tmp_path, capsys):
    x = np.where(np.arange(LENGTH) // 50 % 2, 32767, -32768).astype(np.int16)
    scipy.io.wavfile.write(tmp_path / "in.wav", 8000, x)
    assert main(["upsample", f"{tmp_path}/in.wav", f"{tmp_path}/out.wav", "--up", "2"]) == 0
    assert "samples lay beyond full scale, and were clipped" in capsys.readouterr().err
    y = scipy.io.wavfile.read(tmp_path / "out.wav")[1]
    expected = np.clip(np.rint(resample_poly(x / 32768, 2, 1) * 32768), -32768, 32767)
    assert np.abs(y - expected).max() <= 1


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "int16"])
def test_npy(axis, dtype, tmp_path, rng):
    shape = [2, 3, 4]
    shape[axis] = 500
    x = (100 * rng.standard_normal(shape)).astype(dtype)
    np.save(tmp_path / "in.npy", np.asfortranarray(x) if axis == 1 else x)
    options = ["--up", "4", "--down", "3", "--axis", str(axis), "--chunk", "37", "--beta", "8"]
    assert main(["upsample", f"{tmp_path}/in.npy", f"{tmp_path}/out.npy", *options]) == 0
    y, expected = np.load(tmp_path / "out.npy"), resample_poly(x, 4, 3, axis=axis, window=("kaiser", 8.0))
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(y, expected, atol=1e-3)


@pytest.mark.parametrize("taps", [1, 2, 5, 40])
@pytest.mark.parametrize("rates", [(1, 1), (5, 1), (1, 7), (4, 6)])
def test_taps_of_ones_own(taps, rates, tmp_path, rng):
    x, h = rng.standard_normal(200), rng.standard_normal(taps)
    np.save(tmp_path / "in.npy", x)
    np.save(tmp_path / "h.npy", h)
    options = ["--up", str(rates[0]), "--down", str(rates[1]), "--taps", f"{tmp_path}/h.npy", "--chunk", "1"]
    assert main(["upsample", f"{tmp_path}/in.npy", f"{tmp_path}/out.npy", *options]) == 0
    # At equal rates resample_poly does not filter.
    is_equal = rates == (1, 1)
    expected = np.convolve(x, h)[(taps - 1) // 2 :][:200] if is_equal else resample_poly(x, *rates, window=h)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-12)


@pytest.mark.parametrize("header", ["", "seconds,volts\n"])
def test_csv(header, tmp_path):
    x = tones(2, np.float64)
    lines = "\n".join(f"{a:.9g},{b:.9g}" for a, b in x)
    (tmp_path / "in.csv").write_text(header + lines)
    assert main(["upsample", f"{tmp_path}/in.csv", f"{tmp_path}/out.csv", "--up", "2", "--chunk", "999"]) == 0
    text = (tmp_path / "out.csv").read_text()
    assert text.startswith(header)
    y = np.loadtxt(text[len(header) :].splitlines(), delimiter=",")
    np.testing.assert_allclose(y, resample_poly(x, 2, 1), atol=1e-7)


def test_pipe():
    x = tones(1)[:, 0]
    result = run("-", "-", "--up", 4, "--chunk", 100, input=x.tobytes())
    assert (result.returncode, result.stderr) == (0, b"")  # no bar where there is no terminal
    np.testing.assert_allclose(np.frombuffer(result.stdout, np.float32), resample_poly(x, 4, 1), atol=1e-6)
    result = run("-", "-", "--up", 4, input=x.tobytes() + b"abc")
    assert result.returncode == 1
    assert b"standard input must hold float32 of 4 bytes; got 3 more" in result.stderr


def test_nobody_reads_on():
    """As `head` ends: no message of Python's, and an exit code that says so."""
    zeros = bytes(1 << 20)
    command = [sys.executable, "-m", "numba_tconv", "upsample", "-", "-", "--up", "4", "--chunk", "1000"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1) as process:
        process.stdout.close()
        process.stdout = None
        assert process.communicate(zeros)[1] == b""
    assert process.returncode == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", tones(1))
    for missing in (False, True):
        monkeypatch.setattr(sys, "stderr", Terminal())
        if missing:
            monkeypatch.setitem(sys.modules, "tqdm", None)
        else:
            pytest.importorskip("tqdm", reason="the progress bar takes tqdm, extra [progress]")
        assert main(["upsample", f"{tmp_path}/x.npy", f"{tmp_path}/y.npy", "--up", "2", "--chunk", "1000"]) == 0
        assert ("3.00k/3.00k" in sys.stderr.getvalue()) != missing


def test_in_may_be_out(tmp_path):
    x = tones(1)
    np.save(tmp_path / "x.npy", x)
    assert main(["upsample", f"{tmp_path}/x.npy", f"{tmp_path}/x.npy", "--up", "2", "--chunk", "100"]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), resample_poly(x, 2, 1), atol=1e-6)


def test_wrong_use_is_one_line(tmp_path, capsys):
    np.save(tmp_path / "x.npy", tones(1))
    np.save(tmp_path / "empty.npy", np.ones((0, 2)))
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.save(tmp_path / "objects.npy", np.array([None]))
    riff, data = b"RIFF\0\0\0\0WAVE", b"data\4\0\0\0abcd"
    (tmp_path / "silent.wav").write_bytes(riff + data)
    (tmp_path / "short.wav").write_bytes(riff + struct.pack("<4sIHHI", b"fmt ", 8, 1, 1, 8000) + data)
    (tmp_path / "alaw.wav").write_bytes(riff + struct.pack("<4sIHHIIHH", b"fmt ", 16, 6, 1, 8000, 8000, 1, 8) + data)
    (tmp_path / "x.csv").write_text("1,2\n3,four\n")
    (tmp_path / "none.csv").write_text("")
    (tmp_path / "x.txt").write_text("1")
    (tmp_path / "x.wav").write_text("no audio")
    (tmp_path / "cut.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    scipy.io.wavfile.write(tmp_path / "good.wav", 44100, tones(1))
    cases = {
        ("x.npy", "out.wav", "2"): "OUT must have the format of IN",
        ("missing.npy", "out.npy", "2"): "No such file",
        ("x.txt", "out.txt", "2"): "IN must be '-' or end in .wav, .npy, .csv",
        ("x.npy", "nowhere/out.npy", "2"): "No such file",
        ("x.npy", "out.npy", "2", "--axis", "2"): "--axis must be an axis of",
        ("x.npy", "out.npy", "2", "--taps", f"{tmp_path}/missing.npy"): "No such file",
        ("x.npy", "out.npy", "2", "--taps", f"{tmp_path}/x.npy"): "window must be 1-D",
        ("x.npy", "out.npy", "2", "--taps", f"{tmp_path}/objects.npy"): "is not an array of numbers",
        ("x.npy", "out.npy", "3000001"): "up and down must not exceed 1048576",
        ("empty.npy", "out.npy", "2"): "has no samples",
        ("text.npy", "out.npy", "2"): "must be an array of bool, integer",
        ("objects.npy", "out.npy", "2"): "is not an array of numbers",
        ("x.csv", "out.csv", "2"): "must have numbers between commas",
        ("none.csv", "out.csv", "2"): "has no samples",
        ("x.wav", "out.wav", "2"): "is not a RIFF WAVE file",
        ("cut.wav", "out.wav", "2"): "has no samples",
        ("silent.wav", "out.wav", "2"): "does not say how its samples are stored",
        ("short.wav", "out.wav", "2"): "does not say how its samples are stored",
        ("alaw.wav", "out.wav", "2"): "has samples of format 6 with 8 bits, which is not known here",
        ("good.wav", "out.wav", "2", "--down", "11"): "must give a whole sampling rate; got 44100 Hz times 2/11",
    }
    for (source, target, up, *options), message in cases.items():
        code = main(["upsample", f"{tmp_path}/{source}", f"{tmp_path}/{target}", "--up", up, *options])
        error = capsys.readouterr().err
        assert code == 1, (source, error)
        assert error.count("\n") == 1, error
        assert message in error
    assert not list(tmp_path.glob("*out*"))
    for options in (
        ["--up", "0"],
        ["--up", "1.5"],
        ["--up", "2", "--chunk", "0"],
        [],
        ["--up", "2", "--taps", "a", "--beta", "1"],
    ):
        with pytest.raises(SystemExit) as stop:
            main(["upsample", "a.npy", "b.npy", *options])
        assert stop.value.code == 2


def test_a_result_beyond_4_gib_is_refused_before_it_is_written(tmp_path, capsys):
    scipy.io.wavfile.write(tmp_path / "in.wav", 8000, tones(1))
    assert main(["upsample", f"{tmp_path}/in.wav", f"{tmp_path}/out.wav", "--up", "400000"]) == 1
    assert "a .wav file holds 4 GiB, and the result has 4.5" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "x.npy", tones(1))
    (tmp_path / "out.npy").write_text("old")

    class Full:
        def __getattr__(self, name):
            return getattr(file, name)

        def write(self, data):
            raise OSError(28, "No space left on device")

    with open(tmp_path / "other", "wb") as file:
        sink = conversion.NpySink
        monkeypatch.setattr(conversion, "NpySink", lambda _, *arguments: sink(Full(), *arguments))
        assert main(["upsample", f"{tmp_path}/x.npy", f"{tmp_path}/out.npy", "--up", "2"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert (tmp_path / "out.npy").read_text() == "old"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_an_interrupt_leaves_no_half_file(tmp_path):
    """Chunk by chunk this takes minutes; it is interrupted after its first ones.

    Not before: a Python that imports, or a Numba that compiles, may swallow an interrupt.
    """
    source, target = tmp_path / "x.npy", tmp_path / "out.npy"
    command = ["upsample", str(source), str(target), "--up", "2", "--chunk", "1"]
    np.save(source, np.zeros(9, np.int8))
    main(command)  # compiles
    target.unlink()
    np.save(source, np.zeros(10_000_000, np.int8))
    process = subprocess.Popen([sys.executable, "-m", "numba_tconv", *command], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.glob(".out.npy.*.part")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == b"\n"
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_a_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replaced(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
