"""Who may look: scoreline.operations.ui lets in this machine by its own name, or whoever has the token."""

import socket

import pytest
from starlette.responses import PlainTextResponse

from asgi import asked
from scoreline.errors import ConfigurationError, InputError
from scoreline.operations.ui.server import Guard, serve, token_for

TOKEN = "0123456789abcdef0123"
page = PlainTextResponse("seen")


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1:1", "[::1]:8765"])
def test_this_machine_is_asked_by_its_own_names(host: str) -> None:
    assert asked(Guard(page), "/", host=host).text == "seen"


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8765", "", None])
def test_another_name_that_leads_here_is_answered_nothing(host: str | None) -> None:
    found = asked(Guard(page), "/", host=host)

    assert (found.status, "seen" in found.text) == (400, False)


def test_whoever_lacks_the_token_sees_nothing() -> None:
    guarded = Guard(page, TOKEN)

    for url, cookie in (
        ("/", ""),
        ("/?token=", ""),
        ("/?token=x", "scoreline=x"),
        ("/", "scoreline="),
        ("/", "\x00;="),
    ):
        found = asked(guarded, url, cookie=cookie)
        assert (found.status, "seen" in found.text) == (401, False)


def test_the_token_of_the_address_becomes_a_cookie_and_leaves_the_address() -> None:
    guarded = Guard(page, TOKEN)

    found = asked(guarded, f"//evil.example/?token={TOKEN}")

    assert (found.status, found.headers["location"]) == (303, "/")
    assert found.headers["set-cookie"] == f"scoreline={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    assert asked(guarded, "/", cookie=f"other=1; scoreline={TOKEN}").text == "seen"


@pytest.mark.parametrize("guarded", [Guard(page), Guard(page, TOKEN)])
def test_every_answer_says_what_a_browser_may_do(guarded: Guard) -> None:
    headers = asked(guarded, "/").headers

    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; form-action 'self'")
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert headers["referrer-policy"] == "no-referrer"  # the token's address is told to nobody


def test_a_token_is_asked_for_from_elsewhere_and_where_one_is_given() -> None:
    assert token_for("127.0.0.1", {}) is None
    assert token_for("127.0.0.1", {"SCORELINE_UI_TOKEN": TOKEN}) == TOKEN
    assert len(token_for("0.0.0.0", {}) or "") == 48
    assert token_for("0.0.0.0", {}) != token_for("0.0.0.0", {})


@pytest.mark.parametrize("weak", ["", "short", "0123456789abcde;", "ü" * 20])
def test_a_token_that_could_be_guessed_or_broken_out_of_is_refused(weak: str) -> None:
    with pytest.raises(ConfigurationError, match="at least 16 letters and digits"):
        token_for("127.0.0.1", {"SCORELINE_UI_TOKEN": weak})


def test_a_port_that_is_taken_is_one_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(InputError, match="Choose another --port"):
        serve(page, host="127.0.0.1", port=other.getsockname()[1], told=print)
