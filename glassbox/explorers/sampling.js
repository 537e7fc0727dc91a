// From logits to the next word: temperature, then top-k, then top-p, then draws by a seeded generator.
// The logits are made up. The order of the filters and the rule of top-p (the smallest set of largest
// probabilities whose sum reaches p) are those of the transformers library.
import { esc, explorer, svgFigure, svgLine, svgRect, svgText, uniforms } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "sampling",
  "ask": "At temperature 0.5, does the odds ratio between the first two words become larger or smaller, and by how much? With top-p at 0.9, will a higher temperature keep more words or fewer?",
  "options": {
    "temperature": { "default": 1, "min": 0, "max": 3, "step": 0.05, "label": "Temperature" },
    "top_k": { "default": 10, "min": 1, "max": 10, "label": "top-k (words kept)" },
    "top_p": { "default": 1, "min": 0.05, "max": 1, "step": 0.05, "label": "top-p" },
    "draws": { "default": 0, "min": 0, "max": 200, "step": 10, "label": "Draws" },
    "seed": { "default": 1, "min": 1, "max": 99, "label": "Seed" }
  }
};

export const TEXT = "my line drops when it";
export const WORDS = ["rains", "rings", "stops", "snows", "is", "gets", "storms", "works", "the", "zebra"];
export const LOGITS = [2, 1, 0, -0.2, -0.5, -0.9, -1.2, -1.6, -2.5, -5];

// --- arithmetic -----------------------------------------------------------------------------------

// Probabilities at a temperature; at 0 the largest logit takes all (the first, if several are equal).
export function softmax(logits, temperature) {
  const largest = Math.max(...logits);
  if (temperature === 0) return logits.map((_, i) => (i === logits.indexOf(largest) ? 1 : 0));
  const powers = logits.map((z) => Math.exp((z - largest) / temperature));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

const ranked = (probs) => probs.map((_, i) => i).sort((a, b) => probs[b] - probs[a] || a - b);
const normal = (probs) => {
  const sum = probs.reduce((a, b) => a + b, 0);
  return probs.map((p) => p / sum);
};

// Keep the k largest, share the rest of the probability among them.
export function topK(probs, k) {
  const kept = new Set(ranked(probs).slice(0, k));
  return normal(probs.map((p, i) => (kept.has(i) ? p : 0)));
}

// Keep the fewest words whose probabilities sum to p or more: a word stays while the sum of those
// before it is below p, so the likeliest always stays.
export function topP(probs, p) {
  if (p >= 1) return probs;
  let before = 0;
  const kept = new Set();
  for (const i of ranked(probs)) {
    if (before >= p || probs[i] === 0) break;
    kept.add(i);
    before += probs[i];
  }
  return normal(probs.map((q, i) => (kept.has(i) ? q : 0)));
}

export const filtered = (logits, { temperature, top_k, top_p }) =>
  topP(topK(softmax(logits, temperature), top_k), top_p);

// Bits of uncertainty left.
export const entropy = (probs) =>
  probs.reduce((sum, p) => sum - (p > 0 ? p * Math.log2(p) : 0), 0);

export { uniforms };

// How often each word is drawn: the first whose running sum exceeds the random number.
export function draw(probs, seed, n) {
  const counts = probs.map(() => 0);
  const last = probs.map((p, i) => (p > 0 ? i : 0)).reduce((a, b) => Math.max(a, b));
  for (const u of uniforms(seed, n)) {
    let sum = 0;
    const found = probs.findIndex((p) => (sum += p) > u);
    counts[found < 0 ? last : found] += 1;
  }
  return counts;
}

// --- what is shown --------------------------------------------------------------------------------

const percent = (p) => (p === 0 ? "0" : p < 0.0005 ? "< 0.1 %" : `${(100 * p).toFixed(1)} %`);

function figure(s, full, kept, counts) {
  const left = 62, width = 196, rows = WORDS.map((word, i) => {
    const y = 44 + 25 * i, out = kept[i] === 0;
    return svgText(left - 8, y + 13, word, `text-anchor="end"${out ? ' fill="var(--ex-muted)"' : ""}`)
      + svgRect(left, y + 2, (width * full[i]).toFixed(2), 15,
        'fill="none" stroke="var(--ex-muted)" stroke-dasharray="3 2"')
      + svgRect(left, y + 2, (width * kept[i]).toFixed(2), 15, 'rx="1" fill="var(--ex-accent)"')
      + (s.draws ? svgRect(left - 1 + width * counts[i] / s.draws, y, 3, 19, 'fill="var(--ex-mark)"') : "")
      + svgText(left + width * Math.max(full[i], kept[i], s.draws ? counts[i] / s.draws : 0) + 6, y + 14,
        out ? "out" : percent(kept[i]), out ? 'fill="var(--ex-muted)"' : "");
  });
  const key = svgRect(left, 10, 12, 10, 'fill="var(--ex-accent)"') + svgText(left + 17, 19, "in use")
    + svgRect(left + 66, 10, 12, 10, 'fill="none" stroke="var(--ex-muted)" stroke-dasharray="3 2"')
    + svgText(left + 83, 19, "before the cuts")
    + (s.draws ? svgRect(left + 186, 9, 3, 12, 'fill="var(--ex-mark)"')
      + svgText(left + 194, 19, "drawn") : "");
  return svgFigure(340, 304, `Probability of the word after "${TEXT}": ` + WORDS.map(
    (word, i) => `${word} ${kept[i] ? percent(kept[i]) : "out"}`).join(", "),
  key + rows.join("") + svgLine(left, 36, left, 298, 'stroke="var(--ex-muted)"'));
}

export function view(s) {
  const full = softmax(LOGITS, s.temperature), kept = filtered(LOGITS, s);
  const counts = draw(kept, s.seed, s.draws), n = kept.filter((p) => p > 0).length;
  const odds = s.temperature === 0 ? "no odds: the largest logit is always taken"
    : `odds e^(${LOGITS[0] - LOGITS[1]} / ${s.temperature.toFixed(2)}) = `
      + `${Math.exp((LOGITS[0] - LOGITS[1]) / s.temperature).toFixed(2)} : 1`;
  const seen = s.draws ? `<p>${s.draws} draws: ${WORDS.map((word, i) => [word, counts[i]])
    .filter(([, c]) => c).map(([word, c]) => `${esc(word)} ${c}`).join(", ")}.</p>` : "";
  const summary = `<p><em>${TEXT} …</em> ${WORDS[0]} against ${WORDS[1]}: ${odds}.</p>`
    + `<p><strong>${n}</strong> of ${WORDS.length} words can be drawn. Entropy: `
    + `<strong>${entropy(kept).toFixed(2)} bits</strong>, as much as `
    + `${(2 ** entropy(kept)).toFixed(1)} equally likely words.</p>${seen}`;
  return { svg: figure(s, full, kept, counts), summary,
    shown: ["temperature", "top_k", "top_p", "draws", ...(s.draws ? ["seed"] : [])],
    limits: { temperature: { text: (v) => v.toFixed(2) }, top_p: { text: (v) => v.toFixed(2) } } };
}

export default explorer({ ABOUT, view });
