import { ask, say, session, step } from "./gateway.js";

const PAUSE = 500;

export function crawl(card) {
  const form = card.querySelector("form"), bar = card.querySelector("progress"), pages = card.querySelector(".pages");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    pages.replaceChildren();
    bar.value = 0;
    step(card, async () => {
      const body = new URLSearchParams({ user_id: session.user, project_id: "sample", domain: form.elements.site.value });
      const { task_id: task } = await ask(card, "POST", "/v2/extract-contents", { body });
      for (;;) {
        const got = await ask(card, "GET", `/v2/check-task-status?task_id=${encodeURIComponent(task)}`, { label: "/v2/check-task-status" });
        bar.value = got.progress;
        for (const page of got.pages.slice(pages.children.length)) {
          const item = document.createElement("li");
          item.textContent = `${page.url.replace("https://", "")} (${page.words} words)`;
          pages.append(item);
        }
        if (got.status === "done") return say(card, `${got.pages.length} pages read.`, "good");
        say(card, `${got.status}, ${got.progress} %`);
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
    });
  });
}
