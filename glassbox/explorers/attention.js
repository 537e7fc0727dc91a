// Attention of a tiny trained model on the reader's own sentence, and the masks it could have.
// Weights: attention.json, written by book/experiments/tiny_attention.py. The forward pass here is
// the one of that script; tests compare the two. Nothing is trained and nothing is sampled here.
import { esc, explorer, svgFigure, svgLine, svgRect, svgText } from "./kit.js";
import MODEL from "./attention.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "attention",
  "ask": "Which word must <em>it</em> read before the model can say what happens next? Name it, then find the head that reads it. What should change when <em>they</em> takes its place?",
  "options": {
    "sentence": { "label": "Your sentence", "wide": true,
      "default": "the customer says the modem restarts because it" },
    "view": { "default": "weights", "label": "Show", "wide": true, "as": "radio",
      "choices": { "weights": "the weights", "mask": "the mask" } },
    "layer": { "default": "0", "label": "Layer", "as": "radio", "choices": { "0": "0", "1": "1" } },
    "head": { "default": "1", "label": "Head", "as": "radio", "choices": { "0": "0", "1": "1" } },
    "query": { "default": 7, "min": 0, "max": 13, "label": "Word that reads" },
    "mask": { "default": "causal", "label": "Mask", "choices": {
      "causal": "causal", "sliding": "sliding window", "global": "window + global words",
      "full": "none (encoder)", "cross": "cross-attention" } },
    "window": { "default": 3, "min": 1, "max": 8, "label": "Window (words)" },
    "globals": { "default": 1, "min": 0, "max": 4, "label": "Global words" },
    "source": { "default": "the technician checks the old router", "label": "Second text", "wide": true },
    "painted": { "default": [] }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

export const MAX_WORDS = 14;

// "The modem, again" -> ["the", "modem", ",", "again"], at most MAX_WORDS.
export const words = (sentence) =>
  (sentence.toLowerCase().match(/[\p{L}\p{N}'-]+|[.,]/gu) ?? []).slice(0, MAX_WORDS);

export const known = (word) => MODEL.vocabulary.indexOf(word) > 0;

// Number of each word in the vocabulary; 0 is the unknown word.
export const ids = (list) => list.map((word) => Math.max(0, MODEL.vocabulary.indexOf(word)));

// May query i read key j?
export function allows(kind, i, j, window, globals) {
  if (kind === "full" || kind === "cross") return true;
  if (kind === "causal") return j <= i;
  const near = j <= i && i - j < window;
  return kind === "sliding" ? near : near || (j <= i && j < globals);
}

// Table of T x S yes and no; `painted` lists cells "i,j" that the reader has turned over.
export function mask(kind, nQueries, nKeys, window, globals, painted = []) {
  const turned = new Set(painted);
  return Array.from({ length: nQueries }, (_, i) => Array.from({ length: nKeys }, (_, j) =>
    allows(kind, i, j, window, globals) !== turned.has(`${i},${j}`)));
}

export const kept = (table) => table.flat().filter(Boolean).length;

// Words that can reach the last query through n layers of the same mask.
export function reach(table, nLayers) {
  let rows = new Set([table.length - 1]);
  for (let layer = 0; layer < nLayers; layer += 1) {
    const more = new Set(rows);                      // the residual stream keeps what it has
    for (const i of rows) table[i].forEach((yes, j) => { if (yes) more.add(j); });
    rows = more;
  }
  return rows.size;
}

// Softmax over the allowed scores; a row that may read nothing is 0/0.
export function share(scores, allowed) {
  const largest = Math.max(...scores.filter((_, j) => allowed[j]));
  const powers = scores.map((score, j) => (allowed[j] ? Math.exp(score - largest) : 0));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

const unpacked = {};

// A matrix of the model as rows of numbers; stored as whole numbers times one step.
function matrix(name) {
  if (!unpacked[name]) {
    const { shape: [rows, columns], step, bytes } = MODEL.weights[name];
    const whole = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
    unpacked[name] = Array.from({ length: rows }, (_, i) => Array.from({ length: columns },
      (_, j) => (((whole[i * columns + j] + 128) & 255) - 128) * step));
  }
  return unpacked[name];
}

const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const times = (rows, name) => {
  const m = matrix(name);
  return rows.map((row) => {
    const out = Array(m[0].length).fill(0);
    for (let i = 0; i < row.length; i += 1) {
      for (let j = 0; j < out.length; j += 1) out[j] += row[i] * m[i][j];
    }
    return out;
  });
};
const norm = (rows) => rows.map((row) => {
  const size = Math.sqrt(dot(row, row) / row.length + 1e-6);
  return row.map((x) => x / size);
});
const add = (a, b) => a.map((row, i) => row.map((x, j) => x + b[i][j]));

// Weights (T, S) of one head, from what the queries' and the keys' texts hold before that layer.
function headWeights(target, source, layer, head, allowed) {
  const width = target[0].length / MODEL.n_heads;
  const part = (row) => row.slice(head * width, (head + 1) * width);
  const q = times(target, `query${layer}`).map(part);
  const k = times(source, `key${layer}`).map(part);
  return q.map((query, i) => share(k.map((key) => dot(query, key) / Math.sqrt(width)), allowed[i]));
}

// (T,) ids, (T, T) yes and no -> { weights[layer][head] (T, T), inputs[layer] (T, C), logits (V,) },
// the logits being those of the last word.
export function forward(list, allowed) {
  const position = matrix("position");
  let x = list.map((id, i) => matrix("embed")[id].map((e, c) => MODEL.scale * (e + position[i][c])));
  const weights = [], inputs = [];
  for (let layer = 0; layer < MODEL.n_layers; layer += 1) {
    const y = norm(x), v = times(y, `value${layer}`), width = y[0].length / MODEL.n_heads;
    inputs.push(y);
    weights.push(Array.from({ length: MODEL.n_heads }, (_, head) =>
      headWeights(y, y, layer, head, allowed)));
    const mixed = list.map((_, i) => v[0].map((_, c) =>
      dot(weights[layer][Math.floor(c / width)][i], v.map((row) => row[c]))));
    x = add(x, times(mixed, `out${layer}`));
    const inner = times(norm(x), `up${layer}`).map((row) => row.map((e) => Math.max(0, e)));
    x = add(x, times(inner, `down${layer}`));
  }
  const last = norm(x).at(-1);
  return { weights, inputs, logits: matrix("embed").map((row) => dot(row, last)) };
}

// The weights of a head when a second text is read: the same matrices, queries from one text, keys
// from the other.
export function crossWeights(target, source, layer, head, allowed) {
  const causal = (n) => mask("causal", n, n);
  const [q, k] = [target, source].map((list) => forward(list, causal(list.length)).inputs[layer]);
  return headWeights(q, k, layer, head, allowed);
}

// --- what is shown --------------------------------------------------------------------------------

const fixed = (x) => (Number.isNaN(x) ? "NaN" : x.toFixed(2));
const RULES = {
  causal: () => "j ≤ i", full: () => "always", cross: () => "always: the source is complete",
  sliding: (s) => `j ≤ i and i − j < ${s.window}`,
  global: (s) => `j ≤ i and (i − j < ${s.window} or j < ${s.globals})`,
};

const memory = {};                                    // most moves change neither text nor mask
function remembered(list, table) {
  const key = `${list}|${table}`;
  if (memory.key !== key) Object.assign(memory, { key, run: forward(list, table) });
  return memory.run;
}

// All numbers of a state: rows, columns, the table of yes and no, the weights of the chosen head.
export function results(s) {
  const rows = words(s.sentence).length ? words(s.sentence) : ["the"];
  const crossed = s.mask === "cross";
  const columns = crossed ? (words(s.source).length ? words(s.source) : ["the"]) : rows;
  const table = mask(s.mask, rows.length, columns.length, s.window, s.globals, s.painted);
  const query = Math.min(s.query, rows.length - 1), layer = Number(s.layer), head = Number(s.head);
  if (crossed) {
    return { rows, columns, table, query, crossed,
      weights: crossWeights(ids(rows), ids(columns), layer, head, table) };
  }
  const run = remembered(ids(rows), table);
  const chances = share(run.logits, run.logits.map(() => true));
  const next = chances.map((p, id) => [id ? MODEL.vocabulary[id] : "(unknown)", p]).sort((a, b) => b[1] - a[1]);
  return { rows, columns, table, query, crossed, weights: run.weights[layer][head],
    next: next.slice(0, 3) };
}

function figure(s, { rows, columns, table, query, weights }) {
  const top = 70, left = 80, isMask = s.view === "mask";
  const size = Math.min(30, (336 - left) / Math.max(columns.length, isMask ? 1 : rows.length));
  const bottom = top + size * rows.length, x = (j) => left + size * j, y = (i) => top + size * i;
  const parts = [];
  columns.forEach((word, j) => parts.push(svgText(0, 0, word,
    `transform="translate(${x(j) + size / 2 + 3} ${top - 6}) rotate(-52)"`)));
  rows.forEach((word, i) => {
    const chosen = !isMask && i === query;
    const cells = columns.map((key, j) => {
      const may = table[i][j], weight = weights[i][j];
      const box = `${x(j) + 1}" y="${y(i) + 1}" width="${size - 2}" height="${size - 2}" rx="2`;
      const role = isMask ? `role="gridcell" aria-selected="${may}" data-press="cell:${i},${j}" `
        + `data-cell="${i},${j}" tabindex="${i + j ? -1 : 0}" `
        + `aria-label="${esc(word)} ${may ? "may" : "must not"} read ${esc(key)}"` : "";
      const fill = !may ? 'fill="var(--ex-ground)" stroke="var(--ex-line)"'
        : isMask ? 'fill="var(--ex-accent)"'
          : `fill="var(--ex-accent)" fill-opacity="${(weight || 0).toFixed(3)}" stroke="var(--ex-line)"`;
      const dash = may ? "" : `<path d="M${x(j) + size / 2 - 3} ${y(i) + size / 2}h6" `
        + 'stroke="var(--ex-muted)" pointer-events="none"/>';
      return `<rect x="${box}" ${role} ${fill}/>${dash}`;
    }).join("");
    const press = isMask ? 'role="row"' : `data-press="row:${i}"`;
    parts.push(`<g ${press}>${svgText(left - 8, y(i) + size / 2 + 4, word, 'text-anchor="end"'
      + (chosen ? ' font-weight="700" fill="var(--ex-mark)"' : ""))}${cells}</g>`);
  });
  if (isMask) {
    const grid = `<g role="grid" aria-label="Mask, queries in rows">${parts.join("")}</g>`;
    return svgFigure(340, bottom + 12, `Mask of ${rows.length} queries and ${columns.length} keys`,
      grid, "group");
  }
  parts.push(svgRect(left - 1, y(query) - 1, size * columns.length + 2, size + 2,
    'fill="none" stroke="var(--ex-mark)" stroke-width="2" rx="3" pointer-events="none"'));
  const base = bottom + 62;
  parts.push(svgText(left - 8, base - 20, "weights of", 'text-anchor="end" fill="var(--ex-muted)"'));
  parts.push(svgText(left - 8, base - 5, rows[query],
    'text-anchor="end" font-weight="700" fill="var(--ex-mark)"'));
  weights[query].forEach((weight, j) => {
    const height = 36 * (weight || 0);
    parts.push(svgRect(x(j) + 3, base - height, size - 6, height, 'fill="var(--ex-accent)"'));
    parts.push(svgText(x(j) + size / 2, base - height - 4, fixed(weight),
      `text-anchor="middle" font-size="${size < 25 ? 8.5 : 10}"`));
  });
  parts.push(svgLine(left, base, x(columns.length), base, 'stroke="var(--ex-muted)"'));
  const best = weights[query].indexOf(Math.max(...weights[query]));
  return svgFigure(340, base + 10, `Attention weights, layer ${s.layer}, head ${s.head}: `
    + `${rows.length} queries by ${columns.length} keys. The word ${rows[query]} reads `
    + `${columns[best] ?? "nothing"} most, with weight ${fixed(weights[query][best] ?? NaN)}.`,
  parts.join(""));
}

function maskSummary(s, { rows, columns, table, crossed }) {
  const all = rows.length * columns.length, n = kept(table);
  const empty = rows.filter((_, i) => !table[i].some(Boolean));
  const turned = s.painted.length ? `, ${s.painted.length} turned over by hand` : "";
  return `<p class="ex-formula">query i may read key j: ${RULES[s.mask](s)}${turned}</p>`
    + `<p><strong>${n}</strong> of ${rows.length} · ${columns.length} = ${all} cells are kept, `
    + `<strong>${(100 * n / all).toFixed(0)}\u00a0%</strong>.${crossed ? ""
      : ` Through two layers the last word hears from ${reach(table, 2)} of ${rows.length} words.`}</p>`
    + (empty.length ? `<p><strong>${esc(empty[0])}</strong> may read nothing: its softmax is 0/0, `
      + "and the model answers NaN.</p>" : "")
    + "<p>Click a cell, or reach it by arrow keys and press Space, to turn it over.</p>";
}

function weightsSummary(s, { rows, columns, query, weights, next, crossed }) {
  const order = weights[query].map((w, j) => [columns[j], w]).sort((a, b) => b[1] - a[1]);
  const strange = [...new Set([...rows, ...columns].filter((word) => !known(word)))];
  const list = (pairs, show) => pairs.map(([word, w]) => `${esc(word)} ${show(w)}`).join(", ");
  return `<p>In layer ${s.layer}, head ${s.head}, <strong>${esc(rows[query])}</strong> reads `
    + `${list(order.slice(0, 3), fixed)}.</p>`
    + (crossed ? "<p>The matrices were never trained to read a second text: look at the shape, "
      + "not at the pattern.</p>"
      : `<p>Next word after <strong>${esc(rows.at(-1))}</strong>: `
        + `${list(next, (p) => (Number.isNaN(p) ? "NaN" : `${(100 * p).toFixed(1)}\u00a0%`))}.</p>`)
    + (strange.length ? `<p>Read as an unknown word: ${esc(strange.join(", "))}.</p>` : "");
}

export function view(s) {
  const all = results(s), isMask = s.view === "mask";
  const limits = { query: { max: all.rows.length - 1, text: (q) => all.rows[q] ?? all.rows.at(-1) } };
  const shown = ["sentence", "view", "mask", ...(isMask ? [] : ["layer", "head", "query"]),
    ...(["sliding", "global"].includes(s.mask) ? ["window"] : []),
    ...(s.mask === "global" ? ["globals"] : []), ...(s.mask === "cross" ? ["source"] : [])];
  return { svg: figure(s, all), summary: (isMask ? maskSummary : weightsSummary)(s, all), shown, limits };
}

export function follow(s, key) {
  const last = words(s.sentence).length - 1;
  if (key === "sentence") return { query: Math.max(0, last), painted: [] };
  return ["mask", "window", "globals", "source"].includes(key) ? { painted: [] } : {};
}

export function press(s, token) {
  const [kind, where] = token.split(":");
  if (kind === "row") return { query: Number(where) };
  const painted = s.painted.filter((cell) => cell !== where);
  return { painted: painted.length < s.painted.length ? painted : [...painted, where] };
}

function wordList() {
  const details = document.createElement("details");
  details.className = "ex-words";
  details.innerHTML = "<summary>Words the model knows</summary>"
    + `<p>${MODEL.vocabulary.slice(1).map(esc).join(" · ")}</p>`;
  return { element: details };
}

export default explorer({ ABOUT, view, follow, press, extra: wordList });
