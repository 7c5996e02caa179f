"""The server process: ``python -m session_block.local_platform.process.server --state-dir DIR``."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import psutil
import uvicorn
from filelock import FileLock, Timeout

from session_block.local_platform.api.app import create_app
from session_block.local_platform.api.connections import CuttableProtocol
from session_block.local_platform.api.fault_rules import load_faults
from session_block.local_platform.config.state import (
    ServerRecord,
    listening_address,
    load_identity,
    load_record,
    save_record,
)
from session_block.local_platform.platform import Platform

if TYPE_CHECKING:
    from types import FrameType

LOOPBACK = "127.0.0.1"
EXIT_PORT_IN_USE = 3
EXIT_ALREADY_SERVED = 4
EXIT_NO_IDENTITY = 5
EXIT_BAD_FAULTS = 6
EXIT_BAD_HOST = 7
_GRACE_SECONDS = 3


def main(arguments: list[str] | None = None) -> int:
    """Serve a state directory until a signal ends the process; return the exit status."""
    parser = argparse.ArgumentParser(description="Serve a local IBM Quantum platform.")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument(
        "--host",
        type=listening_address,
        help="IPv4 address; default: the last one, at first loopback",
    )
    parser.add_argument(
        "--port", type=int, help="fail if it is in use; default: the last one, or any free one"
    )
    parser.add_argument("--faults", type=Path, help="JSON file of fault rules to add")
    options = parser.parse_args(arguments)
    os.umask(0o077)  # jobs, keys and logs are this user's alone
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    state_dir: Path = options.state_dir

    identity = load_identity(state_dir)
    if identity is None:
        _say(f"{state_dir} holds no platform: start it with session_block.local_platform.start")
        return EXIT_NO_IDENTITY
    # Held until the process ends, in whatever way, so that no two servers share a store.
    try:
        lock = FileLock(state_dir / "server.lock", timeout=0, mode=0o600).acquire()
    except Timeout:
        _say(f"{state_dir} is already served by another process: stop that one first")
        return EXIT_ALREADY_SERVED
    with lock:
        record = load_record(state_dir)
        host = options.host or (LOOPBACK if record is None else record.host)
        try:
            listener = _listen(host, options.port, record)
        except OSError as error:
            _say(f"cannot listen on {host} ({error.strerror}): choose another host with --host")
            return EXIT_BAD_HOST
        if listener is None:
            _say(f"port {options.port} is in use: choose another port, or leave it out")
            return EXIT_PORT_IN_USE
        # Uvicorn raises the signal again after its shutdown: turn that into a normal exit.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _exit)
        platform = Platform(state_dir, identity)
        if options.faults is not None:
            try:
                load_faults(platform, options.faults)
            except (OSError, ValueError) as error:
                _say(f"cannot use the fault rules in {options.faults}: {error}")
                return EXIT_BAD_FAULTS
        platform.start()
        try:
            _serve(platform, listener, host, state_dir)
        finally:
            platform.stop()
    return 0


def _serve(platform: Platform, listener: socket.socket, host: str, state_dir: Path) -> None:
    config = uvicorn.Config(
        create_app(platform),
        http=CuttableProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    process = psutil.Process(os.getpid())
    port = listener.getsockname()[1]
    record = ServerRecord(process.pid, process.create_time(), port, host, platform.owner_key)
    save_record(state_dir, record)
    uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int | None, last: ServerRecord | None) -> socket.socket | None:
    """Listen on the given port; if none is given, on the last one if it is free, else on any.

    Returns:
        The listening socket, or None if the port cannot be used.
    """
    if port is not None:
        return _try_listen(host, port)
    again = None if last is None else _try_listen(host, last.port)
    return again or _try_listen(host, 0)


def _try_listen(host: str, port: int) -> socket.socket | None:
    # Asyncio sets TCP_NODELAY only if the protocol is named; without it every answer takes 40 ms
    # longer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # A server that was just killed leaves connections in TIME_WAIT on its port.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    return listener


def _exit(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")


if __name__ == "__main__":
    sys.exit(main())
