"""A real Slurm of one node on this machine: munged, slurmctld and slurmd, from Debian's packages, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from packages import program

PATIENCE = 60
ENDING = 2  # seconds; nobody comes back to what the daemons would still write down
CONF = """
ClusterName=l2v
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
JobRequeue=1
KillWait=5
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which sbatch, squeue and scancel reach the cluster; skips the test where none can be started."""
    if os.geteuid() != 0:
        pytest.skip("a Slurm of one's own is started as root")
    packages = ("slurmctld", "slurmd", "slurm-client", "munge")
    daemons = {name: program(name, *packages) for name in ("munged", "slurmctld", "slurmd", "sbatch")}
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    (folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, ports=_free_ports()))
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = [daemons["munged"], "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"]
    munge += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
    with (folder / "daemons.log").open("wb") as log:
        started = [subprocess.Popen(munge, stdout=log, stderr=log)]
        try:
            _wait_for(lambda: (folder / "munge.socket").exists(), folder)
            for command in ([daemons["slurmctld"], "-D"], [daemons["slurmd"], "-D", "-N", host]):
                started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
            _wait_for(lambda: "idle" in _said(["sinfo", "-h", "-o", "%T"], environment), folder)
            yield environment
        finally:
            _said(["scancel", "--user=root"], environment)
            for process in reversed(started):
                process.terminate()
            for process in reversed(started):
                try:
                    process.wait(ENDING)
                except subprocess.TimeoutExpired:
                    process.kill()
            # What the daemons did not wait for would stand in the way of another cluster, whose jobs have the same numbers.
            for pid in at_work(environment):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def at_work(environment: dict[str, str]) -> dict[int, bytes]:
    """This cluster's own processes for jobs, and the jobs: what each is called by."""
    conf, found = f"SLURM_CONF={environment['SLURM_CONF']}".encode(), dict[int, bytes]()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            called = (folder / "cmdline").read_bytes()
            if b"slurm" in called and conf in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = called
    return found


def _free_ports() -> list[int]:
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _said(command: list[str], environment: dict[str, str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def _wait_for(ready: object, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():  # type: ignore[operator]
        if time.monotonic() > deadline:
            logs = [p.read_text(errors="replace")[-1500:] for p in folder.glob("*.log")]
            pytest.skip("Slurm does not start on this machine: " + " / ".join(logs))
        time.sleep(0.2)
