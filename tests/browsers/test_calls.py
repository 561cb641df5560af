"""What scripts of other origins can do and read: calls, credentials, refusals, preflights, uploads."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.e2e.harness import Backend, Gateway, Peer, eventually, reply
from tests.e2e.harness.guards import samples

FORM = "application/x-www-form-urlencoded"


def url(gateway: Gateway, path: str) -> str:
    return f"http://127.0.0.1:{gateway.port}{path}"


def ask(page: Page, gateway: Gateway, path: str, **options: Any) -> dict[str, Any]:
    """What the page's script reads of an answer."""
    found: dict[str, Any] = page.evaluate("([url, options]) => ask(url, options)", [url(gateway, path), options])
    return found


def test_a_listed_page_logs_in_and_calls_with_its_token(page: Page, demo: Gateway) -> None:
    body = {"method": "POST", "headers": {"Content-Type": FORM}, "body": "email=a%40b.c&password=p"}
    got = ask(page, demo, "/v2/login", **body)
    assert got["status"] == 200, got
    assert got["fields"]["x-request-id"]
    user, bearer = got["body"]["user_id"], f"Bearer {got['body']['access_token']}"
    mine = ask(page, demo, f"/v2/get-chatbots/{user}", headers={"Authorization": bearer}, credentials="include")
    assert mine["status"] == 200
    assert "ttfb" in mine["fields"]["server-timing"]


def test_cookies_of_the_service_come_back_from_a_listed_page(
    page: Page, own_gateway: Gateway, own_backend: Backend
) -> None:
    first = own_backend.serve(reply(200, b"{}", "Set-Cookie: session=s1; Path=/; HttpOnly"))
    assert ask(page, own_gateway, first, credentials="include")["status"] == 200
    second = own_backend.serve(reply())
    assert ask(page, own_gateway, second, credentials="include")["status"] == 200
    assert own_backend.one(second).value("cookie") == "session=s1"


def test_a_strangers_page_reads_nothing_of_a_listed_route(
    stranger: Page, own_gateway: Gateway, own_backend: Backend
) -> None:
    assert ask(stranger, own_gateway, own_backend.serve(reply())) == {"error": "TypeError"}
    refused = own_backend.serve(reply())
    preflighted = ask(stranger, own_gateway, refused, headers={"Authorization": "Bearer x"})
    assert preflighted == {"error": "TypeError"}
    assert not own_backend.seen(refused), "the preflight was refused"


def test_the_widget_works_on_any_page_without_credentials(
    stranger: Page, own_gateway: Gateway, own_backend: Backend
) -> None:
    path = own_backend.serve(reply(), under="/widget")
    got = ask(stranger, own_gateway, path, method="POST", body="{}", headers={"Content-Type": "application/json"})
    assert got["status"] == 200 and got["fields"]["x-request-id"]
    assert ask(stranger, own_gateway, path, credentials="include") == {"error": "TypeError"}
    assert not own_backend.seen(path)[0].values("cookie")


REFUSALS = {
    401: ("/v2/get-chatbots/u1", {}, "unauthenticated"),
    404: ("/v2/there-is-nothing-here", {}, "route_not_found"),
    413: ("/v2/homepage-get-response", {"method": "POST", "body": "x" * (2 << 20)}, "body_too_large"),
    503: ("/v2/homepage-fail?status=503", {}, "upstream_error"),
}


@pytest.mark.parametrize(("status", "path", "options", "code"), [(key, *value) for key, value in REFUSALS.items()])
def test_a_refusal_is_read_with_its_code_and_request_id(
    page: Page, demo: Gateway, status: int, path: str, options: dict[str, Any], code: str
) -> None:
    assert_read(ask(page, demo, path, **options), status, code)


def test_a_limit_is_read_with_what_is_left_of_it_and_when_to_try_again(page: Page, demo: Gateway) -> None:
    options = {"method": "POST", "headers": {"Content-Type": FORM}, "body": "email=a%40b.c"}
    answers = [ask(page, demo, "/v2/homepage-save-lead", **options) for _ in range(11)]
    assert [answer["status"] for answer in answers] == [201] * 10 + [429]
    assert_read(answers[-1], 429, "rate_limited")
    fields = answers[-1]["fields"]
    assert fields["retry-after"].isdigit() and fields["ratelimit"] and fields["ratelimit-policy"]


def test_an_unreachable_service_is_read_too(page: Page, own_gateway: Gateway, own_backend: Backend) -> None:
    path = own_backend.serve(lambda peer: peer.reset())
    assert_read(ask(page, own_gateway, path), 502, "upstream_bad_response")


def assert_read(got: dict[str, Any], status: int, code: str) -> None:
    """Assert that a script reads a problem with its code and its request's id, in body and field."""
    assert got["status"] == status, got
    assert got["body"]["code"] == code
    assert got["body"]["request_id"] == got["fields"]["x-request-id"]


def test_a_preflight_is_asked_once_and_remembered(page: Page, own_gateway: Gateway, own_backend: Backend) -> None:
    path = own_backend.serve(reply())
    for _ in range(3):
        answer = ask(page, own_gateway, path, headers={"Authorization": "Bearer x", "X-Own": "1"})
        assert answer["status"] == 200
    eventually(partial(told, own_gateway, path, 4), "four requests are logged")
    lines = [line for line in own_gateway.output.splitlines() if path in line]
    assert sum('"OPTIONS"' in line for line in lines) == 1
    assert [seen.method for seen in own_backend.seen(path)] == ["GET"] * 3


def told(gateway: Gateway, path: str, count: int) -> bool:
    return sum(path in line for line in gateway.output.splitlines()) >= count


UPLOAD = """
([url, token, mebibytes, abortAt]) => new Promise((resolve) => {
  const piece = new Uint8Array(1 << 20), body = new FormData(), request = new XMLHttpRequest(), told = [];
  body.append("user_id", JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).sub);
  body.append("project_id", "p");
  body.append("files", new File(Array(mebibytes).fill(piece), "a.pdf", {type: "application/pdf"}));
  request.upload.onprogress = (event) => {
    told.push([event.loaded, event.total]);
    if (abortAt && event.loaded > abortAt) request.abort();
  };
  request.onload = () => resolve({status: request.status, told, answer: JSON.parse(request.responseText)});
  request.onerror = () => resolve({error: "network", told});
  request.onabort = () => resolve({error: "aborted", told});
  request.open("POST", url);
  request.setRequestHeader("Authorization", `Bearer ${token}`);
  request.send(body);
})
"""


def test_200_mb_go_up_with_progress_and_arrive_whole(page: Page, demo: Gateway, token: str) -> None:
    got = page.evaluate(UPLOAD, [url(demo, "/v2/fetch-pdf"), token, 200, 0])
    assert got["status"] == 200, got
    assert got["answer"]["files"][0]["size"] == 200 << 20
    loaded = [each[0] for each in got["told"]]
    assert len(loaded) > 3 and loaded == sorted(loaded)
    assert loaded[-1] == got["told"][-1][1] > 200 << 20


def test_an_upload_that_a_page_aborts_ends_at_the_service_and_the_next_call_works(
    page: Page, own_gateway: Gateway, own_backend: Backend, token: str
) -> None:
    aborted, broke = threading.Event(), threading.Event()

    def takes_its_time(peer: Peer) -> None:
        """Reads nothing until the page has given up, so that the upload can't be over before."""
        peer.wait(aborted)
        if not peer.read_body().complete:
            broke.set()

    path = own_backend.serve(takes_its_time, under="/up")
    before = samples(own_gateway, "gateway_client_aborts_total")
    got = page.evaluate(UPLOAD, [url(own_gateway, path), token, 200, 1])
    aborted.set()
    assert got["error"] == "aborted" and got["told"]
    assert broke.wait(30), "the service saw a whole upload"
    eventually(partial(aborted_more, own_gateway, before), "the abort is counted")
    assert ask(page, own_gateway, own_backend.serve(reply()))["status"] == 200


def aborted_more(gateway: Gateway, before: dict[tuple[str, ...], float]) -> bool:
    return sum(samples(gateway, "gateway_client_aborts_total").values()) > sum(before.values())
