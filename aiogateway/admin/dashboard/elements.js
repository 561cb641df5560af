// Elements with text in them, never markup: whatever comes from the gateway stays inert.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, { text, className, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function svg(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function points(values, most, width, height) {
  const step = width / Math.max(values.length - 1, 1);
  return values.map((value, at) => `${(at * step).toFixed(1)},${(height - 1 - ((value ?? 0) / most) * (height - 2)).toFixed(1)}`);
}

// Requests as an area, errors as a line over it, on one scale.
export function sparkline(requests, errors, label) {
  const [width, height] = [144, 28];
  const most = Math.max(...requests, ...errors, 1e-9);
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "spark", role: "img", "aria-label": label, preserveAspectRatio: "none" });
  const line = points(requests, most, width, height);
  drawn.append(
    svg("polygon", { class: "area", points: `0,${height} ${line.join(" ")} ${width},${height}` }),
    svg("polyline", { class: "line", points: line.join(" ") }),
  );
  if (errors.some((value) => value > 0)) drawn.append(svg("polyline", { class: "errors", points: points(errors, most, width, height).join(" ") }));
  return drawn;
}

export function useBar(share) {
  const bar = svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", class: share >= 0.9 ? "use full" : "use", "aria-hidden": "true" });
  bar.append(svg("rect", { width: Math.min(share, 1) * 100, height: 10 }));
  return bar;
}
