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
_METRICS_ALONE = 405  # a page of metrics, whatever its path, which may be read without a token and takes nothing
_SECONDS = 60.0


def answers(process, port, token):
    """Return what a port of a process says: without a token, with a wrong one, with `token`; of gRPC, then of HTTP.

    What is not served at a port (UNIMPLEMENTED, UNAVAILABLE) is left out.
    """
    found = {}
    for kind, path in CALLS.items():
        if process.startswith(kind):
            said = [_call(port, path, own) for own in (None, _WRONG, token)]
            if not {"UNIMPLEMENTED", "UNAVAILABLE"} & set(said):
                found[f"{kind} {path}"] = said
    for kind, page in PAGES.items():
        if process.startswith(kind):
            said = [_post(port, page, own) for own in (None, _WRONG, token)]
            if said[0] not in {None, _METRICS_ALONE}:
                found[f"{kind} {page}"] = said
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
        return None  # it speaks gRPC, or has gone
