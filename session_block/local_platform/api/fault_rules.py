"""Adds fault rules, and refuses those that could never take effect on this platform."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Any

from session_block.local_platform.api.call_faults import start_of
from session_block.local_platform.api.local_access import is_loopback
from session_block.local_platform.api.operations import API
from session_block.local_platform.errors import ApiError
from session_block.local_platform.faults.rules import Maintenance, Rule, Signal, parse_rules

if TYPE_CHECKING:
    from pathlib import Path

    from session_block.local_platform.platform import Platform


def add_faults(platform: Platform, content: dict[str, Any], sender: str) -> list[dict[str, Any]]:
    """Add the fault rules in a JSON object, and return them.

    Args:
        platform: The platform.
        content: One rule, or several under ``faults``.
        sender: The IP address of the caller.

    Raises:
        ValueError: A rule is invalid, could never take effect, or sends signals although the
            caller is on another machine. The message says which.
    """
    rules = [_checked(platform, rule) for rule in parse_rules(content)]
    if any(isinstance(rule, Signal) for rule in rules) and not is_loopback(sender):
        raise ValueError("rules of kind signal are accepted only from this machine")
    added = platform.faults.add({secrets.token_hex(6): rule for rule in rules})
    platform.engine.wake()
    return added


def load_faults(platform: Platform, path: Path) -> None:
    """Add the rules in a JSON file. Rules that it added before keep their counts.

    Raises:
        ValueError: The file is not JSON, or a rule is invalid or could never take effect.
        OSError: The file cannot be read.
    """
    rules = {}
    for number, rule in enumerate(parse_rules(json.loads(path.read_text(encoding="utf-8")))):
        digest = hashlib.sha256(f"{number} {rule.model_dump_json()}".encode()).hexdigest()
        rules[f"file-{digest[:12]}"] = _checked(platform, rule)
    platform.faults.add(rules)


def _checked(platform: Platform, rule: Rule) -> Rule:
    if isinstance(rule, Maintenance):
        try:
            platform.backends.find(rule.backend)
        except ApiError as error:
            raise ValueError(error.message) from None
    elif not any(
        rule.is_for(operation.method, operation.path)
        for operations in API.values()
        for operation in operations
    ):
        raise ValueError(f"no operation for {rule.kind} is {rule.method} {rule.path}")
    if isinstance(rule, Signal):
        return rule.model_copy(update={"started": start_of(rule.pid)})
    return rule
