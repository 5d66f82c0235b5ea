"""The command `numba-tconv`: the demo end to end, the facts, and one-line errors with documented exit codes."""

import subprocess
import sys

import pytest

import numba_tconv
from numba_tconv.cli import main


def one_line(stderr):
    assert stderr.count("\n") == 1, stderr
    assert stderr.startswith("numba-tconv: error: ")
    return stderr


def test_demo_end_to_end(tmp_path):
    output = tmp_path / "ecg.png"
    command = [sys.executable, "-W", "error", "-m", "numba_tconv", "demo", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    picture = output.read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
    assert "deviation from SciPy" in done.stdout
    assert "1,024,000 samples" in done.stdout
    assert "scipy.signal.upfirdn" in done.stdout
    assert str(output) in done.stdout
    assert list(tmp_path.iterdir()) == [output]


def test_demo_fails_where_the_deviation_is_too_large(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("numba_tconv.demo.run_demo", lambda output: float("nan"))
    assert main(["demo", "--output", str(tmp_path / "ecg.png")]) == 1
    assert "deviation from SciPy must be at most 2e-05" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("package", ["pywt", "matplotlib"])
def test_demo_without_its_extra_names_it(package, tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "numba_tconv.demo", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["demo", "--output", str(tmp_path / "ecg.png")]) == 1
    message = one_line(capsys.readouterr().err)
    assert f"needs {package}" in message
    assert 'pip install "numba-tconv[demo]"' in message


@pytest.mark.parametrize("path", ["missing/ecg.png", "."])
def test_demo_refuses_a_bad_output_before_it_starts(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--output", path]) == 1
    captured = capsys.readouterr()
    assert f"--output must be a file in an existing folder; got {path}" in one_line(captured.err)
    assert captured.out == ""


def test_demo_reports_a_file_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    def full_disk(output):
        raise OSError(28, "No space left on device", str(output))

    monkeypatch.setattr("numba_tconv.demo.run_demo", full_disk)
    assert main(["demo", "--output", str(tmp_path / "ecg.png")]) == 1
    assert "No space left on device" in one_line(capsys.readouterr().err)


def test_info_prints_the_facts(capsys):
    assert main(["info"]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["numba_tconv"] == numba_tconv.__version__
    assert {"python", "numpy", "numba", "llvmlite", "scipy", "vectors", "tile", "threads", "cache"} <= set(facts)
    assert facts["CUDA"].startswith("no: ")


def test_info_without_a_cache(monkeypatch, capsys):
    monkeypatch.setenv("NUMBA_TCONV_CACHE", "0")
    assert main(["info"]) == 0
    assert "off: NUMBA_TCONV_CACHE=0" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"numba-tconv {numba_tconv.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["upsample"], ["demo", "--up", "4"]])
def test_unknown_command_lines_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: numba-tconv" in capsys.readouterr().err


def test_what_else_is_missing_is_no_matter_of_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba_tconv.demo", None)
    with pytest.raises(ModuleNotFoundError, match=r"numba_tconv\.demo"):
        main(["demo", "--output", str(tmp_path / "ecg.png")])


def info(capsys):
    assert main(["info"]) == 0
    return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())


@pytest.mark.skipif(sys.platform == "darwin", reason="there is no CUDA for macOS")
def test_info_names_the_gpu(monkeypatch, capsys):
    from numba_tconv.backends.cuda import compiler

    monkeypatch.setattr("numba_tconv.backends.missing_for_cuda", lambda: "")
    monkeypatch.setattr(compiler, "gpu_name", lambda: "GPU 9 (compute capability 9.0)")
    assert info(capsys)["CUDA"] == f"yes: GPU 9 (compute capability 9.0), by {compiler.PACKAGE}"


def test_info_where_nothing_ran_in_parallel(monkeypatch, capsys):
    """On a single core no layer is ever chosen: Numba raises."""

    def unknown():
        raise ValueError("Threading layer is not initialized.")

    monkeypatch.setattr("numba.threading_layer", unknown)
    assert "no threading layer in use" in info(capsys)["threads"]


def test_info_without_a_writable_folder(monkeypatch, capsys):
    def nowhere(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("numba.core.caching.FunctionCache", nowhere)
    assert info(capsys)["cache"] == "off: no writable folder; set NUMBA_CACHE_DIR to one"
