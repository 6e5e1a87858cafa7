"""The reference of a campaign: the program that makes labels, and its level of theory."""

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
"""Its name among the settings of a level of theory."""
MAX_SCRIPT_BYTES, MAX_HASHED_BYTES = 1_000_000, 100_000_000
"""Of a file that is larger than the second, its size, its first and its last half of that count."""
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
"""Files that a command writes say nothing of what it computes."""
_RUNS = re.compile(
    r"(python|pypy|perl|ruby|node|julia)[\d.]*|R|Rscript|env|(ba|da|z|k)?sh|timeout|time|nice|"
    r"mpirun|mpiexec(\.\w+)?|srun|prterun|orterun|taskset|numactl|stdbuf|apptainer|singularity|docker"
)
"""Interpreters and launchers, which differ from machine to machine and count by their names."""
_PATHS = re.compile(r"(?<![\w.~/$}])/[^\s'\"`;|&<>(){}\[\]=:,]+")
"""Absolute paths in a text: of a shell, of Python, of an option with its value."""
_GLUED = re.compile(r"^-\w(/.+)")
_REDIRECTED = re.compile(r">>?\s*[^\s;|&]+")
_NO_BINDING = {
    # Each MPI launch would bind its ranks to the first cores, and labels side by side share these.
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
}


@dataclass(frozen=True)
class Reference:
    """The program that makes labels, and what it reads.

    Attributes:
        settings: of the campaign.
        method: its level of theory, for one primitive cell.
        command: program and arguments; empty where nothing can be computed.
        staged: name → file that is put into each label's directory.
        env: added to the environment.
        input: the user's own CP2K input.
    """

    settings: ReferenceSettings
    method: Level
    command: tuple[str, ...] = ()
    staged: Mapping[str, Path] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    input: Input | None = None

    @property
    def shares(self) -> bool:
        """Whether its labels are exchanged with other campaigns.

        Never those of a program of the user's own that its level of theory does not name.
        """
        own = own_program(self.settings.command)
        return self.settings.share and (own is None or COMMAND in self.method.settings)


def load(settings: ReferenceSettings, folder: Path, environ: Mapping[str, str]) -> Reference:
    """The reference of a campaign whose file is in `folder`; nothing is started.

    Raises:
        InputError: a file that it reads is missing, or says what cannot be.
        EngineMissing: the program is missing.
    """
    if settings.cp2k:
        return _cp2k(settings, settings.cp2k, folder, environ)
    if settings.imported:
        told = Level(settings.imported.level_of_theory, "")
        return Reference(settings, told)
    command = tuple(settings.command or CHILD)
    if settings.ase or settings.function:
        return _with_program(_calculator(settings, command, folder))
    xtb = settings.tight_binding
    theory = {"electronic_temperature_K": xtb.electronic_temperature_K}
    level = Level(xtb.method, _versions(["tblite"]), theory)
    return _with_program(Reference(settings, level, command))


def _with_program(reference: Reference) -> Reference:
    """The same; a program of the user's own is part of the level of theory, with its files."""
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

    A word that is nothing but an absolute path stands by its last name, so that a campaign may
    move; every other one is kept as it is, since any part of it may choose what is computed.

    None where it only starts phasewalk's own child, through a launcher or a container.
    """
    if command is None or tuple(command[-2:]) == CHILD[1:]:
        return None
    program = which(command[0]) if command else None
    found = [program] if program is not None and _is_script(program) else []
    found += [path for word in command[1:] for path in _files(word)]
    return [_short(word) for word in command], list(dict.fromkeys(found))


def _short(word: str) -> str:
    """The last name of an absolute path, also of one that the command is yet to write.

    A word with a space is a path if it is in a folder that exists; else it is a shell's text.
    """
    is_path = word.startswith("/") and (" " not in word or _is_there(Path(word).parent, "is_dir"))
    return Path(word).name if is_path else word


def _files(word: str) -> list[Path]:
    """The files whose content counts in a word: all of it, a value after `=`, paths in a text."""
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
    """Whether there is a regular file, or a folder, of that name."""
    try:
        return bool(getattr(path, kind)())
    except (OSError, ValueError):  # too long for a name, or in a folder that is closed
        return False


def _is_script(path: Path) -> bool:
    """Whether it is a text that is run, or that says what to compute."""
    try:
        if not path.is_absolute() or not path.is_file() or path.stat().st_size > MAX_SCRIPT_BYTES:
            return False
        with path.open("rb") as stream:
            start = stream.read(1024)
    except OSError:
        return False
    return b"\0" not in start and (start.startswith(b"#!") or path.suffix in SCRIPTS)


def _content(path: Path) -> str:
    """SHA-256 of a file; of a script without its first line, where that names an interpreter."""
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


def _versions(packages: list[str]) -> str:
    """Packages with their versions, as in the child; EngineMissing where one is not installed."""
    try:
        return ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    except metadata.PackageNotFoundError as error:
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
    return Reference(settings, Level(program, "", theory, hashes), command, staged)


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
    command = _cp2k_command(own)
    folders = _data_folders(
        folder / own.data_directory if own.data_directory else None, environ, command
    )
    staged, hashes, data = {}, {}, None
    for name in cp2k_input.files(read):
        beside = cp2k_input.find_file(name, [path.parent])
        found = beside or cp2k_input.find_file(name, [data] if data else folders)
        if found is None:
            raise InputError(
                f"{path}: its data file {name} is neither beside it nor in "
                f"{', '.join(map(str, [data] if data else folders)) or 'a data directory'}; put it "
                "beside the input, or name its folder as reference.cp2k.data_directory"
            )
        hashes[name] = _hash(found)
        if beside is not None and not Path(name).is_absolute():
            staged[name] = beside
        elif not Path(name).is_absolute():
            data = next(place for place in folders if (place / name) == found)
    env = {"CP2K_DATA_DIR": str(data.absolute())} if data else {}
    method = Level("CP2K", "", cp2k_input.level(read), hashes)
    return Reference(settings, method, command, staged, {**env, **_NO_BINDING}, read)


def _data_folders(
    given: Path | None, environ: Mapping[str, str], command: tuple[str, ...]
) -> list[Path]:
    """Where CP2K's data files may be, in the order in which they are looked for there."""
    named_there = environ.get("CP2K_DATA_DIR")
    programs = [which(word) for word in (*command, *PROGRAMS)]
    near = [program.parent.parent / place for program in programs if program for place in _DATA]
    first = [given, Path(named_there) if named_there else None]
    return [place for place in dict.fromkeys([*first, *near]) if place and place.is_dir()]


def _cp2k_command(own: Cp2kSettings) -> tuple[str, ...]:
    """Program and arguments, the program found and the layout put in."""
    layout = {"{ranks}": str(own.ranks), "{threads}": str(own.threads)}
    if own.command is not None:
        command = []
        for word in own.command:
            for name, value in layout.items():
                word = word.replace(name, value)
            command.append(word)
        return tuple(command)
    program = next(filter(None, map(which, PROGRAMS)), None)
    if program is None:
        raise EngineMissing(
            "CP2K: not found (cp2k.psmp, cp2k.popt, cp2k); install it (Debian: apt-get install "
            "cp2k), load its module, or name it as reference.cp2k.command"
        )
    if own.ranks == 1:
        return (str(program),)
    launcher = program.with_name("mpirun")
    if not launcher.is_file():
        raise EngineMissing(
            f"CP2K: no mpirun beside {program} for {own.ranks} ranks; give the whole command as "
            "reference.cp2k.command, for example [mpirun, -n, '{ranks}', cp2k.psmp]"
        )
    return (str(launcher), "-n", str(own.ranks), str(program))


def _existing(path: Path, where: str) -> Path:
    if not path.is_file():
        raise InputError(f"{where}: {path}: no such file")
    return path.absolute()


def _hash(path: Path) -> str:
    with named(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
