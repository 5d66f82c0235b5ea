"""airspeed velocity finds, checks and runs the benchmarks of asv_benchmarks/suite."""

import json
import math
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from asv_benchmarks.suite import QUICK

ROOT = Path(__file__).parents[1]


def run(*command, folder, **environment):
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def asv(tmp_path):
    """Return asv on this suite and this Python; all that it writes, its notes on the machine too, is in `tmp_path`."""
    # asv files results under commits: this repository has one.
    run("git", "init", "--quiet", folder=tmp_path)
    someone = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    run("git", *someone, "commit", "--quiet", "--allow-empty", "--message=all", folder=tmp_path)
    config = {
        "version": 1,
        "project": "numba-tconv",
        "repo": ".",
        "benchmark_dir": str(ROOT / "asv_benchmarks"),
        "environment_type": "virtualenv",
        # A fork server imports all but once; that its children run on one thread matters to times alone.
        "launch_method": "forkserver" if sys.platform == "linux" else "spawn",
    }
    (tmp_path / "asv.conf.json").write_text(json.dumps(config), encoding="utf-8")
    home = str(tmp_path)

    def asv(*arguments):
        return run(sys.executable, "-m", "asv", *arguments, folder=tmp_path, HOME=home, USERPROFILE=home)

    asv("machine", "--yes", "--machine=this")
    return asv


def selected(name, params):
    """Return the combinations to run: for the plan the rows marked quick, for the rest the first."""
    combinations = list(product(*params))
    if name == "suite.layers.Plan.time_forward":
        return [(row,) for (row,) in combinations if row.strip("'") in QUICK]
    return combinations[:1]


def test_the_configuration_is_valid():
    assert "No problems found" in run(sys.executable, "-m", "asv", "check", "--python=same", folder=ROOT)


def test_every_benchmark_runs(asv, tmp_path):
    here = ("run", "--quick", "--python=same", "--machine=this", "--set-commit-hash=HEAD")
    asv(*here, "--bench=just-discover")
    benchmarks = json.loads((tmp_path / "results" / "benchmarks.json").read_text(encoding="utf-8"))
    del benchmarks["version"]
    chosen = {name: selected(name, benchmark["params"]) for name, benchmark in benchmarks.items()}
    patterns = [
        re.escape(f"{name}({', '.join(values)})" if values else name)
        for name, combinations in chosen.items()
        for values in combinations
    ]
    asv(*here, *(f"--bench=^{pattern}$" for pattern in patterns))

    (file,) = (tmp_path / "results" / "this").glob("*-existing-*.json")
    saved = json.loads(file.read_text(encoding="utf-8"))
    place = saved["result_columns"].index("result")
    numbers = {
        name: [x for x in row[place] if x is not None and math.isfinite(x)] for name, row in saved["results"].items()
    }
    # None for a failure and nan for a skip: a benchmark that runs nowhere measures nothing. GPUs are hidden from tests.
    assert {name: len(found) for name, found in numbers.items()} == {
        name: 0 if name.startswith("suite.cuda.") else len(combinations) for name, combinations in chosen.items()
    }
    results = [saved["results"][name][place] for name in chosen if name.startswith("suite.cuda.")]
    assert all(x is not None for found in results for x in found)  # they may be skipped, not fail
