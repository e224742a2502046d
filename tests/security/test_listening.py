"""A local run is reached from this machine alone, and there only with its token."""

import os
import re
import socket
import stat

import psutil
import pytest

from ecellm.errors import InputError
from ecellm.ray_session import _private_directory
from tests.listening_sockets import listening_sockets
from tests.security.stranger import CALLS, PAGES

REFUSED = {"UNAUTHENTICATED", 401, 403}


def test_a_local_run_listens_on_the_loopback_address_alone(runs):
    kinds = {re.sub(r"^python[0-9.]*$", "python", own.process).split(".")[0] for own in runs.sockets}
    assert {"python", "gcs_server", "raylet", "ray::DashboardAgent", "ray::RayTrainWorker"} <= kinds, kinds
    assert not {own for own in runs.sockets if not own.is_loopback}


def test_a_stranger_is_refused_at_every_kind_of_port(runs):
    called = {call for call, _ in runs.answers}
    # The agent's pages lie on a port that only one Ray of a machine can have.
    optional = {f"{kind} {page}" for kind, page in PAGES.items() if page.startswith("/api/job_agent")}
    assert {f"{kind} {call}" for kind, call in {**CALLS, **PAGES}.items()} - optional <= called, runs.answers
    for call, (without, wrong, right) in runs.answers:
        assert {without, wrong} <= REFUSED, call
        assert right not in REFUSED, call


def test_each_local_run_has_a_token_of_its_own(runs):
    assert len(runs.secrets["RAY_AUTH_TOKEN"]) == 64
    assert not list(runs.directory.rglob("auth_token"))


def test_no_other_user_enters_the_ray_s_directory(runs):
    [sessions] = runs.directory.glob("*/ray")
    assert stat.S_IMODE(sessions.parent.stat().st_mode) == 0o700
    assert list(sessions.glob("session_*/sockets"))


def test_a_directory_that_others_may_enter_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    place = tmp_path / f"ecellm-{os.getuid()}"
    assert _private_directory() == place
    place.chmod(0o777)
    with pytest.raises(InputError, match="not a directory of yours alone"):
        _private_directory()
    place.rmdir()
    place.symlink_to(tmp_path)
    with pytest.raises(InputError, match="not a directory of yours alone"):
        _private_directory()


def test_a_socket_on_all_interfaces_is_seen():
    for host, family in (("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6)):
        with socket.socket(family, socket.SOCK_STREAM) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
            for own in (tcp, udp):
                own.bind((host, 0))
            tcp.listen()
            bound = {("TCP", tcp.getsockname()[1]), ("UDP", udp.getsockname()[1])}
            seen = listening_sockets(psutil.Process())
        assert bound <= {(own.kind, own.port) for own in seen if own.host == host and not own.is_loopback}
