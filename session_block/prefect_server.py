"""Which Prefect server this machine uses."""

from __future__ import annotations

import httpx
from prefect.settings import get_current_settings

_PROBE_SECONDS = 2


def local_api_url() -> str:
    """Return the API URL at which ``prefect server start`` serves, by its settings."""
    server = get_current_settings().server.api
    return f"http://{server.host}:{server.port}/api"


def find_prefect_server() -> str | None:
    """Return the API URL of the Prefect server that answers: the configured one, else the local."""
    for url in (get_current_settings().api.url, local_api_url()):
        if url is not None and answers(url):
            return url
    return None


def answers(api_url: str) -> bool:
    """Return whether a Prefect server answers at an API URL."""
    try:
        return httpx.get(f"{api_url}/health", timeout=_PROBE_SECONDS).is_success
    except httpx.HTTPError:
        return False
