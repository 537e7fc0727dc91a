// Who works when, if GPUs share a model by layers: one after the other, GPipe, 1F1B; data parallelism
// for contrast. A forward takes one unit for one micro-batch on one GPU's layers, a backward two. Sending
// takes no time here, and all GPUs are equally fast; a real run waits longer.
import { explorer, svgFigure, svgLine, svgRect, svgText } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "pipeline",
  "ask": "Four GPUs hold a quarter of the layers each, and the batch is cut into 4 micro-batches. Which share of the time does a GPU wait? What will change with 1F1B: the waiting, the memory, or both?",
  "options": {
    "kind": { "default": "gpipe", "label": "Kind", "as": "radio", "wide": true, "choices": {
      "naive": "one after the other", "gpipe": "GPipe", "1f1b": "1F1B", "data": "data parallel" } },
    "n_gpus": { "default": 4, "min": 1, "max": 8, "label": "GPUs p" },
    "n_micro": { "default": 4, "min": 1, "max": 32, "label": "Micro-batches m" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

export const FORWARD = 1, BACKWARD = 2;

// The share of its time that each GPU of a pipeline waits.
export const bubble = (p, m) => (p - 1) / (m + p - 1);

// What one GPU does, in order: [["F", micro-batch], ["B", micro-batch], ...].
export function order(kind, p, m, gpu) {
  const all = Array.from({ length: m }, (_, k) => k);
  if (kind !== "1f1b") return [...all.map((k) => ["F", k]), ...all.map((k) => ["B", k])];
  const ahead = Math.min(m, p - gpu);                   // forwards before the first backward
  return [...all.slice(0, ahead).map((k) => ["F", k]),
    ...all.flatMap((k) => (k + ahead < m ? [["B", k], ["F", k + ahead]] : [["B", k]]))];
}

// All blocks of work, [[GPU, "F" | "B" | "S", micro-batch, start, end], ...]; S adds up gradients.
export function timeline(kind, p, m) {
  if (kind === "data") return parallel(p, m);
  const size = kind === "naive" ? m : 1, pieces = m / size, ended = new Map(), blocks = [];
  const waiting = Array.from({ length: p }, (_, gpu) => order(kind, p, pieces, gpu)), free = Array(p).fill(0);
  const end = (what, k, gpu) => (gpu < 0 || (what === "F" && gpu >= p) ? 0 : ended.get(`${what}${k},${gpu}`));
  while (waiting.some((list) => list.length)) {
    for (let gpu = 0; gpu < p; gpu += 1) {
      const [what, k] = waiting[gpu][0] ?? [];
      if (!what) continue;
      const ready = what === "F" ? end("F", k, gpu - 1) : gpu === p - 1 ? end("F", k, gpu) : end("B", k, gpu + 1);
      if (ready === undefined) continue;
      const start = Math.max(free[gpu], ready);
      free[gpu] = start + size * (what === "F" ? FORWARD : BACKWARD);
      ended.set(`${what}${k},${gpu}`, free[gpu]);
      blocks.push([gpu, what, k, start, free[gpu]]);
      waiting[gpu].shift();
    }
  }
  return blocks.sort((a, b) => a[0] - b[0] || a[3] - b[3]);
}

// Each GPU has the whole model and takes its share of the micro-batches; then all add up gradients.
function parallel(p, m) {
  const blocks = [];
  for (let k = 0; k < m; k += 1) {
    const start = Math.floor(k / p) * p * (FORWARD + BACKWARD), middle = start + p * FORWARD;
    blocks.push([k % p, "F", k, start, middle], [k % p, "B", k, middle, middle + p * BACKWARD]);
  }
  const start = Math.ceil(m / p) * p * (FORWARD + BACKWARD);
  for (let gpu = 0; gpu < p && p > 1; gpu += 1) blocks.push([gpu, "S", 0, start, start + 1]);
  return blocks.sort((a, b) => a[0] - b[0] || a[3] - b[3]);
}

// The end of the last block, and the share of all GPUs' time that is neither work nor adding up.
export function waiting(blocks, p) {
  const end = Math.max(...blocks.map((block) => block[4]));
  const busy = blocks.reduce((sum, block) => sum + block[4] - block[3], 0);
  return { end, share: 1 - busy / (p * end) };
}

// The most micro-batches whose activations each GPU keeps at once.
export function held(blocks, p, size) {
  return Array.from({ length: p }, (_, gpu) => {
    let now = 0, most = 0;
    for (const [, what] of blocks.filter((block) => block[0] === gpu)) {
      now += { F: size, B: -size, S: 0 }[what];
      most = Math.max(most, now);
    }
    return most;
  });
}

// --- what is shown --------------------------------------------------------------------------------

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const many = (n, word) => `${n} ${word}${n === 1 ? "" : "es"}`;
const muted = 'fill="var(--ex-muted)" font-size="11"';
const LOOKS = { F: ["accent", "accent", "ground"], B: ["ground", "mark", "mark"], S: ["line", "muted", "text"] };
const WORDS = { naive: "One after the other", gpipe: "GPipe", "1f1b": "1F1B", data: "Data parallel" };

function block([gpu, what, k, start, end], x, unit, isNaive) {
  const [fill, stroke, text] = LOOKS[what], y = 46 + 26 * gpu, wide = unit * (end - start);
  const label = what === "S" ? "Σ" : isNaive ? what : wide >= 17 ? `${what}${k + 1}` : String(k + 1);
  return svgRect(x + unit * start + 0.5, y, Math.max(wide - 1, 0.8), 20,
    `rx="${wide > 6 ? 2 : 0}" fill="var(--ex-${fill})" stroke="var(--ex-${stroke})" stroke-width="${wide > 6 ? 1.2 : 0.6}"`)
    + (wide >= 6.5 * label.length ? svgText(x + unit * (start + end) / 2, y + 14, label,
      `text-anchor="middle" font-size="${wide >= 17 ? 10.5 : 9.5}" fill="var(--ex-${text})"`) : "");
}

const sample = (x, what, name) => svgRect(x, 11, 13, 12, `rx="2" fill="var(--ex-${LOOKS[what][0]})" stroke="var(--ex-${LOOKS[what][1]})"`)
  + svgText(x + 18, 21, name);

export function view(s) {
  const { kind, n_gpus: p, n_micro: m } = s, isNaive = kind === "naive", isData = kind === "data";
  const blocks = timeline(kind, p, m), { end, share } = waiting(blocks, p), keeps = held(blocks, p, isNaive ? m : 1);
  const x = 46, unit = (292 - x) / end, bottom = 46 + 26 * p;
  const rows = keeps.map((n, gpu) => svgText(x - 5, 60 + 26 * gpu, `GPU ${gpu + 1}`, 'text-anchor="end" font-size="11"')
    + svgLine(x, 56 + 26 * gpu, 292, 56 + 26 * gpu, 'stroke="var(--ex-line)" stroke-dasharray="2 3"')
    + svgText(332, 60 + 26 * gpu, n, 'text-anchor="end" font-weight="700"')).join("");
  const body = sample(x, "F", "forward") + sample(x + 78, "B", "backward")
    + (isData && p > 1 ? sample(x + 168, "S", "add up") : "") + svgText(332, 38, "keeps", `text-anchor="end" ${muted}`)
    + rows + blocks.map((one) => block(one, x, unit, isNaive)).join("")
    + svgText(x, bottom + 12, "time", muted) + svgText(292, bottom + 12, `${end} units`, `text-anchor="end" ${muted}`);
  const formula = { naive: "(p − 1) / p", gpipe: "(p − 1) / (m + p − 1)", "1f1b": "(p − 1) / (m + p − 1)",
    data: "1 − m / (p · ⌈m / p⌉), without the adding up" }[kind];
  const numbers = isNaive ? `${p - 1} / ${p} = ` : isData ? "" : `${p - 1} / ${m + p - 1} = `;
  const idle = isData ? 1 - m / (p * Math.ceil(m / p)) : bubble(p, isNaive ? 1 : m);
  const memory = { naive: `Each GPU keeps the activations of its layers for the whole batch, all ${many(m, "micro-batch")}.`,
    gpipe: `Each GPU keeps the activations of its layers for ${m === 1 ? "the one micro-batch" : `all ${many(m, "micro-batch")}`}.`,
    "1f1b": `The first GPU keeps ${many(keeps[0], "micro-batch")}, the last ${keeps.at(-1)}: never more than there are GPUs.`,
    data: `Each GPU keeps one micro-batch, but of all layers, and holds the whole model`
      + `${p > 1 ? `; the ${p} copies must agree after each step` : ""}.` }[kind];
  const summary = `<p class="ex-formula">${formula} = ${numbers}${percent(idle)}</p>`
    + `<p>Each GPU waits <strong>${percent(share)}</strong> of ${end} units${isData ? " on average" : ""}; `
    + `${p} GPU${p > 1 ? "s do" : " does"} the work of <strong>${(3 * m * p / end).toFixed(2)}</strong>.`
    + `${(kind === "gpipe" || kind === "1f1b") && p > 1 ? ` For 10 %: m = 9 · (p − 1) = ${9 * (p - 1)}.` : ""}</p>`
    + `<p>${memory}</p>`;
  return { svg: svgFigure(340, bottom + 20, `${WORDS[kind]}: ${p} GPU${p > 1 ? "s" : ""}, ${many(m, "micro-batch")}, `
    + `${end} units of time, each GPU waits ${percent(share)}; they keep ${keeps.join(", ")}`, body), summary };
}

export default explorer({ ABOUT, view });
