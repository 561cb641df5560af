"""The stand-ins answer every line of the packaged table, each line by the service that it names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from aiogateway import routes
from aiogateway.routes.table import Table
from tests.demo_client import CHAT, KEY, LOGIN, ME, Client, multipart, running

FILES = "files"  # stands for a multipart body with one file

# Every line of the packaged table with a plausible request; names in braces are what `made` prepares.
PLAUSIBLE: dict[str, list[tuple[str, str, Any]]] = {
    "AUTH_SERVICE_URL": [
        ("POST", "/v2/login", LOGIN),
        ("POST", "/v2/verify-login-otp", LOGIN),
        ("POST", "/v2/forgot-password", LOGIN),
        ("POST", "/v2/reset-password", LOGIN),
    ],
    "USER_SERVICE_URL": [
        ("POST", "/v2/signup", LOGIN),
        ("POST", "/v2/verify-otp", LOGIN),
        ("GET", f"/v2/get-user-features/{ME}", None),
    ],
    "CREATE_CHATBOT_SERVICE_URL": [
        ("POST", "/v2/create-chatbot", {"user_id": ME, "name": "Eva"}),
        ("GET", f"/v2/get-chatbots/{ME}", None),
        ("GET", f"/v2/get-chatbot-status?chatbot_id={{bot}}&user_id={ME}", None),
    ],
    "CHATBOT_MAINTENCE_SERVICE_URL": [
        ("DELETE", f"/v2/delete-chatbot?chatbot_id={{bot}}&user_id={ME}", None),
        ("POST", "/v2/delete-chatbot-selection", {"chatbot_id": "{bot}", "user_id": ME}),
        ("GET", "/v2/get-trashed-chatbots", None),
        ("POST", "/v2/restore-chatbot", {"chatbot_id": "{trashed}", "user_id": ME}),
    ],
    "SELECTION_CHATBOT_SERVICE_URL": [
        *(
            ("POST", f"/v2/select-{what}", {**CHAT, what: "a"})
            for what in ("chatbot", "purpose", "avatar", "voice", "model", "language")
        ),
        ("POST", "/v2/save-chatbot-selection", {**CHAT, "avatar": "eva"}),
        ("GET", f"/v2/get-chatbot-selection?user_id={ME}&project_id=p1", None),
    ],
    **{
        f"STATE_SELECTION_{kind.upper()}_CHATBOT_SERVICE_URL": [
            ("POST", f"/v2/save-{kind}-chatbot-selection", {**CHAT, "voice": "a"}),
            ("PUT", f"/v2/save-{kind}-selection", {**CHAT, "voice": "a"}),
        ]
        for kind in ("3d", "text", "voice")
    },
    "DATA_CRAWLING_SERVICE_URL": [
        ("GET", "/v2/fetch-urls?url=https://example.com/a", None),
        ("POST", "/v2/fetch-sitemap-urls", {"domain": "example.com"}),
        ("POST", "/v2/extract-contents", {**CHAT, "domain": "example.com", "urls": "https://example.com/a"}),
        ("GET", "/v2/check-task-status?task_id={task}", None),
        ("GET", "/v2/get-sitemap-urls?domain=example.com", None),
        ("POST", "/v2/fetch-pdf", FILES),
        ("POST", "/v2/fetch-text", FILES),
        ("POST", "/v2/fetch-excel", FILES),
        ("PUT", "/v2/update-document", FILES),
    ],
    "RESPONSE_3D_CHATBOT_SERVICE_URL": [
        *(
            ("POST", f"/v2/get-response-3d{variant}", CHAT)
            for variant in (
                *("", "chatbot", "chatbot-openai", "chatbot-openai-multi", "chatbot-openai-multi-v4", "chatbot-v5"),
                *("chatbot-v6-hybrid", "chatbot-v7-live", "chatbot-v8-split", "chatbot-v9", "chatbot/v2/beta"),
            )
        ),
        ("GET", "/v2/get-response-3dchatbot-v7-live?question=hi", None),
        ("GET", "/v2/get-response-3dchatbot-v8-split?question=hi", None),
    ],
    "RESPONSE_TEXT_CHATBOT_SERVICE_URL": [
        ("POST", f"/v2/get-response-text{variant}", CHAT) for variant in ("", "chatbot", "chatbot/a/b", "chatbot-v2")
    ],
    "RESPONSE_VOICE_CHATBOT_SERVICE_URL": [
        *(("POST", f"/v2/get-response-voice{variant}", CHAT) for variant in ("", "chatbot/a/b", "chatbot-v2")),
        ("POST", "/v2/get-response-voicechatbot", FILES),
    ],
    "CHAT_HISTORY_SERVICE_URL": [
        ("POST", "/v2/save-chat-history", {**CHAT, "messages": [{"role": "user", "content": "hi"}]}),
        ("GET", "/v2/get-chat-history?session_id=s1", None),
        ("GET", "/v2/get-chat-history/s1/all", None),
        ("DELETE", "/v2/delete-chat-history?session_id=s1", None),
    ],
    "SYSTEMPROMPT_SERVICE_URL": [
        ("GET", "/v2/get-system-prompt?agent_type=sales", None),
        ("POST", "/v2/upload-text", {**CHAT, "text": "We open at nine."}),
        ("GET", f"/v2/get-uploaded-texts?user_id={ME}", None),
        ("POST", "/v2/reset-system-prompt", CHAT),
    ],
    "DATA_COLLECTION_SERVICE_URL": [
        ("GET", "/v2/get-client-data", None),
        ("PATCH", "/v2/update-client-data/item-1", {"status": "called"}),
    ],
    "LLM_MODEL_SERVICE": [("POST", "/v2/call-model/gpt-4o", {"prompt": "hi"})],
    "HOME_PAGE_SERVICE_URL": [
        ("POST", "/v2/homepage-get-response", CHAT),
        ("POST", "/v2/homepage-save-chat-history", {**CHAT, "answer": "hi"}),
        ("GET", "/v2/homepage-get-greeting", None),
        ("POST", "/v2/homepage-generate-greeting", {"utm_source": "a search"}),
        ("POST", "/v2/homepage-save-lead", LOGIN),
        ("GET", "/v2/homepage-anything", None),
    ],
    "REMOTE_PHYSIO_SERVICE_URL": [
        ("POST", "/v2/get-response-physio", CHAT),
        ("GET", "/v2/remote_physio_history?session_id=s1", None),
        ("POST", "/v2/remote-physio-exercises", CHAT),
        ("GET", "/v2/check-profile/s1", None),
        ("POST", "/v2/reset-session/s1", None),
    ],
    "PAYMENT_SERVICE_URL": [
        ("POST", "/v2/payment/create-order", {"amount": 99900}),
        ("POST", "/v2/payment/verify-payment", {"order_id": "{order}", "payment_id": "{pay}", "signature": "{signed}"}),
        ("GET", "/v2/payment/get-user-subscription", None),
        ("POST", "/v2/payment/cancel-subscription", CHAT),
        ("PUT", "/v2/payment/update-subscription", {"plan_id": "scale"}),
        ("POST", "/v2/payment/webhook", {"event": "payment.captured"}),
        ("GET", "/v2/payment/admin/orders/all", None),
        ("POST", "/v2/payment/create-subscription", {"plan_id": "starter"}),
        ("GET", "/v2/payment/invoices/7", None),
        ("DELETE", "/v2/payment/plans/7", None),
    ],
    "SUPERADMIN_SERVICE_URL": [
        ("POST", "/v2/admin-login", LOGIN),
        ("GET", "/v2/admin/users", None),
        ("GET", f"/v2/admin/get-user-history?user_id={ME}", None),
        ("PATCH", "/v2/admin/settings/mail", {"sender": "a"}),
        ("GET", "/v2/subscriptions/plans", None),
        ("GET", "/v2/get-latest-terms-conditions", None),
        ("GET", "/v2/get-latest-privacy-policy", None),
        ("GET", f"/v2/get-user-data/{ME}", None),
    ],
}
CASES = [(variable, *case) for variable, cases in PLAUSIBLE.items() for case in cases]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running() as client:
        yield client


@pytest.fixture
async def made(client: Client) -> dict[str, str]:
    """What some requests refer to: a live chatbot, a trashed one, a crawl, an order."""
    bots = [
        await client.json("CREATE_CHATBOT", "POST", "/v2/create-chatbot", data={"user_id": ME, "name": n}) for n in "ab"
    ]
    trashed = {"chatbot_id": bots[1]["chatbot_id"], "user_id": ME}
    await client.json("CHATBOT_MAINTENCE", "POST", "/v2/delete-chatbot-selection", data=trashed)
    crawl = {"user_id": ME, "project_id": "p1", "domain": "example.com"}
    task = await client.json("DATA_CRAWLING", "POST", "/v2/extract-contents", data=crawl)
    order = await client.json("PAYMENT", "POST", "/v2/payment/create-order", json={"amount": 1})
    ids = {"bot": bots[0]["chatbot_id"], "trashed": trashed["chatbot_id"], "task": task["task_id"]}
    test = order["test_payment"]
    return {**ids, "order": order["order_id"], "pay": test["payment_id"], "signed": test["signature"]}


@pytest.mark.parametrize(("variable", "method", "path", "body"), CASES, ids=[f"{c[1]} {c[2]}" for c in CASES])
async def test_every_line_of_the_table_gets_a_2xx(
    client: Client, made: dict[str, str], variable: str, method: str, path: str, body: Any
) -> None:
    fields = {name: made.get(str(v).strip("{}"), v) for name, v in body.items()} if isinstance(body, dict) else None
    data = multipart() if body == FILES else None
    async with client.ask(variable, method, path.format(**made), json=fields, data=data) as answer:
        assert 200 <= answer.status < 300, await answer.text()
        assert await answer.read()


@pytest.fixture(scope="module")
def table() -> Table:
    return routes.configure({"JWT_SECRET": KEY})[1]


def test_every_line_of_the_table_has_a_case_at_its_upstream(table: Table) -> None:
    lines = {(str(route.upstream.env), route.pattern) for route in table.routes}
    asked = {(variable, table.match(path.partition("?")[0]).endpoint.pattern) for variable, _, path, _ in CASES}
    # The gateway asks for this one at /v2/login
    assert lines - asked == {("AUTH_SERVICE_URL", "/v2/login1")}
    assert asked <= lines


async def test_the_variables_are_those_of_the_table(client: Client, table: Table) -> None:
    own = {"RECAPTCHA_VERIFY_URL", "RECAPTCHA_SECRET_KEY"}
    assert client.urls.keys() - own == {upstream.env for upstream in table.upstreams.values()}
