"""Credentials: API keys, the access tokens minted for them, and who may use which instance."""

from __future__ import annotations

import hmac
import re
import time
from typing import TYPE_CHECKING, Any

import jwt

from session_block.local_platform.errors import instance_not_found, not_a_crn, not_authorized

if TYPE_CHECKING:
    from session_block.local_platform.config.state import Identity
    from session_block.local_platform.config.tenancy import Account, Instance

_ALGORITHM = "HS256"
_CRN = re.compile(r"crn:v1:[^:]*:[^:]*:quantum-computing:[^:]+:a/[^:]+:[^:]+::")


class Accounts:
    """Checks credentials and mints access tokens.

    Tokens expire by the machine's clock, not the platform's, because the client checks them by
    the machine's clock too.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        # In nanoseconds, as in the tokens' "jti": whole seconds ("iat") are too coarse to compare.
        self._revoked = 0

    def of_key(self, candidate: str) -> Account | None:
        """Return the account with this API key, or None."""
        for account in self._identity.accounts:
            if hmac.compare_digest(candidate.encode(), account.token.encode()):
                return account
        return None

    def mint(self, account: Account) -> dict[str, Any]:
        """Return a new access token in the format of IAM's answer."""
        moment = time.time_ns()
        issued = moment // 10**9
        seconds = self._identity.settings.token_seconds
        claims = {
            "iam_id": account.id,
            "sub": account.id,
            "iat": issued,
            "exp": issued + seconds,
            "jti": str(moment),
        }
        return {
            "access_token": jwt.encode(claims, self._identity.secret, algorithm=_ALGORITHM),
            "refresh_token": "not_supported",
            "token_type": "Bearer",
            "expires_in": seconds,
            "expiration": issued + seconds,
            "scope": "ibm openid",
        }

    def expire_tokens(self) -> None:
        """Refuse every access token minted so far, as if it had expired."""
        self._revoked = time.time_ns()

    def authorized(self, header: str | None) -> Account:
        """Return the account of ``Bearer <token>`` (unexpired) or ``apikey <API key>``.

        Raises:
            ApiError: 401 if the credential is missing, unknown or expired.
        """
        scheme, _, credential = (header or "").partition(" ")
        account = None
        if scheme.lower() == "apikey":
            account = self.of_key(credential.strip())
        elif scheme.lower() == "bearer":
            account = self._of_token(credential.strip())
        if account is None:
            raise not_authorized("The credential is missing, unknown or expired.")
        return account

    @staticmethod
    def instance_of(account: Account, crn: str | None, region: str | None = None) -> Instance:
        """Return the account's instance with this CRN.

        Args:
            account: The account.
            crn: The CRN that the request names.
            region: The region that the request was sent to; None is any.

        Raises:
            ApiError: 400 if it is no CRN, 404 if the account has no such instance in the region.
        """
        if crn is None or not _CRN.fullmatch(crn):
            raise not_a_crn(crn or "")
        for instance in account.instances:
            if instance.crn == crn and region in (None, instance.region):
                return instance
        raise instance_not_found()

    def _of_token(self, token: str) -> Account | None:
        try:
            claims = jwt.decode(
                token,
                self._identity.secret,
                algorithms=[_ALGORITHM],
                options={"require": ["exp", "sub", "jti"], "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return None
        if int(claims["jti"]) <= self._revoked:
            return None
        accounts = (item for item in self._identity.accounts if item.id == claims["sub"])
        return next(accounts, None)
