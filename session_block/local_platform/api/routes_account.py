"""Access tokens (IAM), each account's instances and plans, and the versions of the API.

The client finds instances with Global Search and their plans in the Global Catalog. The Resource
Controller lists the instances too, for programs other than the client.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, Response

from session_block.local_platform.api.http import Call, Operation
from session_block.local_platform.config.tenancy import PLANS
from session_block.local_platform.errors import bad_request, not_found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from session_block.local_platform.config.tenancy import Instance

SEARCH_PAGE = 10
MAX_SEARCH_PAGE = 1000
# Real: the only version that was live.
API_VERSION = "2026-04-15"


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
    content = json.loads(call.body) if _is_object(call.body) else {}
    # As at IBM, a search for another service finds none of these instances.
    query = str(content.get("query", ""))
    if query not in ("", "*") and "quantum-computing" not in query:
        items = []
    limit = call.number_query("limit", 1, MAX_SEARCH_PAGE, SEARCH_PAGE)
    begin = _cursor(content.get("search_cursor"))
    page: dict[str, Any] = {"items": items[begin : begin + limit], "limit": limit}
    if begin + limit < len(items):
        page["search_cursor"] = str(begin + limit)
    return page


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


def _resource(call: Call) -> dict[str, Any]:
    wanted = call.path["instance_id"]
    for instance in call.account.instances:
        if wanted in (instance.crn, _guid(instance)):
            return _described(instance)
    raise not_found("Instance", wanted)


def _resources(call: Call) -> dict[str, Any]:
    name, guid = call.text_query("name"), call.text_query("guid")
    found = [
        _described(instance)
        for instance in call.account.instances
        if name in (None, instance.name) and guid in (None, _guid(instance))
    ]
    return {"rows_count": len(found), "next_url": None, "resources": found}


def _account(call: Call) -> dict[str, Any]:
    """Return the plans of the sender's account with their limits (real; the fields are the spec's).

    The allocation of a plan is what its instances' limits add up to (guess).
    """
    wanted, plan = call.path["account_id"], call.text_query("plan_id")
    instances = [one for one in call.account.instances if one.account_id == wanted]
    if not instances:
        raise not_found("Account", wanted)
    plans: dict[str, list[Instance]] = {
        one.plan_id: [] for one in instances if plan in (None, one.plan_id)
    }
    for one in instances:
        if one.plan_id in plans:
            plans[one.plan_id].append(one)
    return {"plans": [_plan_of(call, of_plan) for of_plan in plans.values()]}


def _plan_of(call: Call, instances: Sequence[Instance]) -> dict[str, Any]:
    first = instances[0]
    limits = [call.platform.usage_of(one).get("usage_limit_seconds") for one in instances]
    known = [limit for limit in limits if limit is not None]
    described = {
        "plan_id": first.plan_id,
        "subscription_id": f"{first.account_id[:24]}-{first.plan}",
        "subscription_name": PLANS[first.plan].display_name,
        "backends": sorted({name for one in instances for name in one.backends}),
        "max_ttl": first.max_ttl,
        "active_ttl": first.max_ttl,
        "interactive_ttl": min(call.platform.identity.settings.interactive_seconds, first.max_ttl),
        "usage_allocation_seconds": sum(known),
        "unallocated_usage_seconds": 0,
    }
    if len(known) == len(limits):
        described["usage_limit_seconds"] = sum(known)
    return described


def _versions(_call: Call) -> dict[str, Any]:
    return {"versions": [{"version": API_VERSION, "status": "live"}]}


def _described(instance: Instance) -> dict[str, Any]:
    return {
        "id": instance.crn,
        "guid": _guid(instance),
        "crn": instance.crn,
        "name": instance.name,
        "account_id": instance.account_id,
        "region_id": instance.region,
        "resource_id": "quantum-computing",
        "resource_plan_id": instance.plan_id,
        "type": "service_instance",
        "state": "active",
    }


def _guid(instance: Instance) -> str:
    return instance.crn.split(":")[7]


def _cursor(value: Any) -> int:
    if value is None:
        return 0
    digits = 10
    if not isinstance(value, str) or not value.isdecimal() or len(value) > digits:
        raise bad_request("search_cursor was not returned by this search")
    return int(value)


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


OPERATIONS = (
    Operation("GET", "/accounts/{account_id}", _account, needs_instance=False),
    # Real: it needs no token.
    Operation("GET", "/versions", _versions, needs_token=False, needs_instance=False),
)
IAM = (Operation("POST", "/identity/token", _token, needs_token=False, needs_instance=False),)
SEARCH = (Operation("POST", "/v3/resources/search", _search, needs_instance=False),)
RESOURCES = (
    Operation("GET", "/v2/resource_instances", _resources, needs_instance=False),
    # The client library encodes the slash of a CRN as %2F, which is already decoded here.
    Operation("GET", "/v2/resource_instances/{instance_id:path}", _resource, needs_instance=False),
)
CATALOG = (Operation("GET", "/{plan_id}", _plan, needs_instance=False),)
