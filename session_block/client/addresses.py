"""The addresses of IBM's services and the version of its API, as the client finds them."""

from __future__ import annotations

from dataclasses import dataclass

from qiskit_ibm_runtime.accounts.account import IBM_QUANTUM_PLATFORM_API_URL
from qiskit_ibm_runtime.accounts.utils import (
    get_global_catalog_api_url,
    get_global_search_api_url,
    get_iam_api_url,
)
from qiskit_ibm_runtime.api.rest.base import RestAdapterBase
from qiskit_ibm_runtime.api.utils import default_runtime_url_resolver

from session_block.account import Account

API_VERSION = str(RestAdapterBase._HEADER_API_VERSION["IBM-API-Version"])  # noqa: SLF001
"""The version of IBM's API that the client asks for."""


IBM_URL = str(IBM_QUANTUM_PLATFORM_API_URL)
"""The base URL that the client uses if none is given."""


@dataclass(frozen=True)
class Addresses:
    """The base URLs of IBM's services."""

    runtime: str
    iam: str
    search: str
    catalog: str


def addresses_of(account: Account, crn: str) -> Addresses:
    """Return the addresses for an instance of an account."""
    url = account.url or IBM_URL
    given = account.environment
    return Addresses(
        runtime=default_runtime_url_resolver(
            url, crn, private_endpoint=bool(account.private_endpoint)
        ),
        iam=given.get("IAM_URL") or get_iam_api_url(url),
        search=given.get("GLOBAL_SEARCH_URL") or get_global_search_api_url(url),
        catalog=given.get("GLOBAL_CATALOG_URL") or get_global_catalog_api_url(url),
    )
