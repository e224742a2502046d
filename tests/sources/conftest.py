"""What the tests of sources share."""

import pytest

from tests.upstream_server import running_upstream


@pytest.fixture
def upstream():
    """A badly behaved HTTP server."""
    with running_upstream() as server:
        yield server
