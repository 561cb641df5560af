// Calls to the gateway, and what each of them tells: status, request id, times, and the problem when it is refused.

export const gateway = document.querySelector("meta[name=gateway]").content;
export const session = { token: "", user: "" };

const PARTS = ["auth", "limit", "pool", "connect", "ttfb"];
const KEPT = 8;

/** `auth;dur=0.2, ttfb;dur=3.1` as [["auth", 0.2], ["ttfb", 3.1]]; milliseconds. */
export function timesOf(header) {
  return (header || "").split(",").map((part) => part.trim().split(";dur=")).filter(([name, value]) => PARTS.includes(name) && value)
    .map(([name, value]) => [name, Number(value)]);
}

export function authorization() {
  return session.token ? { Authorization: `Bearer ${session.token}` } : {};
}

/** A line in a step's list of requests; `finish` fills it in. */
export class Call {
  constructor(card, method, path) {
    this.item = document.getElementById("call").content.firstElementChild.cloneNode(true);
    this.began = performance.now();
    this.item.querySelector(".line").textContent = `${method} ${path}`;
    this.mark("…", "open");
    const list = card.querySelector(".calls");
    list.prepend(this.item);
    while (list.children.length > KEPT) list.lastElementChild.remove();
  }

  mark(text, kind) {
    const status = this.item.querySelector(".status");
    status.textContent = text;
    status.className = `status ${kind}`;
  }

  head(status, id, timing) {
    const ok = status < 400;
    this.took = performance.now() - this.began;
    this.mark(String(status), ok ? "good" : "bad");
    this.item.querySelector(".took").textContent = `${this.took < 10 ? this.took.toFixed(1) : Math.round(this.took)} ms`;
    if (id) this.item.querySelector(".id code").textContent = id;
    this.times(timesOf(timing));
  }

  /** Words instead of a request id. */
  note(words) {
    this.item.querySelector(".id").textContent = words;
  }

  times(parts) {
    const box = this.item.querySelector(".times");
    if (!parts.length) return;
    const known = parts.reduce((sum, [, value]) => sum + value, 0);
    const all = [...parts, ["rest", Math.max(this.took - known, 0)]];
    const width = Math.max(known, this.took);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 1");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    let at = 0;
    for (const [name, value] of all) {
      const rect = document.createElementNS(svg.namespaceURI, "rect");
      const share = (value / width) * 100;
      for (const [key, given] of Object.entries({ x: at, y: 0, width: share, height: 1, class: `part-${name}` })) rect.setAttribute(key, given);
      svg.append(rect);
      at += share;
    }
    box.replaceChildren(svg, ...all.map(([name, value]) => {
      const text = document.createElement("span");
      text.className = `part-${name}`;
      text.textContent = `${name === "rest" ? "the rest" : name} ${value.toFixed(1)} ms`;
      return text;
    }));
    box.hidden = false;
  }

  problem(problem) {
    const line = this.item.querySelector(".problem");
    const code = document.createElement("code");
    code.textContent = problem.code;
    line.replaceChildren(code, ` ${problem.detail || problem.title || ""}`);
    line.hidden = false;
  }

  failed(words) {
    this.mark("none", "bad");
    this.problem({ code: "no answer", detail: words });
    this.item.querySelector(".id").hidden = true;
  }
}

/** An error that says what the gateway said. */
export class Refused extends Error {
  constructor(status, problem, headers) {
    super(problem.detail || problem.title || `status ${status}`);
    this.status = status;
    this.code = problem.code || "";
    this.retryAfter = headers?.get("Retry-After");
  }
}

export function problemOf(text, status) {
  try {
    const found = JSON.parse(text);
    return { code: found.code || `status ${status}`, detail: found.detail || found.message || found.title };
  } catch {
    return { code: `status ${status}`, detail: text.slice(0, 200) };
  }
}

/** A request whose answer is JSON, or with `stream` the response once its head is there. Throws `Refused`. */
export async function ask(card, method, path, { body, token = true, stream = false, signal, label = path } = {}) {
  const call = new Call(card, method, label);
  let response;
  try {
    response = await fetch(gateway + path, { method, body, signal, headers: token ? authorization() : {} });
  } catch (error) {
    call.failed(error.name === "AbortError" ? "given up here" : "the gateway can't be reached, or its answer not be read");
    throw error;
  }
  call.head(response.status, response.headers.get("X-Request-ID"), response.headers.get("Server-Timing"));
  if (response.ok && stream) return response;
  const text = await response.text();
  if (!response.ok) {
    const problem = problemOf(text, response.status);
    call.problem(problem);
    throw new Refused(response.status, problem, response.headers);
  }
  return JSON.parse(text);
}

export function say(card, text, kind = "", more = "") {
  const said = card.querySelector(".said");
  said.className = `said ${kind}`;
  const small = document.createElement("small");
  small.textContent = more ? ` ${more}` : "";
  said.replaceChildren(text, small);
  card.classList.toggle("done", kind === "good");
}

/** Run a step's work, which can't begin again before it ends; what goes wrong is told in the card. */
export async function step(card, work) {
  const begin = card.querySelector("form button.main");
  if (begin) begin.disabled = true;
  say(card, "Working…");
  try {
    await work();
  } catch (error) {
    const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
    if (error.name === "AbortError") say(card, "Given up.", "bad");
    else if (error instanceof Refused) say(card, `${error.status}: ${error.message}.${wait}`.replace("..", "."), "bad", error.code);
    else say(card, error.message, "bad");
  }
  if (begin) begin.disabled = false;
}
