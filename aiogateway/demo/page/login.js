import { ask, say, session, step } from "./gateway.js";

export function login(card) {
  const form = card.querySelector("form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    step(card, async () => {
      const got = await ask(card, "POST", "/v2/login", { body: new URLSearchParams(new FormData(form)), token: false });
      session.token = got.access_token;
      session.user = got.user_id;
      say(card, `Logged in as ${got.user_id}.`, "good", `The token is good for ${Math.round(got.expires_in / 3600)} h.`);
    });
  });
}
