#!/usr/bin/env python3
"""A small srun for tests: it runs its program on this machine, and writes what it was asked.

Each call appends its options to the file that FAKE_SRUN_LOG names. Ranks get the variables that
Slurm sets; GPUs are numbered from 0 on. SIGTERM ends the ranks, as srun does.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def main(argv: list[str]) -> int:
    options, program = {}, list(argv[1:])
    while program and program[0].startswith("--"):
        name, _, value = program.pop(0).partition("=")
        options[name.removeprefix("--")] = value
    if log := os.environ.get("FAKE_SRUN_LOG"):
        with Path(log).open("a") as stream:
            kept = {"program": " ".join(program[:2])}
            kept |= {k: v for k, v in os.environ.items() if k.startswith(("SLURM", "CUDA", "PW_"))}
            stream.write(json.dumps({"options": options, "environ": kept}) + "\n")
    gpus = int(options.get("gres", "none").rpartition(":")[2].replace("none", "0"))
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(gpus)))} if gpus else {}
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    outputs = [os.open(options[name], flags, 0o644) for name in ("output", "error")]
    ranks = [
        subprocess.Popen(
            program,
            stdout=outputs[0],
            stderr=outputs[1],
            env={
                **os.environ,
                **seen,
                "SLURM_STEP_ID": "0",
                "SLURM_PROCID": str(rank),
                "SLURM_LOCALID": str(rank),
            },
        )
        for rank in range(int(options.get("ntasks", "1")))
    ]

    def end(_number: int, _frame: object) -> None:
        for one in ranks:
            one.kill()

    signal.signal(signal.SIGTERM, end)
    codes = [one.wait() for one in ranks]
    return max(code if code >= 0 else 128 - code for code in codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
