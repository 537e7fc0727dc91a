// Four bits for a weight: levels, blocks and their scales, on a made-up matrix of 256 x 256 weights whose
// ordinary spread is 1. NF4's construction is that of bitsandbytes (its constants agree to 1e-6); at
// other widths it is only continued. Double quantisation stores the scales, less their mean, as 8-bit
// whole numbers; QLoRA and bitsandbytes take 8-bit formats of their own.
import { explorer, short, svgFigure, svgLine, svgRect, svgText, uniforms } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "nf4",
  "ask": "Sixteen levels, evenly spaced or crowded round zero: which of the two has the smaller error on normal weights, and which on uniform ones? And what will one large weight in five hundred do to a matrix that has a single scale?",
  "options": {
    "kind": { "default": "nf", "label": "Levels", "as": "radio", "wide": true, "choices": {
      "nf": "normal float (NF4)", "int": "evenly spaced (absmax)" } },
    "weights": { "default": "normal", "label": "Weights", "choices": {
      "normal": "normal", "outliers": "with outliers", "uniform": "uniform" } },
    "large": { "default": 12, "min": 4, "max": 40, "label": "Outliers, 1 in 500" },
    "block": { "default": "64", "label": "Weights per scale", "choices": { "16": "16", "32": "32", "64": "64",
      "128": "128", "256": "256", "1024": "1,024", "65536": "all 65,536" } },
    "bits": { "default": 4, "min": 2, "max": 8, "label": "Bits per code" },
    "double": { "default": false, "label": "Double quantisation" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

export const N = 65536, OUTER = 256;        // weights; scales that share one scale of their own

// Value below which a share p of a normal distribution lies: Newton's steps on a power series.
export function quantile(p) {
  let x = 0;
  for (let step = 0; step < 60; step += 1) {
    let term = x, sum = x;
    for (let k = 3; Math.abs(term) > 1e-18; k += 2) sum += term *= x * x / k;
    const density = Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI), move = (p - 0.5 - density * sum) / density;
    x += move;
    if (Math.abs(move) < 1e-15) break;
  }
  return x;
}

// The values that a code can mean, from -1 to 1. Even levels: as many on each side of 0. Normal float:
// shares of a normal distribution in equal steps, one step more above 0 than below it.
export function levels(kind, bits) {
  const half = 2 ** (bits - 1), evenly = (n) => Array.from({ length: n }, (_, i) => (i + 1) / n);
  if (kind === "int") return [...evenly(half - 1).map((x) => -x).reverse(), 0, ...evenly(half - 1)];
  const top = 1 - (1 / (4 * half) + 1 / (4 * half - 2)) / 2, far = quantile(top);
  const side = (n) => evenly(n).map((share) => quantile(0.5 + (top - 0.5) * share) / far);
  return [...side(half - 1).map((x) => -x).reverse(), 0, ...side(half)];
}

// Bits that one weight takes, its share of the scales included.
export const bitsPerWeight = (bits, block, double) =>
  bits + (double ? 8 / block + 32 / (block * OUTER) : 32 / block);

// The matrix as one row; with outliers each 500th weight is `large` times what it was.
function weights(kind, large) {
  const u = uniforms(7, 2 * N);
  return Array.from({ length: N }, (_, i) => {
    if (kind === "uniform") return Math.sqrt(12) * (u[i] - 0.5);
    const x = Math.sqrt(-2 * Math.log(1 - u[i])) * Math.cos(2 * Math.PI * u[N + i]);
    return kind === "outliers" && i % 500 === 250 ? large * x : x;
  });
}

// Largest size in each block; with double quantisation as it comes back from 8 bits.
export function scales(list, block, double) {
  const own = Array.from({ length: list.length / block }, (_, b) => {
    let most = 0;
    for (let i = b * block; i < (b + 1) * block; i += 1) most = Math.max(most, Math.abs(list[i]));
    return most;
  });
  if (!double) return own;
  const mean = own.reduce((a, b) => a + b, 0) / own.length;
  return own.map((scale, b) => {
    const first = b - b % OUTER, most = Math.max(...own.slice(first, first + OUTER).map((x) => Math.abs(x - mean)));
    return most ? mean + Math.round((scale - mean) / most * 127) / 127 * most : mean;
  });
}

// What becomes of the weights: mean and root-mean-square error, the share of the weights in each code,
// how much a code tells (bits), and a histogram of weight / scale in 50 bins.
export function quantized(kind, bits, block, double, sort, large) {
  const list = matrix(sort, large), by = scales(list, block, double), known = levels(kind, bits);
  const between = known.slice(1).map((level, i) => (level + known[i]) / 2);
  const used = Array(known.length).fill(0), bins = Array(50).fill(0);
  let sum = 0, square = 0;
  list.forEach((weight, i) => {
    const scale = by[Math.floor(i / block)], x = weight / scale;
    let low = 0, high = between.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (x > between[middle]) low = middle + 1; else high = middle;
    }
    const error = Math.abs(weight - known[low] * scale);
    used[low] += 1;
    bins[Math.min(49, Math.max(0, Math.floor(25 * (x + 1))))] += 1;
    sum += error;
    square += error * error;
  });
  const shares = used.map((n) => n / N);
  return { mean: sum / N, rms: Math.sqrt(square / N), shares, bins: bins.map((n) => n / N),
    tells: -shares.reduce((total, p) => total + (p ? p * Math.log2(p) : 0), 0) };
}

// --- what is shown --------------------------------------------------------------------------------

const remembered = {};
function matrix(sort, large) {
  const key = sort === "outliers" ? `${sort}${large}` : sort;
  if (remembered.key !== key) Object.assign(remembered, { key, list: weights(sort, large) });
  return remembered.list;
}

const muted = 'fill="var(--ex-muted)" font-size="11"';
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const nameOf = (kind, bits) => (kind === "nf" ? `NF${bits}` : `int${bits}`);

function figure(s, { shares, bins }, title) {
  const x = [14, 326], y = [46, 150], z = [188, 258], known = levels(s.kind, s.bits);
  const px = (v) => x[0] + (x[1] - x[0]) * (v + 1) / 2, most = Math.max(...bins), top = Math.max(...shares);
  const wide = (x[1] - x[0]) / bins.length, thin = known.length > 40;
  const histogram = bins.map((share, i) => {
    const height = (y[1] - y[0]) * share / most;
    return svgRect(x[0] + wide * i + 0.5, y[1] - height, wide - 1, height, 'fill="var(--ex-muted)" fill-opacity="0.45"');
  }).join("");
  const marks = known.map((level) => svgLine(px(level), thin ? y[1] : y[0] - 4, px(level), y[1] + 7,
    `stroke="var(--ex-mark)" stroke-width="${thin ? 0.7 : 1.5}"`)).join("");
  const bars = known.map((level, i) => svgRect(px(level) - (thin ? 0.4 : 3), z[1] - (z[1] - z[0]) * shares[i] / top,
    thin ? 0.8 : 6, (z[1] - z[0]) * shares[i] / top, 'fill="var(--ex-accent)"')).join("");
  return svgFigure(340, 280, `${title}. Levels: ${known.length > 20 ? `${known.length}, from −1 to 1`
    : known.map((level) => level.toFixed(2).replace("-", "−")).join(", ")}. The fullest code holds ${percent(top)} of the weights.`,
  svgText(10, 18, title, 'font-weight="700" font-size="14"') + svgText(10, 36, "weights / scale of their block; lines: the levels", muted)
    + histogram + svgLine(x[0], y[1], x[1], y[1], 'stroke="var(--ex-muted)"') + marks
    + svgText(10, 178, `share of the weights that each level gets, at most ${percent(top)}`, muted) + bars
    + svgLine(x[0], z[1], x[1], z[1], 'stroke="var(--ex-muted)"')
    + [-1, -0.5, 0, 0.5, 1].map((v) => svgText(px(v), z[1] + 15, String(v).replace("-", "−"),
      `text-anchor="${v === -1 ? "start" : v === 1 ? "end" : "middle"}" ${muted}`)).join(""));
}

export function view(s) {
  const block = Number(s.block), run = (kind, double = s.double) => quantized(kind, s.bits, block, double, s.weights, s.large);
  const other = s.kind === "nf" ? "int" : "nf", mine = run(s.kind), theirs = run(other);
  const size = bitsPerWeight(s.bits, block, s.double), name = nameOf(s.kind, s.bits);
  const title = `${name}, ${size.toFixed(3)} bits: mean error ${mine.mean.toFixed(4)}`;
  const formula = s.double ? `${s.bits} + 8 / ${block} + 32 / (${block} · ${OUTER})` : `${s.bits} + 32 / ${block}`;
  const gap = theirs.mean / mine.mean - 1, by = `${Math.abs(100 * gap).toFixed(0)} %`;
  const empty = mine.shares.filter((share) => share < 0.001).length;
  const doubled = s.double ? `<p>Rounding the scales moves the mean error from ${run(s.kind, false).mean.toFixed(4)} to `
    + `${mine.mean.toFixed(4)}, and saves ${(32 / block - size + s.bits).toFixed(3)} bits a weight.</p>` : "";
  const summary = `<p class="ex-formula">${formula} = ${size.toFixed(3)} bits per weight</p>`
    + `<p>Mean error <strong>${mine.mean.toFixed(4)}</strong>, root mean square ${mine.rms.toFixed(4)}, in standard deviations of the ordinary weights. `
    + `${nameOf(other, s.bits)} in the same blocks: ${theirs.mean.toFixed(4)}, ${Math.abs(gap) < 0.005 ? "the same"
      : `<strong>${by} ${gap > 0 ? "more" : "less"}</strong>`}.</p>`
    + `<p>A code of ${s.bits} bits tells ${mine.tells.toFixed(2)} bits here${empty ? `; ${empty} of ${mine.shares.length} levels `
      + `${empty === 1 ? "gets" : "get"} less than one weight in a thousand` : ""}.</p>${doubled}`
    + `<p>Seven billion such weights take <strong>${short(7e9 * size / 8 / 1e9)} GB</strong>, 14.0 GB in 16 bits.</p>`;
  return { svg: figure(s, mine, title), summary,
    shown: Object.keys(ABOUT.options).filter((key) => key !== "large" || s.weights === "outliers"),
    limits: { large: { text: (v) => `${v} ×` } } };
}

export default explorer({ ABOUT, view });
