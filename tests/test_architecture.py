"""The README's module table is the architecture: the code is held to it."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "driver/phasewalk"
CHILDREN = {
    *("reference", "training", "deployment", "prediction", "collective", "parity", "eager"),
    "supervise",
}

PRINTING = {"cli", "evaluate_command", "label_commands", "view_commands"}

# Who may touch what: everything else goes through these.
OWNERS = {
    "subprocess": {"launch", "supervise"},
    "signal": {"launch", "supervise", "stops", "jobs"},
    "os": {
        "launch",  # the environment of children; process groups
        "supervise",  # its own process group
        "store",  # fsync
        "files",  # the same
        "shared_code",  # who this user is
        "stops",  # a terminal that is gone
        "locking",  # the lock file
        "engines",  # cores that this process may use
        "cli",  # hands the environment down
        "label_commands",  # the same
        "fes_command",  # the same
        "view_commands",  # the same
        "evaluate_command",  # the same
    },
    "shutil": {
        "launch",  # a job's scratch folder
        "jobs",  # how full the disk is
        "scratch",  # the same; the folder itself
        "engines",  # which
        "plugin",  # which; the build folder
    },
    "fcntl": {"locking"},
    "socket": {"locking"},
    "ctypes": {"supervise", "lammps_library"},
    "multiprocessing": set[str](),
    "threading": set[str](),
    "concurrent": set[str](),
    "asyncio": set[str](),
    "typer": {
        "cli",
        "evaluate_command",
        "examples",
        "label_commands",
        "fes_command",
        "report_command",
        "schema_command",
        "view_commands",
    },
    "jinja2": {"decks", "report"},
    "matplotlib": {"pictures", "scatter", "figures", "maps", "free_figures", "notebook"},
    "pandas": {"notebook"},
    "chemiscope": {"chemiscope_file"},
    # Heavy, and never in a process that goes on to start others.
    "torch": {"checkpoints", "training", "deployment", "eager", "parity"},
    "lightning": {"training"},
    "nequip": {"training", "deployment", "eager", "parity", "notebook"},
    "tblite": {"reference"},
    "lammps": {"lammps_library"},
}
FORBIDDEN_CALLS = re.compile(
    r"eval|exec|(os|Path|contextlib)\.(system|popen|fork|chdir|getcwd|cwd|exec.*|spawn.*)"
    r"|tempfile\.mktemp|warnings\.(filter|simplefilter).*"
)
MAX_MODULE, MAX_FUNCTION = 400, 60
LONG_MODULES: dict[str, str] = {}
"""At most two, each with its reason."""


def modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text())


def table() -> dict[str, set[str]]:
    """Module → what it may import, from the README."""
    rows = re.findall(
        r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", (ROOT / "README.md").read_text(), re.M
    )
    assert len(rows) == len({name for name, _ in rows}), "a module stands twice in the table"
    return {name: set() if may.strip() == "—" else set(may.split(", ")) for name, may in rows}


def imports(module: str) -> Iterator[tuple[str, int]]:
    """(top-level package, line) of absolute imports anywhere in the module; ours as `.name`."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).split(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{module}: {node.lineno}"
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((f".{name}", node.lineno) for name in names)


def own_imports(module: str) -> set[str]:
    return {name[1:] for name, _ in imports(module) if name.startswith(".")}


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes, and the public methods of those classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def test_the_table_names_every_module() -> None:
    assert sorted(table()) == modules()


def test_the_table_is_in_an_order_without_cycles() -> None:
    graph: Mapping[str, set[str]] = {module: own_imports(module) for module in modules()}
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("module", modules())
def test_imports_are_those_of_the_table(module: str) -> None:
    assert own_imports(module) == table()[module]


@pytest.mark.parametrize("module", modules())
def test_no_module_imports_itself_by_its_full_name(module: str) -> None:
    assert "phasewalk" not in {name for name, _ in imports(module)}


@pytest.mark.parametrize("library", OWNERS)
def test_each_library_stays_with_its_owners(library: str) -> None:
    users = {module for module in modules() if library in {name for name, _ in imports(module)}}
    assert users == OWNERS[library]


def test_the_loop_knows_no_launcher() -> None:
    """A laptop, a cluster and a test are the same code: only the command line picks one."""
    users = {module for module in modules() if "launch" in own_imports(module)}
    assert users == {"cli", "label_commands", "evaluate_command", "fes_command"}


@pytest.mark.parametrize("module", modules())
def test_no_module_leans_on_global_state_or_a_shell(module: str) -> None:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert not FORBIDDEN_CALLS.fullmatch(name), f"{module}, line {node.lineno}: {name}"
        if isinstance(node, ast.keyword) and node.arg == "shell":
            pytest.fail(f"{module}, line {node.value.lineno}: shell=")
        if isinstance(node, ast.Global | ast.Assert):
            pytest.fail(f"{module}, line {node.lineno}: {type(node).__name__}")
        if isinstance(node, ast.Name) and node.id == "print":
            assert module in CHILDREN | PRINTING, f"{module}, line {node.lineno}: print"


@pytest.mark.parametrize("module", modules())
def test_nothing_happens_at_import(module: str) -> None:
    """Only definitions, constants, the guard of a program, and imports for types alone."""
    for node in tree(module).body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"{module}, line {node.lineno}"
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            assert all(isinstance(inner, ast.Import | ast.ImportFrom) for inner in node.body)
        elif isinstance(node, ast.If):
            assert "__name__" in ast.unparse(node.test), f"{module}, line {node.lineno}"
        else:
            assert isinstance(
                node,
                ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Assign
                | ast.AnnAssign,
            ), f"{module}, line {node.lineno}"  # fmt: skip


def test_modules_are_short() -> None:
    assert len(LONG_MODULES) <= 2
    lengths = {m: len((PACKAGE / f"{m}.py").read_text().splitlines()) for m in modules()}
    assert {m: n for m, n in lengths.items() if n > MAX_MODULE and m not in LONG_MODULES} == {}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without the docstring."""
    first = function.body[0]
    doc = 0
    if ast.get_docstring(function) is not None:
        doc = (first.end_lineno or 0) - first.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - doc


def test_functions_are_short() -> None:
    long = {f"{m}.{f.name}": length(f) for m in modules() for f in functions(m)}
    assert {name: lines for name, lines in long.items() if lines > MAX_FUNCTION} == {}


@pytest.mark.parametrize("module", modules())
def test_what_is_public_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree(module)), module
    silent = [node.name for node in public(tree(module).body) if not ast.get_docstring(node)]
    assert silent == []
