"""How many examples are drawn: few in `make test`, ECELLM_FUZZ_EXAMPLES of each property in `make fuzz`."""

import os

import pytest
from hypothesis import HealthCheck, settings

FEW = 15
settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("ECELLM_FUZZ_EXAMPLES", str(FEW))),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


@pytest.fixture(autouse=True, scope="package")
def _profile():
    settings.load_profile("fuzz")
    yield
    settings.load_profile("default")
