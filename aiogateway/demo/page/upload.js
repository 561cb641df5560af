import { authorization, Call, gateway, problemOf, Refused, say, session, step } from "./gateway.js";

const MIB = 1 << 20;
const PATH = "/v2/fetch-pdf";

export function upload(card) {
  const form = card.querySelector("form"), bar = card.querySelector("progress"), { abort } = form.elements;
  form.elements.size.addEventListener("change", () => {
    card.querySelector(".file").hidden = form.elements.size.value !== "0";
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    step(card, async () => {
      const file = chosen(form);
      if (!file) throw new Error("Choose a file first.");
      const body = new FormData();
      body.append("user_id", session.user);
      body.append("project_id", "sample");
      body.append("files", file, file.name || "sample.pdf");
      const began = performance.now();
      const got = await send(card, body, abort, (loaded, total) => {
        bar.value = loaded / total;
        const rate = loaded / MIB / ((performance.now() - began) / 1000);
        say(card, `${(loaded / MIB).toFixed(1)} of ${(total / MIB).toFixed(1)} MiB`, "", `${rate.toFixed(0)} MiB a second`);
      });
      const [first] = got.files;
      say(card, `${first.name || first.filename || "The file"} arrived whole.`, "good", `SHA-256 ${first.sha256 || ""}`);
    }).finally(() => { abort.disabled = true; });
  });
}

function chosen(form) {
  const size = Number(form.elements.size.value);
  if (!size) return form.elements.file.files[0];
  const piece = new Uint8Array(MIB).fill(0x20);
  return new File(["%PDF-1.4\n", ...Array(size).fill(piece)], `sample-${size}.pdf`, { type: "application/pdf" });
}

// XMLHttpRequest, because fetch tells nothing of how far an upload is.
function send(card, body, abort, progress) {
  const call = new Call(card, "POST", PATH), request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    request.upload.addEventListener("progress", (event) => progress(event.loaded, event.total));
    request.addEventListener("load", () => {
      call.head(request.status, request.getResponseHeader("X-Request-ID"), request.getResponseHeader("Server-Timing"));
      if (request.status < 400) return resolve(JSON.parse(request.responseText));
      const problem = problemOf(request.responseText, request.status);
      call.problem(problem);
      reject(new Refused(request.status, problem));
    });
    request.addEventListener("error", () => { call.failed("the connection broke"); reject(new Error("The connection broke.")); });
    request.addEventListener("abort", () => { call.failed("given up here"); reject(new DOMException("aborted", "AbortError")); });
    abort.disabled = false;
    abort.onclick = () => request.abort();
    request.open("POST", gateway + PATH);
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.send(body);
  });
}
