"""Settings of the reference program, which computes labels, and limits for accepting labels."""

from typing import Any, Literal

from ase.data import chemical_symbols
from pydantic import Field, field_validator, model_validator

from ..settings import Settings

PROGRAMS = ("xtb", "cp2k", "ase", "function", "imported")


class XtbRetry(Settings):
    """Settings that one retry changes."""

    max_iterations: int | None = Field(None, ge=1, description="Maximum number of SCF iterations.")
    mixer_damping: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Fraction of the new density in the mixing; tblite's default is 0.4.",
    )


class XtbSettings(Settings):
    """GFN-xTB, built in (tblite); Γ point only."""

    method: Literal["GFN1-xTB", "GFN2-xTB"] = Field(
        "GFN1-xTB", description="Parametrization. In GFN2-xTB, periodic multipoles are approximate."
    )
    electronic_temperature_K: float = Field(
        300.0, ge=0, le=10000, description="Fermi smearing of the electronic occupations, K."
    )
    max_iterations: int = Field(250, ge=1, description="Maximum number of SCF iterations.")
    retries: list[XtbRetry] = Field(
        [],
        max_length=5,
        description="Changed settings for each retry if the SCF does not converge, for example "
        "{max_iterations: 1000, mixer_damping: 0.1}.",
    )


class Cp2kSettings(Settings):
    """CP2K with a user-supplied input file."""

    input: str = Field(
        min_length=1,
        description="CP2K input file, in the directory of the campaign file. It defines the level "
        "of theory; phasewalk sets cell, coordinates, project name, run type and print keys, and "
        "keeps the rest of &GLOBAL.",
    )
    command: list[str] | None = Field(
        None,
        min_length=1,
        description="Program and arguments as a list (no shell), for example "
        "[srun, -n, '{ranks}', cp2k.psmp]; {ranks} and {threads} are replaced by their values. "
        "Default: cp2k.psmp or cp2k on PATH, started with the mpirun of the same directory if "
        "ranks is greater than 1.",
    )
    ranks: int = Field(1, ge=1, description="Number of MPI ranks per label.")
    threads: int = Field(1, ge=1, description="Number of OpenMP threads per rank.")
    data_directory: str | None = Field(
        None,
        description="Directory of basis sets and potentials that are not beside the input file. "
        "Default: CP2K_DATA_DIR, else the program's own data directory.",
    )
    input_xml: str | None = Field(
        None,
        description="File written by `cp2k --xml`; needed only if cp2k-input-tools does not "
        "recognize a keyword.",
    )
    guess: Literal["none", "walker"] = Field(
        "none",
        description="Initial guess of the SCF; walker: the wave function of the same walker's "
        "previous label.",
    )
    retries: list[dict[str, str | int | float | bool | None]] = Field(
        [],
        max_length=5,
        description="Changed keywords for each retry if the SCF does not converge, given by path "
        "below FORCE_EVAL/DFT, for example {SCF/MIXING/ALPHA: 0.1}. Keywords that change the level "
        "of theory are not allowed.",
    )


class AseSettings(Settings):
    """Any ASE calculator, or a class with the same interface."""

    calculator: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="Import path of the calculator class, for example gpaw.GPAW.",
    )
    arguments: dict[str, Any] = Field({}, description="Keyword arguments of the calculator.")
    atom_arguments: dict[str, Any] = Field(
        {}, description="Arguments that are different for isolated atoms (spin, k-points)."
    )
    files: list[str] = Field(
        [],
        description="Files that the calculator reads (pseudopotentials, a model), in the directory "
        "of the campaign file. They are copied into each label's directory and are part of the "
        "level of theory.",
    )
    packages: list[str] = Field(
        [],
        description="Python packages whose versions are part of the level of theory. Default: the "
        "package of the calculator.",
    )
    version: str | None = Field(
        None, description="Version of an external program that the calculator runs (VASP, ORCA)."
    )
    retries: list[dict[str, Any]] = Field(
        [],
        max_length=5,
        description="Changed arguments for each retry if a label fails. Arguments that change the "
        "level of theory are not allowed.",
    )


class FunctionSettings(Settings):
    """A user-supplied Python function, for programs without an ASE calculator."""

    function: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="module:function. It is called with the frame (ase.Atoms) and the arguments, "
        "and returns a mapping with energy (eV), forces (eV/Å) and stress (eV/Å³, Voigt order, "
        "positive under tension).",
    )
    arguments: dict[str, Any] = Field({}, description="Keyword arguments of the function.")
    files: list[str] = Field(
        [],
        description="Files that the function needs, including its module, in the directory of the "
        "campaign file.",
    )
    packages: list[str] = Field(
        [], description="Python packages whose versions are part of the level of theory."
    )
    retries: list[dict[str, Any]] = Field(
        [], max_length=5, description="Changed arguments for each retry if a label fails."
    )


class ImportedSettings(Settings):
    """No reference program: all labels come from initial_data."""

    level_of_theory: str = Field(
        min_length=1,
        description="Name of the method that the labels were computed with; identifies them.",
    )


class ReferenceSettings(Settings):
    """The program that computes labels (give one of five), and the limits for accepting them."""

    xtb: XtbSettings | None = Field(None, description="GFN-xTB, built in (default).")
    cp2k: Cp2kSettings | None = Field(None, description="CP2K with your input file.")
    ase: AseSettings | None = Field(None, description="Any ASE calculator.")
    function: FunctionSettings | None = Field(None, description="A Python function of yours.")
    imported: ImportedSettings | None = Field(None, description="Labels from initial_data only.")
    max_force_eV_per_A: float = Field(
        30.0, gt=0, description="Reject a label if a force component exceeds this."
    )
    max_net_force_eV_per_A: float = Field(
        0.3,
        gt=0,
        description="Reject a label if its net force exceeds this × √(number of atoms).",
    )
    cores_per_label: int = Field(
        1, ge=1, description="Number of cores per label; for CP2K: ranks × threads."
    )
    timeout_s: float = Field(3600.0, gt=0, description="Wall-time limit of one label.")
    late_factor: float | None = Field(
        None,
        ge=1,
        description="Train without labels that are late: those that run for longer than this × the "
        "median time of the round's finished labels, once at least half of the round's labels are "
        "finished. A late label joins the training of the next generation. Default: wait for all "
        "labels.",
    )
    command: list[str] | None = Field(
        None,
        min_length=1,
        description="Program and arguments as a list (no shell), run instead of "
        "`python -m phasewalk.reference` with the names of a request file and a result file as "
        "arguments (not for CP2K). The command and the content of its script are part of the "
        "level of theory, unless it ends in `-m phasewalk.reference` (as with a container or "
        "launcher).",
    )
    isolated_atoms: bool = Field(
        True, description="Compute the energies of isolated atoms, the model's energy reference."
    )
    atom_energies_eV: dict[str, float] | None = Field(
        None, description="Energies of the isolated atoms, if known."
    )
    atom_box_A: float = Field(
        12.0, ge=5, le=50, description="Edge length of the cubic cell of an isolated atom, Å."
    )
    share: bool = Field(
        True,
        description="Use labels that other campaigns have stored in the cache, and store new ones. "
        "Before the labels of a campaign are used, one of them is recomputed and compared.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one(cls, data: Any) -> Any:
        given = [n for n in PROGRAMS if isinstance(data, dict) and data.get(n) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; give only one reference program")
        return data

    @model_validator(mode="after")
    def _fit(self) -> "ReferenceSettings":
        if self.cp2k and self.command:
            raise ValueError("command does not apply to CP2K; use cp2k.command")
        if self.cp2k and self.cores_per_label not in (1, self.cp2k.ranks * self.cp2k.threads):
            raise ValueError("cores_per_label: CP2K uses cp2k.ranks × cp2k.threads; remove it")
        return self

    @field_validator("atom_energies_eV")
    @classmethod
    def _elements(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for symbol in value or {}:
            if symbol not in chemical_symbols[1:]:
                raise ValueError(f"{symbol!r} is not an element")
        return value

    @property
    def program(self) -> str:
        """Name of the chosen program."""
        return next((name for name in PROGRAMS if getattr(self, name) is not None), "xtb")

    @property
    def tight_binding(self) -> XtbSettings:
        """The settings of xTB, or its defaults if none are given."""
        return self.xtb or XtbSettings()

    @property
    def cores(self) -> int:
        """Number of cores per label."""
        return self.cp2k.ranks * self.cp2k.threads if self.cp2k else self.cores_per_label

    @property
    def retries(self) -> int:
        """Number of retries of a label that failed."""
        own = getattr(self, self.program)
        return len(getattr(own, "retries", ()) or ())
