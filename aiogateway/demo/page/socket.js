import { Call, gateway, say, session } from "./gateway.js";

const PATH = "/v2/get-response-3dchatbot-v7-live";

export function socket(card) {
  const form = card.querySelector("form"), lines = card.querySelector(".lines"), { open, close, message, send } = form.elements;
  let live = null, answer = null, sentAt = 0;

  function line(text, mine) {
    const item = document.createElement("li");
    item.className = mine ? "mine" : "";
    item.textContent = text;
    lines.append(item);
    lines.scrollTop = lines.scrollHeight;
    return item;
  }

  function ready(yes) {
    [open.disabled, close.disabled, message.disabled, send.disabled] = [yes, !yes, !yes, !yes];
  }

  function took(event) {
    const got = JSON.parse(event.data);
    if (got.type === "token") {
      answer ??= Object.assign(line("", false), { first: Math.round(performance.now() - sentAt) });
      answer.append(got.text);
    } else if (answer) {
      const small = document.createElement("small");
      small.textContent = ` first word after ${answer.first} ms`;
      answer.append(small);
      answer = null;
    }
    lines.scrollTop = lines.scrollHeight;
  }

  open.addEventListener("click", () => {
    const call = new Call(card, "GET", PATH);
    call.note("A browser shows a page none of this answer's fields: the request id is in the gateway's log.");
    say(card, "Opening…");
    open.disabled = true;
    // A page can't set Authorization on a WebSocket: the token goes where subprotocols do.
    live = new WebSocket(gateway.replace("http", "ws") + PATH, session.token ? ["bearer", session.token] : []);
    live.addEventListener("open", () => {
      call.head(101, "", "");
      call.note(`subprotocol ${live.protocol || "none"}; the request id is in the gateway's log`);
      say(card, "Open.", "good");
      ready(true);
      message.focus();
    });
    live.addEventListener("message", took);
    live.addEventListener("close", (event) => {
      if (call.item.querySelector(".status").textContent === "…") call.failed("refused; the gateway's log says why");
      const why = event.reason ? `, “${event.reason}”` : "";
      say(card, `Closed with ${event.code}${why}.`, event.code < 1002 ? "" : "bad");
      ready(false);
      answer = null;
    });
  });
  close.addEventListener("click", () => live.close(1000, "done"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (live?.readyState !== WebSocket.OPEN || !message.value) return;
    line(message.value, true);
    sentAt = performance.now();
    live.send(JSON.stringify({ question: message.value }));
  });
}
