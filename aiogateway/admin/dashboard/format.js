// Figures as people read them. Pure functions; null is "no figure".

export function rate(value) {
  return value === 0 ? "0" : value < 10 ? value.toFixed(2) : value < 1000 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}

export function share(value) {
  return value === 0 ? "0 %" : value < 0.001 ? "< 0.1 %" : `${(value * 100).toFixed(1)} %`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 1) return `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
  return `${value.toFixed(value < 10 ? 1 : 0)} s`;
}

export function clock(unix) {
  return new Date(unix * 1000).toLocaleTimeString("en-GB");
}

export const FLAGS = {
  DC: "the client left", DPE: "the request was malformed", NR: "no such route", OM: "the gateway was overloaded or draining",
  RL: "asked too often", SI: "the body stopped arriving", UAEX: "not allowed", UC: "the service broke off",
  UF: "the service can't be reached", UH: "no healthy destination", UO: "the pool was full", UT: "the service took too long",
  URX: "tried again in vain",
};

export function flags(letters) {
  return letters.split(",").filter(Boolean).map((letter) => `${letter}: ${FLAGS[letter] ?? "?"}`).join("; ");
}
