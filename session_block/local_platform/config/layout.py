"""The users of a platform: accounts, their instances, and each instance's plan and backends.

A state directory gets its layout on first use and keeps it: API keys and CRNs are made from it
once. The default is one account with three instances: one that allows sessions, one in another
region that allows them too, and one on the open plan, which allows none.
"""

from __future__ import annotations

import secrets
import uuid
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from session_block.local_platform.config.tenancy import Account, Instance, PlanName
from session_block.local_platform.devices.backends import DEVICES

if TYPE_CHECKING:
    from pathlib import Path

Region = Literal["us-east", "eu-de"]
OPEN_PLAN_SECONDS = 600


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")]


class DeviceSpec(_Spec):
    """An additional backend, made from a recording in the client's fake provider."""

    name: Name
    recording: Name


class InstanceSpec(_Spec):
    """One instance: name, plan, region and backends (by default all except the mock ones)."""

    name: Name
    plan: PlanName = "paygo"
    region: Region = "us-east"
    backends: tuple[Name, ...] | None = None
    usage_limit_seconds: Annotated[int, Field(ge=0)] | None = None


class AccountSpec(_Spec):
    """One account, its users, each with an API key, and the instances that they may use."""

    instances: Annotated[tuple[InstanceSpec, ...], Field(min_length=1)]
    users: Annotated[int, Field(ge=1)] = 1


class Layout(_Spec):
    """All accounts of a platform, and its additional backends. The first account is the default.

    Examples:
        Two accounts that do not see each other:

        >>> from session_block.local_platform import Layout
        >>> one = {"instances": [{"name": "lab", "backends": ["ibm_manila"]}]}
        >>> layout = Layout.model_validate({"accounts": [one, one]})
        >>> layout.accounts[1].instances[0].plan
        'paygo'
    """

    accounts: Annotated[tuple[AccountSpec, ...], Field(min_length=1)]
    devices: tuple[DeviceSpec, ...] = ()

    @model_validator(mode="after")
    def _backends_exist(self) -> Layout:
        known = {*DEVICES, *(device.name for device in self.devices)}
        for account in self.accounts:
            names = [instance.name for instance in account.instances]
            if len(set(names)) < len(names):
                raise ValueError("two instances of one account have the same name")
            for instance in account.instances:
                if unknown := [name for name in instance.backends or () if name not in known]:
                    raise ValueError(f"instance {instance.name}: no backend is called {unknown[0]}")
        return self


DEFAULT_LAYOUT = Layout(
    accounts=(
        AccountSpec(
            instances=(
                InstanceSpec(
                    name="local-platform",
                    backends=(
                        "ibm_manila",
                        "ibm_nairobi",
                        "ibm_hanoi",
                        "ibm_sherbrooke",
                        "ibm_fez",
                    ),
                ),
                InstanceSpec(
                    name="local-platform-eu",
                    plan="premium",
                    region="eu-de",
                    backends=("ibm_brussels", "ibm_aachen"),
                ),
                InstanceSpec(
                    name="local-platform-open",
                    plan="open",
                    backends=("ibm_sherbrooke", "ibm_fez"),
                    usage_limit_seconds=OPEN_PLAN_SECONDS,
                ),
            )
        ),
    )
)


def read_layout(path: Path) -> Layout:
    """Return the layout from a JSON file.

    Raises:
        ValueError: The file is not JSON or not a layout; the message says what is wrong.
        OSError: The file cannot be read.

    Examples:
        >>> from pathlib import Path
        >>> from session_block.local_platform import read_layout
        >>> file = Path("layout.json")
        >>> written = file.write_text('{"accounts": [{"instances": [{"name": "lab"}]}]}')
        >>> read_layout(file).accounts[0].instances[0].name
        'lab'
    """
    try:
        return Layout.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"])) or "the layout"
        raise ValueError(f"{path} is not a layout: {place}: {problem['msg']}") from None


def new_accounts(layout: Layout) -> tuple[Account, ...]:
    """Return the accounts of a layout with fresh API keys and CRNs.

    The users of an account follow each other, as accounts with IDs of their own and the same
    instances.
    """
    devices = (*DEVICES, *(device.name for device in layout.devices))
    accounts: list[Account] = []
    for account in layout.accounts:
        account_id = uuid.uuid4().hex
        instances = tuple(
            Instance(
                crn=(
                    f"crn:v1:bluemix:public:quantum-computing:{spec.region}:"
                    f"a/{account_id}:{uuid.uuid4()}::"
                ),
                name=spec.name,
                plan=spec.plan,
                region=spec.region,
                backends=devices if spec.backends is None else spec.backends,
                usage_limit_seconds=spec.usage_limit_seconds,
            )
            for spec in account.instances
        )
        ids = [account_id, *(uuid.uuid4().hex for _ in range(account.users - 1))]
        accounts += [Account(one, secrets.token_urlsafe(33), instances) for one in ids]
    return tuple(accounts)
