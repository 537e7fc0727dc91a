// MinHash and bands: how similar two texts must be for LSH to look at the pair, and two sentences of the
// reader's with their true similarity, their signatures and the bands that match. Shingles are words in
// lower case; the hash is 32 bits wide here, which is enough for two sentences and too little for a crawl.
import { esc, explorer, svgDot, svgFigure, svgLine, svgPath, svgRect, svgText } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "minhash",
  "ask": "Two texts share seven tenths of their shingles. With 16 bands of 8 rows, how likely is it that LSH looks at the pair at all? Say a chance, then move “Read the curve at” to 0.7. Then say what 20 bands of 5 rows change.",
  "options": {
    "one": { "label": "One text", "wide": true, "half": true, "longest": 200,
      "default": "The modem restarts every night at two, then the line is down for ten minutes." },
    "two": { "label": "Another text", "wide": true, "half": true, "longest": 200,
      "default": "The modem restarts every night at three, then the line is down for ten minutes." },
    "bands": { "default": 16, "min": 1, "max": 64, "label": "Bands" },
    "rows": { "default": 8, "min": 1, "max": 16, "label": "Rows per band" },
    "at": { "default": 0.5, "min": 0, "max": 1, "step": 0.05, "label": "Read the curve at" },
    "n": { "default": 2, "min": 1, "max": 5, "label": "Words per shingle" },
    "seed": { "default": 1, "min": 1, "max": 99, "label": "Seed of the hashes" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

export const words = (text) => text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];

// All runs of n words, each once, in order; a text of fewer words is one shingle, an empty one has none.
export function shingles(text, n) {
  const list = words(text), last = Math.max(list.length - n, 0);
  const runs = list.length ? Array.from({ length: last + 1 }, (_, i) => list.slice(i, i + n).join(" ")) : [];
  return [...new Set(runs)];
}

// What two lists of shingles have in common over what they have together; of two empty ones 0.
export function jaccard(one, two) {
  const shared = one.filter((shingle) => two.includes(shingle)).length, all = one.length + two.length - shared;
  return all ? shared / all : 0;
}

// 32 bits of a text: FNV-1a over its bytes.
export const hash = (text) => new TextEncoder().encode(text)
  .reduce((sum, byte) => Math.imul(sum ^ byte, 0x01000193) >>> 0, 0x811c9dc5);

// A shuffle of all 32-bit numbers, the last steps of MurmurHash3.
export function shuffled(x) {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

// For each of `size` shuffles the smallest number that any shingle gets.
export function signature(list, size, seed) {
  const hashes = list.map(hash);
  return Array.from({ length: size }, (_, i) => {
    const key = shuffled(seed * 65536 + i);
    return hashes.reduce((least, x) => Math.min(least, shuffled(x ^ key)), 0xffffffff);
  });
}

export const agreement = (one, two) => one.filter((x, i) => x === two[i]).length / one.length;

// The bands, from 0, in which two signatures agree in every row.
export const matching = (one, two, rows) => Array.from({ length: one.length / rows }, (_, band) => band)
  .filter((band) => one.slice(band * rows, (band + 1) * rows).every((x, i) => x === two[band * rows + i]));

// The chance that at least one band agrees in all rows, of texts whose similarity is j.
export const chance = (j, bands, rows) => 1 - (1 - j ** rows) ** bands;

// Where the curve climbs: a band then matches once in as many pairs as there are bands, and the chance is near
// 1 - 1/e, about two thirds.
export const threshold = (bands, rows) => (1 / bands) ** (1 / rows);

// --- what is shown --------------------------------------------------------------------------------

const muted = 'fill="var(--ex-muted)" font-size="11"';
const halo = 'stroke="var(--ex-ground)" stroke-width="4" paint-order="stroke"';
const many = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const percent = (share) => (share > 0.9995 && share < 1 ? "over 99.9\u00a0%" : `${(100 * share).toFixed(1)}\u00a0%`);

// All that a state says of the two texts; null if one of them has no words.
function compared(s) {
  const lists = [shingles(s.one, s.n), shingles(s.two, s.n)];
  if (!lists[0].length || !lists[1].length) return null;
  const signatures = lists.map((list) => signature(list, s.bands * s.rows, s.seed));
  return { lists, signatures, j: jaccard(...lists), agree: agreement(...signatures), hits: matching(...signatures, s.rows) };
}

function curve(s, c) {
  const x = [46, 326], y = [166, 42], px = (j) => x[0] + (x[1] - x[0]) * j, py = (p) => y[0] + (y[1] - y[0]) * p;
  const limit = threshold(s.bands, s.rows), f = (j) => chance(j, s.bands, s.rows);
  const steps = Array.from({ length: 101 }, (_, i) => i / 100);
  const low = f(s.at) < 0.5, [aside, anchor] = low ? [0, "middle"] : s.at > 0.6 ? [-9, "end"] : [9, "start"];
  return svgText(10, 33, "chance that the pair is looked at", muted)
    + [0, 0.5, 1].map((p) => svgLine(x[0], py(p), x[1], py(p), 'stroke="var(--ex-line)"')
      + svgText(x[0] - 6, py(p) + 4, `${100 * p} %`, `text-anchor="end" ${muted}`)).join("")
    + svgLine(px(limit), y[0], px(limit), y[1], 'stroke="var(--ex-muted)" stroke-width="1.5" stroke-dasharray="5 3"')
    + svgPath(steps.map((j) => [px(j), py(f(j))]), 'fill="none" stroke="var(--ex-accent)" stroke-width="2.5"')
    + (c ? svgRect(px(c.j) - 5, py(f(c.j)) - 5, 10, 10, 'fill="var(--ex-c2)" stroke="var(--ex-ground)" stroke-width="1.5"') : "")
    + svgDot(px(s.at), py(f(s.at)), 5.5, 'fill="var(--ex-ground)" stroke="var(--ex-mark)" stroke-width="3"')
    + svgText(px(s.at) + aside, py(f(s.at)) + (low ? -11 : 17), percent(f(s.at)), `font-size="11" font-weight="700" text-anchor="${anchor}" ${halo}`)
    + [0, 0.2, 0.4, 0.6, 0.8, 1].map((j) => svgText(px(j), y[0] + 15, j.toFixed(1), `text-anchor="middle" ${muted}`)).join("")
    + svgText(326, 196, "Jaccard similarity", `text-anchor="end" ${muted}`)
    + svgText(10, 196, `broken: threshold ${limit.toFixed(3)}`, muted)
    + svgText(10, 212, `ring: where you read${c ? "; square: your texts" : ""}`, muted);
}

// The two signatures: a box for each band, a filled cell for each row in which they agree.
function grid(s, c) {
  const wide = Math.min(26, 316 / s.bands), high = Math.min(12, 96 / s.rows), gap = wide > 8 ? 3 : 1, top = 248;
  const [one, two] = c.signatures, end = top + high * s.rows;
  const boxes = Array.from({ length: s.bands }, (_, band) => {
    const x = 12 + wide * band, isHit = c.hits.includes(band);
    const cells = Array.from({ length: s.rows }, (_, row) => (one[band * s.rows + row] === two[band * s.rows + row]
      ? svgRect(x, top + high * row, wide - gap, high - 1, 'fill="var(--ex-accent)" fill-opacity="0.55"') : "")).join("");
    return cells + svgRect(x - 0.5, top - 1, wide - gap + 1, high * s.rows + 1, `fill="none" stroke="var(--ex-${isHit ? "mark" : "line"})" `
      + `stroke-width="${isHit ? 2 : 1}"`) + (isHit ? svgText(x + (wide - gap) / 2, end + 14, "▲", `text-anchor="middle" font-size="${wide > 8 ? 11 : 7}" fill="var(--ex-mark)"`) : "");
  });
  return [svgText(10, 239, "Signatures, a box for each band; filled: the rows agree", muted) + boxes.join(""), end + 24];
}

export function view(s) {
  const c = compared(s), limit = threshold(s.bands, s.rows), size = s.bands * s.rows, at = chance(s.at, s.bands, s.rows);
  const title = c ? `Jaccard ${c.j.toFixed(2)}: ${c.hits.length ? `${c.hits.length} of ${many(s.bands, "band")} match${c.hits.length === 1 ? "es" : ""}` : "no band matches"}`
    : "A text without words";
  const [cells, bottom] = c ? grid(s, c) : ["", 224];
  const told = `Threshold ${limit.toFixed(3)}; at ${s.at.toFixed(2)} the chance is ${percent(at)}`;
  const svg = svgFigure(340, bottom, `${title}. ${told}${c ? `; for your texts ${percent(chance(c.j, s.bands, s.rows))}` : ""}`,
    svgText(10, 18, title, 'font-weight="700" font-size="14"') + curve(s, c) + cells);
  const formula = `<p>${many(s.bands, "band")} of ${many(s.rows, "row")} need <strong>${size}</strong> hashes. Threshold (1 / ${s.bands})<sup>1/${s.rows}</sup> = `
    + `<strong>${limit.toFixed(3)}</strong>. At ${s.at.toFixed(2)}: 1 − (1 − ${s.at.toFixed(2)}<sup>${s.rows}</sup>)<sup>${s.bands}</sup> = <strong>${at.toFixed(4)}</strong>.</p>`;
  if (!c) return { svg, summary: `${formula}<p>One of the texts has no words, so there is nothing to compare.</p>`, limits: LIMITS };
  const [one, two] = c.lists, shared = one.filter((shingle) => two.includes(shingle)), all = one.length + two.length - shared.length;
  const own = [...one, ...two].filter((shingle) => !shared.includes(shingle));
  const error = Math.sqrt(c.j * (1 - c.j) / size), isNone = c.hits.length === 0;
  const differ = own.length ? ` In one text only: ${own.slice(0, 6).map((shingle) => `“${esc(shingle)}”`).join(", ")}${own.length > 6 ? ` and ${own.length - 6} more` : ""}.` : "";
  const summary = formula + `<p>Your texts share ${shared.length} of ${many(all, "shingle")}: Jaccard <strong>${c.j.toFixed(3)}</strong>.${differ}</p>`
    + `<p>Their signatures agree in ${Math.round(c.agree * size)} of ${many(size, "place")}, <strong>${c.agree.toFixed(3)}</strong>, an estimate with a standard error of ${error.toFixed(3)}.</p>`
    + `<p>${isNone ? "No band agrees in all its rows: <strong>LSH does not look at the pair</strong>"
      : `${many(c.hits.length, "band")} agree${c.hits.length === 1 ? "s" : ""} in all rows: <strong>LSH proposes the pair</strong>, and the true Jaccard decides`}. `
    + `The chance of that was ${percent(chance(c.j, s.bands, s.rows))}${isNone ? "" : "; another seed may say otherwise"}.</p>`;
  return { svg, summary, limits: LIMITS };
}

const LIMITS = { at: { text: (v) => v.toFixed(2) } };

export default explorer({ ABOUT, view });
