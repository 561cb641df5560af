import { ask, say, step } from "./gateway.js";
import { Face } from "./face.js";

const PATH = "/v2/get-response-3dchatbot-v7-live";

export function chat(card) {
  const form = card.querySelector("form"), answer = card.querySelector("#answer"), ticks = card.querySelector(".events");
  const face = new Face(card.querySelector("#face")), { stop } = form.elements;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const giveUp = new AbortController();
    stop.onclick = () => { giveUp.abort(); face.rest(); };
    stop.disabled = false;
    answer.replaceChildren();
    ticks.replaceChildren();
    let count = 0, audio = "";
    const took = { token: (data) => answer.append(data.text), error: (data) => { throw new Error(data.detail || data.code); } };
    took.audio = (data) => {
      audio += data.audio;
      face.speak(data.mouthCues);
      if (data.last && form.elements.sound.checked) play(audio);
    };
    step(card, async () => {
      const question = encodeURIComponent(form.elements.question.value);
      const response = await ask(card, "GET", `${PATH}?question=${question}`, { stream: true, signal: giveUp.signal, label: PATH });
      for await (const { name, data } of eventsOf(response)) {
        const tick = document.createElement("i");
        tick.className = name;
        tick.title = `${name}, ${data.length} bytes`;
        ticks.append(tick);
        say(card, `${++count} events`);
        took[name]?.(JSON.parse(data));
      }
      say(card, `${count} events, each as it came.`, "good");
    }).finally(() => { stop.disabled = true; });
  });
}

/** The events of a stream (WHATWG HTML, 9.2), one by one. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n").filter((line) => line && !line.startsWith(":"));
      const of = (field) => lines.filter((line) => line.startsWith(`${field}: `)).map((line) => line.slice(field.length + 2)).join("\n");
      if (lines.length) yield { name: of("event") || "message", data: of("data") };
    }
  }
}

function play(base64) {
  const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }));
  const sound = new Audio(url);
  sound.addEventListener("ended", () => URL.revokeObjectURL(url));
  sound.play();
}
