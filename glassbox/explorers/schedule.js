// The learning rate over a run: warm-up, then one of four ways down, and the value at a step.
// WSD (warm-up, stable, decay) falls in a straight line here; other shapes of its last part are in use.
import { explorer, svgDot, svgFigure, svgLine, svgPath, svgText, whole } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "schedule",
  "ask": "Half way between the end of the warm-up and the end of the run, is the cosine's rate above half of the peak, at half, or below? Say which, then go to step 550.",
  "options": {
    "kind": { "default": "cosine", "label": "After the warm-up", "as": "radio", "wide": true, "choices": {
      "cosine": "cosine", "linear": "linear", "constant": "constant", "wsd": "WSD" } },
    "step": { "default": 0, "min": 0, "max": 120000, "label": "Step s" },
    "peak": { "default": 0.0003, "min": 0.00001, "max": 1, "step": 0.00001, "label": "Peak rate", "as": "number" },
    "warmup": { "default": 100, "min": 0, "max": 100000, "label": "Warm-up w", "as": "number" },
    "total": { "default": 1000, "min": 10, "max": 100000, "label": "Steps n", "as": "number" },
    "floor": { "default": 0.1, "min": 0, "max": 1, "step": 0.05, "label": "Floor / peak" },
    "decay": { "default": 0.2, "min": 0.05, "max": 1, "step": 0.05, "label": "Decay, share of n" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// The step at which WSD begins to fall; never before the warm-up has ended.
export const fallsFrom = (warmup, total, decay) => Math.max(warmup, total - Math.round(decay * total));

// Rate at a step. Step 0 has rate 0 if there is a warm-up; from `total` on the rate is the floor,
// except where the kind knows no floor ("constant").
export function rateAt(kind, step, peak, warmup, total, floor, decay) {
  if (kind !== "constant" && step >= total) return floor;
  if (step < warmup) return peak * step / warmup;
  if (kind === "constant") return peak;
  const start = kind === "wsd" ? fallsFrom(warmup, total, decay) : warmup;
  if (step < start) return peak;
  const done = (step - start) / (total - start);
  return floor + (peak - floor) * (kind === "cosine" ? (1 + Math.cos(Math.PI * done)) / 2 : 1 - done);
}

// Mean rate of the steps 0 to total - 1.
export function meanRate(kind, peak, warmup, total, floor, decay) {
  let sum = 0;
  for (let step = 0; step < total; step += 1) sum += rateAt(kind, step, peak, warmup, total, floor, decay);
  return sum / total;
}

// --- what is shown --------------------------------------------------------------------------------

const TITLES = { cosine: "Cosine", linear: "Linear", constant: "Constant", wsd: "WSD" };
const muted = 'fill="var(--ex-muted)" font-size="11"';
const last = (total) => Math.round(1.1 * total);
const sci = (x) => (x === 0 ? "0" : Number(x.toPrecision(3)).toExponential().replace("e+", "e"));
const of = (s, kind, step) => rateAt(kind, step, s.peak, s.warmup, s.total, s.floor * s.peak, s.decay);

// The rule that gave the value, with the numbers in it.
function rule(s, floor) {
  const { kind, step, peak, warmup: w, total: n } = s, above = `${sci(floor)} + ${sci(peak - floor)}`;
  if (kind !== "constant" && step >= n) return "from n on: the floor";
  if (step < w) return `peak · s / w = ${sci(peak)} · ${step} / ${w}`;
  const start = kind === "wsd" ? fallsFrom(w, n, s.decay) : w;
  if (kind === "constant" || step < start) return "the peak";
  const done = `(${step} − ${start}) / (${n} − ${start})`;
  return kind === "cosine" ? `${above} · (1 + cos(π · ${done})) / 2` : `${above} · (1 − ${done})`;
}

export function view(s) {
  const x = [44, 326], y = [40, 190], end = last(s.total), floor = s.floor * s.peak, now = of(s, s.kind, s.step);
  const px = (step) => x[0] + (x[1] - x[0]) * step / end, py = (rate) => y[1] - (y[1] - y[0]) * rate / s.peak;
  const corners = [s.warmup, fallsFrom(s.warmup, s.total, s.decay), s.total - 1e-9, s.total];
  const steps = [...Array.from({ length: 181 }, (_, i) => end * i / 180), ...corners].sort((a, b) => a - b);
  const curve = (kind, rest) => svgPath(steps.map((step) => [px(step), py(of(s, kind, step))]),
    `fill="none" ${rest}`);
  const ticks = [[s.warmup, "w"], [s.total, "n"]].map(([step, name]) =>
    svgLine(px(step), y[0], px(step), y[1], 'stroke="var(--ex-line)" stroke-dasharray="3 3"')
    + svgText(name === "n" ? px(step) : Math.min(px(step), px(s.total) - 140), y[1] + 15, `${name} = ${whole(step)}`,
      `text-anchor="${name === "n" ? "end" : "start"}" ${muted}`));
  const title = `${TITLES[s.kind]}, step ${whole(s.step)}: rate ${sci(now)}`;
  const body = svgText(10, 18, title, 'font-weight="700" font-size="14"')
    + svgLine(x[0], y[1], x[1], y[1], 'stroke="var(--ex-muted)"') + svgLine(x[0], y[0], x[0], y[1], 'stroke="var(--ex-muted)"')
    + ticks.join("") + svgText(x[0] - 5, y[0] + 4, sci(s.peak), `text-anchor="end" ${muted}`)
    + svgText(x[0] - 5, y[1] + 4, "0", `text-anchor="end" ${muted}`)
    + (py(floor) < y[1] - 12 && py(floor) > y[0] + 12
      ? svgText(x[0] - 5, py(floor) + 4, sci(floor), `text-anchor="end" ${muted}`) : "")
    + Object.keys(TITLES).filter((kind) => kind !== s.kind).map((kind) =>
      curve(kind, 'stroke="var(--ex-muted)" stroke-width="1" stroke-dasharray="4 3"')).join("")
    + curve(s.kind, 'stroke="var(--ex-accent)" stroke-width="3"')
    + svgLine(px(s.step), y[1], px(s.step), py(now), 'stroke="var(--ex-mark)" stroke-width="1.5"')
    + svgDot(px(s.step), py(now), 5.5, 'fill="var(--ex-ground)" stroke="var(--ex-mark)" stroke-width="3"')
    + svgText(x[1], y[1] + 32, "steps; thin: the other three kinds", `text-anchor="end" ${muted}`);
  const mean = meanRate(s.kind, s.peak, s.warmup, s.total, floor, s.decay);
  const shape = s.kind === "constant" ? "" : ` It ends at the floor, ${sci(floor)}.`;
  const summary = `<p class="ex-formula">${rule(s, floor)} = ${sci(now)}</p>`
    + `<p>Step ${whole(s.step)}: rate <strong>${sci(now)}</strong>, `
    + `<strong>${(100 * now / s.peak).toFixed(1)} %</strong> of the peak.${s.step === 0 && s.warmup
      ? " The first step changes nothing." : ""}${shape}</p>`
    + `<p>Mean rate of the run: ${sci(mean)}, ${(100 * mean / s.peak).toFixed(1)} % of the peak.</p>`;
  return { svg: svgFigure(340, 230, `${title}; peak ${sci(s.peak)}, warm-up ${whole(s.warmup)} of ${whole(s.total)} steps`, body),
    summary, shown: ["kind", "step", "peak", "warmup", "total", ...(s.kind === "constant" ? [] : ["floor"]),
      ...(s.kind === "wsd" ? ["decay"] : [])],
    limits: { step: { max: end, text: whole }, floor: { text: (v) => v.toFixed(2) },
      decay: { text: (v) => v.toFixed(2) } } };
}

// A warm-up is not longer than the run; the slider ends a tenth behind it.
export const settle = (s) => ({ ...s, warmup: Math.min(s.warmup, s.total), step: Math.min(s.step, last(s.total)) });

export default explorer({ ABOUT, view, settle });
