"""The reference of a campaign: the program that computes labels, and its level of theory."""

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

from ..engines import which
from ..errors import EngineMissing, InputError, named
from ..labels import Level
from . import cp2k_input
from .cp2k_tree import Input
from .settings import Cp2kSettings, ReferenceSettings

PROGRAMS = ("cp2k.psmp", "cp2k.popt", "cp2k")
_DATA = ("share/cp2k/data", "share/cp2k", "share/data", "data")
CHILD = (sys.executable, "-m", "phasewalk.reference")
COMMAND = "reference.command"
"""Key of the command in the settings of a level of theory."""
MAX_SCRIPT_BYTES, MAX_HASHED_BYTES = 1_000_000, 100_000_000
"""Of files larger than the second limit, only the size and the first and last half of it count."""
SCRIPTS = (
    ".py",
    ".sh",
    ".bash",
    ".pl",
    ".jl",
    ".R",
    ".rb",
    ".js",
    ".json",
    ".yaml",
    ".yml",
    ".toml",
)
WRITTEN = (".log", ".out", ".err", ".txt")
"""Suffixes of files that a command writes; these do not define what it computes."""
_RUNS = re.compile(
    r"(python|pypy|perl|ruby|node|julia)[\d.]*|R|Rscript|env|(ba|da|z|k)?sh|timeout|time|nice|"
    r"mpirun|mpiexec(\.\w+)?|srun|prterun|orterun|taskset|numactl|stdbuf|apptainer|singularity|docker"
)
"""Interpreters and launchers, whose files differ between machines; only their names count."""
_PATHS = re.compile(r"(?<![\w.~/$}])/[^\s'\"`;|&<>(){}\[\]=:,]+")
"""Absolute paths in a text: in shell or Python code, or in an option with a value."""
_GLUED = re.compile(r"^-\w(/.+)")
_REDIRECTED = re.compile(r">>?\s*[^\s;|&]+")
_NO_BINDING = {
    # By default each MPI launch binds its ranks to the first cores, which parallel labels share.
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
}


@dataclass(frozen=True)
class Reference:
    """The program that computes labels, and the files it reads.

    Attributes:
        settings: reference settings of the campaign.
        method: level of theory, for one primitive cell.
        command: program and arguments; empty if nothing can be computed.
        mpiexec: the MPI launcher of that program; empty if it is started without one, or if
            `command` holds it.
        staged: name → file that is linked into each label's directory.
        env: variables added to the environment.
        input: the user's CP2K input.
    """

    settings: ReferenceSettings
    method: Level
    command: tuple[str, ...] = ()
    mpiexec: tuple[str, ...] = ()
    staged: Mapping[str, Path] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    input: Input | None = None

    @property
    def shares(self) -> bool:
        """Whether its labels are exchanged with other campaigns.

        False for a user's program that is not part of the level of theory.
        """
        own = own_program(self.settings.command)
        return self.settings.share and (own is None or COMMAND in self.method.settings)


def load(settings: ReferenceSettings, folder: Path, environ: Mapping[str, str]) -> Reference:
    """The reference of a campaign whose file is in `folder`; starts no process.

    Raises:
        InputError: an input file is missing or invalid.
        EngineMissing: the program is not found.
    """
    if settings.cp2k:
        return _cp2k(settings, settings.cp2k, folder, environ)
    if settings.imported:
        declared = Level(settings.imported.level_of_theory, "")
        return Reference(settings, declared)
    command = tuple(settings.command or CHILD)
    if settings.ase or settings.function:
        return _with_program(_calculator(settings, command, folder))
    xtb = settings.tight_binding
    theory = {"electronic_temperature_K": xtb.electronic_temperature_K}
    other_python = settings.command is not None and own_program(settings.command) is None
    version = _versions(["tblite"], required=not other_python)
    level = Level(xtb.method, version, theory)
    return _with_program(Reference(settings, level, command))


def _with_program(reference: Reference) -> Reference:
    """The reference with a user's program and its files added to the level of theory."""
    own = own_program(reference.settings.command)
    if own is None:
        return reference
    method = reference.method
    words, paths = own
    hashes: dict[str, str] = {}
    for path in paths:
        same = sum(name.rpartition("/")[2].split(" #")[0] == path.name for name in hashes)
        hashes[f"{COMMAND}/{path.name}{f' #{same + 1}' if same else ''}"] = _content(path)
    settings = {**method.settings, COMMAND: words}
    changed = replace(method, settings=settings, files={**method.files, **hashes})
    return replace(reference, method=changed)


def own_program(command: Sequence[str] | None) -> tuple[list[str], list[Path]] | None:
    """The words of `reference.command`, and the files that they name.

    A word that is an absolute path is replaced by its last component, so that a campaign can be
    moved; other words are kept, because any part of them may change what is computed.

    Returns None if the command only starts phasewalk's own child, for example in a container.
    """
    if command is None or tuple(command[-2:]) == CHILD[1:]:
        return None
    program = which(command[0]) if command else None
    found = [program] if program is not None and _is_script(program) else []
    found += [path for word in command[1:] for path in _files(word)]
    return [_short(word) for word in command], list(dict.fromkeys(found))


def _short(word: str) -> str:
    """The last component of an absolute path, which need not exist; other words unchanged.

    A word with a space is a path if its folder exists, otherwise shell code.
    """
    is_path = word.startswith("/") and (" " not in word or _is_there(Path(word).parent, "is_dir"))
    return Path(word).name if is_path else word


def _files(word: str) -> list[Path]:
    """Files named in a word (as a whole, as a value after `=`, or in code) whose content counts."""
    read = _REDIRECTED.sub(" ", word)
    places = [word, word.partition("=")[2], *_PATHS.findall(read), *_GLUED.findall(word)]
    return [
        Path(place)
        for place in dict.fromkeys(places)
        if place.startswith("/")
        and _is_there(Path(place), "is_file")
        and not place.endswith(WRITTEN)
        and not _RUNS.fullmatch(Path(place).name)
    ]


def _is_there(path: Path, kind: Literal["is_file", "is_dir"]) -> bool:
    """Whether a regular file, or a folder, with this name exists."""
    try:
        return bool(getattr(path, kind)())
    except (OSError, ValueError):  # the name is too long, or access is denied
        return False


def _is_script(path: Path) -> bool:
    """Whether a file is a script or a text file with settings."""
    try:
        if not path.is_absolute() or not path.is_file() or path.stat().st_size > MAX_SCRIPT_BYTES:
            return False
        with path.open("rb") as stream:
            start = stream.read(1024)
    except OSError:
        return False
    return b"\0" not in start and (start.startswith(b"#!") or path.suffix in SCRIPTS)


def _content(path: Path) -> str:
    """SHA-256 of a file; for a script without its `#!` line."""
    with named(path), path.open("rb") as stream:
        size = path.stat().st_size
        if size > MAX_HASHED_BYTES:
            ends = stream.read(MAX_HASHED_BYTES // 2)
            stream.seek(-(MAX_HASHED_BYTES // 2), 2)
            return hashlib.sha256(f"{size} ".encode() + ends + stream.read()).hexdigest()
        data = stream.read()
    if _is_script(path) and data.startswith(b"#!"):
        data = data.partition(b"\n")[2]
    return hashlib.sha256(data).hexdigest()


def _versions(packages: list[str], *, required: bool) -> str:
    """Packages with their versions, as in the child, if they are installed in this Python.

    Otherwise EngineMissing; empty if they are not required, because `command` starts phasewalk's
    child in another Python, which `requests.version_job` asks.
    """
    try:
        return ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    except metadata.PackageNotFoundError as error:
        if not required:
            return ""
        raise EngineMissing(f"reference: the package {error.name} is not installed") from error


def _calculator(settings: ReferenceSettings, command: tuple[str, ...], folder: Path) -> Reference:
    where, program, theory, files = f"reference.{settings.program}.files", "", {}, []
    if settings.ase:
        program, files = settings.ase.calculator, settings.ase.files
        theory = dict(settings.ase.arguments)
        if settings.ase.version:
            theory["version of the program"] = settings.ase.version
    elif settings.function:
        program, files = settings.function.function, settings.function.files
        theory = dict(settings.function.arguments)
    staged = {name: _existing(folder / name, where) for name in files}
    hashes = {name: _hash(path) for name, path in staged.items()}
    return Reference(settings, Level(program, "", theory, hashes), command, staged=staged)


def _cp2k(
    settings: ReferenceSettings, own: Cp2kSettings, folder: Path, environ: Mapping[str, str]
) -> Reference:
    path = _existing(folder / own.input, "reference.cp2k.input")
    xml = _existing(folder / own.input_xml, "reference.cp2k.input_xml") if own.input_xml else None
    read = cp2k_input.read_input(path, xml=xml)
    for number, changes in enumerate(own.retries, start=1):
        try:
            cp2k_input.check_changes(read, changes)
        except InputError as error:
            raise InputError(f"reference.cp2k.retries, entry {number}: {error}") from error
    mpiexec, command = _cp2k_command(own)
    folders = _data_folders(
        folder / own.data_directory if own.data_directory else None, environ, command
    )
    staged, hashes, data = {}, {}, None
    for name in cp2k_input.files(read):
        beside = cp2k_input.find_file(name, [path.parent])
        found = beside or cp2k_input.find_file(name, [data] if data else folders)
        if found is None:
            raise InputError(
                f"{path}: data file {name} not found beside it or in "
                f"{', '.join(map(str, [data] if data else folders)) or 'a data directory'}; put it "
                "beside the input, or set reference.cp2k.data_directory to its folder"
            )
        hashes[name] = _hash(found)
        if beside is not None and not Path(name).is_absolute():
            staged[name] = beside
        elif not Path(name).is_absolute():
            data = next(place for place in folders if (place / name) == found)
    env = {"CP2K_DATA_DIR": str(data.absolute())} if data else {}
    method = Level("CP2K", "", cp2k_input.level(read), hashes)
    env |= _NO_BINDING
    return Reference(settings, method, command, mpiexec, staged=staged, env=env, input=read)


def _data_folders(
    given: Path | None, environ: Mapping[str, str], command: tuple[str, ...]
) -> list[Path]:
    """Folders to search for CP2K's data files, in this order."""
    named_there = environ.get("CP2K_DATA_DIR")
    programs = [which(word) for word in (*command, *PROGRAMS)]
    near = [program.parent.parent / place for program in programs if program for place in _DATA]
    first = [given, Path(named_there) if named_there else None]
    return [place for place in dict.fromkeys([*first, *near]) if place and place.is_dir()]


def _cp2k_command(own: Cp2kSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """MPI launcher, and program with its arguments; the launcher is empty if the user names both.

    The program is found with the launcher of its own MPI library; {ranks} and {threads} are
    replaced.
    """
    layout = {"{ranks}": str(own.ranks), "{threads}": str(own.threads)}
    if own.command is not None:
        command = []
        for word in own.command:
            for name, value in layout.items():
                word = word.replace(name, value)
            command.append(word)
        return (), tuple(command)
    program = next(filter(None, map(which, PROGRAMS)), None)
    if program is None:
        raise EngineMissing(
            "CP2K: not found (cp2k.psmp, cp2k.popt, cp2k); install it (Debian: apt-get install "
            "cp2k), load its module, or set reference.cp2k.command"
        )
    if own.ranks == 1:
        return (), (str(program),)
    launcher = program.with_name("mpirun")
    if not launcher.is_file():
        raise EngineMissing(
            f"CP2K: no mpirun beside {program} to start {own.ranks} ranks; set "
            "reference.cp2k.command, for example to [mpirun, -n, '{ranks}', cp2k.psmp]"
        )
    return (str(launcher),), (str(program),)


def _existing(path: Path, where: str) -> Path:
    if not path.is_file():
        raise InputError(f"{where}: {path}: no such file")
    return path.absolute()


def _hash(path: Path) -> str:
    with named(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
