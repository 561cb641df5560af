// A head of triangles on a plain canvas: it turns, blinks, and shapes its mouth by cues.

const RINGS = 22, STEPS = 30;
// How far each mouth shape is open, and how wide (Rhubarb's letters).
const SHAPES = { A: [0.05, 1], B: [0.22, 1.05], C: [0.5, 1], D: [0.85, 1], E: [0.55, 0.8], F: [0.3, 0.62], G: [0.15, 1.1], H: [0.45, 1], X: [0, 1] };
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

function skull() {
  const points = [];
  for (let ring = 0; ring <= RINGS; ring++) {
    const up = Math.PI * (ring / RINGS);
    for (let step = 0; step < STEPS; step++) {
      const around = 2 * Math.PI * (step / STEPS), y = Math.cos(up), radius = Math.sin(up) ** 0.8;
      let x = radius * Math.sin(around), z = radius * Math.cos(around);
      x *= y < 0 ? 0.8 - 0.16 * y * y : 0.8 + 0.03 * y; // jaw narrower than brow
      z *= z > 0 ? 0.88 : 0.98;
      const front = Math.max(0, z);
      z += 0.22 * front * Math.exp(-((x / 0.13) ** 2) - ((y + 0.02) / 0.2) ** 2); // nose
      z -= 0.14 * front * (Math.exp(-(((x - 0.3) / 0.16) ** 2) - ((y - 0.24) / 0.12) ** 2) + Math.exp(-(((x + 0.3) / 0.16) ** 2) - ((y - 0.24) / 0.12) ** 2)); // eyes
      z += 0.12 * front * Math.exp(-((x / 0.3) ** 2) - ((y + 0.8) / 0.14) ** 2); // chin
      const ear = Math.exp(-(((Math.abs(x) - 0.8) / 0.14) ** 2) - ((y - 0.05) / 0.17) ** 2 - ((z + 0.05) / 0.2) ** 2);
      x += Math.sign(x) * 0.1 * ear;
      points.push([x, y * 1.12, z]);
    }
  }
  return points;
}

function faces() {
  const made = [];
  for (let ring = 0; ring < RINGS; ring++) {
    for (let step = 0; step < STEPS; step++) {
      const next = (step + 1) % STEPS, a = ring * STEPS + step, b = ring * STEPS + next;
      // The hairline is high in front and low behind.
      const behind = (1 - Math.cos(2 * Math.PI * (step / STEPS))) / 2, hair = ring < RINGS * (0.25 + 0.33 * behind ** 0.6);
      made.push([a, b, b + STEPS, hair], [a, b + STEPS, a + STEPS, hair]);
    }
  }
  return made;
}

export class Face {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.points = skull();
    this.faces = faces();
    this.cues = [];
    this.began = 0;
    this.open = 0;
    this.wide = 1;
    this.frame = this.frame.bind(this);
    requestAnimationFrame(this.frame);
  }

  /** More cues of what is being said: { start, end, value }, in seconds. */
  speak(cues) {
    if (!this.cues.length) this.began = performance.now();
    this.cues.push(...cues);
  }

  rest() {
    this.cues = [];
  }

  shape(now) {
    const at = (now - this.began) / 1000, cue = this.cues.find((each) => at >= each.start && at < each.end);
    if (this.cues.length && !cue && at > this.cues.at(-1).end) this.rest();
    return SHAPES[cue?.value] || SHAPES.X;
  }

  frame(now) {
    const [open, wide] = this.shape(now);
    this.open += (open - this.open) * 0.35;
    this.wide += (wide - this.wide) * 0.35;
    const calm = STILL.matches ? 0 : 1, speaking = this.cues.length ? 1 : 0;
    const turn = calm * (0.32 * Math.sin(now / 2600) + speaking * 0.06 * Math.sin(now / 310));
    const nod = calm * (0.07 * Math.sin(now / 1900) + speaking * 0.05 * Math.sin(now / 420));
    const blink = calm && now % 4200 < 130 ? 0.1 : 1;
    this.draw(turn, nod, blink);
    setTimeout(() => requestAnimationFrame(this.frame), document.hidden ? 1000 : 0);
  }

  project([x, y, z], turn, nod) {
    const jaw = y < -0.3 ? Math.min(1, (-0.3 - y) / 0.4) * this.open * 0.16 * Math.max(0, z) : 0;
    y -= jaw;
    const cx = Math.cos(turn), sx = Math.sin(turn), cy = Math.cos(nod), sy = Math.sin(nod);
    const rx = x * cx + z * sx, rz = z * cx - x * sx;
    const ry = y * cy - rz * sy, depth = rz * cy + y * sy, scale = 235 / (1 - depth * 0.18);
    return [360 + rx * scale, 225 - ry * scale * 0.8, depth];
  }

  draw(turn, nod, blink) {
    const { context } = this, style = getComputedStyle(this.canvas);
    const [hue, full, light] = style.getPropertyValue("--skin").trim().split(/\s+/).map(parseFloat);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const seen = this.points.map((point) => this.project(point, turn, nod));
    const lit = [];
    for (const [a, b, c, hair] of this.faces) {
      const [p, q, r] = [seen[a], seen[b], seen[c]];
      const area = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]);
      if (area <= 0) continue;
      const u = [q[0] - p[0], q[1] - p[1], (q[2] - p[2]) * 235], v = [r[0] - p[0], r[1] - p[1], (r[2] - p[2]) * 235];
      const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      const length = Math.hypot(...n) || 1, shine = (-0.35 * n[0] - 0.5 * n[1] + 0.79 * n[2]) / length;
      lit.push([(p[2] + q[2] + r[2]) / 3, p, q, r, Math.max(-0.3, shine), hair]);
    }
    lit.sort((one, other) => one[0] - other[0]);
    this.neck(turn, hue, full, light);
    for (const [, p, q, r, shine, hair] of lit) {
      const bright = hair ? 20 + 24 * shine : light - 24 + 36 * shine;
      context.fillStyle = context.strokeStyle = `hsl(${hue + (hair ? 22 : 0)} ${hair ? 45 : full}% ${bright}%)`;
      context.beginPath();
      context.moveTo(p[0], p[1]);
      context.lineTo(q[0], q[1]);
      context.lineTo(r[0], r[1]);
      context.closePath();
      context.fill();
      context.stroke();
    }
    this.features(turn, nod, blink, hue);
  }

  neck(turn, hue, full, light) {
    const { context } = this, middle = 360 + turn * 30;
    context.fillStyle = `hsl(${hue} ${full}% ${light - 22}%)`;
    context.beginPath();
    context.moveTo(middle - 78, 330);
    context.quadraticCurveTo(290, 470, 120, 560);
    context.lineTo(600, 560);
    context.quadraticCurveTo(430, 470, middle + 78, 330);
    context.fill();
    context.fillStyle = `hsl(${hue + 22} 45% 24%)`;
    context.beginPath();
    context.ellipse(360, 590, 300, 120, 0, Math.PI, 0);
    context.fill();
  }

  features(turn, nod, blink, hue) {
    const { context } = this;
    context.lineCap = "round";
    for (const side of [-1, 1]) {
      const [x, y] = this.project([side * 0.3, 0.26, 0.76], turn, nod);
      context.fillStyle = "#fff";
      ellipse(context, x, y, 30, 19 * blink);
      const [brow, browY] = this.project([side * 0.31, 0.44, 0.8], turn, nod);
      context.strokeStyle = `hsl(${hue + 22} 45% 20%)`;
      context.lineWidth = 8;
      context.beginPath();
      context.moveTo(brow - 28, browY + (side < 0 ? 5 : 1));
      context.quadraticCurveTo(brow, browY - 9 - this.open * 6, brow + 28, browY + (side < 0 ? 1 : 5));
      context.stroke();
      const look = turn * 16;
      context.fillStyle = `hsl(${hue} 60% 22%)`;
      ellipse(context, x - look, y, 12, 13 * blink);
      context.fillStyle = "#fff";
      if (blink === 1) ellipse(context, x - look + 4, y - 5, 3.5, 3.5);
    }
    const [left, leftY] = this.project([-0.25 * this.wide, -0.46, 0.74], turn, nod);
    const [right, rightY] = this.project([0.25 * this.wide, -0.46, 0.74], turn, nod);
    const [middle, top] = this.project([0, -0.45, 0.84], turn, nod);
    const gap = 5 + this.open * 62, smile = 13;
    context.fillStyle = `hsl(${hue} 55% 16%)`;
    context.strokeStyle = "hsl(348 62% 58%)";
    context.lineWidth = 8;
    context.lineJoin = "round";
    context.beginPath();
    context.moveTo(left, leftY);
    context.quadraticCurveTo(middle, top + smile - this.open * 14, right, rightY);
    context.quadraticCurveTo(middle, top + smile + gap * 1.5, left, leftY);
    context.closePath();
    context.fill();
    context.stroke();
    context.lineWidth = 1;
  }
}

function ellipse(context, x, y, wide, high) {
  context.beginPath();
  context.ellipse(x, y, wide, Math.max(high, 1), 0, 0, 2 * Math.PI);
  context.fill();
}
