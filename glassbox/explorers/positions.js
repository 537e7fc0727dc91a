// How order gets into a model: sinusoidal waves added to the embedding, RoPE's rotation of query and
// key, ALiBi's bias on the score. Base and layouts as in chapter 1; nothing here is learned.
import { explorer, svgDot, svgFigure, svgLine, svgPath, svgRect, svgText } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "positions",
  "ask": "Under RoPE, move query and key by the same number of tokens. What happens to the two arrows, and what to the score? Then move one of them alone.",
  "options": {
    "scheme": { "default": "rope", "label": "Scheme", "as": "radio", "wide": true, "choices": {
      "waves": "waves", "rope": "RoPE", "alibi": "ALiBi" } },
    "m": { "default": 3, "min": 0, "max": 63, "label": "Position of the query" },
    "n": { "default": 1, "min": 0, "max": 63, "label": "Position of the key" },
    "pair": { "default": 0, "min": 0, "max": 31, "label": "Pair" },
    "width": { "default": 64, "min": 4, "max": 64, "step": 4, "label": "Width" },
    "base": { "default": "10000", "label": "Base", "choices": { "100": "100", "10000": "10,000",
      "500000": "500,000" } },
    "n_heads": { "default": 8, "min": 1, "max": 16, "label": "Heads H" },
    "head": { "default": 1, "min": 1, "max": 16, "label": "Head h" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// Radians per token of pair i: 1 for the fastest, nearly 1 / base for the slowest.
export const frequency = (i, width, base) => base ** (-2 * i / width);

// The vector that is added to the embedding at position p: sines in even columns, cosines in odd ones.
export const wave = (p, width, base) => Array.from({ length: width }, (_, column) => {
  const angle = p * frequency(Math.floor(column / 2), width, base);
  return column % 2 ? Math.cos(angle) : Math.sin(angle);
});

export const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

// A pair of entries turned by an angle.
export const turn = ([x, y], angle) =>
  [x * Math.cos(angle) - y * Math.sin(angle), x * Math.sin(angle) + y * Math.cos(angle)];

// A whole vector turned for position p; neighbouring entries are a pair (the interleaved layout).
export const rotate = (vector, p, base) => vector.flatMap((_, i) => (i % 2 ? []
  : turn([vector[i], vector[i + 1]], p * frequency(i / 2, vector.length, base))));

// Score of a query and a key of ones at the given distance, divided by its largest value.
export const ropeScore = (distance, width, base) => {
  const ones = Array(width).fill(1);
  return dot(rotate(ones, distance, base), ones) / width;
};

// ALiBi: 2^(-8 h / H) for head h = 1 ... H, and the weights of equal scores at distances 0 ... T - 1.
export const slope = (h, nHeads) => 2 ** (-8 * h / nHeads);
export const alibiWeights = (nTokens, m) => {
  const powers = Array.from({ length: nTokens }, (_, distance) => Math.exp(-m * distance));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
};

// --- what is shown --------------------------------------------------------------------------------

const f3 = (x) => (Math.abs(x) < 5e-4 ? "0.000" : x.toFixed(3).replace("-", "−"));
const muted = 'fill="var(--ex-muted)"', middle = 'text-anchor="middle"';
const speed = (w) => (w >= 0.001 ? w.toPrecision(3) : w.toExponential(2));

function arrow(cx, cy, r, [x, y], colour, width = 3) {
  const [ex, ey] = [cx + r * x, cy - r * y], a = Math.atan2(y, x);
  const tip = [0.4, -0.4].map((d) => [ex - 12 * Math.cos(a + d), ey + 12 * Math.sin(a + d)]);
  return svgLine(cx, cy, ex, ey, `stroke="${colour}" stroke-width="${width}"`)
    + svgPath([[ex, ey], ...tip, [ex, ey]], `fill="${colour}" stroke="${colour}"`);
}

// A curve over distance or position, in a frame with a zero line and two labelled ends.
function plot({ y, height, values, low, high, label, ends, mark }) {
  const x = (i) => 34 + 296 * i / (values.length - 1);
  const at = (v) => y + height * (high - v) / (high - low);
  const points = values.map((v, i) => [x(i), at(Math.max(low, Math.min(high, v)))]);
  return svgText(34, y - 8, label, 'font-weight="600"')
    + svgLine(34, at(0), 330, at(0), 'stroke="var(--ex-line)"')
    + svgLine(34, y, 34, y + height, 'stroke="var(--ex-muted)"')
    + [high, low].map((v) => svgText(29, at(v) + 4, String(v).replace("-", "−"),
      `text-anchor="end" ${muted}`)).join("")
    + svgPath(points, 'fill="none" stroke="var(--ex-accent)" stroke-width="2" stroke-linejoin="round"')
    + svgText(34, y + height + 15, ends[0], muted)
    + svgText(330, y + height + 15, ends[1], `text-anchor="end" ${muted}`)
    + (mark < values.length ? svgDot(x(mark), points[mark][1], 5, 'fill="var(--ex-mark)"') : "");
}

function wavesFigure(s, base) {
  const cells = [], w = 296 / s.width, rows = 32, h = 4.5;
  for (let p = 0; p < rows; p += 1) {
    wave(p, s.width, base).forEach((v, c) => cells.push(svgRect((34 + w * c).toFixed(2), 26 + h * p,
      (w + 0.15).toFixed(2), h + 0.15, `fill="var(--ex-${v < 0 ? "c2" : "c1"})" fill-opacity="${Math.abs(v).toFixed(2)}"`)));
  }
  const chosen = Math.min(s.pair, s.width / 2 - 1), x = 34 + w * 2 * chosen;
  const here = s.m < rows ? svgRect(33, 25 + h * s.m, 298, h + 2,
    'fill="none" stroke="var(--ex-mark)" stroke-width="1.5"') : "";
  const hand = svgRect(x - 1, 25, 2 * w + 2, h * rows + 2, 'fill="none" stroke="var(--ex-text)" stroke-width="1.5"');
  const likeness = Array.from({ length: 64 }, (_, p) =>
    2 * dot(wave(s.m, s.width, base), wave(p, s.width, base)) / s.width);
  return svgFigure(340, 322, `Waves of width ${s.width}: positions 0 to 31 in rows, columns from fast to slow.`,
    svgText(34, 16, "position vectors, 0 to 31 downwards", 'font-weight="600"')
    + svgText(29, 34, "0", `text-anchor="end" ${muted}`) + svgText(29, 169, "31", `text-anchor="end" ${muted}`)
    + cells.join("") + here + hand
    + svgText(34, 185, "fast columns", muted) + svgText(330, 185, "slow", `text-anchor="end" ${muted}`)
    + plot({ y: 220, height: 78, values: likeness, low: -1, high: 1, mark: s.m,
      label: `how like position ${s.m} each position is`, ends: ["position 0", "63"] }));
}

function ropeFigure(s, base) {
  const pair = Math.min(s.pair, s.width / 2 - 1), w = frequency(pair, s.width, base);
  const q = turn([1, 0], s.m * w), k = turn([1, 0], s.n * w), angle = (s.m - s.n) * w;
  const cx = 170, cy = 100, r = 72;
  const arc = Array.from({ length: 41 }, (_, i) => {
    const a = s.n * w + Math.max(-2 * Math.PI, Math.min(2 * Math.PI, angle)) * i / 40;
    return [cx + 26 * Math.cos(a), cy - 26 * Math.sin(a)];
  });
  const name = ([x, y], text, colour, lift) => svgText((cx + (r + 10) * x).toFixed(1),
    (cy + 4 + lift - (r + 12) * y).toFixed(1), text,
    `fill="${colour}" font-weight="600" text-anchor="${x > 0.3 ? "start" : x < -0.3 ? "end" : "middle"}"`);
  const close = Math.hypot(q[0] - k[0], q[1] - k[1]) < 0.35 ? 8 : 0;
  const curve = Array.from({ length: 64 }, (_, d) => ropeScore(d, s.width, base));
  return svgFigure(340, 322, `Pair ${pair}: the query at ${s.m} and the key at ${s.n} are turned; the score is `
    + `the cosine of the angle between them, ${f3(dot(q, k))}.`,
  `<circle cx="${cx}" cy="${cy}" r="${r}" fill="none" stroke="var(--ex-line)"/>`
    + svgLine(cx - r, cy, cx + r, cy, 'stroke="var(--ex-line)"') + svgLine(cx, cy - r, cx, cy + r, 'stroke="var(--ex-line)"')
    + svgPath(arc, 'fill="none" stroke="var(--ex-text)" stroke-width="1.5"')
    + arrow(cx, cy, r, k, "var(--ex-c2)", 5) + arrow(cx, cy, r, q, "var(--ex-c1)", 2.5)
    + name(k, `key, ${s.n}`, "var(--ex-c2)", close) + name(q, `query, ${s.m}`, "var(--ex-c1)", -close)
    + plot({ y: 220, height: 78, values: curve, low: -1, high: 1, mark: Math.abs(s.m - s.n),
      label: "score of equal vectors, all pairs together", ends: ["distance 0", "63"] }));
}

function alibiFigure(s) {
  const h = Math.min(s.head, s.n_heads), distances = Array.from({ length: 64 }, (_, d) => d);
  const lines = Array.from({ length: s.n_heads }, (_, i) => {
    const end = Math.min(63, 8 / slope(i + 1, s.n_heads));
    const chosen = i + 1 === h;
    return svgLine(34, 30, (34 + 296 * end / 63).toFixed(2), (30 + 110 * slope(i + 1, s.n_heads) * end / 8).toFixed(2),
      chosen ? 'stroke="var(--ex-accent)" stroke-width="3"' : 'stroke="var(--ex-line)" stroke-width="1.5"');
  });
  const values = alibiWeights(64, slope(h, s.n_heads)), most = Math.max(...values), steps = 10 ** Math.ceil(-Math.log10(most));
  return svgFigure(340, 322, `ALiBi: bias of ${s.n_heads} heads against distance; head ${h} has slope `
    + `${slope(h, s.n_heads).toPrecision(3)}.`,
  svgText(34, 16, "bias added to the score, one line per head", 'font-weight="600"')
    + svgLine(34, 30, 330, 30, 'stroke="var(--ex-muted)"') + svgLine(34, 30, 34, 140, 'stroke="var(--ex-muted)"')
    + svgText(29, 34, "0", `text-anchor="end" ${muted}`) + svgText(29, 144, "−8", `text-anchor="end" ${muted}`)
    + lines.join("") + svgText(34, 156, "distance 0", muted) + svgText(330, 156, "63", `text-anchor="end" ${muted}`)
    + plot({ y: 200, height: 98, values, low: 0, high: Math.ceil(most * steps) / steps, mark: Math.abs(s.m - s.n),
      label: `weights of equal scores, head ${h}`, ends: [`distance ${distances[0]}`, "63"] }));
}

const line = (text) => `<p>${text}</p>`, formula = (text) => `<p class="ex-formula">${text}</p>`;

export function view(s) {
  const base = Number(s.base), last = s.width / 2 - 1, pair = Math.min(s.pair, last);
  const w = frequency(pair, s.width, base), distance = s.m - s.n;
  const limits = { pair: { max: last }, head: { max: s.n_heads } };
  if (s.scheme === "waves") {
    const column = wave(s.m, s.width, base).slice(2 * pair, 2 * pair + 2);
    return { svg: wavesFigure(s, base), limits, shown: ["scheme", "m", "pair", "width", "base"],
      summary: formula(`PE(${s.m}), columns ${2 * pair} and ${2 * pair + 1}: sin, cos (${s.m} · ${speed(w)}) = `
        + `${f3(column[0])}, ${f3(column[1])}`)
        + line(`Pair ${pair} turns by ${speed(w)} radian per token: one full turn in `
          + `<strong>${(2 * Math.PI / w).toPrecision(3)}</strong> tokens.`) };
  }
  if (s.scheme === "rope") {
    const degrees = (distance * w * 180 / Math.PI).toFixed(1).replace("-", "−");
    return { svg: ropeFigure(s, base), limits, shown: ["scheme", "m", "n", "pair", "width", "base"],
      summary: formula(`score of pair ${pair} = cos((${s.m} − ${s.n}) · ${speed(w)}) = `
        + `${f3(Math.cos(distance * w))}`)
        + line(`Distance ${String(distance).replace("-", "−")}, so the arrows stand <strong>${degrees}°</strong> apart, wherever `
          + `the two are. All ${s.width / 2} pairs together: `
          + `<strong>${f3(ropeScore(distance, s.width, base))}</strong>.`) };
  }
  const h = Math.min(s.head, s.n_heads), m = slope(h, s.n_heads), far = Math.abs(distance);
  return { svg: alibiFigure(s), limits, shown: ["scheme", "n_heads", "head", "m", "n"],
    summary: formula(`slope = 2^(−8 · ${h} / ${s.n_heads}) = ${m.toPrecision(3)}; bias = −${m.toPrecision(3)} · ${far} `
      + `= ${(-m * far).toPrecision(3).replace("-", "−")}`)
      + line(`With equal scores, a token ${far} away weighs <strong>${Math.exp(-m * far).toPrecision(3)}</strong> `
        + "times what this one does."
        + (distance < 0 ? " The key lies in the future: a bias is no mask, a decoder needs both." : "")) };
}

export default explorer({ ABOUT, view });
