"""schemathesis against a real server: requests that keep the contract are judged, those that break it never allowed."""

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from online.conftest import Live
from online.fuzz.bodies import may_be_allowed
from scoreline_fraud.server.openapi import openapi

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]


def contract_of(live: Live) -> Any:
    """The contract, narrowed to a card and a terminal that are known today: else all would be reviewed for that."""
    document = openapi()
    request = document["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    row, known = request["properties"]["inputs"]["items"], live.payment()
    for name in ("card_id", "terminal_id", "occurred_at"):
        row["properties"][name] = {"enum": [known[name]]}
    return schemathesis.openapi.from_dict(document)["/invocations"]["POST"]


def decisions(response: Response) -> set[str]:
    return {answer["decision"] for answer in response.json()["predictions"]} if response.status_code == 200 else set()


def nothing_wrong_is_allowed(_: CheckContext, response: Response, case: Case) -> None:
    sent = response.request.body or b""
    assert "allow" not in decisions(response) or may_be_allowed(sent if isinstance(sent, bytes) else sent.encode())
    assert "Traceback" not in response.text
    assert "stack_trace" not in response.text


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["kept", "broken"])
@pytest.mark.parametrize("count", [100, pytest.param(3_000, marks=pytest.mark.slow)])
def test_the_server_keeps_its_contract(live: Live, mode: GenerationMode, count: int) -> None:
    session, seen = requests.Session(), dict.fromkeys(("allow", "review", "deny", "400"), 0)
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(contract_of(live).as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        response = case.call(base_url=live.url.removesuffix("/invocations"), session=session)
        case.validate_response(response, checks=[*checks, nothing_wrong_is_allowed])
        for found in decisions(response) or {str(response.status_code)}:
            seen[found] = seen.get(found, 0) + 1

    ask()
    if mode is GenerationMode.POSITIVE:
        assert seen["allow"] > 0
        assert seen["400"] == 0
    else:
        assert seen["review"] > count / 10
        assert seen["400"] > count / 20
