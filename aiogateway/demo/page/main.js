// What the page is made of: one module a step.
import { gateway } from "./gateway.js";
import { chat } from "./chat.js";
import { crawl } from "./crawl.js";
import { guards } from "./guards.js";
import { login } from "./login.js";
import { socket } from "./socket.js";
import { upload } from "./upload.js";

document.getElementById("here").textContent = location.origin;
for (const start of [login, upload, crawl, chat, socket, guards]) start(document.getElementById(start.name));

const pill = document.getElementById("health");
async function look() {
  let kind = "bad", text = "gateway can't be reached";
  try {
    const answer = await fetch(`${gateway}/readyz`);
    [kind, text] = answer.ok ? ["good", "gateway ready"] : ["bad", "gateway not ready"];
  } catch { /* told below */ }
  pill.className = `pill ${kind}`;
  pill.textContent = text;
}
look();
setInterval(look, 5000);
