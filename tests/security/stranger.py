"""What Ray's own ports answer to somebody who has no token, or a wrong one, and, to compare, to somebody who has it.

Calls are empty: who is refused is told before Ray reads them, and who is not does no harm.
"""

import urllib.error
import urllib.request
from http.client import HTTPException

import grpc

# A call that each kind of process serves, by the beginning of its name.
CALLS = {
    "gcs_server": "NodeInfoGcsService/GetAllNodeInfo",
    "raylet": "NodeManagerService/GetNodeStats",
    "ray::DashboardAgent": "ReporterService/GetTraceback",
    "ray::RayTrainWorker": "CoreWorkerService/GetCoreWorkerStats",
    "python": "CoreWorkerService/GetCoreWorkerStats",  # the driver
}
PAGES = {"ray::DashboardAgent": "/api/job_agent/jobs/", "ray::RuntimeEnvAgent": "/get_or_create_runtime_env"}
_WRONG = "not-the-token" * 3
# 405: pages of metrics, whatever their path, may be read without a token and take nothing. None: the process has gone.
_NOT_SERVED = {"UNIMPLEMENTED", "UNAVAILABLE", 405, None}
_SECONDS = 60.0


def answers(listening, token):
    """Return what was called at a port, and what it said: without a token, with a wrong one, with `token`.

    What a port does not serve is left out.
    """
    # Ray's gRPC listens on IPv6 sockets, its HTTP and PyTorch's gloo on IPv4 ones. Gloo would let a caller wait.
    is_grpc = ":" in listening.host
    found = []
    for kind, path in (CALLS if is_grpc else PAGES).items():
        if listening.process.startswith(kind):
            ask = _call if is_grpc else _post
            said = [ask(listening.port, path, own) for own in (None, _WRONG, token)]
            if not _NOT_SERVED & set(said):
                found.append((f"{kind} {path}", said))
    return found


def _call(port, path, token):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        metadata = [("authorization", f"Bearer {token}")] if token else []
        try:
            channel.unary_unary(f"/ray.rpc.{path}")(b"", metadata=metadata, timeout=_SECONDS)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


def _post(port, page, token):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{page}", headers=headers, method="POST", data=b"")
    try:
        return urllib.request.urlopen(request, timeout=_SECONDS).status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, HTTPException):
        return None
