// Before and after: the same micro model, trained on a raw crawl and on what is left of it after each stage
// of cleaning, with as many bytes read. Five seeds, each with a crawl, a held-out text and a start of its
// own: before_after.json, taken from book/experiments/raw_and_clean.json by tests/golden/before_after.py.
import { explorer, svgDot, svgFigure, svgLine, svgPath, svgRect, svgText } from "./kit.js";
import DATA from "./before_after.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "before_after",
  "ask": "Equal models read equally many bytes, some of raw text, some of cleaned text. Which stage of the cleaning lowers the bits per byte on clean text most? And how many of five seeds must agree before you believe it? Say both, then look.",
  "options": {
    "show": { "default": "bits", "label": "Show", "as": "radio", "wide": true, "choices": {
      "bits": "bits per byte", "gap": "gain from stage to stage" } },
    "against": { "default": 0, "min": 0, "max": 5, "label": "From" },
    "stage": { "default": 4, "min": 0, "max": 5, "label": "To" },
    "seeds": { "default": 5, "min": 2, "max": 5, "label": "Seeds counted" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// Mean and 95 % interval by Student's t for these values.
export function interval(values) {
  const n = values.length, mean = values.reduce((a, b) => a + b, 0) / n;
  const half = DATA.t[n - 2] * Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1) / n);
  return [mean, mean - half, mean + half];
}

// What a stage gains over another, seed by seed: bits per byte that are saved.
export const gains = (stage, against) => DATA.stages[stage].bits.map((bits, i) => DATA.stages[against].bits[i] - bits);

// The stage that saves most against the one before it, and how much, in the mean; the last, the truth,
// is no stage.
export function largest() {
  const steps = DATA.stages.slice(1, -1).map((_, i) => interval(gains(i + 1, i))[0]);
  const most = Math.max(...steps);
  return [steps.indexOf(most) + 1, most];
}

// --- what is shown --------------------------------------------------------------------------------

const muted = 'fill="var(--ex-muted)" font-size="11"';
const halo = 'stroke="var(--ex-ground)" stroke-width="4" paint-order="stroke"';
const number = (x, digits = 3) => x.toFixed(digits).replace("-", "−");
const many = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const SOFT = "\u00ad";
const nameOf = (i) => DATA.stages[i].title.replace(SOFT, "");

// Round numbers around the values: four or five lines.
function ticks(low, high) {
  const rough = (high - low || 1) / 4, unit = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].find((m) => m * unit >= rough) * unit;
  const first = Math.floor(low / step), last = Math.ceil(high / step);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

// The name under a column, on two lines where it is long.
const parts = (i) => DATA.stages[i].title.split(SOFT).map((part, k, all) => part + (k < all.length - 1 ? "-" : ""));

// What is drawn of each stage: the values of the seeds that count.
const drawn = (s) => DATA.stages.map((stage, i) => (s.show === "bits" ? stage.bits : gains(i, s.against)).slice(0, s.seeds));

function figure(s, title) {
  const all = drawn(s), told = all.map(interval), flat = told.flatMap(([, low, high]) => [low, high]).concat(all.flat());
  const lines = ticks(Math.min(...flat), Math.max(...flat)), digits = Math.max(1, Math.ceil(-Math.log10(lines[1] - lines[0]) - 1e-9));
  const x = [50, 334], y = [216, 44], wide = (x[1] - x[0]) / all.length, [low, high] = [lines[0], lines.at(-1)];
  const py = (v) => y[0] + (y[1] - y[0]) * (v - low) / (high - low), centre = (i) => x[0] + wide * (i + 0.5);
  const isSame = (i) => s.show === "gap" && i === s.against, place = (i, k) => centre(i) - 14 + 7 * k;
  const seeds = Array.from({ length: s.seeds }, (_, k) => svgPath(all.map((values, i) => [place(i, k), py(values[k])]),
    'fill="none" stroke="var(--ex-line)" stroke-width="1"')).join("");
  const columns = all.map((values, i) => {
    const [mean, least, most] = told[i], isChosen = i === s.stage;
    return svgRect(centre(i) - wide / 2 + 2, 30, wide - 4, 240, `rx="5" fill="var(--ex-soft)" fill-opacity="${isChosen ? 0.6 : 0}" stroke="var(--ex-${isChosen ? "mark" : "ground"})" stroke-opacity="${isChosen ? 1 : 0}" `
      + `stroke-width="2" role="gridcell" aria-selected="${isChosen}" data-press="s:${i}" data-cell="0,${i}" tabindex="${isChosen ? 0 : -1}" `
      + `aria-label="${nameOf(i)}: ${number(mean)}, from ${number(least)} to ${number(most)}"`)
      + (isSame(i) ? "" : values.map((v, k) => svgDot(place(i, k), py(v), 2.5, 'fill="var(--ex-muted)" pointer-events="none"')).join("")
        + svgLine(centre(i), py(least), centre(i), py(most), 'stroke="var(--ex-accent)" stroke-width="2.5" pointer-events="none"')
        + [least, most].map((v) => svgLine(centre(i) - 5, py(v), centre(i) + 5, py(v), 'stroke="var(--ex-accent)" stroke-width="2.5" pointer-events="none"')).join(""))
      + svgRect(centre(i) - 4, py(mean) - 4, 8, 8, 'fill="var(--ex-accent)" stroke="var(--ex-ground)" pointer-events="none"')
      + parts(i).map((part, k) => svgText(centre(i), 236 + 12 * k, part, `text-anchor="middle" font-size="11" pointer-events="none"${isChosen ? ' font-weight="700"' : ""}`)).join("")
      + svgText(centre(i), 264, number(mean), `text-anchor="middle" font-size="11" font-weight="700" pointer-events="none" ${halo}`);
  });
  return svgFigure(340, 298, `${title}. ${told.map(([mean, least, most], i) => `${nameOf(i)} ${number(mean)}, from ${number(least)} to ${number(most)}`).join("; ")}`,
    svgText(10, 18, title, 'font-weight="700" font-size="14"')
    + lines.map((v) => svgLine(x[0], py(v), x[1], py(v), `stroke="var(--ex-${Math.abs(v) < 1e-9 ? "muted" : "line"})"`) + svgText(x[0] - 6, py(v) + 4, number(v, digits), `text-anchor="end" ${muted}`)).join("")
    + seeds + `<g role="grid" aria-label="Stages"><g role="row">${columns.join("")}</g></g>`
    + svgText(10, 288, `dots: ${s.seeds} seeds; square and bar: mean, 95 % interval`, muted), "group");
}

export function view(s) {
  const stage = DATA.stages[s.stage], bits = interval(stage.bits.slice(0, s.seeds)), gain = gains(s.stage, s.against).slice(0, s.seeds), saved = interval(gain);
  const better = gain.filter((x) => x > 0).length, [best, most] = largest(), isSame = s.stage === s.against;
  const title = s.show === "bits" ? `“${nameOf(s.stage)}”: ${number(bits[0])} bits per byte` : `Gain over “${nameOf(s.against)}”, bits per byte`;
  const holds = saved[1] > 0 ? "all of the interval is above 0: the gain is more than luck of the seed"
    : saved[2] < 0 ? "all of the interval is below 0: this step costs" : "the interval holds 0: these seeds do not show a gain";
  const summary = `<p><strong>${nameOf(s.stage)}</strong>: ${stage.what}. ${many(stage.documents, "document")} and ${(stage.bytes / 1000).toFixed(0)} KB are left in the mean. `
    + `A model that reads ${(DATA.tokens / 1000).toFixed(0)} KB of this needs <strong>${number(bits[0])}</strong> bits per byte on clean text it has not seen, 95 % interval ${number(bits[1])} to ${number(bits[2])}.</p>`
    + (isSame ? "<p>This is the stage it would be compared with.</p>"
      : `<p>Against ${nameOf(s.against)}, seed by seed: ${gain.map((x) => number(x)).join(", ")}. Better in <strong>${better} of ${s.seeds}</strong>; mean <strong>${number(saved[0])}</strong>, `
        + `interval ${number(saved[1])} to ${number(saved[2])}; ${holds}.</p>`)
    + `<p>Of single steps the largest is ${nameOf(best)}, ${number(most)} in the mean of all seeds.</p>`;
  return { svg: figure(s, title), summary, limits: { stage: { text: nameOf, max: DATA.stages.length - 1 }, against: { text: nameOf, max: DATA.stages.length - 1 } } };
}

export const press = (s, token) => ({ stage: Number(token.split(":")[1]) });

export default explorer({ ABOUT, view, press });
