"""Settings of the reference: the program that makes labels, and what it takes to believe them."""

from typing import Any, Literal

from ase.data import chemical_symbols
from pydantic import Field, field_validator, model_validator

from ..settings import Settings

PROGRAMS = ("xtb", "cp2k", "ase", "function", "imported")


class XtbRetry(Settings):
    """What a further try changes."""

    max_iterations: int | None = Field(None, ge=1, description="SCF iterations.")
    mixer_damping: float | None = Field(
        None, gt=0, le=1, description="Share of the new density that is mixed in; usually 0.4."
    )


class XtbSettings(Settings):
    """Extended tight binding, built in (tblite); samples the Γ point alone."""

    method: Literal["GFN1-xTB", "GFN2-xTB"] = Field(
        "GFN1-xTB", description="Parametrization. GFN2-xTB's periodic multipoles are approximate."
    )
    electronic_temperature_K: float = Field(
        300.0, ge=0, le=10000, description="Fermi smearing of the electronic occupations, K."
    )
    max_iterations: int = Field(250, ge=1, description="SCF iterations before a label fails.")
    retries: list[XtbRetry] = Field(
        [],
        max_length=5,
        description="What to change in each further try of a label whose SCF did not converge, "
        "for example {max_iterations: 1000, mixer_damping: 0.1}.",
    )


class Cp2kSettings(Settings):
    """CP2K with the user's own input."""

    input: str = Field(
        min_length=1,
        description="The input file, beside the campaign file. What is in it for the level of "
        "theory counts; cell, coordinates, project, run type and prints are put in, the rest of "
        "&GLOBAL is kept.",
    )
    command: list[str] | None = Field(
        None,
        min_length=1,
        description="Program and arguments, as in [srun, -n, '{ranks}', cp2k.psmp]; a list, never "
        "a shell line; {ranks} and {threads} are put in. Default: cp2k.psmp or cp2k on the path, "
        "with the mpirun beside it where ranks is above 1.",
    )
    ranks: int = Field(1, ge=1, description="MPI ranks of one label.")
    threads: int = Field(1, ge=1, description="OpenMP threads of each rank.")
    data_directory: str | None = Field(
        None,
        description="Where basis sets and potentials are that are not beside the input; default: "
        "CP2K_DATA_DIR, else what belongs to the program.",
    )
    input_xml: str | None = Field(
        None,
        description="What `cp2k --xml` writes, for keywords that cp2k-input-tools does not know.",
    )
    guess: Literal["none", "walker"] = Field(
        "none",
        description="walker: start from the wave function of the same walker's last label.",
    )
    retries: list[dict[str, str | int | float | bool | None]] = Field(
        [],
        max_length=5,
        description="What to change in each further try of a label whose SCF did not converge, by "
        "paths below FORCE_EVAL/DFT, for example {SCF/MIXING/ALPHA: 0.1}; only what does not "
        "change the level of theory.",
    )


class AseSettings(Settings):
    """Any calculator that ASE knows, or that follows its protocol."""

    calculator: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="Import path of the calculator, for example gpaw.GPAW.",
    )
    arguments: dict[str, Any] = Field({}, description="Its keyword arguments.")
    atom_arguments: dict[str, Any] = Field(
        {}, description="Arguments that replace others for isolated atoms (spin, k-points)."
    )
    files: list[str] = Field(
        [],
        description="Files beside the campaign file that it reads (pseudopotentials, a model): "
        "put into each label's directory, and part of the level of theory.",
    )
    packages: list[str] = Field(
        [],
        description="Packages whose versions are part of the level of theory; default: the one "
        "that holds the calculator.",
    )
    version: str | None = Field(
        None, description="Version of a program behind it that no package tells (VASP, ORCA)."
    )
    retries: list[dict[str, Any]] = Field(
        [],
        max_length=5,
        description="Arguments that replace others in each further try of a label that failed; "
        "only what does not change the level of theory.",
    )


class FunctionSettings(Settings):
    """A function of the user's own: the last resort."""

    function: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="module:function; called with the frame (ase.Atoms) and the arguments, gives "
        "energy (eV), forces (eV/Å) and stress (eV/Å³, Voigt, tension positive) as a mapping.",
    )
    arguments: dict[str, Any] = Field({}, description="Its keyword arguments.")
    files: list[str] = Field(
        [], description="Files beside the campaign file that it needs, its own module among them."
    )
    packages: list[str] = Field(
        [], description="Packages whose versions are part of the level of theory."
    )
    retries: list[dict[str, Any]] = Field(
        [], max_length=5, description="Arguments that replace others in each further try."
    )


class ImportedSettings(Settings):
    """No program: all labels come from initial_data."""

    level_of_theory: str = Field(
        min_length=1, description="How the labels were made, in your words: it identifies them."
    )


class ReferenceSettings(Settings):
    """The program that makes labels (one of five), and what it takes to believe them."""

    xtb: XtbSettings | None = Field(None, description="GFN-xTB, built in; the default.")
    cp2k: Cp2kSettings | None = Field(None, description="CP2K with your own input.")
    ase: AseSettings | None = Field(None, description="Any ASE calculator.")
    function: FunctionSettings | None = Field(None, description="A function of your own.")
    imported: ImportedSettings | None = Field(None, description="Labels from initial_data alone.")
    max_force_eV_per_A: float = Field(
        30.0, gt=0, description="A label whose largest force component is above this is rejected."
    )
    max_net_force_eV_per_A: float = Field(
        0.3,
        gt=0,
        description="A label whose forces add up to more than this × √(atoms) is rejected.",
    )
    cores_per_label: int = Field(
        1, ge=1, description="Cores that one label occupies; of CP2K: ranks × threads."
    )
    timeout_s: float = Field(3600.0, gt=0, description="A label is given up after this wall time.")
    command: list[str] | None = Field(
        None,
        min_length=1,
        description="Program and arguments to run in place of `python -m phasewalk.reference` "
        "(not for CP2K); it gets the names of a request and of a result file. A list, never a "
        "shell line. Part of the level of theory, with the content of its script, unless it ends "
        "in `-m phasewalk.reference` (a launcher or a container in front).",
    )
    isolated_atoms: bool = Field(
        True, description="Compute the energy of each isolated atom, for the model's zero."
    )
    atom_energies_eV: dict[str, float] | None = Field(
        None, description="Energies of the isolated atoms, where they are known."
    )
    atom_box_A: float = Field(
        12.0, ge=5, le=50, description="Edge of the cubic cell that holds an isolated atom, Å."
    )
    share: bool = Field(
        True,
        description="Use, and add to, the labels that other campaigns keep in the cache; one of "
        "each campaign's is computed again and compared before they are used.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one(cls, data: Any) -> Any:
        given = [n for n in PROGRAMS if isinstance(data, dict) and data.get(n) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; a campaign has one reference")
        return data

    @model_validator(mode="after")
    def _fit(self) -> "ReferenceSettings":
        if self.cp2k and self.command:
            raise ValueError("command is not for CP2K; use cp2k.command")
        if self.cp2k and self.cores_per_label not in (1, self.cp2k.ranks * self.cp2k.threads):
            raise ValueError("cores_per_label of CP2K are cp2k.ranks × cp2k.threads; leave it out")
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
        """Which one was chosen."""
        return next((name for name in PROGRAMS if getattr(self, name) is not None), "xtb")

    @property
    def tight_binding(self) -> XtbSettings:
        """The settings of xTB, which is the default."""
        return self.xtb or XtbSettings()

    @property
    def cores(self) -> int:
        """Cores that one label occupies."""
        return self.cp2k.ranks * self.cp2k.threads if self.cp2k else self.cores_per_label

    @property
    def retries(self) -> int:
        """Further tries of a label that failed."""
        own = getattr(self, self.program)
        return len(getattr(own, "retries", ()) or ())
