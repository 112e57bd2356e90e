"""A throw-away Slurm on this machine: controller, three nodes with a GPU each, accounting. Only the standard library.

    python tests/slurm/cluster.py up FOLDER           # then: export PATH=FOLDER/bin:$PATH
    python tests/slurm/cluster.py node FOLDER c1 crash|kill|start
    python tests/slurm/cluster.py down FOLDER

Everything runs as the user who starts it, without systemd and cgroups, from files below a short FOLDER outside of the
checkout. The GPU is a generic resource that is really scheduled: jobs queue for it. See README.md.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PARTITIONS = {"main": ("c1", "c2"), "gpu": ("c3",)}
NODES = tuple(node for nodes in PARTITIONS.values() for node in nodes)
CPUS, MEMORY_MB = 2, 64_000
"""Of each node, as Slurm is told; jobs ask for what real machines have."""
SERVERS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr", "sdiag")
OTHERS = ("mariadb", "mariadb-install-db")
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"

_CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/run/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill,UsePss
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
ReturnToService=2
SlurmdTimeout=8
KillWait=10
MinJobAge=300
SlurmdParameters=config_overrides
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port_dbd}
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
AccountingStoragePass={folder}/run/munge.socket
PartitionName=DEFAULT MaxTime=INFINITE DefMemPerCPU=500 State=UP
"""
_NODE = (
    "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory} Gres=gpu:1 "
    "State=UNKNOWN\n"
)
_CONF_DBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port_dbd}
SlurmUser={user}
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={port_sql}
StorageUser=slurm
StoragePass=tests
StorageLoc=slurm_acct_db
"""
_SQL = """\
create database if not exists slurm_acct_db;
create user if not exists slurm@'127.0.0.1' identified by 'tests';
create user if not exists slurm@localhost identified by 'tests';
grant all on slurm_acct_db.* to slurm@'127.0.0.1';
grant all on slurm_acct_db.* to slurm@localhost;
"""


def missing() -> list[str]:
    """Programs of Slurm that this machine lacks."""
    return [name for name in (*SERVERS, *CLIENTS, *OTHERS) if shutil.which(name, path=PATH) is None]


class Cluster:
    """Slurm in a folder; nothing runs before `up`.

    Parameters
    ----------
    folder : Path
        Short, as socket paths have at most 107 characters; outside of a checkout.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.environment = os.environ | {
            "PATH": f"{self.folder / 'bin'}:{PATH}",
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }
        """For whoever wants to use the cluster."""

    def up(self) -> None:
        """Start what does not run yet; returns when jobs can be submitted.

        Raises
        ------
        RuntimeError
            When something does not start; the logs are in ``log``.
        """
        for name in ("run", "log", "state", "bin", *(f"spool.{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)  # munged wants its socket to be reachable for all
        if not (self.folder / "slurm.conf").exists():
            self._configure()
        run, sql = self.folder / "run", self.folder / "run" / "sql.socket"
        if not self._pid("munged"):
            self._run("munged", f"--key-file={self.folder / 'munge.key'}", f"--socket={run / 'munge.socket'}",
                      f"--pid-file={run / 'munged.pid'}", f"--log-file={self.folder / 'log' / 'munged.log'}",
                      f"--seed-file={run / 'munge.seed'}", "--num-threads=2")  # fmt: skip
        if not self._pid("mariadbd"):
            self._start_sql(sql)
        if not self._pid("slurmdbd"):
            self._run("slurmdbd")
            self._wait("slurmdbd", lambda: self._said("sacctmgr", "-n", "list", "cluster") is not None)
            if "tests" not in (self._said("sacctmgr", "-n", "list", "cluster", "format=cluster") or ""):
                self._run("sacctmgr", "-i", "add", "cluster", "tests")
        if not self._pid("slurmctld"):
            self._run("slurmctld")
        for node in NODES:
            self.start_node(node)
        awake = ("sinfo", "-h", "-N", "-t", "idle,mix,alloc", "-o", "%N")
        self._wait("nodes", lambda: set((self._said(*awake) or "").split()) == set(NODES))

    def down(self) -> None:
        """End the jobs and what `up` started: by recorded numbers, if they still are those programs."""
        if self._pid("slurmctld"):
            self.cancel_all()
        for group in ([f"slurmd.{node}" for node in NODES], ["slurmctld"], ["slurmdbd"], ["mariadbd", "munged"]):
            for name in group:
                self._end(name)

    def cancel_all(self) -> None:
        """Cancel every job and wait until they are gone, for twenty seconds at most."""
        self._said("scancel", "--user", getpass.getuser())
        for _ in range(80):
            if not self._said("squeue", "-h"):
                return
            time.sleep(0.25)

    def start_node(self, node: str) -> None:
        """Start the daemon of a node if it does not run."""
        if not self._pid(f"slurmd.{node}"):
            self._run("slurmd", "-N", node)

    def kill(self, name: str) -> None:
        """SIGKILL to a daemon, such as ``slurmctld`` or ``slurmd.c1``, whose jobs go on; `up` starts it again."""
        if pid := self._pid(name):
            os.kill(pid, signal.SIGKILL)
        self._wait(f"end of {name}", lambda: not self._pid(name))

    def crash(self, node: str) -> list[int]:
        """SIGKILL to the daemon and everything that runs on a node, as a power cut does; who was killed."""
        victims = [pid for pid in [self._pid(f"slurmd.{node}")] if pid]
        for step in self._steps(node):
            victims += [step, *_descendants(step)]
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)  # nobody tells anybody that a neighbour is gone
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        self._wait(f"end of {node}", lambda: not self._pid(f"slurmd.{node}"))
        return victims

    def ask(self, *command: str) -> str:
        """What a client command says."""
        return self._run(*command)

    def _configure(self) -> None:
        port = _free_ports(3 + len(NODES))
        known = {
            "folder": self.folder, "user": getpass.getuser(), "host": socket.gethostname().split(".")[0],
            "port": port, "port_dbd": port + 1, "port_sql": port + 2,
        }  # fmt: skip
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        nodes = "".join(
            _NODE.format(node=node, host=known["host"], port=port + 3 + number, cpus=CPUS, memory=MEMORY_MB)
            for number, node in enumerate(NODES)
        )
        # a GPU that is only counted makes the node invalid; any device file will do
        (self.folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File=/dev/null\n")
        dbd = self.folder / "slurmdbd.conf"
        dbd.touch(mode=0o600)
        dbd.write_text(_CONF_DBD.format(**known))
        (self.folder / "sql.port").write_text(str(port + 2))
        for name in CLIENTS:
            # jobs lose every SLURM_* variable to the plugin, SLURM_CONF with them
            client = self.folder / "bin" / name
            command = shutil.which(name, path=PATH)
            client.write_text(f'#!/bin/sh\nSLURM_CONF="{self.folder}/slurm.conf" exec {command} "$@"\n')
            client.chmod(0o755)
        partitions = "".join(
            f"PartitionName={name} Nodes={','.join(members)} Default={'YES' if name == 'main' else 'NO'}\n"
            for name, members in PARTITIONS.items()
        )
        (self.folder / "slurm.conf").write_text(nodes + _CONF.format(**known) + partitions)

    def _start_sql(self, socket_file: Path) -> None:
        data, log = self.folder / "sql", self.folder / "log" / "sql.log"
        me = getpass.getuser()
        if not (data / "mysql").is_dir():
            self._run("mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={me}", "--skip-test-db",
                      "--auth-root-authentication-method=normal")  # fmt: skip
        command = [
            "mariadbd", "--no-defaults", f"--user={me}", f"--datadir={data}", f"--socket={socket_file}",
            f"--pid-file={self.folder / 'run' / 'mariadbd.pid'}", "--bind-address=127.0.0.1",
            f"--port={(self.folder / 'sql.port').read_text()}", "--innodb-buffer-pool-size=64M", f"--log-error={log}",
        ]  # fmt: skip
        subprocess.Popen(
            command, env=self.environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        client = ("mariadb", "--no-defaults", "-S", str(socket_file), "-u", "root")
        self._wait("mariadbd", lambda: self._said(*client, "-e", "select 1") is not None)
        self._run(*client, "-e", _SQL)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")
        return done.stdout

    def _said(self, *command: str) -> str | None:
        """What a command says; None when it fails."""
        try:
            return self._run(*command)
        except (RuntimeError, subprocess.TimeoutExpired):
            return None

    def _wait(self, what: str, ready: Callable[[], bool], *, limit_s: float = 120.0) -> None:
        until = time.monotonic() + limit_s
        while not ready():
            if time.monotonic() > until:
                raise RuntimeError(f"Expected {what} within {limit_s:g} s; logs are in {self.folder / 'log'}")
            time.sleep(0.1)

    def _pid(self, name: str) -> int | None:
        """Number of a daemon that runs, by the file in which it keeps it."""
        try:
            pid = int((self.folder / "run" / f"{name}.pid").read_text())
            program = Path(f"/proc/{pid}/exe").readlink().name
        except (OSError, ValueError):
            return None
        return pid if program.removesuffix("-wlm") == name.partition(".")[0] else None

    def _end(self, name: str) -> None:
        for number, limit_s in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            until = time.monotonic() + limit_s
            if pid := self._pid(name):
                os.kill(pid, number)
            while self._pid(name) and time.monotonic() < until:
                time.sleep(0.05)
        (self.folder / "run" / f"{name}.pid").unlink(missing_ok=True)

    def _steps(self, node: str) -> list[int]:
        """Processes that hold the steps of a node: those that listen at its sockets."""
        spool = f"{self.folder / f'spool.{node}'}/"
        lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
        wanted = {f"socket:[{line[6]}]" for line in lines if len(line) > 7 and line[7].startswith(spool)}
        found = set()
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if str(link.readlink()) in wanted:
                    found.add(int(link.parts[2]))
            except OSError:
                continue  # ended meanwhile
        return sorted(found - {self._pid(f"slurmd.{node}")})


def _descendants(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):  # a child belongs to the thread that made it
        for child in thread.read_text().split():
            yield int(child)
            yield from _descendants(int(child))


def _free_ports(count: int) -> int:
    """First of so many ports in a row that nobody uses now."""
    for first in range(16_800 + os.getpid() % 1000 * 10, 32_000, 10):
        try:
            for port in range(first, first + count):
                with socket.socket() as tried:
                    tried.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("Expected free ports between 16800 and 32000")


def main(arguments: Sequence[str]) -> int:
    """The commands above."""
    match arguments:
        case ["up", folder]:
            Cluster(Path(folder)).up()
        case ["down", folder]:
            Cluster(Path(folder)).down()
        case ["node", folder, node, ("crash" | "kill" | "start") as what] if node in NODES:
            cluster = Cluster(Path(folder))
            if what == "kill":
                cluster.kill(f"slurmd.{node}")
            else:
                {"crash": cluster.crash, "start": cluster.start_node}[what](node)
        case _:
            sys.stderr.write(__doc__ or "")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
