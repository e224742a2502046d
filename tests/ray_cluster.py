"""A Ray cluster on this machine, for tests: a head without CPUs, as clusters have it, and nodes that come and go.

Each node is a raylet of its own with its own object store, temporary directory, cache and address, joined to the head
by `ray start --address`. The addresses are those of the loopback network, so that Ray tells the nodes apart as it does
machines. Network namespaces would add a network that can be cut, but need root, which no user of `make test` should;
a node that is killed looks the same.
"""

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil

from tests.driver_process import environment_without_ray, kill_with_its_ray
from tests.object_store import free_ports

BIN = Path(sys.executable).parent
# Made up for clusters that live for the length of a test.
TOKEN = "made-up-for-one-test-0123456789"  # pragma: allowlist secret
_OBJECT_STORE_BYTES = 100_000_000  # the least that Ray takes is 75 MB
_HEAD_PLACE = 2  # last part of its address; 127.0.0.1 is to Ray whatever address the machine has


@dataclass(frozen=True)
class RayNode:
    """A machine of the cluster.

    Attributes:
        ip: its address.
        process: the `ray start` that holds its raylet and, through it, all that works there.
        log: what that prints.
    """

    ip: str
    process: subprocess.Popen
    log: Path

    def has_joined(self) -> bool:
        """Tell whether it is a part of the cluster."""
        text = self.log.read_text()
        assert self.process.poll() is None, text
        return "Ray runtime started" in text

    def kill(self) -> None:
        """SIGKILL all of it at once: the machine is gone. Again does no harm."""
        if self.process.poll() is None:
            kill_with_its_ray(self.process)

    def workers(self, name: str) -> list[psutil.Process]:
        """Return its worker processes that do something whose name, as Ray shows it, contains `name`, now."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if process.cmdline()[0].startswith("ray::") and name in process.cmdline()[0]:
                    found.append(process)
            except (psutil.Error, IndexError):  # it has ended meanwhile
                continue
        return found


@dataclass
class RayCluster:
    """A head that takes jobs, and the nodes that do them.

    Attributes:
        scratch: where its nodes keep their files; short, since Ray makes sockets in it.
        environment: of all its nodes and jobs; what submits may use it too.
        head: takes jobs; has no CPUs of its own unless it is given some.
        gcs_port: where nodes, and drivers outside of `ray job submit`, join it.
        dashboard_port: where jobs are submitted.
        nodes: those alive, in the order in which they came.
    """

    scratch: Path
    environment: dict[str, str]
    head: RayNode
    gcs_port: int
    dashboard_port: int
    nodes: list[RayNode] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def address(self) -> str:
        """Where jobs are submitted."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def gcs_address(self) -> str:
        """Where drivers join: `ray.address`."""
        return f"{self.head.ip}:{self.gcs_port}"

    def wait_until_up(self, timeout_seconds: float = 120) -> None:
        """Wait until the dashboard answers, if only with a refusal."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.address}/api/version", timeout=2)
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.5)
            else:
                return
        raise AssertionError(f"no Ray head: {self.head.log.read_text()[-2000:]}")

    def add_nodes(self, number: int, num_cpus: int) -> list[RayNode]:
        """Let nodes join, and wait until they have.

        Args:
            number: of nodes.
            num_cpus: logical CPUs of each.
        """
        new = [self._start_node(next(self._numbers), num_cpus) for _ in range(number)]
        self.nodes += new
        for node in new:
            wait_for(node.has_joined, told=node.log.read_text)
        return new

    def _start_node(self, number: int, num_cpus: int) -> RayNode:
        ip = f"127.0.0.{_HEAD_PLACE + number}"
        return _start(self.scratch / f"node{number}", ip, self.environment, [f"--address={self.gcs_address}"], num_cpus)

    def kill_node(self, node: RayNode) -> None:
        """Lose a node."""
        self.nodes.remove(node)
        node.kill()

    def kill(self) -> None:
        """Lose all of it, the head first."""
        for node in [self.head, *self.nodes]:
            node.kill()
        self.nodes.clear()


def wait_for(condition: Callable[[], object], timeout_seconds: float = 240, told: Callable[[], str] = str) -> None:
    """Wait until something is so; fail, with what `told` returns, if it never is."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)


@contextmanager
def running_ray_cluster(
    environment: Mapping[str, str], *, head_cpus: int = 0, nodes: int = 3, cpus: int = 2, token: str | None = TOKEN
) -> Iterator[RayCluster]:
    """Start a cluster, give it, kill it: to stop it in order takes half a minute.

    Args:
        environment: variables of its processes besides this one's.
        head_cpus: logical CPUs of the head.
        nodes: how many nodes join it.
        cpus: logical CPUs of each.
        token: what it asks of everybody; None: it asks for nothing.
    """
    gcs, dashboard, client = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as scratch:
        secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
        own = {
            **environment_without_ray(),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "CUDA_VISIBLE_DEVICES": "",
            **secret,
            **environment,
        }
        arguments = [
            "--head", f"--port={gcs}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1",
            f"--ray-client-server-port={client}",
        ]  # fmt: skip
        head = _start(Path(scratch) / "head", f"127.0.0.{_HEAD_PLACE}", own, arguments, head_cpus)
        cluster = RayCluster(Path(scratch), own, head, gcs, dashboard)
        try:
            cluster.wait_until_up()
            cluster.add_nodes(nodes, cpus)
            yield cluster
        finally:
            cluster.kill()


def _start(directory: Path, ip: str, environment: Mapping[str, str], arguments: list[str], num_cpus: int) -> RayNode:
    directory.mkdir()
    agent, agent_grpc, runtime_env, metrics = free_ports(4)
    command = [
        str(BIN / "ray"), "start", "--block", *arguments, f"--node-ip-address={ip}", f"--num-cpus={num_cpus}",
        f"--object-store-memory={_OBJECT_STORE_BYTES}", f"--temp-dir={directory / 'ray'}", "--disable-usage-stats",
        f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}",
        f"--runtime-env-agent-port={runtime_env}", f"--metrics-export-port={metrics}",
        "--min-worker-port=0", "--max-worker-port=0",  # any that is free: the nodes share the machine's ports
    ]  # fmt: skip
    log = directory / "log"
    own = {**environment, "ECELLM_CACHE": str(directory / "cache")}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=own, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    return RayNode(ip, process, log)
