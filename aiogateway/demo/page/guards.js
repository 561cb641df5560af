import { ask, session, step } from "./gateway.js";

const TRIES = 12;
const GUARDS = [
  ["401 no token", (card) => ask(card, "GET", `/v2/get-chatbots/${session.user || "me"}`, { token: false })],
  ["403 somebody else's", (card) => ask(card, "GET", "/v2/get-chatbots/somebody-else")],
  ["404 no such path", (card) => ask(card, "GET", "/v2/there-is-nothing-here")],
  ["413 too large", (card) => ask(card, "POST", "/v2/homepage-get-response", { body: "x".repeat(2 << 20), token: false })],
  ["429 too often", tooOften],
  ["503 failing service", (card) => ask(card, "GET", "/v2/homepage-fail?status=503", { token: false })],
];

async function tooOften(card) {
  const body = new URLSearchParams({ email: "lead@example.com", name: "A lead" });
  for (let turn = 0; turn < TRIES; turn++) await ask(card, "POST", "/v2/homepage-save-lead", { body, token: false });
}

export function guards(card) {
  for (const [label, work] of GUARDS) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => step(card, () => work(card)));
    card.querySelector(".buttons").append(button);
  }
}
