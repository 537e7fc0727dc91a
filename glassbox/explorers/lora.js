// LoRA's rank: what it costs, and how much of a real weight change it could hold. The changes are those of
// one full fine-tuning of the course's base model: lora.json, taken from
// book/experiments/weight_change.json by tests/golden/lora.py. The best approximation of each rank is a
// bound: a LoRA run of that rank may learn another change that does as well.
import { explorer, short, svgDot, svgFigure, svgLine, svgPath, svgRect, svgText, whole } from "./kit.js";
import DATA from "./lora.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "lora",
  "ask": "Full fine-tuning has changed all 27,648 numbers of a matrix. With how many numbers does LoRA of rank 8 describe a change of it, and how much of the real one can these hold? Say both before you look.",
  "options": {
    "map": { "default": "qkv", "label": "Weight change of", "wide": true, "choices": {
      "qkv": "queries, keys, values (288 × 96)", "out": "attention's output (96 × 96)",
      "ff_in": "feed-forward, into (384 × 96)", "ff_out": "feed-forward, out of (96 × 384)" } },
    "layer": { "default": 1, "min": 1, "max": 4, "label": "Layer" },
    "rank": { "default": 8, "min": 1, "max": 96, "label": "Rank r" },
    "alpha": { "default": 16, "min": 1, "max": 128, "label": "alpha" },
    "a": { "default": 4096, "min": 1, "max": 100000, "label": "Your a", "as": "number" },
    "b": { "default": 4096, "min": 1, "max": 100000, "label": "Your b", "as": "number" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// Numbers in an a x b matrix, in its two factors of rank r, their share, and the rank at which the factors
// are as large as the matrix.
export const counted = (a, b, r) => ({ full: a * b, lora: r * (a + b), share: r * (a + b) / (a * b), even: a * b / (a + b) });

// What the best matrix of rank r misses of one with these singular values, as a share of its length.
export function missed(values, r) {
  const squares = values.map((value) => value * value), all = squares.reduce((x, y) => x + y, 0);
  return Math.sqrt(squares.slice(r).reduce((x, y) => x + y, 0) / all);
}

// The least rank that misses at most so much.
export function rankFor(values, most) {
  let r = 0;
  while (missed(values, r) > most) r += 1;
  return r;
}

// Length of the product BA when (alpha / r) BA is the best change of rank r.
export const product = (values, r, alpha) =>
  Math.sqrt(values.slice(0, r).reduce((sum, value) => sum + value * value, 0)) * r / alpha;

// Scores of the model whose changes are all cut to a rank, at the measured rank that is not above r.
export const measured = (r) => DATA.ranks.filter((row) => row.rank <= r).at(-1);

// --- what is shown --------------------------------------------------------------------------------

const muted = 'fill="var(--ex-muted)" font-size="11"';
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;
const valuesOf = (s) => DATA.matrices[`${s.layer}.${s.map}`].values;

function figure(s, { shape: [a, b], values }, title) {
  const n = values.length, x = [44, 326], y = [98, 196], z = [232, 292], count = counted(a, b, s.rank);
  const px = (r) => (r ? x[0] + 28 + (x[1] - x[0] - 28) * Math.log2(r) / Math.log2(n) : x[0]);
  const py = (v) => y[1] - (y[1] - y[0]) * v, pz = (v) => z[1] - (z[1] - z[0]) * v, most = Math.max(count.full, count.lora);
  const bars = [[count.full, "muted", "all"], [count.lora, "accent", "A and B"]].map(([amount, colour, name], i) => {
    const wide = 190 * amount / most, at = 28 + 20 * i;
    return svgText(56, at + 12, name, `text-anchor="end" ${muted}`) + svgRect(62, at, wide, 15, `rx="2" fill="var(--ex-${colour})"`)
      + svgText(68 + wide, at + 12, whole(amount), 'font-size="11"');
  }).join("");
  const ranks = Array.from({ length: n + 1 }, (_, r) => r), curve = (list, rest) =>
    svgPath(ranks.map((r) => [px(r), py(missed(list, r))]), `fill="none" ${rest}`);
  const axis = (top, low, marks) => marks.map(([v, at]) => svgLine(x[0], at, x[1], at, 'stroke="var(--ex-line)"')
    + svgText(x[0] - 6, at + 4, v, `text-anchor="end" ${muted}`)).join("");
  const even = Math.min(n, count.even), rows = DATA.ranks, now = measured(s.rank);
  const body = svgText(10, 18, title, 'font-weight="700" font-size="14"') + bars
    + svgText(10, 86, "share missed, by rank; dashed: noise of this shape", muted)
    + axis(...y, [["0 %", y[1]], ["50 %", py(0.5)], ["100 %", y[0]]])
    + svgLine(px(even), y[0], px(even), y[1], 'stroke="var(--ex-muted)" stroke-dasharray="2 3"')
    + curve(DATA.noise[s.map], 'stroke="var(--ex-muted)" stroke-width="1.5" stroke-dasharray="5 3"')
    + curve(values, 'stroke="var(--ex-accent)" stroke-width="2.5"')
    + svgText(10, 222, "questions right, all 16 changes cut to the rank", muted)
    + axis(...z, [["0 %", z[1]], ["100 %", z[0]]])
    + svgPath(rows.map((row) => [px(row.rank), pz(row.right)]), 'fill="none" stroke="var(--ex-c2)" stroke-width="1.5"')
    + rows.map((row) => svgDot(px(row.rank), pz(row.right), row === now ? 5.5 : 3.5, row === now
      ? 'fill="var(--ex-ground)" stroke="var(--ex-mark)" stroke-width="3"' : 'fill="var(--ex-c2)"')).join("")
    + svgLine(px(s.rank), y[0], px(s.rank), z[1], 'stroke="var(--ex-mark)" stroke-width="1" stroke-dasharray="1 3"')
    + svgDot(px(s.rank), py(missed(values, s.rank)), 5.5, 'fill="var(--ex-ground)" stroke="var(--ex-mark)" stroke-width="3"')
    + [0, 1, 2, 4, 8, 16, 32, n].map((r) => svgText(px(r), z[1] + 15, r, `text-anchor="middle" ${muted}`)).join("")
    + svgText(x[1], z[1] + 30, "rank; dotted: A and B as large as the matrix", `text-anchor="end" ${muted}`);
  return svgFigure(340, 330, `${title}. Missed of the change: ${[1, 2, 4, 8, 16, 32, 64].map((r) => `rank ${r} ${percent(missed(values, r))}`).join(", ")}. `
    + `Questions right: ${rows.map((row) => `rank ${row.rank} ${percent(row.right)}`).join(", ")}.`, body);
}

export function view(s) {
  const one = DATA.matrices[`${s.layer}.${s.map}`], { shape: [a, b], values } = one, count = counted(a, b, s.rank);
  const gone = missed(values, s.rank), noise = missed(DATA.noise[s.map], s.rank), now = measured(s.rank), own = counted(s.a, s.b, s.rank);
  const title = `Rank ${s.rank} of ${a} × ${b} misses ${percent(gone)}`;
  const large = count.share > 1 ? ` A and B together are larger than the matrix; they are as large at rank ${Math.round(count.even)}.` : "";
  const summary = `<p class="ex-formula">r (a + b) = ${s.rank} · (${a} + ${b}) = ${whole(count.lora)} of ${whole(count.full)}, ${percent(count.share)}</p>`
    + `<p>The best change of rank ${s.rank} misses <strong>${percent(gone)}</strong> of this one's length and holds ${percent(1 - gone * gone)} of its square; `
    + `of noise it would miss ${percent(noise)}. `
    + `To miss at most 10 %, rank <strong>${rankFor(values, 0.1)}</strong> is needed.${large}</p>`
    + `<p>With all sixteen changes cut to rank ${now.rank} the model answers <strong>${percent(now.right)}</strong> of the held-out questions, `
    + `uncut ${percent(DATA.ranks.at(-1).right)}, before ${percent(DATA.before.right)}.</p>`
    + `<p>alpha / r = ${s.alpha} / ${s.rank} = ${Number((s.alpha / s.rank).toPrecision(3))}: the product BA has to be ${product(values, s.rank, s.alpha).toPrecision(3)} long `
    + `for a change of length ${Math.sqrt(1 - gone * gone).toFixed(2)} · ${Math.hypot(...values).toPrecision(3)}.</p>`
    + `<p>A matrix of yours, ${whole(s.a)} × ${whole(s.b)}: ${whole(own.lora)} of ${short(own.full)}, <strong>${(100 * own.share).toPrecision(3)} %</strong>.</p>`;
  return { svg: figure(s, one, title), summary };
}

export default explorer({ ABOUT, view });
