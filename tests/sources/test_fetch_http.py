"""The bytes of a file from a server that cuts, refuses, redirects and changes it; and what messages may show."""

import io
import random

import pytest

from ecellm.errors import InputError
from ecellm.sources.fetch_addresses import shown_url
from ecellm.sources.fetch_http import Patience, copy_range, copy_whole, login_header, look_at
from tests.upstream_server import Served, running_upstream

CONTENT = random.Random(1).randbytes(1_000_003)
PATIENCE = Patience(max_retries=3, backoff_seconds=0.001, timeout_seconds=5)


def fetched(server, name="file.bin", span=None, patience=PATIENCE):
    url = f"{server.url}/{name}"
    seen = look_at(url, patience)
    target, reports = io.BytesIO(), []
    if seen.ranges:
        span = span or (0, seen.length)
        copy_range(url, seen, span, target, patience=patience, report=reports.append)
    else:
        copy_whole(url, seen, target, patience=patience, report=reports.append)
    assert sum(reports) == len(target.getvalue())
    return target.getvalue()


def test_a_cut_range_goes_on_at_the_byte_where_it_stopped(upstream):
    upstream.files["file.bin"] = Served(CONTENT, cut_after=300_000)
    assert fetched(upstream, span=(100, 900_000), patience=Patience(1, 0.001, 5)) == CONTENT[100:900_000]
    assert upstream.ranges_asked("file.bin") == ["bytes=100-899999", "bytes=300100-899999", "bytes=600100-899999"]


def test_a_cut_file_without_ranges_is_fetched_again(upstream):
    upstream.files["file.bin"] = Served(CONTENT, ranges=False, cut_after=300_000, cuts=2)
    assert fetched(upstream) == CONTENT
    assert upstream.ranges_asked("file.bin") == ["whole"] * 3


def test_a_file_of_unknown_size_comes_whole(upstream):
    upstream.files["file.bin"] = Served(CONTENT, ranges=False, chunked=True, cut_after=300_000, cuts=1)
    assert look_at(f"{upstream.url}/file.bin", PATIENCE).length is None
    assert fetched(upstream) == CONTENT


def test_an_empty_file_is_a_file(upstream):
    upstream.files["file.bin"] = Served(b"")
    assert fetched(upstream) == b""


@pytest.mark.parametrize("status", [500, 503, 429])
def test_refusals_that_pass_are_waited_for(upstream, status):
    upstream.files["file.bin"] = Served(CONTENT, statuses=[status, status], headers={"Retry-After": "0"})
    assert fetched(upstream) == CONTENT


def test_the_server_says_how_long_to_wait(upstream, monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    upstream.files["file.bin"] = Served(CONTENT, statuses=[429, 503], headers={"Retry-After": "7"})
    look_at(f"{upstream.url}/file.bin", PATIENCE)
    upstream.files["file.bin"] = Served(
        CONTENT, statuses=[503], headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    )
    look_at(f"{upstream.url}/file.bin", PATIENCE)
    assert waits == [7, 7, 0]


def test_waits_grow_and_end(upstream, monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    upstream.files["file.bin"] = Served(CONTENT, statuses=[503] * 9)
    with pytest.raises(InputError, match=r"file\.bin: the server answered 503; given up \(max_retries=4\)"):
        look_at(f"{upstream.url}/file.bin", Patience(max_retries=4, backoff_seconds=1, timeout_seconds=5))
    assert len(waits) == 4
    assert all(2**k / 2 <= wait <= 2**k for k, wait in enumerate(waits))


@pytest.mark.parametrize(
    ("status", "told"), [(404, "is not there"), (403, "no access to"), (401, "no access to"), (418, "answered 418")]
)
def test_refusals_for_good_are_not_repeated(upstream, status, told):
    upstream.files["file.bin"] = Served(CONTENT, statuses=[status])
    with pytest.raises(InputError, match=told):
        look_at(f"{upstream.url}/file.bin", PATIENCE)
    assert len(upstream.log) == 1


def test_a_file_that_changes_meanwhile_is_not_mixed(upstream):
    url = f"{upstream.url}/file.bin"
    upstream.files["file.bin"] = Served(CONTENT)
    seen = look_at(url, PATIENCE)
    upstream.files["file.bin"] = Served(CONTENT[::-1])
    with pytest.raises(InputError, match="changed while it was being fetched"):
        copy_range(url, seen, (0, 10), io.BytesIO(), patience=PATIENCE, report=print)
    assert upstream.log[-1][2]["If-Range"] == seen.etag


def test_redirects_are_followed_within_http(upstream):
    upstream.files["old.bin"] = Served(b"", redirect=f"{upstream.url}/file.bin")
    upstream.files["file.bin"] = Served(CONTENT)
    assert fetched(upstream, "old.bin") == CONTENT
    upstream.files["old.bin"] = Served(b"", redirect="ftp://127.0.0.1/file.bin")
    with pytest.raises(InputError, match=r"none of http\(s\)"):
        fetched(upstream, "old.bin")


def test_the_hub_token_goes_nowhere_else(upstream, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "must-not-leave")
    upstream.files["file.bin"] = Served(CONTENT)
    fetched(upstream)
    assert all("Authorization" not in headers for _, _, headers in upstream.log)
    for url in ("http://huggingface.co/x", "https://huggingface.co.example.org/x", "https://huggingface.co:8443/x"):
        assert login_header(url) == {}
    assert login_header("https://huggingface.co/x") == {"Authorization": "Bearer must-not-leave"}


def test_a_login_is_taken_off_when_a_redirect_leaves_the_server(upstream):
    with running_upstream() as other:
        other.files["file.bin"] = Served(CONTENT)
        upstream.files["file.bin"] = Served(b"", redirect=f"{other.url}/file.bin")
        look_at(f"http://me:hush@{upstream.url.removeprefix('http://')}/file.bin", PATIENCE)  # pragma: allowlist secret
        assert "Authorization" in upstream.log[0][2]
        assert "Authorization" not in other.log[0][2]


def test_logins_and_signatures_are_not_shown(upstream):
    host = upstream.url.removeprefix("http://")
    url = f"http://me:hush@{host}/none.bin?signature=hush"  # pragma: allowlist secret
    with pytest.raises(InputError) as caught:
        look_at(url, PATIENCE)
    assert "hush" not in str(caught.value)
    assert upstream.log[0][2]["Authorization"].startswith("Basic ")
    with pytest.raises(InputError, match="127.0.0.1:9/x: no connection to the host") as caught:
        look_at("http://me:hush@127.0.0.1:9/x?signature=hush", Patience(0, 0, 1))  # pragma: allowlist secret
    assert "hush" not in str(caught.value)
    assert shown_url("https://a:b@example.org:8080/c/d?e=f#g") == "https://example.org:8080/c/d"
