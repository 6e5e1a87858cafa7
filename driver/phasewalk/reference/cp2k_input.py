"""The user's CP2K input: its level of theory, and the input for one frame made from it."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import chemical_symbols

from ..errors import InputError, brief
from .cp2k_text import input_text
from .cp2k_tree import Input, generator, is_section, parse

PROJECT, MULTIPLICITY_KEYS = "label", ("charge", "multiplicity", "multip", "uks", "lsd")
_NOT_THEORY = (
    re.compile(r"(^|/)(PRINT|VELOCITY|COORD|TOPOLOGY)(/|$)"),
    re.compile(r"^FORCE_EVAL/SUBSYS/CELL/(?!CELL_REF)"),
    re.compile(r"^FORCE_EVAL/(DFT/WFN_RESTART_FILE_NAME|STRESS_TENSOR|METHOD)$"),
    # what memory and processes the work is laid out for
    re.compile(r"/(MAX_MEMORY|MAX_DISK_SPACE|STORAGE_LOCATION|TREAT_FORCES_IN_CORE)$"),
    re.compile(r"/(PARALLEL_GROUP_SIZE|GROUP_SIZE|NUMBER_PROC|VERBOSE|MEMORY|MEMORY_PER_PROC)$"),
    re.compile(r"/(LOAD_BALANCE|RS_GRID|QS/DISTRIBUTION)(/|$)"),
    re.compile(r"/(PW_GRID_LAYOUT|PW_GRID_BLOCKED|SKIP_LOAD_BALANCE_DISTRIBUTED)$"),
    # state of a run that a restart file has written
    re.compile(r"^FORCE_EVAL/SUBSYS/(RNG_INIT|COLVAR|(SHELL|CORE)_(COORD|VELOCITY))( \d+)?(/|$)"),
)
_GLOBAL_THEORY = {
    "GLOBAL/EXTENDED_FFT_LENGTHS": False,  # other grids
    "GLOBAL/ALLTOALL_SGL": False,  # single precision on the way
    "GLOBAL/GRID/APPLY_CUTOFF": True,
}
"""Keywords of &GLOBAL that the results depend on, with CP2K's defaults."""
_GLOBAL_PRINTS = ("print", "trace", "echo_", "timings", "references", "program_run_info", "rng")
_GLOBAL_OURS = ("output_file_name", "program_name")
_ROUTE = "FORCE_EVAL/DFT/SCF/"
_THEORY_IN_SCF = re.compile(
    r"^(EPS_SCF|ADDED_MOS|SMEAR(/.*)?|MOM(/.*)?|OUTER_SCF/(EPS_SCF|TYPE)|IGNORE_CONVERGENCE_FAILURE)$"
)
"""Keywords of SCF that the results depend on; the others only control convergence."""
_OF_ONE_FRAME = (
    *("+coord", "+topology", "+velocity", "+kind", "+colvar", "+rng_init"),
    *("+shell_coord", "+shell_velocity", "+core_coord", "+core_velocity"),
)
"""Parts of SUBSYS that belong to the atoms of the user's run; kinds are added again."""
_XTB_FILES = {"param_file_name": "xTB_parameters", "dispersion_parameter_file": "dftd3.dat"}
_NO_DATA_FILE = re.compile(r"restart|coord_file|output|^filename$")
_WITHOUT_BASIS = ("xtb", "dftb")


def read_input(path: Path, *, xml: Path | None = None) -> Input:
    """Read and check the user's input; included files are searched in its directory.

    Raises:
        InputError: it is not a valid input, or it is not supported.
        EngineMissing: cp2k-input-tools is not installed.
    """
    read = Input(path, parse(input_text(path), path, xml), xml)
    if len(read.tree.get("+force_eval", ())) != 1:
        raise InputError(f"{path}: it must contain exactly one &FORCE_EVAL section")
    force_eval = read.force_eval
    method = force_eval.get("method", "quickstep")
    if method not in ("quickstep", "qs") or "+dft" not in force_eval:
        raise InputError(f"{path}: FORCE_EVAL must have METHOD QUICKSTEP and a &DFT section")
    cell = force_eval.get("+subsys", {}).get("+cell", {})
    poisson = force_eval["+dft"].get("+poisson", {})
    for name, section in (("CELL", cell), ("POISSON", poisson)):
        if section.get("periodic", "xyz") != "xyz":
            raise InputError(
                f"{path}: {name}/PERIODIC must be XYZ: only fully periodic systems are supported"
            )
    if force_eval["+dft"].get("+scf", {}).get("ignore_convergence_failure"):
        raise InputError(
            f"{path}: SCF/IGNORE_CONVERGENCE_FAILURE: labels that have not converged are never "
            "accepted; remove this keyword"
        )
    _check_kinds(read)
    return read


def level(read: Input) -> dict[str, Any]:
    """The level of theory in the input: flat names ("FORCE_EVAL/DFT/MGRID/CUTOFF") → values.

    Without coordinates, cell, run type, print keys and keywords that only control convergence.
    """
    found: dict[str, Any] = {}
    for name, value in _flat({"+force_eval": read.force_eval}):
        inside = name.removeprefix(_ROUTE)
        if not counts(name):
            continue
        if inside != name and not _THEORY_IN_SCF.match(inside):
            continue
        # unit conversion changes the last digits
        found[name] = float(f"{value:.9g}") if isinstance(value, float) else value
    for name, value in _flat({"+global": read.tree.get("+global", {})}):
        if name in _GLOBAL_THEORY and value != _GLOBAL_THEORY[name]:
            found[name] = value
    return dict(sorted(found.items()))


def counts(name: str) -> bool:
    """Whether a flat name is part of a level of theory (older versions stored other names, too)."""
    return not any(pattern.search(name) for pattern in _NOT_THEORY)


def _flat(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each keyword with its section path; repeated sections have their parameter or number."""
    for key, value in tree.items():
        if not key.startswith("+"):
            if key == "_":  # a section's parameter is not case-sensitive in CP2K
                yield before.rstrip("/"), value.upper() if isinstance(value, str) else value
            else:
                yield f"{before}{key.upper()}", value
            continue
        sections = value if isinstance(value, list) else [value]
        for number, section in enumerate(sections, start=1):
            name = f"{before}{key[1:].upper()}"
            if key == "+kind":
                name = f"{name} {str(section.get('_', '')).upper()}"
            elif len(sections) > 1:
                name = f"{name} {number}"
            if not section:
                yield name, True
            yield from _flat(section, f"{name}/")


def files(read: Input) -> list[str]:
    """Names of the data files that CP2K will read: basis sets, potentials, parameters."""
    found = []
    dft = read.force_eval["+dft"]
    for name, value in _flat({"+force_eval": read.force_eval}):
        last = name.rpartition("/")[2].lower()
        if not counts(name) or _NO_DATA_FILE.search(last):
            continue
        if last.endswith(("file_name", "_file", "t_c_g_data")):
            values = value if isinstance(value, list) else [value]
            found += [str(word) for word in values]
    if dft.get("+qs", {}).get("method") not in _WITHOUT_BASIS:
        given = {key for key in dft if key.endswith("file_name")}
        found += ["BASIS_SET"] if "basis_set_file_name" not in given else []
        found += ["POTENTIAL"] if "potential_file_name" not in given else []
    elif dft["+qs"]["method"] == "xtb":
        given = {name.rpartition("/")[2].lower() for name, _ in _flat(dft)}
        found += [file for key, file in _XTB_FILES.items() if key not in given]
    return list(dict.fromkeys(name for name in found if name))


def find_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The file with this name in the first folder that contains it, or None."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def kinds_missing(read: Input, symbols: Sequence[str]) -> list[str]:
    """Elements without a &KIND, if the method of the input requires one."""
    if read.force_eval["+dft"].get("+qs", {}).get("method") in _WITHOUT_BASIS:
        return []
    return [symbol for symbol in dict.fromkeys(symbols) if _kind(read, symbol) is None]


def _check_kinds(read: Input) -> None:
    """Raise InputError if an element has two kinds, which a frame cannot distinguish."""
    elements: dict[str, str] = {}
    for kind in read.force_eval.get("+subsys", {}).get("+kind", []):
        name = str(kind.get("_", ""))
        element = str(kind.get("element", name)).upper()
        if elements.setdefault(element, name) != name:
            raise InputError(
                f"{read.path}: &KIND {elements[element]} and &KIND {name} are both {element}, "
                "and frames do not distinguish them; keep one"
            )


def _kind(read: Input, symbol: str) -> Mapping[str, Any] | None:
    """The &KIND of an element: that with its name, else the only one with it, else DEFAULT."""
    kinds = read.force_eval.get("+subsys", {}).get("+kind", [])
    named = {str(kind.get("_", "")).upper(): kind for kind in kinds}
    others = [kind for kind in kinds if str(kind.get("element", "")).upper() == symbol.upper()]
    found: Mapping[str, Any] | None = named.get(symbol.upper())
    if found is None and len(others) == 1:
        return dict(others[0])
    return found or named.get("DEFAULT")


def frame_input(
    read: Input,
    atoms: Atoms,
    *,
    guess: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> str:
    """The input that labels one frame.

    Args:
        read: the user's input.
        atoms: the frame, Å.
        guess: name of a wave function file in the same directory to start from.
        changes: paths below FORCE_EVAL/DFT → values; None removes. See `check_changes`.
    """
    force_eval = _bare(read)
    for path, value in (changes or {}).items():
        _set(force_eval["+dft"], path, value, xml=read.xml)
    scf = force_eval["+dft"].setdefault("+scf", {})
    if guess is not None:
        force_eval["+dft"]["wfn_restart_file_name"] = guess
        scf["scf_guess"] = "restart"
    scf["+print"] = {"+restart": {"_": "on", "backup_copies": 0}}
    force_eval["stress_tensor"] = "analytical"
    force_eval["+print"] = {"+forces": {"_": "on", "ndigits": 14}, "+stress_tensor": {"_": "on"}}
    return _text(read, force_eval, atoms, run_type="energy_force")


def atom_input(read: Input, symbol: str, *, box_A: float, multiplicity: int) -> str:
    """The input for an isolated atom in a cubic box of edge `box_A` with a spin multiplicity."""
    force_eval = _bare(read)
    dft = force_eval["+dft"]
    for key in (*MULTIPLICITY_KEYS, "roks", "+low_spin_roks", "+kpoints"):
        dft.pop(key, None)
    if multiplicity > 1:
        dft |= {"uks": True, "multiplicity": multiplicity}
    dft.setdefault("+scf", {})["+print"] = {"+restart": {"_": "off"}}
    subsys = force_eval.get("+subsys", {})
    subsys.get("+cell", {}).pop("+cell_ref", None)  # of the crystal, and too small for the box
    atoms = Atoms([symbol], positions=[[box_A / 2] * 3], cell=[box_A] * 3, pbc=True)
    return _text(read, force_eval, atoms, run_type="energy")


def _bare(read: Input) -> dict[str, Any]:
    """A copy of FORCE_EVAL without the user's print keys, restart files and guess."""
    force_eval: dict[str, Any] = _without_prints(copy.deepcopy(dict(read.force_eval)))
    dft = force_eval["+dft"]
    dft.pop("wfn_restart_file_name", None)
    if dft.get("+scf", {}).get("scf_guess") in ("restart", "history_restart"):
        del dft["+scf"]["scf_guess"]
    return force_eval


def _without_prints(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_without_prints(entry) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    return {key: _without_prints(value) for key, value in tree.items() if key != "+print"}


def _how_to_run(read: Input) -> dict[str, Any]:
    """The user's &GLOBAL without keywords that change what the output contains."""
    return {
        key: value
        for key, value in read.tree.get("+global", {}).items()
        if not key.removeprefix("+").startswith(_GLOBAL_PRINTS) and key not in _GLOBAL_OURS
    }


def _text(read: Input, force_eval: dict[str, Any], atoms: Atoms, *, run_type: str) -> str:
    subsys = dict(force_eval.get("+subsys", {}))
    cell = {k: v for k, v in subsys.get("+cell", {}).items() if k == "+cell_ref"}
    kinds = {symbol: _kind(read, symbol) for symbol in dict.fromkeys(atoms.symbols)}
    names = {
        symbol: symbol if kind is None or "element" not in kind else str(kind["_"])
        for symbol, kind in kinds.items()
    }
    for key in _OF_ONE_FRAME:
        subsys.pop(key, None)
    used = {id(kind): kind for kind in kinds.values() if kind is not None}
    rows = zip(atoms.symbols, atoms.positions.tolist(), strict=True)
    subsys |= {
        "+cell": {
            **{name: list(row) for name, row in zip("abc", atoms.cell.tolist(), strict=True)},
            "periodic": "xyz",
            **cell,
        },
        "+coord": {"*": [f"{names[s]} {x!r} {y!r} {z!r}" for s, (x, y, z) in rows]},
    }
    if used:
        subsys["+kind"] = list(used.values())
    tree = {
        "+global": {
            **_how_to_run(read),
            "project_name": PROJECT,
            "run_type": run_type,
            "print_level": "medium",
        },
        "+force_eval": [{**force_eval, "+subsys": subsys}],
    }
    return "\n".join(generator(read.xml).line_iter(tree)).lstrip() + "\n"


def check_changes(read: Input, changes: Mapping[str, Any]) -> None:
    """Raise InputError if a retry is not a valid input or changes the level of theory."""
    for path in changes:
        inside = path.upper().removeprefix("SCF/")
        if inside == path.upper() or _THEORY_IN_SCF.match(inside):
            raise InputError(
                f"{path}: would change the level of theory; a retry may only change keywords below "
                "SCF, except EPS_SCF, ADDED_MOS and SMEAR"
            )
    symbol = next((s for s in chemical_symbols[1:] if _kind(read, s)), "H")
    atoms = Atoms([symbol], positions=[[0, 0, 0]], cell=[9.0] * 3, pbc=True)
    try:
        text = frame_input(read, atoms, changes=changes)
    except Exception as error:  # the library raises anything
        raise InputError(
            f"CP2K has no such keyword ({brief(error) or 'unknown section'})"
        ) from error
    changed = Input(read.path, parse(text, read.path, read.xml), read.xml)
    if _scf_theory(changed) != _scf_theory(read):
        raise InputError("it would change the level of theory")


def _scf_theory(read: Input) -> dict[str, Any]:
    return {name: value for name, value in level(read).items() if name.startswith(_ROUTE)}


def _set(dft: dict[str, Any], path: str, value: Any, *, xml: Path | None) -> None:
    """Set (or remove if None) the keyword or section at a path; missing sections are created."""
    *parents, last = path.lower().split("/")
    group = dft
    for parent in parents:
        group = group.setdefault(f"+{parent}", {})
    if value is None:
        group.pop(last, None)
        group.pop(f"+{last}", None)
    elif f"+{last}" in group or (isinstance(value, bool) and is_section(path, xml)):
        # "SCF/OT: true" adds the section with its defaults
        group[f"+{last}"] = {**group.get(f"+{last}", {}), "_": value}
    else:
        group[last] = value
