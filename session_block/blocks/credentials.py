"""Blocks with the credentials for IBM Quantum, or for the local platform."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from prefect.blocks.abstract import CredentialsBlock
from pydantic import (
    Field,
    HttpUrl,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)

from session_block import aio
from session_block.account import Account, is_loopback
from session_block.blocks.accounts import (
    CHANNELS,
    account_for_copy,
    checked_ca_bundle,
    checked_token,
    checked_url,
    find_account,
    on_this_machine,
    proxies_as_text,
    proxies_of,
)
from session_block.blocks.forms import FormBlock
from session_block.errors import PlatformError
from session_block.settings import Source

if TYPE_CHECKING:
    from qiskit_ibm_runtime import QiskitRuntimeService

LOGO_URL = HttpUrl(
    "https://raw.githubusercontent.com/prefect-quantum-sessions/prefect-quantum-sessions/main/"
    "session_block/logo.png"
)
DOCUMENTATION_URL = HttpUrl("https://quantum.cloud.ibm.com/docs/guides/run-jobs-session")


class SessionCredentials(FormBlock, CredentialsBlock):
    """The base of all credentials of a session."""

    @abstractmethod
    def account(self) -> Account:
        """Return the account to connect with."""

    def get_client(self, *_args: Any, **_kwargs: Any) -> QiskitRuntimeService:
        """Connect, and return the client's service.

        Raises:
            InvalidInputError: The credentials are not where the Block says, or are malformed.
            ConnectionFailedError: The credentials are refused, or the platform cannot be reached.

        Examples:
            >>> credentials = LocalPlatformCredentials()
            >>> service = credentials.get_client()
            >>> "ibm_manila" in [backend.name for backend in service.backends()]
            True
        """
        from session_block.client import Connection

        return Connection(self).service

    aget_client = aio.async_twin(get_client)  # type: ignore[pydantic-field]  # no field


class IBMSessionCredentials(SessionCredentials):
    """An IBM Quantum account: its API key, or where the key is found, and the instance to use.

    Note:
        The key is in the Block (token), in a Prefect Secret block (token_secret), in an account
        that the client has saved (account_name), or, if none of these is given, in the environment
        of the process that runs the flow: QISKIT_IBM_TOKEN, with QISKIT_IBM_INSTANCE,
        QISKIT_IBM_URL and QISKIT_IBM_CHANNEL. The Block's other fields take precedence over values
        found with the key. If a key is replaced, the new one is used from the next attempt on.
        Loading the Block makes no network call.

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
        description=(
            "IBM Cloud API key. Leave empty if it is elsewhere: in a Secret block, in a saved "
            "account, or as QISKIT_IBM_TOKEN in the environment of the process that runs the flow."
        ),
    )
    instance: str | None = Field(
        default=None,
        description=(
            "Cloud resource name (CRN) of the instance, or its service name. If empty, the one "
            "found with the API key is used, or else all instances that the key may use."
        ),
        examples=["crn:v1:bluemix:public:quantum-computing:us-east:a/…:…::"],
    )
    token_secret: str | None = Field(
        default=None,
        min_length=1,
        title="Secret block with the API key",
        description=(
            "Name of the Prefect Secret block that holds the API key. It is loaded whenever a "
            "process connects, so replacing the key there is enough."
        ),
        examples=["ibm-api-key"],
    )
    account_name: str | None = Field(
        default=None,
        min_length=1,
        title="Saved account",
        description=(
            "Name of an account saved with QiskitRuntimeService.save_account on the machine that "
            "runs the flow, to use instead of an API key."
        ),
    )
    channel: Literal["ibm_quantum_platform", "ibm_cloud"] | None = Field(
        default=None,
        description=(
            "Channel through which to reach IBM Quantum. If empty, the one found with the API key "
            "is used, or else 'ibm_quantum_platform'."
        ),
    )
    url: str | None = Field(
        default=None,
        title="URL",
        description="Base URL. Leave empty for IBM Quantum; set it for another platform.",
    )
    private_endpoint: bool = Field(
        default=False,
        title="Private endpoint",
        description="Whether to use the instance's private endpoint.",
    )
    proxies: SecretStr | None = Field(
        default=None,
        description=(
            "URL of the proxy for all requests, or JSON as the client takes it: 'urls', which maps "
            "protocols to URLs. The environment's proxies are then not used."
        ),
        examples=[
            "http://user:password@proxy.example.org:3128",
            {"urls": {"https": "http://user:password@proxy.example.org:3128"}},
        ],
    )
    ca_bundle: Path | None = Field(
        default=None,
        title="CA bundle",
        description=(
            "File on the machine that runs the flow with the PEM certificates of the authorities "
            "to trust instead of the usual ones, such as a company's own."
        ),
    )
    verify: bool = Field(
        default=True,
        title="Verify certificates",
        description="Whether to verify the server's certificate.",
    )

    _is_copy: bool = PrivateAttr(default=False)

    @field_validator("token")
    @classmethod
    def _token_is_an_api_key(cls, token: SecretStr | None) -> SecretStr | None:
        if token is None:
            return None
        return SecretStr(checked_token(token.get_secret_value(), "The Block's token"))

    @field_validator("proxies", mode="before")
    @classmethod
    def _proxies_are_text(cls, proxies: Any) -> Any:
        return proxies_as_text(proxies)

    @field_validator("proxies")
    @classmethod
    def _proxies_are_usable(cls, proxies: SecretStr | None) -> SecretStr | None:
        proxies_of(proxies)
        return proxies

    @field_validator("url")
    @classmethod
    def _url_is_http(cls, url: str | None) -> str | None:
        return checked_url(url, "The Block's url")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        identities = (self.token, self.token_secret, self.account_name)
        if sum(identity is not None for identity in identities) > 1:
            raise ValueError(
                "Give only one of token, token_secret and account_name, or none to use the "
                "environment's QISKIT_IBM_TOKEN."
            )
        if self.ca_bundle is not None and not self.verify:
            raise ValueError("With verify off, ca_bundle is not used: remove it, or verify.")
        return self

    def as_copy(self) -> Self:
        """Return these credentials as those of a Block's copy, whose key is on this machine.

        Examples:
            >>> credentials = IBMSessionCredentials(instance="crn:v1:...")
            >>> credentials.as_copy().instance
            'crn:v1:...'
        """
        copy = self.model_copy()
        copy._is_copy = True  # noqa: SLF001 - this class's
        return copy

    def account(self) -> Account:
        """Return the account to connect with; asks nobody, except Prefect for a Secret block.

        Raises:
            InvalidInputError: The API key or the CA bundle is not where the Block says, or is
                malformed.

        Examples:
            >>> credentials = IBMSessionCredentials.load("my-account")
            >>> account = credentials.account()
            >>> account.channel, account.instance
            ('ibm_quantum_platform', 'crn:v1:bluemix:public:quantum-computing:...')
        """
        if self._is_copy:
            found = account_for_copy(self.account_name, self.channel, self.url)
        else:
            found = find_account(self.token, self.token_secret, self.account_name)
        account = replace(
            found,
            channel=self.channel or found.channel or CHANNELS[0],
            url=self.url or found.url,
            instance=self.instance or found.instance,
            verify=self.verify and (found.verify or self.ca_bundle is not None),
            ca_bundle=checked_ca_bundle(self.ca_bundle),
            proxies=proxies_of(self.proxies) or found.proxies,
            private_endpoint=self.private_endpoint or found.private_endpoint,
        )
        return on_this_machine(account) if account.url and is_loopback(account.url) else account


class LocalPlatformCredentials(SessionCredentials):
    """The local platform, your own IBM Quantum for development and tests.

    Note:
        It is started on this machine when first needed, and reused while it runs. Circuits really
        run, on Aer. Loading the Block neither starts it nor makes a network call.

    Example:
        Load a stored Block and connect, which starts the platform if necessary:

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
        description="Where the platform keeps its jobs and sessions; empty for the default.",
    )
    noise: Literal["exact", "shots", "device"] | None = Field(
        default=None,
        description=(
            "'exact' gives expectation values without noise, 'shots' with shot noise, 'device' "
            "with the recorded device's noise; empty for the setting of the running platform."
        ),
    )
    seed: int | None = Field(
        default=None,
        description="Seed of the random numbers. Those of a job also depend on its content.",
    )

    def account(self) -> Account:
        """Return the account to connect with; starts the platform if none runs.

        Raises:
            PlatformError: The platform could not be started, or runs with other settings.

        Examples:
            >>> account = LocalPlatformCredentials().account()
            >>> account.channel, account.url
            ('ibm_quantum_platform', 'http://127.0.0.1:...')
        """
        from session_block import local_platform

        try:
            info = local_platform.start(self.state_dir, noise=self.noise, seed=self.seed)
        except PlatformError as error:
            raise PlatformError(f"The local platform is not available: {error}.") from error
        account = Account(
            token=info.token,
            channel="ibm_quantum_platform",
            url=info.url,
            instance=info.instance,
        )
        return on_this_machine(account)


def source_of(credentials: IBMSessionCredentials | LocalPlatformCredentials) -> Source:
    """Return whose sessions these are, as far as the fields say, without secrets."""
    if isinstance(credentials, LocalPlatformCredentials):
        where = "" if credentials.state_dir is None else f" in {credentials.state_dir}"
        return Source(account=f"the local platform{where}")
    name = "" if credentials.account_name is None else f" {credentials.account_name}"
    account = f"{credentials.url or 'IBM Quantum'}{name}"
    return Source(account=account, instance=credentials.instance)


def may_be_one_account(
    first: IBMSessionCredentials | LocalPlatformCredentials,
    second: IBMSessionCredentials | LocalPlatformCredentials,
) -> bool:
    """Whether credentials with one source are those of one account, as far as that can be seen.

    The key of a saved Block may have been replaced since it was loaded first. Otherwise another key
    may be another account's.
    """
    names = [one._block_document_name for one in (first, second)]  # noqa: SLF001 - Prefect's
    if names[0] is not None and names[0] == names[1]:
        return True
    where = ("token", "token_secret", "account_name")
    keys = [[getattr(one, field, None) for field in where] for one in (first, second)]
    return keys[0] == keys[1]
