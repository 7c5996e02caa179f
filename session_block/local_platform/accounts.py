"""The account: one API key, one instance, and the access tokens minted for it."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

import jwt

from session_block.local_platform.errors import forbidden, not_authorized

if TYPE_CHECKING:
    from session_block.local_platform.clock import Clock
    from session_block.local_platform.state import Identity

TOKEN_SECONDS = 3600
PLAN_ID = "local-platform-plan"
INSTANCE_NAME = "local-platform"
USER_ID = "local-user"
_ALGORITHM = "HS256"


class Accounts:
    """Checks credentials and mints access tokens."""

    def __init__(self, identity: Identity, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock

    @property
    def instance(self) -> str:
        """The CRN of the one instance."""
        return self._identity.instance

    def is_api_key(self, candidate: str) -> bool:
        """Say whether ``candidate`` is the account's API key."""
        return hmac.compare_digest(candidate.encode(), self._identity.token.encode())

    def mint(self) -> dict[str, Any]:
        """Return a new access token in the form of IAM's answer. It lives one hour."""
        issued = int(self._clock.now())
        expires = issued + TOKEN_SECONDS
        claims = {"iam_id": USER_ID, "sub": USER_ID, "iat": issued, "exp": expires}
        return {
            "access_token": jwt.encode(claims, self._identity.secret, algorithm=_ALGORITHM),
            "refresh_token": "not_supported",
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "expiration": expires,
            "scope": "ibm openid",
        }

    def check_authorization(self, header: str | None) -> None:
        """Accept ``Bearer <token>`` minted here and unexpired, or ``apikey <API key>``.

        Raises:
            ApiError: 401 for everything else.
        """
        scheme, _, credential = (header or "").partition(" ")
        if scheme.lower() == "apikey" and self.is_api_key(credential.strip()):
            return
        if scheme.lower() == "bearer" and self._is_valid_token(credential.strip()):
            return
        raise not_authorized("The credential is missing, unknown or expired.")

    def check_instance(self, crn: str | None) -> None:
        """Accept the CRN of the account's own instance.

        Raises:
            ApiError: 403 for everything else.
        """
        if crn != self._identity.instance:
            raise forbidden("The Service-CRN header names no instance of this account.")

    def _is_valid_token(self, token: str) -> bool:
        options: Any = {"verify_exp": False, "verify_iat": False, "require": ["exp"]}
        try:
            claims = jwt.decode(
                token, self._identity.secret, algorithms=[_ALGORITHM], options=options
            )
        except jwt.InvalidTokenError:
            return False
        return float(claims["exp"]) > self._clock.now()
