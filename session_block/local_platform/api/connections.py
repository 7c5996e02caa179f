"""HTTP connections that the application can cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

    from uvicorn.config import Config
    from uvicorn.server import ServerState


class CuttableProtocol(H11Protocol):
    """Uvicorn's HTTP protocol, with a function ``cut_connection`` in the state of each scope."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        state = {**app_state, "cut_connection": self.cut}
        super().__init__(config, server_state, state, _loop)

    def cut(self) -> None:
        """Close the connection after sending what was already written."""
        self.transport.close()
