"""Batch scripts: every word arrives as it was given, and nothing can add a line."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from phasewalk.batch import scripts
from phasewalk.batch.scripts import batch_script, needs, words
from phasewalk.cluster import Need
from phasewalk.cluster.site import PlaceSettings
from phasewalk.errors import InputError
from phasewalk.jobs import Job

ODD = 'it\'s "a" $HOME `id` \\ ü; rm #1'
LAMMPS = Job(
    "segment", ("lmp", "-in", "in.deck"), Path("/w"), mpiexec=("/opt/mpiexec",), ranks=8, threads=2
)
TRAIN = Job("train", ("python", "train.py"), Path("/w"), "train", threads=4, gpus=1)


def script(place: PlaceSettings, *argv: str, folder: Path = Path("/campaign/slurm")) -> str:
    return batch_script(argv, place, name="pw-1", folder=folder, need=Need(nodes=1))


def test_a_whole_script() -> None:
    place = PlaceSettings(
        partition="gpu",
        account="project_1",
        modules=["gcc/13", "cuda"],
        environment={"OMP_NUM_THREADS": "1"},
        options=["--exclusive"],
    )
    need = Need(16, 2, 2, 4, "a100", 64000, 59.5)
    text = batch_script(
        ["run it"],
        place,
        name="pw-1",
        folder=Path("/c/50% b"),
        need=need,
        options=["--signal=B:10"],
    )
    assert (
        text
        == """\
#!/bin/bash -l
#SBATCH --job-name=pw-1
#SBATCH --partition=gpu
#SBATCH --account=project_1
#SBATCH --gres=gpu:a100:4
#SBATCH --mem=64000M
#SBATCH --nodes=2
#SBATCH --ntasks=16
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=2
#SBATCH --time=60
#SBATCH "--chdir=/c/50% b"
#SBATCH "--output=/c/50%% b/batch.out"
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:10
#SBATCH --exclusive

export PATH="${PHASEWALK_PATH:+$PHASEWALK_PATH:}$PATH"
module load gcc/13 || { echo 'phasewalk: module load gcc/13 failed' >&2; exit 1; }
module load cuda || { echo 'phasewalk: module load cuda failed' >&2; exit 1; }
export OMP_NUM_THREADS=1
exec 'run it'
"""
    )


def test_bash_hands_on_every_word_as_it_was_given(tmp_path: Path) -> None:
    place = PlaceSettings(environment={"ODD": ODD})
    show = "import os, sys; print(sys.argv[1]); print(os.environ['ODD'])"
    path = tmp_path / "batch.sh"
    path.write_text(script(place, "python3", "-c", show, ODD), encoding="utf-8")
    done = subprocess.run(["bash", path], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == f"{ODD}\n{ODD}\n"


def test_a_module_that_cannot_be_loaded_ends_the_script(tmp_path: Path) -> None:
    path = tmp_path / "batch.sh"
    path.write_text(script(PlaceSettings(modules=["no such"]), "echo", "ran"))
    done = subprocess.run(["bash", path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("phasewalk: module load no such failed\n")


@pytest.mark.parametrize(
    "place",
    [
        PlaceSettings(partition="gpu\n#SBATCH --account=other"),
        PlaceSettings(modules=["gcc\nrm -r x"]),
        PlaceSettings(environment={"X": "1\nrm -r x"}),
        PlaceSettings(options=["--comment=a\rb"]),
    ],
    ids=str,
)
def test_no_value_begins_a_line_of_its_own(place: PlaceSettings) -> None:
    with pytest.raises(InputError, match="a line break"):
        script(place, "true")


def test_what_sbatch_cannot_be_told_is_refused() -> None:
    with pytest.raises(InputError, match="'exclusive' is not an option of sbatch"):
        script(PlaceSettings(options=["exclusive"]), "true")
    with pytest.raises(InputError, match="backslash"):
        script(PlaceSettings(), "true", folder=Path("/a\\b"))


def test_mpi_programs_are_started_by_srun_on_all_nodes() -> None:
    place = PlaceSettings(nodes=2, gpus=4, memory_GB=16, mpi="pmix", prefix=["apptainer", "exec"])
    assert " ".join(words(LAMMPS, place)) == (
        "srun --exact --nodes=2 --ntasks=8 --ntasks-per-node=4 --cpus-per-task=2 "
        "--threads-per-core=1 --gres=gpu:4 --mem=16000M --mpi=pmix "
        "--kill-on-bad-exit=1 --unbuffered --export=ALL apptainer exec lmp -in in.deck"
    )


def test_the_engines_own_mpiexec_is_one_process_for_slurm() -> None:
    place = PlaceSettings(launcher="mpiexec", nodes=2)
    assert needs(LAMMPS, place) == Need(threads=16, nodes=1)
    assert " ".join(words(LAMMPS, place)) == (
        "srun --exact --nodes=1 --ntasks=1 --cpus-per-task=16 --threads-per-core=1 --gres=none "
        "--mem=0 --mpi=none --kill-on-bad-exit=1 --unbuffered --export=ALL "
        "/opt/mpiexec -n 8 lmp -in in.deck"
    )
    assert scripts.variables(LAMMPS, place)["HYDRA_LAUNCHER"] == "fork"


@pytest.mark.parametrize(
    ("place", "short"),
    [
        (PlaceSettings(), True),
        (PlaceSettings(mpi="pmix"), False),
        (PlaceSettings(launcher="mpiexec"), False),
        (PlaceSettings(environment={"UCX_UNIFIED_MODE": "n"}), False),  # the user's own
    ],
)
def test_ranks_have_addresses_that_slurm_can_pass_on(place: PlaceSettings, short: bool) -> None:
    """With longer ones MPICH's ranks on two nodes ended, or waited for ever, in MPI_Init."""
    assert (scripts.variables(LAMMPS, place).get("UCX_UNIFIED_MODE") == "y") is short
    assert "UCX_UNIFIED_MODE" not in scripts.variables(TRAIN, place)


def test_a_program_without_mpi_needs_no_step_where_it_is_alone() -> None:
    place = PlaceSettings(nodes=4)
    assert words(TRAIN, place, step=False) == TRAIN.argv
    assert words(TRAIN, place)[:4] == ("srun", "--exact", "--nodes=1", "--ntasks=1")
    assert needs(TRAIN, place) == Need(threads=4, nodes=1, gpus=1)


@pytest.mark.parametrize("option", ["--hint=multithread", "--threads-per-core=2", "-B 2:8:1"])
def test_cores_are_counted_unless_the_site_file_says_otherwise(option: str) -> None:
    assert "--threads-per-core=1" in words(LAMMPS, PlaceSettings(options=["--exclusive"]))
    assert "--threads-per-core=1" not in words(LAMMPS, PlaceSettings(options=[option]))
    assert scripts.whole_cores(PlaceSettings(options=[option])) == ()


def test_several_side_by_side_need_so_many_times_as_much() -> None:
    need = Need(2, 3, 1, 1, "", 1000, 60)
    assert need.times(4) == Need(8, 3, 1, 4, "", 4000, 60)
    assert Need().times(2).memory_MB == 0


def test_the_site_file_comes_before_the_job() -> None:
    job = Job("label", ("cp2k",), Path("/w"), "label", memory_GB=4, gpus=2)
    assert needs(job, PlaceSettings()).memory_MB == 4000
    own = needs(job, PlaceSettings(memory_GB=0.5, gpus=0, time_min=5))
    assert own == Need(nodes=1, memory_MB=500, minutes=5)


def test_a_compilation_does_not_take_the_number_of_jobs_for_that_of_cores() -> None:
    job = Job(
        "compile", ("c",), Path("d"), kind="compile", threads=49, env={"OMP_NUM_THREADS": "49"}
    )
    place = PlaceSettings()
    assert scripts.needs(job, place).threads == 8
    assert scripts.variables(job, place) == {"OMP_NUM_THREADS": "8"}
    training = replace(job, kind="train")  # as its settings say
    assert scripts.needs(training, place).threads == 49
    assert scripts.variables(training, place) == training.env
