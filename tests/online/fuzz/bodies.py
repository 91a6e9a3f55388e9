"""Bodies that schemathesis does not make, because no JSON library writes them, and what may be answered "allow".

Tokens that are no JSON (NaN, 1e999, half a string), bytes changed at random, MLflow's other envelopes, brackets by the
thousand, more rows than are let in. Values and fields that break the contract are schemathesis' work (`test_contract`).
"""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from scoreline_fraud.serving.transactions import Transaction, parse

CANARY = "4111111111111111"
_VALUES: list[Any] = [
    None, True, False, 0, -1, 3.7, 1e308, -0.0, "", "12.5", "NaN", [], {}, [[]], "\u0000", "\ud800", "é" * 70, CANARY,
    int(CANARY), 10**30, "2026-03-10", "2026-03-10T99:00:00Z", "0001-01-01T00:00:00+23:59", "' OR 1=1 --",
    "../../etc/passwd", {"$gt": 0},
]  # fmt: skip
_TOKENS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "9" * 400,
    "00012",
    "0x10",
    "nul",
    "'a'",
    "\\u0000",
    "{",
    "}",
    ",",
    "",
]
_FORMATS = ["inputs", "instances", "dataframe_records", "dataframe_split", "messages", "input", "prompt", "Inputs", ""]


def bodies(payment: Callable[..., dict[str, Any]], *, count: int, seed: int) -> Iterator[bytes]:
    """`count` bodies; the same ones for the same seed."""
    rng = random.Random(seed)
    makers = (_changed_tokens, _changed_bytes, _changed_envelope, _many_rows)
    for _ in range(count):
        yield rng.choice(makers)(rng, payment())


def may_be_allowed(body: bytes) -> bool:
    """Whether the body holds a well-formed transaction at all (strictly read), so that "allow" is no nonsense."""
    try:
        rows = json.loads(body, parse_constant=_refuse)["inputs"]
        return any(isinstance(parse(row), Transaction) for row in rows)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _refuse(token: str) -> Any:
    raise ValueError(token)


def _post(rows: Any) -> bytes:
    return json.dumps({"inputs": rows}).encode()


def _changed_tokens(rng: random.Random, row: dict[str, Any]) -> bytes:
    name = rng.choice(list(row))
    return _post([row]).replace(json.dumps(row[name]).encode(), rng.choice(_TOKENS).encode(), 1)


def _changed_bytes(rng: random.Random, row: dict[str, Any]) -> bytes:
    body = bytearray(_post([row]))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(body))
        match rng.randrange(3):
            case 0:
                body[at] = rng.randrange(256)
            case 1:
                del body[at : at + rng.randint(1, 20)]
            case _:
                body[at:at] = rng.randbytes(rng.randint(1, 10))
        body = body or bytearray(b"{}")
    return bytes(body)


def _changed_envelope(rng: random.Random, row: dict[str, Any]) -> bytes:
    inner: Any = rng.choice(
        [row, [row], [[row]], {"0": row}, row["amount"], None, [row, None], {"data": [[1]], "columns": ["x"]}]
    )
    body: dict[str, Any] = {rng.choice(_FORMATS): inner}
    if rng.random() < 0.5:
        body[rng.choice(["params", "inputs", "instances", "client_request_id"])] = rng.choice(
            [{}, {"k": 1}, [row], 1, None]
        )
    depth = rng.choice([0, 0, 0, 1, 500, 20_000])
    return b"[" * depth + json.dumps(body).encode() + b"]" * depth


def _many_rows(rng: random.Random, row: dict[str, Any]) -> bytes:
    rows: list[Any] = [
        row | {rng.choice(list(row)): rng.choice(_VALUES)} for _ in range(rng.choice([0, 2, 50, 101, 300]))
    ]
    return _post(rows)
