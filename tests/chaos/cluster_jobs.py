"""Jobs of the small run on the test cluster, all state on S3: started, watched from outside, and compared at the end."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.driver_process import start_driver, wait_at_work
from tests.object_store import ObjectStore
from tests.ray_cluster import RayCluster, RayNode
from tests.same_output import assert_same_output
from tests.small_run import STAGES, words_of

# What a worker that does a stage's work is called, and what the stage has published once it is well under way.
WORKERS = {"samples": "ray::build", "after": "_ShardActor)).submit", "tuned": "ray::RayTrainWorker"}
_PUBLISHED = {
    "samples": ("staging/steps", ".json"),
    "after": ("data", ".parquet"),
    "tuned": ("checkpoints/run", "state.json"),
}
PATIENCE_SECONDS = 600  # a whole cluster, and a job, on two cores beside other work


@dataclass(frozen=True)
class ClusterJob:
    """One stage of the small run, its inputs and its output on S3.

    Attributes:
        stage: its name in the recipe.
        bucket: of its output.
        uploaded: URL of its inputs.
        undisturbed: the run that it is compared with.
        store: the object store.
        log: what its drivers print, one after the other.
        changes: fields that change no row, as words of the command line.
        drivers: those started until now; whoever made the job kills them at the end.
    """

    stage: str
    bucket: str
    uploaded: str
    undisturbed: Path
    store: ObjectStore
    log: Path
    changes: list[str] = field(default_factory=list)
    drivers: list[subprocess.Popen] = field(default_factory=list)

    @property
    def output(self) -> str:
        """The bucket's path of its output."""
        return f"{self.bucket}/{self.stage}"

    def start(self, cluster: RayCluster) -> subprocess.Popen:
        """Start its driver, which joins the cluster: always the same command."""
        words = words_of(self.stage, self.uploaded, f"s3://{self.output}")
        words += [
            f"storage.endpoint_url={self.store.endpoint_url}",
            f"ray.address={cluster.gcs_address}",
            *self.changes,
        ]
        self.drivers.append(start_driver(STAGES[self.stage], words, self.log, cluster.environment))
        return self.drivers[-1]

    def wait_until_done(self, process: subprocess.Popen) -> None:
        """Wait for the driver's end: it says that all is well."""
        assert process.wait(PATIENCE_SECONDS) == 0, self.log.read_text()[-8000:]

    def num_published(self) -> int:
        """Return how many steps, parts or checkpoints are there."""
        directory, ending = _PUBLISHED[self.stage]
        fs = self.store.filesystem()
        path = f"{self.output}/{directory}"
        return sum(name.endswith(ending) for name in fs.find(path)) if fs.exists(path) else 0

    def wait_until_published(self, process: subprocess.Popen, number: int) -> None:
        """Wait until so many are there, and the job still at work."""
        wait_at_work(process, lambda: self.num_published() >= number, self.log, PATIENCE_SECONDS)

    def assert_undisturbed(self, tmp_path: Path) -> None:
        """Compare its output with that of the undisturbed run."""
        self.store.filesystem().get(self.output, str(tmp_path / "fetched"), recursive=True)
        assert_same_output(tmp_path / "fetched", self.undisturbed / self.stage, tolerance=1e-5)


def stop_worker(
    process: subprocess.Popen, nodes: list[RayNode], name: str, log: Path
) -> tuple[psutil.Process, RayNode]:
    """Halt a worker in the middle of its work, so that what comes next cannot come too late; return it and its node.

    Args:
        process: the driver.
        nodes: where to look.
        name: part of what Ray calls a worker that is at work.
        log: the driver's.
    """
    caught: list[tuple[psutil.Process, RayNode]] = []

    def is_caught() -> bool:
        for node in nodes:
            for worker in node.workers(name):
                worker.suspend()
                if name in worker.cmdline()[0]:
                    caught.append((worker, node))
                    return True
                worker.resume()  # it had just finished
        return False

    wait_at_work(process, is_caught, log, PATIENCE_SECONDS)
    return caught[0]
