// The table of upstreams: which are shown, in which order, and the details of those that are open.

import { element, sparkline, useBar } from "./elements.js";
import { rate, seconds, share } from "./format.js";

const MARKS = { up: "●", idle: "○", degraded: "▲", down: "✕" };
const WORST_FIRST = { down: 0, degraded: 1, up: 2, idle: 3 };
const SHOWS = {
  all: () => true,
  failing: (each) => each.state === "down" || each.state === "degraded",
  busy: (each) => each.requests_per_second > 0,
  idle: (each) => each.state === "idle",
};

export const COLUMNS = [
  { key: "name", title: "Upstream", value: (each) => each.name },
  { key: "state", title: "State", value: (each) => WORST_FIRST[each.state] },
  { key: "rps", title: "Requests/s", value: (each) => -each.requests_per_second, text: (each) => rate(each.requests_per_second) },
  { key: "errors", title: "Errors", value: (each) => -each.error_rate, text: (each) => share(each.error_rate), wrong: (each) => each.error_rate > 0 },
  { key: "p50", title: "p50", value: (each) => -(each.p50 ?? -1), text: (each) => seconds(each.p50) },
  { key: "p95", title: "p95", value: (each) => -(each.p95 ?? -1), text: (each) => seconds(each.p95) },
  { key: "p99", title: "p99", value: (each) => -(each.p99 ?? -1), text: (each) => seconds(each.p99) },
  { key: "pool", title: "Pool", value: (each) => -each.pool.use },
  { key: "breaker", title: "Breaker", value: (each) => each.breaker, text: (each) => each.breaker, wrong: (each) => each.breaker !== "closed" },
  { key: "line", title: "Last 5 minutes" },
];

export function badge(state, reason) {
  return element("span", { className: `badge ${state}`, text: `${MARKS[state] ?? "●"} ${state}`, title: reason ?? "" });
}

export function chosen(upstreams, { search, show, sort, down }) {
  const wanted = search.trim().toLowerCase();
  const found = upstreams.filter((each) => SHOWS[show](each) && `${each.name} ${each.state} ${each.destinations.map((to) => to.url).join(" ")}`.toLowerCase().includes(wanted));
  const column = COLUMNS.find((each) => each.key === sort && each.value);
  const order = (a, b) => {
    const [x, y] = column ? [column.value(a), column.value(b)] : [WORST_FIRST[a.state], WORST_FIRST[b.state]];
    const first = x < y ? -1 : x > y ? 1 : 0;
    return (down ? -first : first) || b.requests_per_second - a.requests_per_second || a.name.localeCompare(b.name);
  };
  return found.sort(order);
}

function cell(column, each) {
  const made = element("td", { "data-label": column.title });
  if (column.key === "state") made.append(badge(each.state, each.reason));
  else if (column.key === "pool") {
    const { active, max_connections: most, pending } = each.pool;
    made.append(useBar(each.pool.use), `${active} / ${most}${pending ? `, ${pending} wait` : ""}`);
  } else if (column.key === "line") {
    made.className = "chart";
    made.append(sparkline(each.history.requests, each.history.errors, `${each.name}: requests and errors of the last five minutes`));
  } else {
    made.textContent = column.text(each);
    if (column.wrong?.(each)) made.className = "wrong";
  }
  return made;
}

function details(each) {
  const list = element("ul");
  if (each.reason) list.append(element("li", { className: "wrong", text: each.reason }));
  for (const hint of each.hints) list.append(element("li", { className: "hint", text: hint }));
  for (const to of each.destinations) {
    const how = to.up ? "up" : `down (${to.reason})`;
    list.append(element("li", { text: `${to.url}: ${how}, breaker ${to.breaker}, ${to.active} active, ${to.idle} idle, ${to.pending} waiting, ${to.streams} streams` }));
  }
  list.append(element("li", { className: "quiet", text: `${each.routes} routes` }));
  const slowness = sparkline(each.history.p95, [], `${each.name}: p95 of the last five minutes`);
  const cells = element("td", { colspan: COLUMNS.length }, list, element("span", { className: "quiet", text: "p95 over five minutes" }), slowness);
  return element("tr", { className: "details" }, cells);
}

export function rows(upstreams, open, toggle) {
  return upstreams.flatMap((each) => {
    const isOpen = open.has(each.name);
    const name = element("button", { className: "name", type: "button", text: each.name, "aria-expanded": String(isOpen), "data-name": each.name });
    name.addEventListener("click", () => toggle(each.name));
    const row = element("tr", { className: `${each.state}${isOpen ? " open" : ""}` }, element("td", {}, name));
    row.append(...COLUMNS.slice(1).map((column) => cell(column, each)));
    return isOpen ? [row, details(each)] : [row];
  });
}
