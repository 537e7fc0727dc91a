// Span corruption, T5's objective: spans of words are cut out and become the target. Words stand for
// tokens. All placements are equally likely and spans never touch; T5's own code lets each text begin
// with a kept word and end with a hidden one.
import { esc, explorer, svgBoxes, svgFigure, svgText, uniforms } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "spans",
  "ask": "Two spans are cut out of the sentence. How many sentinels does the target hold, and what does the last one say?",
  "options": {
    "sentence": { "label": "Your sentence", "wide": true,
      "default": "the technician resets the modem at noon and the line comes back within ten minutes" },
    "rate": { "default": 0.25, "min": 0.05, "max": 0.75, "step": 0.05, "label": "Share hidden" },
    "mean_length": { "default": 2, "min": 1, "max": 10, "step": 0.5, "label": "Mean span, words" },
    "seed": { "default": 4, "min": 1, "max": 99, "label": "Seed" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

export const MAX_WORDS = 40;

export const words = (sentence) => sentence.split(/\s+/).filter(Boolean).slice(0, MAX_WORDS);

// How many of n words are hidden, in how many spans; what source and target are long with it. The
// target ends with one more sentinel and the end of the text.
export function lengths(n, rate, meanLength) {
  const hidden = n ? Math.min(Math.max(Math.floor(n * rate + 0.5), 1), Math.max(n - 1, 1)) : 0;
  const spans = Math.min(Math.max(Math.floor(hidden / meanLength + 0.5), 1), hidden, n - hidden + 1);
  return { hidden, spans, source: n - hidden + spans, target: hidden + spans + 2 };
}

// Cut n things into parts of one or more, every way equally likely: parts - 1 of n - 1 gaps are drawn.
export function segments(n, parts, numbers) {
  const gaps = Array.from({ length: Math.max(n - 1, 0) }, (_, i) => i + 1);
  for (let i = 0; i < parts - 1; i += 1) {
    const j = i + Math.floor(numbers[i] * (gaps.length - i));
    [gaps[i], gaps[j]] = [gaps[j], gaps[i]];
  }
  const ends = [0, ...gaps.slice(0, parts - 1).sort((a, b) => a - b), n];
  return ends.slice(1).map((end, i) => end - ends[i]);
}

// Starts and ends of the spans, [[start, end], ...], ends exclusive.
export function spans(n, rate, meanLength, seed) {
  const { hidden, spans: many } = lengths(n, rate, meanLength), numbers = uniforms(seed, 2 * n);
  if (!n) return [];
  const long = segments(hidden, many, numbers);
  const kept = segments(n - hidden + 2, many + 1, numbers.slice(n));   // two more: the ends may be empty
  let at = -1;
  return long.map((length, i) => {
    at += kept[i] + length;
    return [at - length, at];
  });
}

// { source, target }: each span becomes one sentinel in the source; the target repeats the sentinels
// with the words that they stand for.
export function corrupt(list, cut) {
  const source = [], target = [];
  let at = 0;
  cut.forEach(([start, end], i) => {
    source.push(...list.slice(at, start), sentinel(i));
    target.push(sentinel(i), ...list.slice(start, end));
    at = end;
  });
  return { source: [...source, ...list.slice(at)], target: [...target, sentinel(cut.length), "</s>"] };
}

// <X>, <Y>, <Z>, then backwards from <W>.
export const sentinel = (i) => `<${"XYZWVUTSRQPONMLKJIHGFEDCBA"[i]}>`;

// --- what is shown --------------------------------------------------------------------------------

const MARK = /^<([A-Z]|\/s)>$/;
const many = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

export function view(s) {
  const list = words(s.sentence), cut = spans(list.length, s.rate, s.mean_length, s.seed);
  const { source, target } = corrupt(list, cut), n = lengths(list.length, s.rate, s.mean_length);
  const isHidden = (i) => cut.some(([start, end]) => i >= start && i < end);
  const plain = (text) => (MARK.test(text)
    ? { text, fill: "ground", stroke: "mark", rest: 'font-weight="700" fill="var(--ex-mark)"' }
    : { text, fill: "ground" });
  const rows = [["Text, hidden words filled", list.map((text, i) => (isHidden(i)
    ? { text, fill: "soft", stroke: "accent", rest: 'font-weight="700"' } : { text, fill: "ground" }))],
  ["Source: what the encoder reads", source.map(plain)],
  ["Target: what the decoder writes", target.map((text) => (MARK.test(text) ? plain(text)
    : { text, fill: "soft", stroke: "accent", rest: 'font-weight="700"' }))]];
  let y = 8;
  const body = rows.map(([title, items]) => {
    const [boxes, below] = svgBoxes(items, 10, y + 20, 330);
    const text = svgText(10, y + 12, title, 'fill="var(--ex-muted)"') + boxes;
    y = below + 12;
    return text;
  }).join("");
  const share = list.length ? (100 * n.hidden / list.length).toFixed(0) : 0;
  const summary = `<p><strong>Source:</strong> ${esc(source.join(" "))}</p>`
    + `<p><strong>Target:</strong> ${esc(target.join(" "))}</p>`
    + `<p>${n.hidden} of ${many(list.length, "word")} hidden (${share} %), in ${many(n.spans, "span")}, `
    + `${(n.hidden / Math.max(n.spans, 1)).toFixed(1)} on average. The encoder reads ${many(n.source, "token")}, the decoder writes `
    + `<strong>${n.target}</strong>: ${many(n.hidden, "word")}, ${n.spans} + 1 sentinels, and &lt;/s&gt;. `
    + `${esc(sentinel(cut.length))} says where the last span ends.</p>`;
  return { svg: svgFigure(340, y, `Source: ${source.join(" ")}. Target: ${target.join(" ")}.`, body), summary,
    limits: { rate: { text: (v) => `${Math.round(100 * v)} %` }, mean_length: { text: (v) => v.toFixed(1) } } };
}

export default explorer({ ABOUT, view });
