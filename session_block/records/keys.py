"""How facts are called."""

from __future__ import annotations

SEALED_KEY = "sealed"
BACKEND_KEY = "backend"
