"""The proof of a tiny network without training: what `phasewalk check` does with the plugin.

The network takes the way of every generation: compiled by the same child, evaluated in Python by
the same child, and judged by the gate.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms

from .. import models
from ..engines import Engines
from ..files import write_file
from ..jobs import Launcher, run
from ..models import NETWORK
from ..validation import Proof, ranks
from . import prove

DEPLOY = "deploy"
"""The compiled network's directory."""
LIMIT_S = 300.0
"""Of its compilation."""
FORCES = 0.3
"""Root mean square of the network's forces on the frame, eV/Å: as a crystal's at room temperature,
so that ten steps with it break nothing, and zeros are not compared with zeros."""


def network(types: Sequence[str], *, dtype: str, cutoff_A: float) -> dict[str, Any]:
    """A tiny network."""
    return {
        "_target_": "nequip.model.NequIPGNNModel",
        "seed": 1,
        "model_dtype": dtype,
        "type_names": list(types),
        "r_max": cutoff_A,
        "num_layers": 2,
        "l_max": 1,
        "num_features": 4,
        "radial_mlp_width": 8,
        "avg_num_neighbors": 20.0,
        "per_type_energy_scales": 1.0,
        "per_type_energy_shifts": dict.fromkeys(types, 0.0),
    }


def deployed(
    atoms: Atoms, made: dict[str, Any], *, engines: Engines, launcher: Launcher, place: Path
) -> tuple[Path, dict[str, Any]]:
    """Evaluate a network with arbitrary weights in Python, and compile it.

    Args:
        atoms: on which its forces shall be `FORCES`.
        made: the network, of `network`.
        engines: to run with.
        launcher: runs the children.
        place: a directory; the compiled network is in its `DEPLOY`.

    Returns:
        The file of the compiled network, and what it says of the atoms in Python.
    """
    source, in_python = place / NETWORK, place / "in-python"
    write_file(source, json.dumps(made).encode())
    said = prove.eager(
        source, [atoms], engines, launcher, in_python, trusted=True, force_rms=FORCES
    )
    job = models.deploy_job(
        "the compilation of a tiny network",
        None,
        inputs={NETWORK: (in_python / NETWORK).read_bytes()},
        mode="torchscript",
        device="cpu",
        directory=place / DEPLOY,
        cores=1,
    )
    stamp = models.read_deployment(run(launcher, replace(job, timeout_s=LIMIT_S)))
    return job.directory / stamp.file, said


def proof(
    atoms: Atoms,
    model: Path,
    said: dict[str, Any],
    *,
    engines: Engines,
    launcher: Launcher,
    count: int = 1,
) -> Proof:
    """The gate's proof of a compiled network on one frame, without runs in NVE.

    Args:
        atoms: the frame.
        model: the compiled network.
        said: what it says of the frame in Python, from `deployed`.
        engines: to run with.
        launcher: runs LAMMPS.
        count: number of MPI ranks of a walker; for several the network is compiled as well, into
            the folder of the model.
    """
    found = prove.in_lammps(
        model,
        [atoms],
        said,
        engines=engines,
        launcher=launcher,
        directory=model.parent.with_name("in-lammps"),
    )
    if count == 1:
        return found
    content = _for_ranks(model, launcher)
    job = ranks.job(
        "the compiled network on several ranks",
        model,
        content,
        ranks=count,
        frames=[atoms],
        directory=model.parent.with_name("on-ranks"),
        mpiexec=engines.mpiexec,
        env=engines.env,
    )
    job = replace(job, timeout_s=LIMIT_S)
    check = ranks.read(run(launcher, job), ranks=count, dtype=str(said["dtype"]))
    return replace(found, checks=(*found.checks, check))


def _for_ranks(model: Path, launcher: Launcher) -> bytes:
    """The network compiled for several MPI ranks, also written beside the model for one."""
    job = models.deploy_job(
        "the compilation of a tiny network for several ranks",
        None,
        inputs={NETWORK: (model.parent / NETWORK).read_bytes()},
        mode="torchscript",
        device="cpu",
        directory=model.parent.with_name("for-ranks"),
        cores=1,
        for_ranks=True,
    )
    stamp = models.read_deployment(run(launcher, replace(job, timeout_s=LIMIT_S)))
    content = (job.directory / stamp.file).read_bytes()
    write_file(model.with_name(stamp.file), content)
    return content


def in_words(proof: Proof) -> str:
    """How far LAMMPS and Python are apart, and how much was checked beside that."""
    apart = [
        f"{check.value:.0e} {check.unit}" + (f" (of {FORCES:g} rms)" if "forces" in name else "")
        for name in ("parity of the energy", "parity of the forces", "parity of the stress")
        for check in proof.checks
        if check.name == name
    ]
    several = [check.name for check in proof.checks if check.name.endswith("= 1 rank")]
    return ", ".join([*apart, *several, f"{len(proof.checks)} checks"])
