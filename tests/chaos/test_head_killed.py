"""The head is gone, and with it the driver and the cluster: a new one, the same command, and only S3 in between."""

import pytest

from tests.driver_process import start_driver, wait_at_work
from tests.ray_cluster import running_ray_cluster
from tests.same_output import assert_same_output
from tests.small_run import RECIPE, STAGES, words_of_run

BUCKET = "chaos-head"


def submit(cluster, words, log):
    return start_driver("submit", [RECIPE, "--address", cluster.address, *words], log, cluster.environment)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_the_same_command_on_a_new_cluster_goes_on(store, uploaded, undisturbed, tmp_path):
    """Killed while it trains. The nodes of the old cluster are left: their workers have not noticed yet, and go on."""
    fs = store.filesystem()
    fs.mkdir(BUCKET)
    words = [*words_of_run(f"s3://{BUCKET}/run", uploaded), f"storage.endpoint_url={store.endpoint_url}"]
    words += [f"stages.{name}.config.num_actors=2" for name in ("before", "after")]
    logs = [tmp_path / "first", tmp_path / "second"]
    with running_ray_cluster(store.environment, nodes=2) as first:
        submitted = submit(first, words, logs[0])
        wait_at_work(submitted, lambda: fs.glob(f"{BUCKET}/run/tuned/checkpoints/run/*/state.json"), logs[0], 400)
        first.head.kill()
        finished = manifests(fs)
        assert {path.split("/")[2] for path in finished} == {"samples", "rows", "before"}
        with running_ray_cluster(store.environment, nodes=2) as second:
            assert submit(second, words, logs[1]).wait(500) == 0, logs[1].read_text()[-8000:]
        assert "going on after step" in logs[1].read_text()
        assert {path: manifests(fs)[path] for path in finished} == finished, "what was done is not done again"
        # It asks the lost head for five minutes, and tells then.
        assert submitted.wait(400) == 1
        assert logs[0].read_text().splitlines()[-1].startswith("ecellm: exit=1 reason=")
    fs.get(f"{BUCKET}/run", str(tmp_path / "fetched"), recursive=True)
    for stage in STAGES:
        assert_same_output(tmp_path / "fetched" / stage, undisturbed / stage, tolerance=1e-5)


def manifests(fs):
    """Return what is done, with the time at which it was."""
    return {path: fs.info(path)["LastModified"] for path in fs.glob(f"{BUCKET}/run/*/_manifest.json")}
