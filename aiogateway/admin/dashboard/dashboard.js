// Asks the gateway every two seconds and shows what it says. What is chosen stands in the address, behind the #.

import { element } from "./elements.js";
import { clock, flags, rate, seconds, share } from "./format.js";
import { COLUMNS, chosen, rows } from "./upstreams.js";

const PERIOD = 2000;
const PATIENCE = 5000;
const THEMES = ["auto", "light", "dark"];
const at = (id) => document.getElementById(id);

const given = new URLSearchParams(location.hash.slice(1));
const choice = {
  search: given.get("search") ?? "",
  show: ["failing", "busy", "idle"].includes(given.get("show")) ? given.get("show") : "all",
  sort: given.get("sort") ?? "",
  down: given.get("down") === "1",
  failures: given.get("failures") ?? "",
};
const open = new Set();
let last = null;
let lastAt = 0;
let lost = [];

function remember() {
  const kept = Object.entries(choice).filter(([key, value]) => value && !(key === "show" && value === "all"));
  const text = new URLSearchParams(kept.map(([key, value]) => [key, value === true ? "1" : value])).toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname);
}

function choose(changes) {
  Object.assign(choice, changes);
  remember();
  draw();
}

function toggle(name) {
  if (!open.delete(name)) open.add(name);
  draw();
}

function drawHead() {
  at("columns").replaceChildren(...COLUMNS.map((column) => {
    const sorted = choice.sort === column.key ? (choice.down ? "descending" : "ascending") : "none";
    const head = element("th", { scope: "col", "aria-sort": sorted });
    if (!column.value) head.textContent = column.title;
    else {
      const mark = sorted === "none" ? "" : choice.down ? " ↓" : " ↑";
      const button = element("button", { type: "button", text: column.title + mark, "data-sort": column.key });
      button.addEventListener("click", () => choose({ sort: column.key, down: choice.sort === column.key && !choice.down }));
      head.append(button);
    }
    return head;
  }));
}

function drawGateway({ gateway, version }) {
  const told = gateway.reasons.length ? `${gateway.state}: ${gateway.reasons.join(", ")}` : gateway.state;
  if (at("state").textContent !== told) at("state").textContent = told;
  at("state").className = `badge ${gateway.state}`;
  const figures = [
    ["Requests/s", rate(gateway.requests_per_second)],
    ["Errors", share(gateway.error_rate), gateway.error_rate > 0.01],
    ["In flight", gateway.active],
    ["Connections", gateway.connections],
    ["Loop lag", seconds(gateway.lag), gateway.lag > 0.1],
    ["Workers", gateway.workers],
    ["Log lines lost", gateway.lost_lines, gateway.lost_lines > 0],
    ["Version", version],
  ];
  at("figures").replaceChildren(...figures.map(([name, value, bad]) =>
    element("div", { className: bad ? "bad" : "" }, element("dt", { text: name }), element("dd", { text: String(value) }))));
  at("gateway-hints").replaceChildren(...(gateway.hints ?? []).map((hint) => element("li", { text: hint })));
}

// Redrawing must not take the keyboard's place away.
function keepingFocus(work) {
  const { name, sort } = document.activeElement?.dataset ?? {};
  work();
  const again = name ? `[data-name="${CSS.escape(name)}"]` : sort ? `[data-sort="${CSS.escape(sort)}"]` : null;
  if (again) document.querySelector(again)?.focus({ preventScroll: true });
}

function draw() {
  if (!last) return;
  keepingFocus(() => {
    drawHead();
    drawGateway(last);
    const shown = chosen(last.upstreams, choice);
    at("rows").replaceChildren(...rows(shown, open, toggle));
    at("count").textContent = `${shown.length} of ${last.upstreams.length}`;
    const quiet = last.upstreams.every((each) => each.state === "idle");
    at("nothing").hidden = shown.length > 0 && !quiet;
    at("nothing").textContent = shown.length ? "No request has come in the last minute. “aiogateway demo” prints some to try." : "No upstream is like that.";
  });
  drawFailures();
}

function failure(each) {
  const copy = element("button", { type: "button", text: "copy", "aria-label": `Copy request id ${each.request_id}` });
  copy.addEventListener("click", () => navigator.clipboard?.writeText(each.request_id));
  const parts = [
    element("time", { text: clock(each.time) }),
    element("span", { className: "status", text: String(each.status) }),
    element("span", { text: each.code ?? "" }),
    element("abbr", { text: each.flags, title: flags(each.flags) }),
    element("code", { text: `${each.method} ${each.route}` }),
    element("span", { text: each.upstream ? `→ ${each.upstream}` : "" }),
    element("span", { className: "quiet", text: seconds(each.duration) }),
    element("code", { text: each.request_id }),
    copy,
  ];
  return element("li", {}, ...parts.filter((part) => part.textContent));
}

function drawFailures() {
  const wanted = choice.failures.trim().toLowerCase();
  const text = (each) => `${each.request_id} ${each.method} ${each.route} ${each.status} ${each.code} ${each.flags} ${each.upstream}`.toLowerCase();
  const shown = lost.filter((each) => text(each).includes(wanted));
  at("failures").replaceChildren(...shown.map(failure));
  at("failures").hidden = !shown.length;
  at("no-failures").hidden = shown.length > 0;
  at("no-failures").textContent = lost.length ? "No failure is like that." : "Nothing failed lately.";
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

async function look() {
  if (!document.hidden) {
    try {
      const [upstreams, failures] = await Promise.all([ask("admin/upstreams"), ask("admin/failures")]);
      last = upstreams;
      lost = failures.failures;
      lastAt = Date.now();
      at("stale").hidden = true;
      draw();
    } catch (error) {
      const since = lastAt ? `since ${clock(lastAt / 1000)}` : "yet";
      at("stale").textContent = `The gateway gives no figures ${since} (${error.message}). What stands here is old; it is asked again every two seconds.`;
      at("stale").hidden = false;
    }
  }
  setTimeout(look, PERIOD);
}

function theme(name) {
  const root = document.documentElement;
  if (name === "auto") delete root.dataset.theme;
  else root.dataset.theme = name;
  at("theme").textContent = `Theme: ${name}`;
  localStorage.setItem("theme", name);
}

at("search").value = choice.search;
at("show").value = choice.show;
at("search-failures").value = choice.failures;
at("search").addEventListener("input", (event) => choose({ search: event.target.value }));
at("show").addEventListener("change", (event) => choose({ show: event.target.value }));
at("search-failures").addEventListener("input", (event) => choose({ failures: event.target.value }));
at("theme").addEventListener("click", () => {
  const now = THEMES.indexOf(localStorage.getItem("theme") ?? "auto");
  theme(THEMES[(now + 1) % THEMES.length]);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !["INPUT", "SELECT"].includes(document.activeElement?.tagName)) {
    event.preventDefault();
    at("search").focus();
  }
});
theme(THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto");
drawHead();
look();
