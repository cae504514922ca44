"""Rendezvous of the processes of one machine: Horovod's key-value store, bound to loopback.

Horovod's own launcher serves the store on every interface without a password.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tfscale.errors import RunError

LOOPBACK_TIMEOUT = 5.0
"""Seconds for a connection to this machine."""


def bind_store() -> Any:
    """Binds Horovod's key-value store to loopback; it answers once it is served."""
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    return RendezvousHTTPServer(("127.0.0.1", 0), RendezvousHandler, 0)


@contextmanager
def serving(server: Any, hosts: str, processes: int) -> Iterator[int]:
    """Serves a bound RendezvousHTTPServer to the processes of `hosts` (HOST:PROCESSES,...); yields its port."""
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts

    server.daemon_threads = True
    server.init(get_host_assignments(parse_hosts(hosts), processes))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def require_loopback() -> None:
    """Connects to this machine by loopback, which is how its processes find each other.

    Raises:
        RunError: There is no connection.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=LOOPBACK_TIMEOUT).close()
    except OSError as error:
        raise RunError(
            f"the loopback interface {loopback()} must be up for processes to find each other, got {error.strerror}; "
            f"type: ip link set {loopback()} up, or train in one process with strategy/collective=in_process"
        ) from None


def loopback() -> str:
    """Name of the loopback interface: lo on Linux, lo0 on BSD and macOS."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")


def rank_environment(
    rank: int, *, processes: int, port: int, start_timeout: int, interface: str | None
) -> Mapping[str, str]:
    """Environment variables that Horovod needs in one process."""
    return {
        "HOROVOD_HOSTNAME": "127.0.0.1",
        "HOROVOD_RANK": str(rank),
        "HOROVOD_SIZE": str(processes),
        "HOROVOD_LOCAL_RANK": str(rank),
        "HOROVOD_LOCAL_SIZE": str(processes),
        "HOROVOD_CROSS_RANK": "0",
        "HOROVOD_CROSS_SIZE": "1",
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_IFACE": interface or loopback(),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(start_timeout),
    }
