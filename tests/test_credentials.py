"""What a user types into the Blocks, and what becomes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from support import Platform

from session_block import (
    IBMSessionCredentials,
    LocalPlatformCredentials,
    QuantumSession,
    local_platform,
)
from session_block.client import Connection

CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/1:2::"


@pytest.mark.parametrize("max_time", ["2h 30x", "", "9h", 0, -5, 28_801])
def test_a_bad_max_time_is_refused_by_the_block(max_time: Any) -> None:
    """The Block says what is wrong when it is made, long before a session is opened."""
    with pytest.raises(ValidationError, match="max_time"):
        QuantumSession(
            credentials=LocalPlatformCredentials(), backend_name="ibm_fez", max_time=max_time
        )


def test_everything_reaches_the_client() -> None:
    """Each field of the Block is an argument of the client's service."""
    proxies = {"urls": {"https": "http://proxy:3128"}}
    account = IBMSessionCredentials(
        token=SecretStr("key"),
        instance=CRN,
        channel="ibm_cloud",
        verify=False,
        proxies=proxies,  # type: ignore[arg-type]
        private_endpoint=True,
    ).account()
    assert account.token == "key"
    assert (account.channel, account.instance) == ("ibm_cloud", CRN)
    assert (account.verify, account.private_endpoint) == (False, True)
    assert account.proxies == proxies
    assert account.environment == {}
    assert account.settle_seconds == 30


@pytest.mark.parametrize(
    "url", ["https://cloud.ibm.com", "https://10.0.0.1/api", "http://loopback.example.org"]
)
def test_only_this_machine_is_taken_for_a_local_platform(url: str) -> None:
    """A URL elsewhere is left as it is typed, and so are the services beside it."""
    account = IBMSessionCredentials(token=SecretStr("key"), url=url).account()
    assert account.url == url
    assert account.environment == {}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_platform_on_this_machine_brings_all_its_services(host: str) -> None:
    """Token exchange and instance look-up go to the same origin as the jobs."""
    account = IBMSessionCredentials(token=SecretStr("key"), url=f"http://{host}:81/x").account()
    assert account.url == f"http://{host}:81/experimental/api/v1"
    assert account.environment == local_platform.service_environment(f"http://{host}:81")


@pytest.mark.parametrize("url", ["cloud.ibm.com", "ftp://cloud.ibm.com", "https://", ""])
def test_what_is_no_url_is_refused(url: str) -> None:
    """A URL has a scheme and a host."""
    with pytest.raises(ValidationError, match="URL"):
        IBMSessionCredentials(token=SecretStr("key"), url=url)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://user:hunter2@cloud.ibm.com"},
        {"url": "ftp://user:hunter2@cloud.ibm.com"},
        {"proxies": {"urls": "http://user:hunter2@proxy"}},
        {"proxies": {"urls": {}, "password_ntlm": "hunter2"}},
        {"proxies": {"url": "http://user:hunter2@proxy"}},
    ],
)
def test_no_error_about_an_address_shows_its_password(fields: dict[str, Any]) -> None:
    """P9: wrong URLs and proxies are refused without being repeated."""
    with pytest.raises(ValidationError) as caught:
        IBMSessionCredentials(token=SecretStr("key"), **fields)
    assert "hunter2" not in f"{caught.value} {caught.value!r}"


def test_without_an_instance_the_selected_one_is_pinned(platform: Platform) -> None:
    """Jobs are looked for in the instance to which they are sent, also if the client chose it."""
    credentials = IBMSessionCredentials(
        token=SecretStr(platform.info.token), url=platform.info.origin
    )
    connection = Connection(credentials.account())
    known = [instance["crn"] for instance in connection.service.instances()]
    assert connection.instance == connection.service.active_instance()
    assert connection.instance in known


def test_a_saved_account_serves(platform: Platform, tmp_path: Path) -> None:
    """The name of an account that the client has saved takes the place of a key."""
    program = (
        "import os\n"
        "from qiskit_ibm_runtime import QiskitRuntimeService\n"
        "from session_block import IBMSessionCredentials\n"
        "take = lambda name: os.environ.pop('QISKIT_IBM_' + name)\n"
        "take('CHANNEL')\n"
        "QiskitRuntimeService.save_account(\n"
        "    token=take('TOKEN'), url=take('URL'), instance=take('INSTANCE'), name='mine')\n"
        "service = IBMSessionCredentials(account_name='mine').get_client()\n"
        "print(service.backend('ibm_manila').num_qubits)\n"
    )
    environment = {
        **os.environ,
        **local_platform.environment(platform.info),
        "HOME": str(tmp_path),
    }
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "5\n"
