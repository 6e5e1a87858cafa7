"""A small Slurm cluster on this machine, for tests: several nodes, two GPUs that are none.

Needs Debian's packages `slurm-wlm munge`, and root. Each node is a `slurmd` of its own; the GPUs
are character devices like /dev/null, so that Slurm sets CUDA_VISIBLE_DEVICES for each step. There
is no accounting database, so `sacct` fails, as on some sites. Jobs have other numbers in each
cluster: MPICH names shared memory by them, and what was killed leaves it on this machine.

    python tests/slurm/cluster.py FOLDER      start one and wait; Ctrl-C stops it
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={munge}/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0
ReturnToService=2
SlurmctldTimeout=5
SlurmdTimeout=5
KillWait=2
MinJobAge={min_job_age}
MaxJobCount={max_jobs}
FirstJobId={first}
InactiveLimit=0
Waittime=0
OverTimeLimit=0
GresTypes=gpu
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=gpu Nodes=n1 MaxTime=INFINITE State=UP
PartitionName=cpu Nodes={cpu_nodes} Default=YES MaxTime=INFINITE State=UP
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} {shape}"
    "RealMemory={memory}{gres} State=UNKNOWN"
)
SHAPE = "Sockets=1 CoresPerSocket={cores} ThreadsPerCore={threads} "


@dataclass
class Cluster:
    """Slurm on this machine; `n1` has the GPUs, the other nodes are the partition `cpu`.

    Attributes:
        folder: of its files.
        nodes: number of nodes.
        cpus: of each node; more than this machine has is possible.
        threads: number of hardware threads of each core, each of which is one of the cpus.
        memory_MB: of each node.
        gpus: number of GPUs of n1.
        min_job_age_s: after which Slurm forgets a job that has ended.
        max_jobs: number of jobs that it knows at a time; it accepts no more.
    """

    folder: Path
    nodes: int = 3
    cpus: int = 2
    memory_MB: int = 4000
    gpus: int = 2
    threads: int = 1
    min_job_age_s: int = 60
    max_jobs: int = 10000
    _munge: Path = field(init=False)

    def __post_init__(self) -> None:
        self._munge = self.folder / "munge"

    @property
    def env(self) -> dict[str, str]:
        """Variables with which Slurm's commands find this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    @property
    def names(self) -> list[str]:
        """Names of its nodes."""
        return [f"n{i + 1}" for i in range(self.nodes)]

    def start(self) -> None:
        """Start all daemons and wait until all nodes are idle."""
        self._write()
        self._start_munge()
        self.start_controller()
        for name in self.names:
            self.start_node(name)
        self.wait_for("idle", *self.names)

    def stop(self) -> None:
        """Stop all daemons and whatever jobs have left."""
        for path in (*self.folder.glob("slurm*.pid"), self._munge / "pid"):
            self._kill(path)
        for pid in self._stepds():
            _kill_tree(pid)

    def run(self, *argv: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(
            argv, env={**os.environ, **self.env}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    def start_controller(self) -> None:
        """Start slurmctld; it goes on with the jobs that it knew."""
        self._daemon("slurmctld")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if (
                "UP"
                in subprocess.run(
                    ["scontrol", "ping"],
                    env={**os.environ, **self.env},
                    capture_output=True,
                    text=True,
                ).stdout
            ):
                return
            time.sleep(0.1)
        raise RuntimeError((self.folder / "slurmctld.log").read_text()[-2000:])

    def stop_controller(self) -> None:
        """Stop slurmctld, as for a restart: it writes down what it knows."""
        file = self.folder / "slurmctld.pid"
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text())
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 10
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        self._kill(self.folder / "slurmctld.pid")

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node."""
        self._daemon("slurmd", "-N", name)

    def lose_node(self, name: str) -> None:
        """Kill the slurmd of a node and all that runs there."""
        self._kill(self.folder / f"slurmd.{name}.pid")
        for pid in self._stepds():
            if self._of_node(pid, name):
                _kill_tree(pid)

    def wait_for(self, state: str, *names: str) -> None:
        """Wait until these nodes are in a state (`idle`, `down` …)."""
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            found = dict(
                line.split() for line in self.run("sinfo", "-hN", "-o", "%N %T").splitlines()
            )
            if all(state in found.get(name, "") for name in names):
                return
            time.sleep(0.1)
        raise RuntimeError(f"not {state}: {found}")

    def _stepds(self) -> list[int]:
        """Processes that watch the steps of this cluster; several clusters may run at a time."""
        steps = subprocess.run(["pgrep", "-f", "slurmstepd"], capture_output=True, text=True)
        return [int(word) for word in steps.stdout.split() if self._is_ours(int(word))]

    def _is_ours(self, pid: int) -> bool:
        try:  # daemons are started there, and their children stay
            return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(self.folder.resolve())
        except OSError:
            return False

    def _of_node(self, pid: int, name: str) -> bool:
        try:
            return f"SLURMD_NODENAME={name}\0".encode() in Path(
                f"/proc/{pid}/environ"
            ).read_bytes() or any(
                f"SLURMD_NODENAME={name}\0".encode() in Path(f"/proc/{child}/environ").read_bytes()
                for child in _children(pid)
            )
        except OSError:
            return False

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("state", "munge", *(f"spool.{node}" for node in self.names)):
            (self.folder / name).mkdir(exist_ok=True)
        ports, host = _free_ports(self.nodes + 1), socket.gethostname().split(".")[0]
        nodes = [
            NODE.format(name=name, host=host, port=port, cpus=self.cpus, memory=self.memory_MB,
                        shape=SHAPE.format(cores=self.cpus // self.threads, threads=self.threads),
                        gres=f" Gres=gpu:{self.gpus}" if name == "n1" and self.gpus else "")
            for name, port in zip(self.names, ports[1:], strict=True)
        ]  # fmt: skip
        text = CONF.format(
            host=host, ports=ports, folder=self.folder, munge=self._munge, nodes="\n".join(nodes),
            cpu_nodes=",".join(self.names[1:] or self.names), min_job_age=self.min_job_age_s,
            max_jobs=self.max_jobs, first=random.randrange(1000, 10_000_000),
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(text)
        for i in range(self.gpus):
            device = self.folder / f"nvidia{i}"
            if not device.exists():
                os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))  # /dev/null
        last = f"[0-{self.gpus - 1}]" if self.gpus > 1 else "0"
        gres = f"NodeName=n1 Name=gpu File={self.folder}/nvidia{last}\n" if self.gpus else ""
        (self.folder / "gres.conf").write_text(gres)

    def _start_munge(self) -> None:
        key = self._munge / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        for path in (self._munge, key):
            shutil.chown(path, "root")
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log",
                 "seed-file": "seed"}  # fmt: skip
        options = [f"--{name}={self._munge / file}" for name, file in files.items()]
        subprocess.run(["munged", "--force", *options], check=True, capture_output=True)

    def _daemon(self, *argv: str) -> None:
        env = {**os.environ, **self.env}
        subprocess.run(argv, env=env, check=True, cwd=self.folder, stdin=subprocess.DEVNULL)

    @staticmethod
    def _kill(file: Path) -> None:
        try:
            pid = int(file.read_text())
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            return
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.02)
        file.unlink(missing_ok=True)


def missing() -> str:
    """What is missing to start one; empty if nothing is."""
    if os.geteuid():
        return "a Slurm cluster for tests needs root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(absent)} not found (Debian: slurm-wlm munge)" if absent else ""


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def _kill_tree(pid: int) -> None:
    children = _children(pid)
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return
    for child in children:
        _kill_tree(child)


def _free_ports(count: int) -> list[int]:
    """Ports that nothing uses, of those that Linux does not give to outgoing connections."""
    sockets: list[socket.socket] = []
    try:
        for port in random.sample(range(20_000, 32_000), 200):
            one = socket.socket()
            sockets.append(one)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                one.close()
                sockets.remove(one)
            if len(sockets) == count:
                break
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def main() -> None:
    """Start one and wait."""
    cluster = Cluster(Path(sys.argv[1]).absolute())
    cluster.start()
    print(f"export SLURM_CONF={cluster.env['SLURM_CONF']}", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        cluster.stop()


if __name__ == "__main__":
    main()
