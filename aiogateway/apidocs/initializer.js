"use strict";

// Swagger UI follows this class, and not the system's setting by itself.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

const reading = document.body.dataset.tryItOut !== "yes";
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  // Nothing is sent to anybody else.
  validatorUrl: null,
  // On a listener that doesn't take these requests the page is for reading.
  ...(reading ? { supportedSubmitMethods: [] } : {}),
});
