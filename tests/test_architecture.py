"""The rooms, and what holds in all of them. The arrows between rooms are import-linter's."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "driver/phasewalk"
RECORDED = ROOT / "tests/data/mil53_al.run"
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
MODULES = sorted(
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
    for path in PACKAGE.glob("**/*.py")
    if path.name != "__init__.py"
)
CHILDREN = {name for name in MODULES if name.endswith(("_child", ".__main__"))}
CHILDREN |= {"engines.supervise"}

# Who may touch what: everything else goes through these.
OWNERS = {
    "subprocess": {
        "engines.processes",
        "engines.supervise",
        "engines.machine_child",  # asks nvidia-smi
        "sites.probe_child",
        "cluster.mps_child",
        "cluster.slurm",
        "batch.batch_child",
        "batch.driver_job",
    },
    "signal": {
        *("engines.processes", "engines.supervise", "batch.batch_child"),
        *("batch.driver_job", "batch.__main__"),
        *("batch.ended", "commands.signals", "jobs"),
    },
    "os": {
        "engines.local",  # cores that this process may use
        "engines.processes",  # the environment of children; process groups
        "engines.workplace",  # relative links
        "engines.supervise",  # its own process group
        "engines.machine_child",  # cores that this process may use
        "engines.shared_code",  # who this user is
        "store.directory",  # fsync
        "store.gathering",  # hard links
        "store.locking",  # the lock file
        "files",  # fsync
        "cluster.mps_child",  # its environment
        "sites.probe_child",  # the same; its cores; fsync
        "batch.batch_child",  # the same; process groups
        "batch.__main__",  # its environment
        "commands",  # hands the environment down; a terminal that is gone
    },
    "shutil": {
        "engines.workplace",  # a job's scratch folder
        "exports.folder",  # copies of models and sources
        "producing.needs",  # how full the disk is
        "engines.discovery",  # which
        "engines.machine_child",  # the same
        "engines.plugin",  # which; the build folder
        "cluster.mps_child",  # which; its folder
        "batch.batch_child",  # files of a job that is started again
        "batch.batches",  # files of one that has ended
        "store.gathering",  # directories of launches
        "jobs",  # how full the disk is
        "scratch",  # the same; the folder itself
    },
    "platform": {"engines.machine_child"},
    "fcntl": {"store.locking"},
    "socket": {"store.locking"},
    "ctypes": {"engines.supervise", "engines.lammps_library"},
    "multiprocessing": set[str](),
    "threading": set[str](),
    "concurrent": set[str](),
    "asyncio": set[str](),
    "typer": {"commands"},
    "jinja2": {"exports.folder", "walkers.decks", "report.page"},
    "matplotlib": {"report", "analyses.figures"},
    "pandas": {"report.notebook"},
    "chemiscope": {"report.chemiscope"},
    # Heavy, and never in a process that goes on to start others.
    "torch": {"models.checkpoints", "models.exchange", "models.repulsion", *CHILDREN},
    "lightning": {"models.train_child"},
    "nequip": {"report.notebook", "models.nequip_private", "models.repulsion", *CHILDREN},
    "tblite": {"reference.__main__"},
    "lammps": {"engines.lammps_library"},
}
FORBIDDEN_CALLS = re.compile(
    r"eval|exec|(os|Path|contextlib)\.(system|popen|fork|chdir|getcwd|cwd|exec.*|spawn.*)"
    r"|tempfile\.mktemp|warnings\.(filter|simplefilter).*"
)
MAX_MODULE, MAX_FUNCTION, MAX_ROOM, MAX_FILES = 400, 60, 2500, 15


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text())


def room_of(module: str) -> str:
    """Empty for the modules beside the rooms."""
    return module.rpartition(".")[0]


def imports(module: str) -> Iterator[tuple[str, int]]:
    """(top-level package, line) of absolute imports anywhere in the module."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).split(".")[0], node.lineno


def public_names(room: str) -> set[str]:
    """What a room offers: `__all__` of its `__init__`."""
    body = ast.parse((PACKAGE / room / "__init__.py").read_text()).body
    found = [
        n for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"
    ]
    return set(ast.literal_eval(found[0].value)) if found else set()


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


def room_rows() -> list[tuple[str, str]]:
    """Each row of the README's map: the room, and the cell that lists its modules."""
    return re.findall(
        r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", (ROOT / "README.md").read_text(), re.M
    )


def modules_of(room: str) -> list[str]:
    return sorted(m.rpartition(".")[2] for m in MODULES if room_of(m) == room)


def test_the_readme_maps_the_rooms_in_the_order_that_the_linter_holds() -> None:
    rows = [room for room, _ in room_rows()]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [re.split(r" \| ", layer) for layer in contracts["contracts"][0]["layers"]]
    order = {name: depth for depth, names in enumerate(layers) for name in names}
    assert sorted(rows) == ROOMS
    assert [order[room] for room in rows] == sorted(order[room] for room in rows)


@pytest.mark.parametrize("room", ROOMS)
def test_the_readme_says_what_each_module_is(room: str) -> None:
    """Every module of a room is named once in its row, and nothing else stands there as one."""
    named = re.findall(r"(?:^|[;,] )`(\w+)`", dict(room_rows())[room])
    assert sorted(named) == modules_of(room)


def test_the_readme_names_what_is_beside_the_rooms() -> None:
    """The modules for all of them, and each source of the plugin."""
    _, _, below = (ROOT / "README.md").read_text().partition("Modules beside the rooms")
    sources = {path.stem for path in (ROOT / "cmake/plugin").glob("*.cpp")}
    named = re.findall(r"`(\w+)`", below)
    for name in sources.union(modules_of("")):
        assert named.count(name) == 1, name


@pytest.mark.parametrize("module", MODULES)
def test_rooms_take_from_each_other_what_is_offered(module: str) -> None:
    """Other rooms' modules are not reached into; only a launcher is, by the command line."""
    for node in ast.walk(tree(module)):
        if not isinstance(node, ast.ImportFrom) or node.level != (2 if room_of(module) else 1):
            continue
        room, _, inner = (node.module or "").partition(".")
        if room in ROOMS and f"{room}.{inner}" != "engines.local":
            assert not inner, f"{module}, line {node.lineno}: {node.module}"
            offered = public_names(room)
            assert {alias.name for alias in node.names} <= offered, f"{module}, {node.lineno}"


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_small(room: str) -> None:
    files = list((PACKAGE / room).glob("*.py"))
    assert len(files) <= MAX_FILES
    assert sum(len(path.read_text().splitlines()) for path in files) <= MAX_ROOM


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_itself_by_its_full_name(module: str) -> None:
    assert "phasewalk" not in {name for name, _ in imports(module)}


@pytest.mark.parametrize("library", OWNERS)
def test_each_library_stays_with_its_owners(library: str) -> None:
    users = {module for module in MODULES if library in {name for name, _ in imports(module)}}
    assert {m for m in users if not {m, room_of(m)} & OWNERS[library]} == set()


@pytest.mark.parametrize("module", [name for name in MODULES if "nequip_private" not in name])
def test_the_inside_of_nequip_is_reached_from_one_module(module: str) -> None:
    """Which pyproject.toml's upper limit is for: of each new release, it alone has to be tried."""
    offered = {"nequip", "nequip.data", "nequip.data.transforms", "nequip.integrations.ase"}
    offered |= {"nequip.model", "nequip.nn", "nequip.nn.pair_potential", "nequip.scripts.train"}
    found = {
        str(node.module)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "nequip"
    }
    assert found <= offered


@pytest.mark.parametrize("module", MODULES)
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
            allowed = module in CHILDREN or room_of(module) == "commands"
            assert allowed, f"{module}, line {node.lineno}: print"


def of_this_process(module: str) -> Iterator[str]:
    """Facts about this process's own machine that a module of another room takes from `engines`."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.level == 2 and node.module == "engines":
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "finding":
            yield node.attr


@pytest.mark.parametrize("module", MODULES)
def test_the_machine_of_the_jobs_is_asked(module: str) -> None:
    """This process may run on another one, as on a cluster: `engines.machine` has the answer."""
    owners = {
        "here": CHILDREN,  # which are where jobs run
        "versions": {"commands.cli"},  # --version
        "available_cores": {
            "campaign.inputs",
            "cluster.launching",
        },  # for a launcher of this machine
    }
    if room_of(module) != "engines":
        assert [n for n in of_this_process(module) if module not in owners.get(n, {module})] == []


@pytest.mark.parametrize("module", MODULES)
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


@pytest.mark.parametrize("room", ROOMS)
def test_a_face_offers_what_it_names(room: str) -> None:
    face = importlib.import_module(f"phasewalk.{room}")
    assert [name for name in public_names(room) if not hasattr(face, name)] == []
    with pytest.raises(AttributeError):
        _ = face.no_such_name


_HEAVY = """
import importlib, runpy, sys
heavy = {"torch", "lightning", "nequip", "matplotlib", "scipy", "spglib", "tblite", "ase.io"}
sys.argv = ["phasewalk", *sys.argv[1:]]
if len(sys.argv) > 1:
    try:
        runpy.run_module("phasewalk", run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, ended.code
else:
    for room in sys.stdin.read().split():
        importlib.import_module(f"phasewalk.{room}")
        __import__("phasewalk." + room, fromlist=sys.modules["phasewalk." + room].__all__)
print(sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [[], ["--help"], ["status", str(RECORDED)]], ids=str)
def test_faces_help_and_status_load_nothing_heavy(words: list[str]) -> None:
    """Each of them takes longer to import than the whole of phasewalk."""
    command = [sys.executable, "-c", _HEAVY, *words]
    done = subprocess.run(command, input=" ".join(ROOMS), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_modules_are_short() -> None:
    paths = {module: PACKAGE / f"{module.replace('.', '/')}.py" for module in MODULES}
    lengths = {module: len(path.read_text().splitlines()) for module, path in paths.items()}
    assert {module: lines for module, lines in lengths.items() if lines > MAX_MODULE} == {}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without the docstring."""
    first = function.body[0]
    doc = 0
    if ast.get_docstring(function) is not None:
        doc = (first.end_lineno or 0) - first.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - doc


def test_functions_are_short() -> None:
    long = {f"{m}.{f.name}": length(f) for m in MODULES for f in functions(m)}
    assert {name: lines for name, lines in long.items() if lines > MAX_FUNCTION} == {}


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree(module)), module
    silent = [node.name for node in public(tree(module).body) if not ast.get_docstring(node)]
    assert silent == []
