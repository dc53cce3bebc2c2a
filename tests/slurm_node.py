"""A Slurm of one node, started for the tests. Nothing here is a test."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")

# Jobs of the partition "low" make room for those of "high": they get SIGTERM, and half
# a minute later they are ended and requeued. A node that says nothing for 5 s is down.
CONFIGURATION = """\
ClusterName=sercorr
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=10
MinJobAge=10
SlurmdTimeout=5
ReturnToService=2
{node} NodeAddr=127.0.0.1
PartitionName=low Nodes={host} Default=YES PriorityTier=1 GraceTime=30
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF
"""


class Node:
    """The daemons ``munged``, ``slurmctld`` and ``slurmd``, below one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._daemons: dict[str, subprocess.Popen] = {}
        for name in ("munge", "state", "spool", "log"):
            (folder / name).mkdir()
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        Path(os.environ["SLURM_CONF"]).write_text(
            CONFIGURATION.format(
                folder=folder,
                node=slurm(program("slurmd"), "-C").split("\n")[0],
                host=socket.gethostname().partition(".")[0],
                user=getpass.getuser(),
                ports=_free_ports(2),
            )
        )

    def start(self) -> None:
        """Start what does not run, and wait until jobs can be submitted."""
        munge = self.folder / "munge"
        names = (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"))
        names = (*names, ("log-file", "log"), ("seed-file", "seed"))
        files = [f"--{one}={munge / file}" for one, file in names]
        # pytest's folders are closed to others, which it would only do by force
        self._start("munged", "--foreground", "--force", *files)
        wait_for((munge / "socket").exists, "munged's socket")
        self._start("slurmctld", "-D")
        self._start("slurmd", "-D")
        wait_for(
            lambda: slurm("sinfo", "-h", "-o", "%t") in ("idle", "mix", "alloc"),
            f"the node (see {self.folder / 'log'})",
        )

    def kill(self) -> None:
        """End the node as a power cut would: ``slurmd`` and all that it started."""
        self._end("slurmd")
        for process in self._steps():
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in [process, *process.children(recursive=True)]:
                    one.kill()

    def stop(self) -> None:
        """End everything."""
        self.kill()
        self._end("slurmctld")
        self._end("munged")

    def _end(self, name: str) -> None:
        if name in self._daemons:
            daemon = self._daemons.pop(name)
            daemon.kill()
            daemon.wait()

    def _start(self, name: str, *options: str) -> None:
        if name in self._daemons and self._daemons[name].poll() is None:
            return
        with open(self.folder / "log" / f"{name}.out", "ab") as log:
            self._daemons[name] = subprocess.Popen(
                [program(name), *options], stdout=log, stderr=log, cwd=self.folder
            )

    def _steps(self) -> Iterator[psutil.Process]:
        """Find what slurmd has started: in its folder, but no children of it."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                own = Path(process.cwd()) == self.folder
                if own and process.cmdline()[0].startswith("slurmstepd:"):
                    yield process


@contextlib.contextmanager
def running_node(folder: Path) -> Iterator[Node]:
    """Start a node; stop it in any case."""
    node = Node(folder)
    try:
        node.start()
        yield node
    finally:
        node.stop()
        del os.environ["SLURM_CONF"]


def install() -> str:
    """Install Slurm if it is missing; return what a person has to do, if anything."""
    missing = [name for name in PROGRAMS if program(name) is None]
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["update"], ["install", "-y", *PACKAGES]):
            subprocess.run(["apt-get", "-qq", *command], check=False)
        missing = [name for name in PROGRAMS if program(name) is None]
    if not missing:
        return ""
    return f"{', '.join(missing)} missing; as root: apt install {' '.join(PACKAGES)}"


def program(name: str) -> str | None:
    """Find a program, also where only root looks for them."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def slurm(*command: str) -> str:
    """Run one of Slurm's commands; return what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def wait_for(
    reached: Callable[[], object], what: str, seconds: float = 60, every: float = 0.2
) -> None:
    """Wait until something is so; fail if it takes too long."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(every)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
