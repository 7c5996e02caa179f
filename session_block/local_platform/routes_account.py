"""IBM Cloud's side: access tokens (IAM), instances (Global Search), plans (Global Catalog)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, Response

from session_block.local_platform.errors import not_found
from session_block.local_platform.http import Call, Operation
from session_block.local_platform.tenancy import PLANS


def _token(call: Call) -> Response:
    form = parse_qs(call.body.decode("utf-8", "replace"))
    account = call.platform.accounts.of_key(form.get("apikey", [""])[0])
    if account is None:
        content = {
            "errorCode": "BXNIM0415E",
            "errorMessage": "Provided API key could not be found.",
            "context": {"requestId": "local", "requestType": "incoming.Identity_Token"},
        }
        return JSONResponse(content, status_code=400)
    return JSONResponse(call.platform.accounts.mint(account))


def _search(call: Call) -> dict[str, Any]:
    items = [
        {
            "crn": instance.crn,
            "name": instance.name,
            "tags": [],
            "service_plan_unique_id": instance.plan_id,
            "doc": {"extensions": {"backends": list(instance.backends)}},
        }
        for instance in call.account.instances
    ]
    # A search for another service finds nothing, as it would at IBM.
    query = str(json.loads(call.body).get("query", "")) if _is_object(call.body) else ""
    found = "quantum-computing" in query or query in ("", "*")
    return {"items": items if found else [], "limit": 100}


def _plan(call: Call) -> dict[str, Any]:
    plan_id = call.path["plan_id"]
    for name, plan in PLANS.items():
        if plan_id == f"plan-{name}":
            return {
                "id": plan_id,
                "name": name,
                "overview_ui": {"en": {"display_name": plan.display_name}},
                "metadata": {"pricing": {"type": plan.pricing}},
            }
    raise not_found("Plan", plan_id)


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


IAM = (Operation("POST", "/identity/token", _token, needs_token=False, needs_instance=False),)
SEARCH = (Operation("POST", "/v3/resources/search", _search, needs_instance=False),)
CATALOG = (Operation("GET", "/{plan_id}", _plan, needs_instance=False),)
