"""WebSockets that scripts of other origins open: echoes, closes, tokens, and refusals."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browsers.test_calls import url
from tests.e2e.harness import Backend, Gateway, Peer, eventually
from tests.e2e.harness.sockets import CLOSE, Side, close, frame, switching
from tests.e2e.harness.tokens import signed

SCRIPT = """
([url, protocols, messages, closing]) => new Promise((resolve) => {
  const told = {opened: false, got: [], protocol: null}, socket = new WebSocket(url, protocols);
  socket.binaryType = "arraybuffer";
  const next = () => {
    const message = messages[told.got.length];
    if (message === undefined) { if (closing) socket.close(...closing); return; }
    socket.send(typeof message === "string" ? message : new Uint8Array(message));
  };
  socket.onopen = () => { told.opened = true; told.protocol = socket.protocol; next(); };
  socket.onmessage = ({data}) => {
    told.got.push(typeof data === "string" ? data : [...new Uint8Array(data)]);
    next();
  };
  socket.onerror = () => { told.error = true; };
  socket.onclose = ({code, reason, wasClean}) => resolve({...told, code, reason, wasClean});
})
"""


def echo(peer: Peer) -> None:
    """Say every message again; `close CODE REASON` closes. A client's Close is answered with its own code."""
    offered = peer.request.value("sec-websocket-protocol")
    chosen = [f"Sec-WebSocket-Protocol: {offered.split(',')[0]}"] if offered else []
    peer.send(switching(*chosen, key=peer.request.value("sec-websocket-key") or ""))
    side = Side(peer._wire, masks=False, head=peer.request.head)
    while not side.ended():
        opcode, payload = side.take_frame()
        if opcode == CLOSE:
            peer.send(frame(CLOSE, payload))
            return
        if payload.startswith(b"close "):
            _, code, reason = payload.decode().split(" ", 2)
            peer.send(close(int(code), reason))
        else:
            peer.send(frame(opcode, payload))


def talk(page: Page, gateway: Gateway, path: str, *messages: Any, protocols: list[str], closing: Any) -> dict[str, Any]:
    """What a page's script sees of a socket on which it says these messages, one after the other is answered."""
    address = url(gateway, path).replace("http:", "ws:")
    found: dict[str, Any] = page.evaluate(SCRIPT, [address, protocols, messages, closing])
    return found


def test_text_and_bytes_are_echoed_and_the_pages_close_is_answered(
    page: Page, own_gateway: Gateway, own_backend: Backend
) -> None:
    path = own_backend.serve(echo, under="/ws")
    messages = ("hello", "", "ünïcode ✓", [0, 255, 1], "x" * 70_000)
    got = talk(page, own_gateway, path, *messages, protocols=[], closing=[4321, "enough"])
    assert got["got"] == list(messages)
    assert (got["opened"], got["code"], got["reason"], got["wasClean"]) == (True, 4321, "enough", True)
    assert "permessage-deflate" in (own_backend.one(path).value("sec-websocket-extensions") or "")


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (1011, "we broke"), (4001, "token expired")])
def test_the_services_close_comes_with_code_and_reason(
    page: Page, own_gateway: Gateway, own_backend: Backend, code: int, reason: str
) -> None:
    path = own_backend.serve(echo, under="/ws")
    got = talk(page, own_gateway, path, f"close {code} {reason}", protocols=[], closing=None)
    assert (got["code"], got["reason"], got["wasClean"]) == (code, reason, True)


def test_a_page_is_told_that_its_service_died(page: Page, own_gateway: Gateway, own_backend: Backend) -> None:
    def dies(peer: Peer) -> None:
        peer.send(switching(key=peer.request.value("sec-websocket-key") or ""))
        peer.close()

    got = talk(page, own_gateway, own_backend.serve(dies, under="/ws"), protocols=[], closing=None)
    assert (got["opened"], got["code"], got["reason"]) == (True, 1014, "the service broke off")


@pytest.mark.parametrize(("more", "selected"), [([], "bearer"), (["chat"], "chat")])
def test_a_token_among_the_subprotocols_opens_a_socket(
    page: Page, own_gateway: Gateway, own_backend: Backend, more: list[str], selected: str
) -> None:
    token = signed()
    path = own_backend.serve(echo, under="/members")
    got = talk(page, own_gateway, path, "hi", protocols=["bearer", token, *more], closing=[1000, ""])
    assert (got["protocol"], got["got"], got["code"]) == (selected, ["hi"], 1000)
    assert token not in str(own_backend.one(path).head.fields)


def test_without_a_token_there_is_no_socket_and_the_service_hears_nothing(
    page: Page, own_gateway: Gateway, own_backend: Backend
) -> None:
    path = own_backend.serve(echo, under="/members")
    got = talk(page, own_gateway, path, protocols=["bearer", "no.good.token"], closing=None)
    assert (got["opened"], got["error"], got["code"]) == (False, True, 1006)
    assert not own_backend.seen(path)
    eventually(lambda: refused_with(own_gateway, path, 401), "the refusal is logged")


def test_a_strangers_page_opens_sockets_on_public_routes_only(
    stranger: Page, own_gateway: Gateway, own_backend: Backend
) -> None:
    path = own_backend.serve(echo, under="/ws")
    got = talk(stranger, own_gateway, path, "hi", protocols=[], closing=[1000, ""])
    assert (got["opened"], got["code"]) == (False, 1006)
    assert not own_backend.seen(path)
    eventually(lambda: refused_with(own_gateway, path, 403), "the refusal is logged")
    widget = own_backend.serve(echo, under="/widget-ws")
    assert talk(stranger, own_gateway, widget, "hi", protocols=[], closing=[1000, ""])["got"] == ["hi"]


def refused_with(gateway: Gateway, path: str, status: int) -> bool:
    return any(path in line and f'"status":{status}' in line for line in gateway.output.splitlines())


def test_the_demos_chat_talks_over_a_socket(page: Page, demo: Gateway, token: str) -> None:
    got = page.evaluate(
        """([url, token]) => new Promise((resolve, reject) => {
             const socket = new WebSocket(url, ["bearer", token]), words = [];
             socket.onopen = () => socket.send(JSON.stringify({question: "When are you open?"}));
             socket.onmessage = ({data}) => {
               const message = JSON.parse(data);
               if (message.type === "done") socket.close(1000, "thanks");
               else words.push(message.text);
             };
             socket.onclose = ({code, reason}) => resolve({text: words.join(""), count: words.length, code, reason});
             socket.onerror = () => reject(new Error("refused"));
           })""",
        [url(demo, "/v2/get-response-3dchatbot-v7-live").replace("http:", "ws:"), token],
    )
    assert "When are you open?" in got["text"] and got["count"] > 2
    assert got["code"] == 1000
