"""The stand-ins behave like services: tokens, uploads, crawls, state, refusals, and the verifier's judgement."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from aiogateway.demo.payment import SIGNATURE_HEADER, WEBHOOK_SECRET, signature
from tests.demo_client import CHAT, KEY, LOGIN, ME, Client, multipart, running


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running() as client:
        yield client


@pytest.mark.parametrize(
    ("service", "path", "roles"),
    [
        ("AUTH", "/v2/login", ["user"]),
        ("AUTH", "/v2/verify-login-otp", ["user"]),
        ("SUPERADMIN", "/v2/admin-login", ["superadmin"]),
    ],
)
async def test_a_login_gives_a_token_for_an_hour_and_two_cookies(
    client: Client, service: str, path: str, roles: list[str]
) -> None:
    async with client.ask(service, "POST", path, data=LOGIN) as answer:
        said = await answer.json()
        cookies = answer.headers.getall("Set-Cookie")
    claims = jwt.decode(
        said["access_token"], KEY, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False}
    )
    assert (claims["sub"], claims["roles"], claims["exp"] - claims["iat"]) == (ME, roles, 3600)
    assert claims["sub"] == said["user_id"]
    assert claims["iat"] == client.time.now
    assert [cookie.partition("=")[0] for cookie in cookies] == ["session", "csrf"]


REFUSALS: list[tuple[str, str, str, Any, int]] = [
    ("AUTH", "POST", "/v2/login", {**LOGIN, "password": "wrong"}, 401),
    ("AUTH", "POST", "/v2/login", {"email": "a@b.c"}, 422),
    ("AUTH", "POST", "/v2/verify-login-otp", {**LOGIN, "otp": "000000"}, 401),
    ("AUTH", "POST", "/v2/reset-password", {**LOGIN, "otp": "000000"}, 400),
    ("USER", "POST", "/v2/verify-otp", {**LOGIN, "otp": "000000"}, 400),
    ("SUPERADMIN", "POST", "/v2/admin-login", {**LOGIN, "password": "wrong"}, 401),
    ("CREATE_CHATBOT", "GET", "/v2/get-chatbot-status?chatbot_id=nope", None, 404),
    ("CHATBOT_MAINTENCE", "POST", "/v2/delete-chatbot", {"chatbot_id": "nope"}, 404),
    ("CHATBOT_MAINTENCE", "POST", "/v2/restore-chatbot", {"chatbot_id": "nope"}, 404),
    ("DATA_CRAWLING", "GET", "/v2/check-task-status?task_id=nope", None, 404),
    ("DATA_CRAWLING", "POST", "/v2/fetch-pdf", {"user_id": ME, "project_id": "p1"}, 422),
    ("DATA_CRAWLING", "POST", "/v2/extract-contents", {"user_id": ME}, 422),
    ("DATA_COLLECTION", "POST", "/v2/update-client-data/nope", {"a": "b"}, 404),
    ("SYSTEMPROMPT", "GET", "/v2/get-system-prompt?agent_type=nope", None, 404),
    ("LLM_MODEL_SERVICE", "POST", "/v2/call-model/nope", {"prompt": "hi"}, 404),
    ("PAYMENT", "POST", "/v2/payment/create-order", {"amount": "-1"}, 400),
    ("PAYMENT", "POST", "/v2/payment/create-subscription", {"plan_id": "nope"}, 404),
    ("PAYMENT", "POST", "/v2/payment/verify-payment", {"order_id": "o", "payment_id": "p", "signature": "s"}, 404),
    ("HOME_PAGE", "GET", "/v2/homepage-slow?seconds=601", None, 422),
    ("HOME_PAGE", "GET", "/v2/homepage-fail?status=200", None, 422),
]


@pytest.mark.parametrize(("service", "method", "path", "form", "status"), REFUSALS)
async def test_a_service_refuses_in_json_with_a_detail(
    client: Client, service: str, method: str, path: str, form: Any, status: int
) -> None:
    async with client.ask(service, method, path, data=form) as answer:
        assert answer.status == status
        assert (await answer.json())["detail"]


BROKEN = [
    ("application/json", b"{"),
    ("application/json", b"[" * 100_000),
    ("application/x-www-form-urlencoded", b"\xff\xfe"),
    ("multipart/form-data", b"no boundary"),
    ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\ncut"),
    ("multipart/form-data; boundary=b", b"--b\r\nno field--b--\r\n"),
    ("multipart/mixed; boundary=b", b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n"),
]


@pytest.mark.parametrize(("content_type", "body"), BROKEN)
async def test_a_body_that_does_not_fit_its_type_is_422(client: Client, content_type: str, body: bytes) -> None:
    headers = {"Content-Type": content_type}
    assert await client.status("AUTH", "POST", "/v2/login", data=body, headers=headers) == 422


async def test_an_endless_field_is_413(client: Client) -> None:
    form = multipart(note="x" * 70_000)
    assert await client.status("DATA_CRAWLING", "POST", "/v2/fetch-pdf", data=form) == 413


async def test_an_account_exists_once(client: Client) -> None:
    assert [await client.status("USER", "POST", "/v2/signup", data=LOGIN) for _ in range(2)] == [201, 409]


async def test_an_upload_past_a_mebibyte_is_answered_with_its_digest(client: Client) -> None:
    data = random.Random(1).randbytes(3 << 20)
    said = await client.json("DATA_CRAWLING", "POST", "/v2/fetch-pdf", data=multipart(data))
    digest = hashlib.sha256(data).hexdigest()
    file = {"name": "a.pdf", "size": len(data), "sha256": digest, "content_type": "application/pdf"}
    assert said == {"user_id": ME, "project_id": "p1", "files": [file], "status": "processed"}


async def test_a_crawl_goes_from_queued_over_running_to_done_in_three_seconds(client: Client) -> None:
    form = {
        "user_id": ME,
        "project_id": "p1",
        "domain": "example.com",
        "urls": "https://a.example/x,https://a.example/y",
    }
    task = (await client.json("DATA_CRAWLING", "POST", "/v2/extract-contents", data=form))["task_id"]
    seen = []
    for _ in range(4):
        report = await client.json("DATA_CRAWLING", "GET", f"/v2/check-task-status?task_id={task}")
        seen.append((report["status"], report["progress"], len(report["pages"])))
        client.time.now += 1
    assert seen == [("queued", 0, 0), ("running", 20, 0), ("running", 60, 1), ("done", 100, 2)]


async def test_a_chatbot_goes_to_the_trash_and_comes_back(client: Client) -> None:
    bot = await client.json("CREATE_CHATBOT", "POST", "/v2/create-chatbot", data={"user_id": ME, "name": "Eva"})
    mine = {"chatbot_id": bot["chatbot_id"], "user_id": ME}

    async def counts() -> tuple[int, int]:
        live = await client.json("CREATE_CHATBOT", "GET", f"/v2/get-chatbots/{ME}")
        trashed = await client.json("CHATBOT_MAINTENCE", "GET", f"/v2/get-trashed-chatbots?user_id={ME}")
        return live["count"], trashed["count"]

    assert await counts() == (1, 0)
    other = {**mine, "user_id": "user-of-another"}
    assert await client.status("CHATBOT_MAINTENCE", "POST", "/v2/delete-chatbot-selection", data=other) == 404
    for path, after in (("delete-chatbot-selection", (0, 1)), ("restore-chatbot", (1, 0)), ("delete-chatbot", (0, 0))):
        assert await client.status("CHATBOT_MAINTENCE", "POST", f"/v2/{path}", data=mine) == 200
        assert await counts() == after


async def test_a_saved_selection_is_read_back_from_another_service(client: Client) -> None:
    headers = {"X-User-Id": ME}
    chosen = {"project_id": "p1", "avatar": "max", "voice": "male-2"}
    await client.json("STATE_SELECTION_3D_CHATBOT", "POST", "/v2/save-3d-selection", data=chosen, headers=headers)
    model = {"project_id": "p1", "model": "gpt-4o"}
    await client.json("SELECTION_CHATBOT", "POST", "/v2/select-model", data=model, headers=headers)
    path = f"/v2/get-chatbot-selection?user_id={ME}&project_id=p1"
    selection = (await client.json("SELECTION_CHATBOT", "GET", path))["selection"]
    assert {"avatar": "max", "voice": "male-2", "model": "gpt-4o", "purpose": "support"}.items() <= selection.items()


async def test_history_is_read_back_by_its_user_alone(client: Client) -> None:
    saved = {**CHAT, "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    assert (await client.json("CHAT_HISTORY", "POST", "/v2/save-chat-history", json=saved))["messages"] == 2
    for user, count in ((ME, 2), ("another", 0)):
        read = await client.json("CHAT_HISTORY", "GET", "/v2/get-chat-history/s1", headers={"X-User-Id": user})
        assert len(read["messages"]) == count


async def test_a_payment_counts_with_its_signature_alone(client: Client) -> None:
    order = await client.json("PAYMENT", "POST", "/v2/payment/create-order", json={"amount": 99_900})
    paid = {"order_id": order["order_id"], **order["test_payment"]}
    forged = {**paid, "payment_id": "pay-of-another"}
    assert await client.status("PAYMENT", "POST", "/v2/payment/verify-payment", json=forged) == 400
    assert (await client.json("PAYMENT", "POST", "/v2/payment/verify-payment", json=paid))["status"] == "paid"


async def test_a_webhook_with_a_changed_body_is_refused(client: Client) -> None:
    headers = {SIGNATURE_HEADER: signature(WEBHOOK_SECRET, b'{"a": 1}')}
    for body, status in ((b'{"a": 1}', 200), (b'{"a":1}', 400)):
        assert await client.status("PAYMENT", "POST", "/v2/payment/webhook", data=body, headers=headers) == status


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("SUPERADMIN", "/v2/subscriptions/plans"),
        ("SUPERADMIN", "/v2/get-latest-privacy-policy"),
        ("HOME_PAGE", "/v2/homepage-get-greeting"),
    ],
)
async def test_what_rarely_changes_has_freshness_and_a_validator(client: Client, service: str, path: str) -> None:
    async with client.ask(service, "GET", path) as first:
        assert first.headers["Cache-Control"].startswith("public, max-age=")
    async with client.ask(service, "GET", path, headers={"If-None-Match": first.headers["ETag"]}) as second:
        assert (second.status, await second.read()) == (304, b"")


async def test_a_document_is_a_page_for_a_browser_and_json_for_the_rest(client: Client) -> None:
    for accept, kind in (("text/html,*/*", "text/html"), ("*/*", "application/json")):
        async with client.ask("SUPERADMIN", "GET", "/v2/get-latest-terms-conditions", headers={"Accept": accept}) as a:
            assert (a.content_type, a.headers["Vary"]) == (kind, "Accept")


async def test_a_path_without_a_handler_names_the_fields_and_no_value(client: Client) -> None:
    async with client.ask("PAYMENT", "DELETE", "/v2/payment/plans/7?reason=secret", json={"note": "private"}) as answer:
        text = await answer.text()
    assert json.loads(text)["received"] == {"fields": ["note", "reason"], "files": 0}
    assert not {"secret", "private"} & set(text.split('"'))


@pytest.mark.parametrize(
    ("form", "success", "codes"),
    [
        ({"response": "token"}, True, None),
        ({"response": "bad"}, False, ["invalid-input-response"]),
        ({}, False, ["missing-input-response"]),
        ({"response": "token", "secret": "another"}, False, ["invalid-input-secret"]),
    ],
)
async def test_the_verifier_judges_secret_and_token(
    client: Client, form: dict[str, str], success: bool, codes: Any
) -> None:
    sent = {"secret": client.urls["RECAPTCHA_SECRET_KEY"], **form}
    verdict = await client.json("RECAPTCHA_VERIFY_URL", "POST", "", data=sent)
    assert (verdict["success"], verdict.get("error-codes")) == (success, codes)
    assert not success or (verdict["score"], verdict["hostname"]) == (0.9, "localhost")
