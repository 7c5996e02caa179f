"""Blocks that hold what it takes to reach IBM Quantum, or the local platform in its stead."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from prefect.blocks.abstract import CredentialsBlock
from prefect.blocks.core import Block
from prefect.blocks.fields import SecretDict
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator, model_validator

from session_block import local_platform
from session_block.account import Account
from session_block.errors import ConnectionFailedError

if TYPE_CHECKING:
    from qiskit_ibm_runtime import QiskitRuntimeService

LOGO_URL = HttpUrl(
    "https://raw.githubusercontent.com/prefect-quantum-sessions/prefect-quantum-sessions/main/"
    "session_block/logo.png"
)
DOCUMENTATION_URL = HttpUrl("https://quantum.cloud.ibm.com/docs/guides/run-jobs-session")
LOCAL_SETTLE_SECONDS = 1.0


class StrictBlock(Block):
    """A Block that refuses fields it does not have, and never shows its input in an error.

    Prefect's Blocks take any field. Credentials that are wrong for IBM would then pass for those of
    the local platform, which needs none.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _has_no_other_fields(cls, fields: Any) -> Any:
        known = {*cls.model_fields, "block_type_slug"}
        given = fields if isinstance(fields, Mapping) else {}
        if others := [name for name in given if name not in known and not name.startswith("_")]:
            raise ValueError(f"{cls.__name__} has no field {', '.join(map(repr, others))}.")
        return fields


class SessionCredentials(StrictBlock, CredentialsBlock):
    """What all credentials of a session have in common."""

    @abstractmethod
    def account(self) -> Account:
        """Return what it takes to connect."""

    def get_client(self, *_args: Any, **_kwargs: Any) -> QiskitRuntimeService:
        """Connect, and return the client's service.

        Raises:
            ConnectionFailedError: The credentials are refused, or the platform is out of reach.
        """
        from session_block.client import Connection

        return Connection(self.account()).service


class IBMSessionCredentials(SessionCredentials):
    """An IBM Quantum account: an API key and an instance, or the name of a saved account.

    Loading it makes no network call.

    Example:
        Load stored credentials and list the instance's backends:

        ```python
        from session_block import IBMSessionCredentials

        credentials = IBMSessionCredentials.load("BLOCK_NAME")
        service = credentials.get_client()
        print([backend.name for backend in service.backends()])
        ```
    """

    _block_type_name = "IBM Session Credentials"
    _block_type_slug = "ibm-session-credentials"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    token: SecretStr | None = Field(
        default=None,
        title="API key",
        description="IBM Cloud API key. Needed unless a saved account is named.",
    )
    instance: str | None = Field(
        default=None,
        description="Cloud resource name (CRN) of the instance, or its service name.",
        examples=["crn:v1:bluemix:public:quantum-computing:us-east:a/…:…::"],
    )
    account_name: str | None = Field(
        default=None,
        title="Saved account",
        description=(
            "Name of an account saved with QiskitRuntimeService.save_account on the machine that "
            "runs the flow, to be used instead of an API key."
        ),
    )
    channel: Literal["ibm_quantum_platform", "ibm_cloud"] = Field(
        default="ibm_quantum_platform", description="Channel through which to reach IBM Quantum."
    )
    url: str | None = Field(
        default=None,
        title="URL",
        description="Base URL. Leave empty for IBM Quantum; set it for another platform.",
    )
    verify: bool = Field(default=True, description="Whether to verify the server's certificate.")
    proxies: SecretDict | None = Field(
        default=None,
        description=(
            "Proxies, as the client takes them: 'urls', and for NTLM 'username_ntlm' and "
            "'password_ntlm'."
        ),
    )
    private_endpoint: bool = Field(
        default=False, description="Whether to use the instance's private endpoint."
    )

    @field_validator("token")
    @classmethod
    def _token_is_not_empty(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not token.get_secret_value().strip():
            raise ValueError("The API key is empty. Create one in IBM Cloud and paste it here.")
        return token

    @field_validator("proxies")
    @classmethod
    def _proxies_are_the_clients(cls, proxies: SecretDict | None) -> SecretDict | None:
        given = {} if proxies is None else proxies.get_secret_value()
        known = set(given) <= {"urls", "username_ntlm", "password_ntlm"}
        paired = ("username_ntlm" in given) == ("password_ntlm" in given)
        if not (known and paired and isinstance(given.get("urls", {}), dict)):
            raise ValueError(
                "proxies takes 'urls', which maps protocols to URLs, and both or neither of "
                "'username_ntlm' and 'password_ntlm'."
            )
        return proxies

    @field_validator("url")
    @classmethod
    def _url_is_http(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).scheme not in {"http", "https"} or not _host(url)):
            raise ValueError("The URL is not an http(s) URL.")
        if url is not None and urlsplit(url).username is not None:
            raise ValueError("The URL holds a user name or a password: it is logged and recorded.")
        return url

    @model_validator(mode="after")
    def _has_one_identity(self) -> Self:
        if (self.token is None) == (self.account_name is None):
            raise ValueError(
                "Give either an API key (token) or the name of a saved account (account_name)."
            )
        return self

    def account(self) -> Account:
        """Return what it takes to connect; makes no network call."""
        proxies = None if self.proxies is None else self.proxies.get_secret_value()
        token = None if self.token is None else self.token.get_secret_value()
        account = Account(
            token=token,
            name=self.account_name,
            channel=self.channel,
            url=self.url,
            instance=self.instance,
            verify=self.verify,
            proxies=proxies,
            private_endpoint=self.private_endpoint,
        )
        return account if self.url is None or not _is_loopback(self.url) else _local(account)


class LocalPlatformCredentials(SessionCredentials):
    """The local platform: an IBM Quantum of one's own, for development and for tests.

    It is started on this machine when first needed, and found again when it runs. Circuits really
    run, on Aer. Loading the Block neither starts it nor makes a network call.

    Example:
        Load a stored Block and connect, which starts the platform if need be:

        ```python
        from session_block import LocalPlatformCredentials

        credentials = LocalPlatformCredentials.load("BLOCK_NAME")
        service = credentials.get_client()
        print([backend.name for backend in service.backends()])
        ```
    """

    _block_type_name = "Local Quantum Platform"
    _block_type_slug = "local-quantum-platform"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    state_dir: Path | None = Field(
        default=None,
        title="State directory",
        description="Where the platform keeps its jobs and sessions; empty for the usual place.",
    )
    noise: Literal["exact", "shots", "device"] | None = Field(
        default=None,
        description=(
            "'exact' gives expectation values without any noise, 'shots' with shot noise, "
            "'device' with the recorded device's; empty for what the platform was started with."
        ),
    )
    seed: int | None = Field(
        default=None,
        description="Seed from which, with a job's content, its random numbers derive.",
    )

    def account(self) -> Account:
        """Return what it takes to connect, starting the platform if none runs.

        Raises:
            ConnectionFailedError: It could not be started, or runs with other settings.
        """
        try:
            info = local_platform.start(self.state_dir, noise=self.noise, seed=self.seed)
        except local_platform.PlatformError as error:
            raise ConnectionFailedError(f"The local platform is not available: {error}.") from error
        account = Account(
            token=info.token,
            channel="ibm_quantum_platform",
            url=info.url,
            instance=info.instance,
        )
        return _local(account)


def _local(account: Account) -> Account:
    """Complete an account of a platform on this machine: all its services are at one origin."""
    parts = urlsplit(str(account.url))
    origin = f"{parts.scheme}://{parts.netloc}"
    return Account(
        token=account.token,
        name=account.name,
        channel=account.channel,
        url=f"{origin}/experimental/api/v1",
        instance=account.instance,
        verify=account.verify,
        proxies=account.proxies,
        environment=local_platform.service_environment(origin),
        settle_seconds=LOCAL_SETTLE_SECONDS,
    )


def _host(url: str) -> str | None:
    return urlsplit(url).hostname


def _is_loopback(url: str) -> bool:
    host = _host(url) or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
