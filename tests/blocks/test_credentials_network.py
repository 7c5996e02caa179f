"""Proxies and authorities of one's own between the client and the platform."""

from __future__ import annotations

import base64
import datetime as dt
import http.client
import ipaddress
import logging
import ssl
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prefect.blocks.fields import SecretDict
from pydantic import SecretStr, ValidationError

from session_block import IBMSessionCredentials
from session_block.client import Connection
from session_block.errors import ConnectionFailedError, InvalidInputError
from session_block.local_platform import LocalPlatform

PASSWORD = "hunter2"
NOWHERE = "http://127.0.0.1:9"
IAM = "POST /identity/token"


class Relay(ThreadingHTTPServer):
    """Hands every request on to a platform, and counts it.

    Args:
        platform: To whom requests for the relay itself go; those for others go to these.
        password: What a proxy's user has to give.
        context: With which the relay speaks TLS.
    """

    daemon_threads = True

    def __init__(
        self,
        platform: LocalPlatform,
        *,
        password: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if context is not None:
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.platform = platform
        self.password = password
        self.handed_on = Counter[str]()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that does not trust the relay hangs up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.password and not self._knows_password():
            self.send_error(407)
            return
        target = urlsplit(self.path)
        origin = target.netloc or urlsplit(self.server.platform.info.origin).netloc
        self.server.handed_on[f"{self.command} {target.path}"] += 1
        connection = http.client.HTTPConnection(origin)
        path = target._replace(scheme="", netloc="").geturl()
        connection.request(self.command, path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        if answer.status != http.client.NO_CONTENT:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _knows_password(self) -> bool:
        given = self.headers.get("Proxy-Authorization", "").removeprefix("Basic ")
        return base64.b64decode(given).decode() == f"user:{self.server.password}"

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _hand_on  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def served(relay: Relay) -> Iterator[Relay]:
    """Let a relay work in a thread."""
    thread = threading.Thread(target=relay.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        relay.shutdown()
        thread.join()
        relay.server_close()


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform whose access tokens are too short-lived to be used twice."""
    with LocalPlatform(token_seconds=5) as running:
        yield running


def requests_to(local: LocalPlatform) -> Counter[str]:
    """Return what a platform was asked for by clients."""
    counts = Counter[str](local.stats()["requests"])
    return Counter({route: n for route, n in counts.items() if "/_local" not in route})


def by_proxy(local: LocalPlatform, url: str) -> IBMSessionCredentials:
    """Return the credentials of a user who reaches a platform through a proxy."""
    return IBMSessionCredentials(
        token=SecretStr(local.info.token),
        url=local.info.origin,
        proxies=SecretDict({"urls": {"http": url}}),
    )


@pytest.fixture
def proxy(local: LocalPlatform) -> Iterator[Relay]:
    """A proxy that asks for a password."""
    with served(Relay(local, password=PASSWORD)) as relay:
        yield relay


def _url(proxy: Relay, password: str = PASSWORD) -> str:
    return f"http://user:{password}@127.0.0.1:{proxy.server_port}"


def test_everything_goes_through_the_proxy(
    local: LocalPlatform, proxy: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the platform sees of a client comes by the Block's proxy, and by no other one."""
    monkeypatch.setenv("http_proxy", NOWHERE)
    before = requests_to(local)
    service = by_proxy(local, _url(proxy)).get_client()
    assert service.backend("ibm_brussels").num_qubits == 127  # of another instance than the first
    service.usage()
    asked = requests_to(local) - before
    assert asked[IAM] > 3
    assert proxy.handed_on.total() == asked.total()


def test_the_platform_on_this_machine_needs_no_proxy(
    local: LocalPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxies of the environment are for the world outside; access tokens come directly too."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    service = IBMSessionCredentials(
        token=SecretStr(local.info.token), url=local.info.origin
    ).get_client()
    before = requests_to(local)[IAM]
    assert service.usage()
    assert requests_to(local)[IAM] > before


@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_no_log_line_and_no_error_shows_a_password_or_key(
    local: LocalPlatform,
    proxy: Relay,
    password: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P9: neither what is logged at any level, nor an error with all its causes, holds a secret."""
    # At this level the client has all of the process's HTTP traced.
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 0)
    monkeypatch.setattr(http.client, "print", print, raising=False)
    credentials = by_proxy(local, _url(proxy, password))
    told = [repr(credentials), str(credentials), repr(credentials.account())]
    with caplog.at_level(logging.DEBUG):
        for name in list(logging.root.manager.loggerDict):
            caplog.set_level(logging.DEBUG, name)
        if password == PASSWORD:
            credentials.get_client().usage()
        else:
            with pytest.raises(ConnectionFailedError, match="407") as caught:
                credentials.get_client()
            told += traceback.format_exception(caught.value)
    told += [caplog.text, *capfd.readouterr()]
    basic = base64.b64encode(f"user:{password}".encode()).decode()
    for secret in (password, basic, local.info.token, "Bearer ey"):
        assert not [text for text in told if secret in text]


def test_a_proxy_that_is_out_of_reach_is_a_clear_error(local: LocalPlatform) -> None:
    """The error says that it was the proxy, and not its password."""
    credentials = by_proxy(local, f"http://user:{PASSWORD}@127.0.0.1:9")
    with pytest.raises(ConnectionFailedError, match="Unable to connect to proxy") as caught:
        credentials.get_client()
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        f"user:{PASSWORD}@proxy:3128",
        f"ftp://user:{PASSWORD}@proxy",
        f"http://user:{PASSWORD}@",
        f"http://user:{PASSWORD}@proxy:99999",
        f"http://user:{PASSWORD}@proxy:none",
        f"http://user:12#{PASSWORD}@proxy",
        f"http://user:12/{PASSWORD}@proxy",
        12,
    ],
)
def test_what_is_no_proxy_is_refused_without_being_shown(url: str) -> None:
    """P9: the client would repeat a malformed URL, with its password, in an error of its own."""
    with pytest.raises(ValidationError, match="percent-encoded") as caught:
        IBMSessionCredentials(token=SecretStr("key"), proxies=SecretDict({"urls": {"https": url}}))
    assert PASSWORD not in f"{caught.value} {caught.value!r}"


def test_ntlm_is_refused() -> None:
    """Fields with which the client cannot even ask for an access token are an error at once."""
    ntlm = {"username_ntlm": "user", "password_ntlm": PASSWORD, "urls": {}}
    with pytest.raises(ValidationError, match="NTLM"):
        IBMSessionCredentials(token=SecretStr("key"), proxies=SecretDict(ntlm))


class Authority:
    """A certificate authority that nobody knows."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority unheard of")])
        self._certificate = self._signed(self._name, self._key, ca=True)

    def write(self, path: Path) -> Path:
        """Write the authority's certificate, and return where it is."""
        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def context(self, directory: Path) -> ssl.SSLContext:
        """Return TLS for a server on this machine, with a certificate that the authority signs."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        file = directory / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + self._signed(name, key, ca=False).public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder(self._name, name, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([here]), critical=False)
            .add_extension(_usage(ca=ca), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority of a company."""
    return Authority()


@pytest.fixture
def bundle(authority: Authority, tmp_path: Path) -> Path:
    """The file with the company's authority."""
    return authority.write(tmp_path / "ca.pem")


@pytest.fixture
def tls(local: LocalPlatform, authority: Authority, tmp_path: Path) -> Iterator[Relay]:
    """The platform by TLS, with a certificate that the company's authority has signed."""
    with served(Relay(local, context=authority.context(tmp_path))) as relay:
        yield relay


def by_tls(tls: Relay, bundle: Path | None, *, verify: bool = True) -> IBMSessionCredentials:
    """Return the credentials of a user who reaches a platform by TLS."""
    return IBMSessionCredentials(
        token=SecretStr(tls.platform.info.token),
        url=f"https://127.0.0.1:{tls.server_port}",
        ca_bundle=bundle,
        verify=verify,
    )


def test_an_unknown_authority_is_a_clear_error(tls: Relay) -> None:
    """Without its authority's certificate a server gets nothing, and the error says what to set."""
    with pytest.raises(ConnectionFailedError, match=r"CERTIFICATE_VERIFY_FAILED.*ca_bundle"):
        by_tls(tls, None).get_client()
    assert not tls.handed_on


def test_another_authority_does_not_do(tls: Relay, tmp_path: Path) -> None:
    """Only servers whose certificates the given authority has signed are trusted."""
    other = Authority().write(tmp_path / "other.pem")
    with pytest.raises(ConnectionFailedError, match="ca_bundle"):
        by_tls(tls, other).get_client()
    assert not tls.handed_on


def test_the_given_authority_is_trusted_by_all_requests(
    local: LocalPlatform, tls: Relay, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the certificate all goes by TLS, later access tokens and other instances included."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority().write(tmp_path / "other.pem")))
    before = requests_to(local)
    connection = Connection(by_tls(tls, bundle).account())
    tokens = requests_to(local)[IAM]
    connection.allocation()
    assert requests_to(local)[IAM] > tokens
    known = connection.service.instances()
    other = next(one["crn"] for one in known if ":eu-de:" in one["crn"])
    assert connection.service.backends(instance=other)
    assert tls.handed_on.total() == (requests_to(local) - before).total()


def test_verification_may_be_turned_off(
    tls: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the Block says of verification holds, whatever authority the environment names."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority().write(tmp_path / "other.pem")))
    with pytest.warns(match="Unverified HTTPS request"):
        service = by_tls(tls, None, verify=False).get_client()
    assert service.active_instance()
    with pytest.warns(match="Unverified HTTPS request"):
        assert service.usage()


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_bundle_that_is_none_is_a_clear_error(
    tls: Relay, tmp_path: Path, content: str | None
) -> None:
    """A file that is missing, or holds no certificate, is named before any network call."""
    path = tmp_path / "none.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInputError, match=rf"ca_bundle, {path}"):
        by_tls(tls, path).get_client()
    assert not tls.handed_on


def test_a_bundle_and_no_verification_do_not_go_together(bundle: Path) -> None:
    """A bundle that would not be looked at is refused."""
    with pytest.raises(ValidationError, match="ca_bundle"):
        IBMSessionCredentials(token=SecretStr("key"), ca_bundle=bundle, verify=False)
