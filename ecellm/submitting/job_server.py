"""The cluster's job server: where it is, how we log in, and its errors in plain words.

The token comes from the environment (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH) or from ~/.ray/auth_token and goes into the
headers of requests, nowhere else.
"""

import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from ecellm.errors import InputError
from ecellm.redaction import redacted_text

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
# Ray's own, in its own order: the one for job servers, then the one for all.
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_PROBE_SECONDS = 10
_SAID_BY_THE_SYSTEM = re.compile(r"\[Errno -?\d+\] [\w ]+")
_NONE_SENT = "no authentication token was found"  # in Ray's message, ours missing or not sent


class ClusterError(RuntimeError):
    """The cluster failed at something that the user did not get wrong: exit code 1, without a traceback."""


def address_of(given: str | None) -> str:
    """Return the address of the job server: as given, else as the environment says, else on this machine.

    Raises:
        InputError: the address is not that of a job server.
    """
    found = {name: os.environ[name] for name in ADDRESS_VARIABLES if os.environ.get(name)}
    source, address = ("--address", given) if given else next(iter(found.items()), ("", DEFAULT_ADDRESS))
    if not address.startswith(("http://", "https://")):
        raise InputError(
            f"{source} {redacted_text(address)} is not where jobs are submitted: give the dashboard's address, such as "
            "--address http://HEAD:8265"
        )
    return address.rstrip("/")


def connect(address: str) -> JobSubmissionClient:
    """Return a client of the job server at `address`.

    Raises:
        InputError: nobody answers there, it is no Ray cluster, or it wants another token.
    """
    _quieten()
    _use_token()
    os.environ[ADDRESS_VARIABLES[0]] = address  # Ray's client prefers its variables to its argument
    _probe(address)
    try:
        with explained(address):
            return JobSubmissionClient(address)
    except (KeyError, ValueError, ClusterError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{redacted_text(address)} is not the dashboard of a Ray cluster ({error})") from None


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Turn what Ray's client raises into errors that say what to do.

    Raises:
        InputError: the user can mend it.
        ClusterError: the user cannot.
    """
    try:
        yield
    except ClusterError:
        raise
    except AuthenticationError as error:
        raise InputError(_about_token(address, error)) from None
    except OSError as error:  # requests' own errors are of this kind
        raise ClusterError(f"{redacted_text(address)} does not answer: {_reason(error)}") from None
    except RuntimeError as error:
        raise _translated(error) from None


def _reason(error: OSError) -> str:
    """Return what the system said: requests and urllib3 wrap it in text about their pools."""
    text = " ".join(str(error).split())
    said = _SAID_BY_THE_SYSTEM.search(text)
    return said[0] if said else redacted_text(text[:200])


def _translated(error: RuntimeError) -> Exception:
    text = redacted_text(" ".join(str(error).split()))
    if "exceeds the maximum size" in text or "status code 413" in text:
        return InputError(
            f"the upload is larger than the cluster takes: exclude what is not code in .gitignore or in "
            f"runtime_env.yaml ({text[-300:]})"
        )
    return ClusterError(text[-600:])


def _about_token(address: str, error: AuthenticationError) -> str:
    said = "wants a token, and there is none" if _NONE_SENT in error.message else "refuses the token"
    return (
        f"the cluster at {redacted_text(address)} {said}: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that "
        "holds it, or put it into ~/.ray/auth_token (with RAY_AUTH_MODE=token, or unset)"
    )


def _use_token() -> None:
    """Send the token that is there even if RAY_AUTH_MODE is not set; `ray start` and ray.init do the same."""
    from ray._private.authentication import authentication_token_setup

    logging.getLogger(authentication_token_setup.__name__).setLevel(logging.ERROR)
    authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _probe(address: str) -> None:
    """Raise `InputError` soon where nobody listens: Ray's client has no time limit."""
    try:
        urllib.request.urlopen(f"{address}/api/version", timeout=_PROBE_SECONDS).close()  # noqa: S310  http(s) alone
    except urllib.error.HTTPError:
        return  # somebody answers
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"no Ray cluster answers at {redacted_text(address)} ({redacted_text(str(reason))}): is it up, and its "
            "dashboard within reach (ray dashboard CLUSTER.yaml, kubectl port-forward)? --address or RAY_ADDRESS "
            "names another"
        ) from None


def _quieten() -> None:
    """Leave out what Ray's client tells of each request; our own lines say what users ask."""
    for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("ray._private.runtime_env").setLevel(logging.ERROR)
