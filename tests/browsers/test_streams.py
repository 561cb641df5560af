"""Answers that flow, as scripts of other origins see them: one event at a time, to a telling end."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browsers.test_calls import url
from tests.e2e.harness import Backend, Gateway, Peer, chunked, reply

FIELDS = (b"Content-Type: text/event-stream", b"Cache-Control: no-store", b"Transfer-Encoding: chunked")
HEAD = b"\r\n".join((b"HTTP/1.1 200 OK", *FIELDS, b"\r\n"))
COUNT = 5


def one_by_one(backend: Backend, *, dies: bool = False) -> tuple[str, str]:
    """Paths of a stream, and of what says that an event of it was seen: only then comes the next."""
    seen = threading.Semaphore(0)

    def note(peer: Peer) -> None:
        peer.send(reply())
        seen.release()

    def telling(peer: Peer) -> None:
        peer.send(HEAD)
        for number in range(1, COUNT + 1):
            peer.send(chunked(b"id: %d\ndata: %d\n\n" % (number, number), end=b""))
            if not seen.acquire(timeout=15):
                break
        if dies:
            peer.close()
        else:
            peer.send(chunked())

    return backend.serve(telling), backend.serve(note)


SCRIPTS = {
    "EventSource": """
([stream, seen]) => new Promise((resolve) => {
  const source = new EventSource(stream), got = [];
  source.onmessage = async (event) => { got.push(event.data); await fetch(seen); };
  source.addEventListener("error", (event) => {
    source.close();
    resolve({got, last: event.data ? JSON.parse(event.data) : null});
  });
})
""",
    "fetch": """
async ([stream, seen]) => {
  const reader = (await fetch(stream)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", last = null;
  const got = [];
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return {got, last};
    const blocks = (rest + value).split("\\n\\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.match(/^data: (.*)$/m)[1];
      if (block.startsWith("event: error")) last = JSON.parse(data);
      else { got.push(data); await fetch(seen); }
    }
  }
}
""",
}


@pytest.mark.parametrize("dies", [False, True], ids=["to its end", "until its service dies"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_each_event_is_seen_before_the_next_is_made(
    page: Page, own_gateway: Gateway, own_backend: Backend, script: str, *, dies: bool
) -> None:
    stream, seen = (url(own_gateway, path) for path in one_by_one(own_backend, dies=dies))
    got: dict[str, Any] = page.evaluate(script, [stream, seen])
    assert got["got"] == [str(number) for number in range(1, COUNT + 1)]
    if dies:
        assert got["last"]["code"] == "upstream_bad_response" and got["last"]["request_id"]
    else:
        assert got["last"] is None


def test_an_event_source_that_reconnects_names_the_last_event_it_saw(
    page: Page, own_gateway: Gateway, own_backend: Backend
) -> None:
    def twice(peer: Peer) -> None:
        before = peer.request.value("last-event-id")
        number = int(before or 0) + 1
        peer.send(HEAD + chunked(b"retry: 1\nid: %d\ndata: after %s\n\n" % (number, (before or "none").encode())))

    path = own_backend.serve(twice)
    got = page.evaluate(
        """(url) => new Promise((resolve) => {
             const source = new EventSource(url), got = [];
             source.onmessage = (event) => {
               got.push(event.data);
               if (got.length === 3) { source.close(); resolve(got); }
             };
           })""",
        url(own_gateway, path),
    )
    assert got == ["after none", "after 1", "after 2"]


def test_the_demos_answer_arrives_as_it_is_made(page: Page, demo: Gateway) -> None:
    """The words are there while the voice is still to come; the demo pauses between its events."""
    got = page.evaluate(
        """(url) => new Promise((resolve, reject) => {
             const source = new EventSource(url), got = [];
             for (const name of ["token", "audio", "done"]) {
               source.addEventListener(name, (event) => {
                 got.push([name, performance.now()]);
                 if (name === "done") { source.close(); resolve(got); }
               });
             }
             source.onerror = () => reject(new Error(`broke off after ${got.length} events`));
           })""",
        url(demo, "/v2/get-response-3dchatbot-v7-live?question=hi"),
    )
    names = [name for name, _ in got]
    assert names[0] == "token" and names[-4:] == ["audio", "audio", "audio", "done"]
    assert got[-1][1] - got[0][1] > 100, "they came in one piece"
