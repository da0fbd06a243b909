"""The rules of the code that no linter knows: directions, sizes, docstrings, no work at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Iterator

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "official" / "multimodal" / "taming_transformer"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
CODE = sorted([*PACKAGE.parents[1].rglob("*.py"), *(ROOT / "tools").rglob("*.py")])
FILE_LINES, FUNCTION_LINES, POSITIONAL = 250, 45, 6

WRAPPERS = "reconstruction conditional fast completion"
NETWORKS = (
    "autoencoder blocks norms tiles tile_grid long_attention quantize vqgan dvae dvae_blocks gpt "
    "attention one_token columns kv_cache host winograd in_cache cond_stage net2net layers"
)
TABLE = "zoo registry"
GETTING = "weights install download cache archive origins"
FILES = "image image_files maps labels map_files video checkpoint convert conversion"

# No module of the first column comes to one of the second, however long the way.
FORBIDDEN = [
    (WRAPPERS, f"{TABLE} {GETTING} requests", "wrappers take a model and know no table of models"),
    (TABLE, WRAPPERS, "the table knows no wrappers"),
    (NETWORKS, f"{FILES} {GETTING} {TABLE} PIL cv2 requests tqdm", "networks know no files"),
    (f"{GETTING} {FILES}", f"megengine {NETWORKS} {TABLE}", "files are read without the engine"),
    ("noise sampling", f"megengine {NETWORKS} {FILES}", "drawing is mathematics alone"),
    ("loading filling", f"{TABLE} {GETTING} {WRAPPERS}", "loading takes a file that is there"),
    ("video image maps", "requests", "pictures are not fetched"),
]
STDLIB_ONLY = ("config", "errors", "sources")

# What a module may not do while it is imported; what these words miss, the last but one test sees.
WORK = set(
    "open print exec eval input system run Popen mkdir makedirs touch write_text write_bytes "
    "read_text read_bytes unlink remove urlopen request seed set_default_device basicConfig load "
    "save getenv putenv setdefault expanduser home cwd gettempdir".split()
)


@lru_cache(maxsize=None)
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@lru_cache(maxsize=None)
def imports_of(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Return (module, names): neighbours by their plain name, others by their first part."""
    return list(_imports_in(parsed(path)))


def _imports_in(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], ()
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            if node.level == 0:
                yield (node.module or "").split(".")[0], names
            elif node.module:
                yield node.module.split(".")[0], names
            else:
                for name in names:
                    yield name, ()


@lru_cache(maxsize=None)
def reached_from(module: str) -> dict[str, str]:
    """Return everything that ``module`` comes to, with the way, as ``a > b > c``."""
    ways = {module: module}
    queue = [module]
    while queue:
        here = queue.pop()
        if here not in MODULES:
            continue
        for name, _ in imports_of(PACKAGE / f"{here}.py"):
            if name not in ways:
                ways[name] = f"{ways[here]} > {name}"
                queue.append(name)
    return ways


def functions_of(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


ALL_FUNCTIONS = [(path, function) for path in CODE for function in functions_of(parsed(path))]


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines from its ``def``, without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


@pytest.mark.parametrize(("above", "below", "reason"), FORBIDDEN, ids=[f[2] for f in FORBIDDEN])
def test_imports_go_one_way(above, below, reason):
    ways = [
        way
        for module in above.split()
        for name, way in reached_from(module).items()
        if name in below.split() and name not in above.split()
    ]
    assert not ways, f"{reason}: {ways}"


def test_the_rules_name_modules_that_exist():
    rules = " ".join(above for above, _, _ in FORBIDDEN).split()
    assert not set(rules) - set(MODULES)


def test_no_import_leads_back():
    for module in MODULES:
        for name, _ in imports_of(PACKAGE / f"{module}.py"):
            if name in MODULES:
                assert module not in reached_from(name), f"{module} > {reached_from(name)[module]}"


def test_no_module_imports_the_package_itself():
    for module in MODULES:
        names = {name for name, _ in imports_of(PACKAGE / f"{module}.py")}
        assert not names & {"__init__", "official"}, module


@pytest.mark.parametrize("module", STDLIB_ONLY)
def test_the_ground_needs_the_standard_library_alone(module):
    known = set(sys.stdlib_module_names) | set(STDLIB_ONLY)
    assert not set(reached_from(module)) - known


def test_private_names_stay_in_their_file():
    found = [
        f"{path.name}: {name} of {module}"
        for path in CODE
        for module, names in imports_of(path)
        for name in names
        if name[0] == "_" and module != "__future__"
    ]
    assert not found


def test_the_package_prints_nothing():
    found = [
        f"{module}.py:{node.lineno}"
        for module in MODULES
        for node in ast.walk(parsed(PACKAGE / f"{module}.py"))
        if isinstance(node, ast.Name) and node.id == "print"
    ]
    assert not found


def test_files_are_short():
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in CODE}
    assert not {name: count for name, count in lengths.items() if count > FILE_LINES}


def test_functions_are_short():
    lengths = {f"{path.name}: {f.name}": length_of(f) for path, f in ALL_FUNCTIONS}
    assert not {name: count for name, count in lengths.items() if count > FUNCTION_LINES}


def test_functions_take_few_positional_arguments():
    found = {}
    for path, function in ALL_FUNCTIONS:
        names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
        count = len([name for name in names if name not in ("self", "cls")])
        if count > POSITIONAL:
            found[f"{path.name}: {function.name}"] = count
    assert not found


def _undocumented(tree: ast.Module) -> Iterator[str]:
    """Yield public names without docstring; of ``forward`` the class says what goes in and out."""
    if not ast.get_docstring(tree):
        yield "the module"
    owners = [("", tree), *((f"{n.name}.", n) for n in tree.body if isinstance(n, ast.ClassDef))]
    for prefix, owner in owners:
        for node in owner.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not prefix.startswith("_"):
                public = node.name[0] != "_" and node.name != "forward"
                if public and not ast.get_docstring(node):
                    yield prefix + node.name


def test_public_names_have_docstrings():
    found = [
        f"{module}: {name}"
        for module in MODULES
        for name in _undocumented(parsed(PACKAGE / f"{module}.py"))
    ]
    assert not found


def test_python_3_8_can_parse_it():
    for module in MODULES:
        text = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
        tree = ast.parse(text, f"{module}.py", feature_version=(3, 8))
        annotated = any(f.returns or f.args.args for f in functions_of(tree))
        assert "from __future__ import annotations" in text or not annotated, module


def _run_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield what runs when a module is imported, but for definitions, imports and docstrings."""
    quiet = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Import, ast.ImportFrom, ast.Pass)
    for node in body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.ClassDef):
            yield from _run_at_import(node.body)
        elif isinstance(node, (ast.If, ast.Try)):
            yield from _run_at_import([*node.body, *node.orelse])
        elif not isinstance(node, quiet) and not docstring:
            yield node


def _work_in(node: ast.stmt) -> Iterator[str]:
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        yield type(node).__name__
    for part in ast.walk(node):
        called = part.func if isinstance(part, ast.Call) else None
        name = getattr(called, "attr", None) or getattr(called, "id", "")
        if name in WORK or getattr(part, "attr", "") == "environ":
            yield f"{name or 'environ'}"


def test_importing_only_defines():
    found = [
        f"{module}.py:{node.lineno}: {what}"
        for module in MODULES
        for node in _run_at_import(parsed(PACKAGE / f"{module}.py").body)
        for what in _work_in(node)
    ]
    assert not found


WATCH = """
import os, sys, threading
import megengine, requests, tqdm, imageio, cv2, numpy, random, PIL.Image
before = dict(os.environ), numpy.random.get_state()[1].tolist(), random.getstate()
before += megengine.get_default_device(), threading.active_count()
def watch(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.mkdir", "os.rename", "os.remove")):
        raise SystemExit(f"{event} {arguments}")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        if not str(arguments[0]).endswith(".pyc") and "__pycache__" not in str(arguments[0]):
            raise SystemExit(f"{event} {arguments}")
sys.addaudithook(watch)
sys.dont_write_bytecode = True
from importlib import import_module
for name in sys.argv[1:]:
    import_module(name)
after = dict(os.environ), numpy.random.get_state()[1].tolist(), random.getstate()
after += megengine.get_default_device(), threading.active_count()
for number, (old, new) in enumerate(zip(before, after)):
    assert old == new, number
"""


def test_importing_touches_no_file_no_network_and_no_setting():
    prefix = "official.multimodal.taming_transformer"
    names = [prefix if name == "__init__" else f"{prefix}.{name}" for name in MODULES]
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *names], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_exported_name_is_there_and_documented():
    import official.multimodal.taming_transformer as package

    assert sorted(package.__all__) == sorted(set(package.__all__))
    for name in package.__all__:
        value = getattr(package, name)
        assert not callable(value) or value.__doc__, name
