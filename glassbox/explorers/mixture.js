// A mixture of sources: which share of the training tokens each source gets when its size is raised to the
// power alpha, and how often it is read for that. Sizes are made up, the telecom ones small against the web.
import { explorer, short, svgFigure, svgLine, svgRect, svgText } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "mixture",
  "ask": "The manuals are a thousandth of all text here. Let each source count with the square root of its size: is their share then one, two or ten percent, and how often is each manual read? Say both, then look.",
  "options": {
    "alpha": { "default": 0.5, "min": 0, "max": 1, "step": 0.05, "label": "Exponent alpha" },
    "budget": { "default": 20000, "min": 100, "max": 1000000, "step": 0.1, "log": true, "label": "Budget, tokens" },
    "web": { "default": 50000, "min": 0, "max": 1000000, "step": 1000, "as": "number", "wide": true, "label": "Web, M tokens" },
    "forums": { "default": 6000, "min": 0, "max": 1000000, "step": 100, "as": "number", "wide": true, "label": "Forums, M tokens" },
    "code": { "default": 3000, "min": 0, "max": 1000000, "step": 100, "as": "number", "wide": true, "label": "Code, M tokens" },
    "standards": { "default": 600, "min": 0, "max": 1000000, "step": 10, "as": "number", "wide": true, "label": "Standards, M tokens" },
    "dialogues": { "default": 200, "min": 0, "max": 1000000, "step": 10, "as": "number", "wide": true, "label": "Dialogues, M tokens" },
    "manuals": { "default": 60, "min": 0, "max": 1000000, "step": 10, "as": "number", "wide": true, "label": "Manuals, M tokens" }
  }
};

const SOURCES = ["web", "forums", "code", "standards", "dialogues", "manuals"];

// Up to about four readings are worth nearly as much as new text (Muennighoff 2305.16264).
const LIMIT = 4;

// --- arithmetic -----------------------------------------------------------------------------------

// n^alpha over the sum of all; an empty source gets nothing, also at alpha 0. Nothing at all: null.
export function shares(counts, alpha) {
  const most = Math.max(...counts);                 // sizes against the largest: no power overflows
  const weights = counts.map((n) => (n ? (n / most) ** alpha : 0)), all = weights.reduce((a, b) => a + b, 0);
  return all ? weights.map((weight) => weight / all) : null;
}

// How often each source is read if the budget is dealt out by its shares; of an empty source 0.
export const epochs = (counts, alpha, budget) =>
  (shares(counts, alpha) ?? counts.map(() => 0)).map((share, i) => (counts[i] ? share * budget / counts[i] : 0));

// The smallest alpha, to a millionth, at which no source is read more than `limit` times; null if there is none.
// The smallest source is read most often, and less often the larger alpha is.
export function mildest(counts, budget, limit) {
  const reads = (millionths) => Math.max(...epochs(counts, millionths / 1e6, budget));
  if (reads(1e6) > limit) return null;
  let [low, high] = [-1, 1e6];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (reads(middle) > limit) low = middle; else high = middle;
  }
  return high / 1e6;
}

// --- what is shown --------------------------------------------------------------------------------

const NAMES = { web: "Web", forums: "Forums", code: "Code", standards: "Standards", dialogues: "Dialogues", manuals: "Manuals" };
const muted = 'fill="var(--ex-muted)" font-size="11"';
const tokens = (millions) => (millions ? short(1e6 * millions) : "none");
const percent = (share) => `${share > 0 && share < 0.00095 ? "under 0.1" : (100 * share).toFixed(share < 0.0995 ? 1 : 0)}\u00a0%`;
const often = (x) => (x === 0 ? "–" : `${x < 9.95 ? x.toFixed(x < 0.0995 ? 2 : 1) : x.toFixed(0)}\u00a0×`);

// All that a state says, a row for each source.
function rows(s) {
  const counts = SOURCES.map((name) => s[name]), all = counts.reduce((a, b) => a + b, 0);
  const mixed = shares(counts, s.alpha), reads = epochs(counts, s.alpha, s.budget);
  return mixed && SOURCES.map((name, i) => ({ name: NAMES[name], count: counts[i], has: counts[i] / all, share: mixed[i],
    reads: reads[i], isOver: reads[i] > LIMIT }));
}

function figure(list, title) {
  const x = 86, wide = 134, top = 62, high = 40;
  const bars = list.map((r, i) => {
    const y = top + high * i;
    return svgText(10, y + 12, r.name, 'font-weight="700"') + svgText(10, y + 26, tokens(r.count), muted)
      + svgRect(x, y, wide * r.has, 9, 'fill="var(--ex-line)" stroke="var(--ex-muted)" stroke-width="0.75"')
      + svgText(x + wide * r.has + 5, y + 9, percent(r.has), muted)
      + svgRect(x, y + 13, wide * r.share, 13, 'fill="var(--ex-accent)"')
      + svgText(x + wide * r.share + 5, y + 24, percent(r.share), 'font-weight="700" font-size="11"')
      + (r.isOver ? svgRect(268, y + 3, 64, 22, 'rx="4" fill="var(--ex-ground)" stroke="var(--ex-mark)" stroke-width="2"') : "")
      + svgText(326, y + 18, `${r.isOver ? "▲ " : ""}${often(r.reads)}`, `text-anchor="end"${r.isOver ? ' font-weight="700"' : ""}`);
  });
  const told = list.map((r) => `${r.name}: ${percent(r.has)} of the text, ${percent(r.share)} of the mixture, read ${often(r.reads)}`);
  return svgFigure(340, top + high * list.length + 24, `${title}. ${told.join("; ")}`,
    svgText(10, 18, title, 'font-weight="700" font-size="14"')
    + svgRect(x, 33, 9, 9, 'fill="var(--ex-line)" stroke="var(--ex-muted)" stroke-width="0.75"') + svgText(x + 14, 42, "of all text", muted)
    + svgRect(x + 78, 33, 9, 9, 'fill="var(--ex-accent)"') + svgText(x + 92, 42, "of the mixture", muted)
    + svgText(326, 42, "read", `text-anchor="end" ${muted}`)
    + svgLine(10, 51, 330, 51, 'stroke="var(--ex-line)"') + bars.join("")
    + svgText(10, top + high * list.length + 12, `▲: read more than ${LIMIT} times`, muted));
}

export function view(s) {
  const list = rows(s), limits = { alpha: { text: (v) => v.toFixed(2) }, budget: { text: tokens } };
  if (!list) return { svg: svgFigure(340, 60, "No source holds any text", svgText(10, 18, "No source holds any text", 'font-weight="700" font-size="14"')),
    summary: "<p>All sources are empty: there is nothing to mix. Give one of them some tokens.</p>", limits };
  const over = list.filter((r) => r.isOver), counts = SOURCES.map((name) => s[name]), all = counts.reduce((a, b) => a + b, 0);
  const title = over.length ? `${over.length} of ${list.length} ${over.length === 1 ? "is" : "are"} read more than ${LIMIT} times` : `None is read more than ${LIMIT} times`;
  const least = list.filter((r) => r.count).reduce((a, b) => (b.count < a.count ? b : a)), mild = mildest(counts, s.budget, LIMIT);
  const sum = counts.filter(Boolean).reduce((total, n) => total + n ** s.alpha, 0);
  const rule = s.alpha === 1 ? "At 1 each source is drawn as large as it is, and all are read equally often." : s.alpha === 0 ? "At 0 all sources get the same share, whatever they hold." : "";
  const worked = `${least.name}: ${least.count}<sup>${s.alpha.toFixed(2)}</sup> / ${sum.toFixed(1)} = <strong>${percent(least.share)}</strong> of ${tokens(s.budget)} = `
    + `${tokens(least.share * s.budget)} tokens from a source of ${tokens(least.count)}: read <strong>${often(least.reads)}</strong>.`;
  const marks = over.length ? `<p>${over.map((r) => `${r.name} ${often(r.reads)}`).join(", ")}: up to about ${LIMIT} readings are nearly as good as new text; after that each adds less and less, and what is read often is learnt by heart.</p>`
    : "";
  const cure = mild === null ? `Even at alpha 1 something is read more than ${LIMIT} times: ${tokens(all)} are too few for this budget.`
    : mild === 0 ? `With this budget no alpha makes a source be read more than ${LIMIT} times.` : `The smallest alpha with no source above ${LIMIT} is <strong>${(Math.ceil(mild * 1000) / 1000).toFixed(3)}</strong>.`;
  return { svg: figure(list, title), summary: `<p>${worked}${rule ? ` ${rule}` : ""}</p>${marks}<p>${cure}</p>`, limits };
}

export default explorer({ ABOUT, view });
