"""The house: imports go only downwards, importing the package is cheap, and docstrings match signatures.

Here belong checks that read the source and run none of it.
"""

import ast
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import numba_tconv

PACKAGE = Path(numba_tconv.__file__).parent

# From the roof down. A room may import from the floors below it alone, never from its neighbours on the same floor.
FLOORS = (
    {"__init__", "__main__"},
    {"cli"},
    {"demo", "conversion"},
    {"files"},
    {"training"},
    {"options", "progress"},
    {"solvers"},
    {"factors"},
    {"layer", "resampling", "torch"},
    {"formats", "initializers", "interchange", "storage", "_properties", "polyphase"},
    {"functional"},
    {"gradients", "streaming"},
    {"gpu", "lazy"},
    {"arguments", "boundaries", "outputs", "overlap_save"},
    {"backends"},
    {"backends.cpu", "backends.cuda"},
    {"axes", "compiling", "device_array", "geometry", "sources"},
)
# The tests' oracle stands outside: it imports nothing of ours and nothing of ours imports it.
REFERENCE = "reference"


def module_name(path):
    """`backends/cpu/tile.py` is `numba_tconv.backends.cpu.tile`, `backends/__init__.py` is `numba_tconv.backends`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in SOURCES.items()}


def room(module):
    """`numba_tconv.backends.cpu.tile` lives in the room `backends.cpu`, `numba_tconv.cli` in `cli`."""
    parts = module.split(".")[1:] or ["__init__"]
    return ".".join(parts[:2] if parts[0] == "backends" and parts[1:2] in (["cpu"], ["cuda"]) else parts[:1])


def imported_modules(module):
    """Every module that `module` imports, at the top, inside a function or for type checkers only."""
    package = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield submodule if submodule in SOURCES else base


def our_imports(module):
    return {target for target in imported_modules(module) if target.split(".")[0] == "numba_tconv"}


def floor(module):
    floors = [level for level, rooms in enumerate(FLOORS) if room(module) in rooms]
    assert floors, f"give the room {room(module)!r} a floor in FLOORS"
    return floors[0]


@pytest.mark.parametrize("module", [module for module in SOURCES if room(module) != REFERENCE])
def test_imports_go_only_downwards(module):
    for target in our_imports(module):
        # Anyone may read the version from the package itself, which imports nothing before it is asked for a name.
        if target == "numba_tconv" or room(target) == room(module):
            continue
        assert room(target) != REFERENCE, f"{module} imports the tests' oracle"
        assert floor(target) > floor(module), f"{module} imports {target}, which is not on a floor below"


def test_reference_imports_nothing_of_ours():
    assert not our_imports(f"numba_tconv.{REFERENCE}")


def test_geometry_imports_the_standard_library_alone():
    roots = {target.split(".")[0] for target in imported_modules("numba_tconv.geometry")}
    assert roots
    assert roots <= sys.stdlib_module_names


def test_the_import_scan_sees_this_house():
    """Were the scan blind, the tests above would pass on anything."""
    assert "numba_tconv.cli" in our_imports("numba_tconv.__main__")
    assert "numba_tconv.geometry" in our_imports("numba_tconv.functional")
    assert any(room(module) == "backends.cpu" for module in SOURCES)


def test_importing_the_package_loads_no_other():
    code = "import sys, numba_tconv; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "numba_tconv" in loaded
    assert not {"numba", "numpy", "scipy"} & set(loaded)


def test_public_names_resolve_and_unknown_ones_do_not():
    assert set(numba_tconv.__all__) <= set(dir(numba_tconv))
    for name in numba_tconv.__all__:
        assert getattr(numba_tconv, name).__name__ == name
    with pytest.raises(AttributeError, match="'numba_tconv' has no attribute 'conv_transposed'"):
        numba_tconv.conv_transposed  # noqa: B018 the attribute access is what is tested


def documented_parameters(docstring):
    """Names in the Parameters section; None where there is none."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=\n\n\S+[^\n]*\n-+\n|\Z)", inspect.cleandoc(docstring), re.S | re.M)
    if section is None:
        return None
    entries = [line.split(" : ")[0] for line in section[1].splitlines() if line and not line[0].isspace()]
    return [name.strip().lstrip("*") for entry in entries for name in entry.split(",")]


def signature_parameters(function):
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    return [argument.arg for argument in named if argument and argument.arg not in ("self", "cls")]


def documented_callables():
    """Yield (where, signature, docstring) of every public function, class and method outside the compute kernels."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for module, tree in TREES.items():
        for node in tree.body:
            name = getattr(node, "name", "_")
            if name.startswith("_") or room(module).startswith("backends."):
                continue
            if isinstance(node, functions):
                yield f"{module}.{name}", signature_parameters(node), ast.get_docstring(node)
            elif isinstance(node, ast.ClassDef):
                methods = {item.name: item for item in node.body if isinstance(item, functions)}
                if "__init__" in methods:
                    yield f"{module}.{name}", signature_parameters(methods["__init__"]), ast.get_docstring(node)
                for method, item in methods.items():
                    if not method.startswith("_") or method == "__call__":
                        yield f"{module}.{name}.{method}", signature_parameters(item), ast.get_docstring(item)


CALLABLES = {where: (signature, docstring) for where, signature, docstring in documented_callables()}
PUBLIC = {where for where in CALLABLES if where.split(".")[2] in numba_tconv.__all__}


def test_the_docstring_scan_sees_the_public_names():
    assert {where.split(".")[2] for where in PUBLIC} == set(numba_tconv.__all__)


@pytest.mark.parametrize("where", CALLABLES)
def test_docstring_matches_signature(where):
    signature, docstring = CALLABLES[where]
    assert docstring, f"{where} has no docstring"
    documented = documented_parameters(docstring)
    if documented is None:
        assert where not in PUBLIC or not signature, f"{where} is public and documents no parameter"
    else:
        assert documented == signature
