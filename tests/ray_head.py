"""A Ray head node on this machine with ports and files of its own, for tests that submit jobs to a real cluster."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.driver_process import environment_without_ray, kill_with_its_ray
from tests.object_store import free_ports

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class RayHead:
    """A head that takes jobs.

    Attributes:
        address: where jobs are submitted.
        environment: of the head and of all its jobs; what submits may use it too.
        log: what the head prints.
        process: the `ray start` that holds it.
    """

    address: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen

    def wait_until_up(self, timeout_seconds: float = 60) -> None:
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
        raise AssertionError(f"no Ray head: {self.log.read_text()[-2000:]}")


@contextmanager
def running_ray_head(environment: Mapping[str, str], num_cpus: int = 6) -> Iterator[RayHead]:
    """Start a head, give it, kill it.

    Args:
        environment: variables of its processes besides this one's.
        num_cpus: logical CPUs.
    """
    gcs, dashboard, client, agent, agent_grpc = free_ports(5)
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as scratch:
        own = {
            **environment_without_ray(),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "ECELLM_CACHE": f"{scratch}/cache",
            "CUDA_VISIBLE_DEVICES": "",
            **environment,
        }
        command = [
            str(BIN / "ray"), "start", "--head", "--block", f"--port={gcs}", f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}",
            f"--dashboard-agent-grpc-port={agent_grpc}", "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1",
            f"--num-cpus={num_cpus}", "--disable-usage-stats", f"--temp-dir={scratch}/ray",
        ]  # fmt: skip
        log = Path(scratch) / "head.log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=own, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield RayHead(f"http://127.0.0.1:{dashboard}", own, log, process)
        finally:
            kill_with_its_ray(process)  # nothing of it is needed any more; to stop it in order takes half a minute
