// How large a model a compute budget asks for, and what it costs to train a smaller one for longer.
// The loss is a published fit of two power laws, not a measurement: beyond 16 billion parameters or
// 500 billion tokens it is carried on past the runs that it rests on. Data and architecture are theirs.
import { explorer, short, svgDot, svgFigure, svgLine, svgPath, svgText, whole } from "./kit.js";
import MODELS from "./models.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "scaling",
  "ask": "Keep Chinchilla's compute, 5.88e23 FLOPs, but make the model four times smaller, so that it answers cheaply. How many tokens for each parameter does it read then: 80, 160 or 320? How much loss does it cost?",
  "options": {
    "model": { "default": "chinchilla", "label": "Training run", "wide": true, "otherwise": "own",
      "fills": ["compute", "ratio"], "choices": { "own": "my own", "chinchilla": "Chinchilla 70B, 1.4 trillion tokens",
      "gpt3": "GPT-3 175B, 300 billion tokens", "llama1-65b": "LLaMA 65B, 1.4 trillion tokens",
      "llama2-70b": "Llama 2 70B, 2.0 trillion tokens", "llama3-8b": "Llama 3 8B, 15 trillion tokens",
      "llama3.1-405b": "Llama 3.1 405B, 15.6 trillion tokens" } },
    "fit": { "default": "besiroglu", "label": "Fit of the loss", "wide": true, "choices": {
      "besiroglu": "Besiroglu 2024, corrected", "hoffmann": "Hoffmann 2022, as printed" } },
    "compute": { "default": 5.88e23, "min": 1e18, "max": 1e26, "step": 0.1, "log": true, "label": "Compute, FLOPs" },
    "ratio": { "default": 20, "min": 1, "max": 10000, "step": 0.1, "log": true, "label": "Tokens per parameter" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// loss = E + A / parameters^a + B / tokens^b. Hoffmann 2203.15556, equation 10; Besiroglu 2404.10102.
export const FITS = {
  besiroglu: { E: 1.8172, A: 482.01, B: 2085.43, a: 0.3478, b: 0.3658 },
  hoffmann: { E: 1.69, A: 406.4, B: 410.7, a: 0.34, b: 0.28 },
};

// [parameters, tokens] of runs; Chinchilla's are the round numbers of its paper.
const RUNS = { "chinchilla": [70e9, 1.4e12], "gpt3": [MODELS["gpt3"].total, 300e9],
  "llama1-65b": [MODELS["llama1-65b"].total, 1.4e12], "llama2-70b": [MODELS["llama2-70b"].total, 2.0e12],
  "llama3-8b": [MODELS["llama3-8b"].total, 15e12], "llama3.1-405b": [MODELS["llama3.1-405b"].total, 15.6e12] };

// FLOPs and tokens per parameter of a run.
export const run = (name) => ({ compute: 6 * RUNS[name][0] * RUNS[name][1], ratio: RUNS[name][1] / RUNS[name][0] });

// [parameters, tokens] that use up a compute budget at a ratio: 6 FLOPs per parameter and token.
export function sizes(compute, ratio) {
  const n = Math.sqrt(compute / 6 / ratio);
  return [n, n * ratio];
}

export function loss(fit, n, nTokens) {
  const { E, A, B, a, b } = FITS[fit];
  return E + A / n ** a + B / nTokens ** b;
}

// [parameters, tokens] of the lowest loss for a compute budget: where both terms fall equally fast.
export function optimum(fit, compute) {
  const { A, B, a, b } = FITS[fit], product = compute / 6;
  const n = (a * A / (b * B) * product ** b) ** (1 / (a + b));
  return [n, product / n];
}

// The compute that a run at the optimum needs for a loss.
export function computeFor(fit, wanted) {
  const { E, A, B, a, b } = FITS[fit], above = wanted - E;
  return 6 * (A * (1 + a / b) / above) ** (1 / a) * (B * (1 + b / a) / above) ** (1 / b);
}

// --- what is shown --------------------------------------------------------------------------------

// Name, place of the label beside the point; three runs are so close that their labels stand aside.
const NAMES = { "chinchilla": ["Chinchilla", -58, 6, "end"], "gpt3": ["GPT-3", 8, 5, "start"],
  "llama1-65b": ["LLaMA 65B", -58, 20, "end"], "llama2-70b": ["Llama 2 70B", -58, -8, "end"],
  "llama3-8b": ["Llama 3 8B", -9, 4, "end"], "llama3.1-405b": ["Llama 3.1 405B", -4, -9, "middle"] };
const power = (n) => n.toExponential(2).replace("e+", "e");
const plainRatio = (v) => (v >= 999.5 ? whole(v) : String(Number(v.toPrecision(3))));
const tick = (n) => short(n).replace(/\.0+ /, " ");
const X = [48, 328], muted = 'fill="var(--ex-muted)" font-size="11"';
const halo = 'stroke="var(--ex-ground)" stroke-width="3.5" paint-order="stroke"';

// The decades that are shown: enough for the known runs, and for the reader's point and the optimum.
function decades(points, low, high) {
  const logs = points.map(Math.log10);
  return [Math.min(low, Math.floor(Math.min(...logs))), Math.max(high, Math.ceil(Math.max(...logs)))];
}

const scale = ([from, to], [start, end]) => (n) => start + (end - start) * (Math.log10(n) - from) / (to - from);
const ticks = ([from, to], place) => Array.from({ length: to - from + 1 }, (_, i) => place(10 ** (from + i))).join("");

// What both figures need of a state: sizes and losses of the reader's run and of the best one.
function runs(s) {
  const here = sizes(s.compute, s.ratio), best = optimum(s.fit, s.compute);
  const span = decades([here[0], best[0]], 8, 13);
  return { here, best, span, px: scale(span, X), yours: loss(s.fit, ...here), least: loss(s.fit, ...best),
    grid: Array.from({ length: 161 }, (_, i) => 10 ** (span[0] + (span[1] - span[0]) * i / 160)) };
}

const dots = (px, py, best, here) => svgDot(px(best[0]), py(best[1]), 5,
  'fill="var(--ex-ground)" stroke="var(--ex-c3)" stroke-width="2.5"')
  + svgDot(px(here[0]), py(here[1]), 7, 'fill="none" stroke="var(--ex-accent)" stroke-width="3"');

// Tokens against parameters, both in powers of ten; one budget is a falling line.
function plane(s, top, bottom) {
  const { here, best, px, span, grid } = runs(s), { A, B, a, b } = FITS[s.fit];
  const tokens = decades([here[1], best[1]], 10, 14), py = scale(tokens, [bottom, top]);
  const curve = (tokensOf, rest) => {
    const points = grid.map((m) => [px(m), py(tokensOf(m))]).filter(([, y]) => y >= top && y <= bottom);
    return points.length < 2 ? "" : svgPath(points, `fill="none" ${rest}`);
  };
  const lowest = (m) => (b * B / (a * A) * m ** a) ** (1 / b);
  const others = Object.entries(NAMES).map(([key, [name, dx, dy, anchor]]) => {
    const [x, y] = [px(RUNS[key][0]), py(RUNS[key][1])];
    return (dx < -20 ? svgLine(x, y, x + dx + 3, y + dy - 4, 'stroke="var(--ex-line)"') : "")
      + svgDot(x, y, 3.5, 'fill="var(--ex-text)"')
      + svgText(x + dx, y + dy, name, `font-size="11" text-anchor="${anchor}" ${halo}${key === s.model ? ' font-weight="700"' : ""}`);
  }).join("");
  const last = grid.findLast((m) => py(lowest(m)) > top + 8);
  return svgLine(X[0], top, X[0], bottom, 'stroke="var(--ex-line)"') + svgLine(X[0], bottom, X[1], bottom, 'stroke="var(--ex-line)"')
    + ticks(tokens, (t) => svgText(X[0] - 5, py(t) + 4, tick(t), `text-anchor="end" ${muted}`))
    + ticks(span, (m) => svgLine(px(m), bottom, px(m), bottom + 4, 'stroke="var(--ex-muted)"'))
    + curve((m) => 20 * m, 'stroke="var(--ex-muted)" stroke-dasharray="3 3"')
    + curve(lowest, 'stroke="var(--ex-c3)" stroke-width="2"')
    + curve((m) => s.compute / 6 / m, 'stroke="var(--ex-accent)" stroke-width="2.5"')
    + svgText(X[0] + 5, top + 8, "tokens", `${muted} ${halo}`)
    + svgText(Math.min(X[1], px(last) + 50), py(lowest(last)) + 34, "lowest loss",
      `text-anchor="end" fill="var(--ex-c3)" font-size="11" ${halo}`)
    + others + dots(px, py, best, here);
}

// Loss along the budget, over the same axis of parameters.
function valley(s, top, bottom) {
  const { here, best, px, span, grid, yours, least } = runs(s), { E } = FITS[s.fit];
  const high = E + Math.max(2.2 * (least - E), 1.15 * (yours - E)), py = (l) => bottom - (bottom - top) * (l - E) / (high - E);
  const points = grid.map((m) => [px(m), py(loss(s.fit, m, s.compute / 6 / m))]).filter(([, y]) => y >= top);
  const isNear = Math.abs(px(here[0]) - px(best[0])) < 40;
  return svgLine(X[0], bottom, X[1], bottom, 'stroke="var(--ex-muted)" stroke-dasharray="3 3"')
    + svgText(X[0] - 5, bottom + 4, E.toFixed(2), `text-anchor="end" ${muted}`)
    + svgText(X[0] - 5, py(least) + 4, least.toFixed(2), `text-anchor="end" ${muted}`)
    + svgLine(X[0], py(least), px(best[0]), py(least), 'stroke="var(--ex-line)"')
    + svgText(X[0] + 5, bottom - 5, "loss with this compute", muted)
    + svgText(X[1], bottom - 5, "floor of this fit", `text-anchor="end" ${muted}`)
    + svgPath(points, 'fill="none" stroke="var(--ex-accent)" stroke-width="2.5"')
    + ticks(span, (m) => svgText(px(m), bottom + 16, tick(m), `text-anchor="middle" ${muted}`))
    + svgText(X[1], bottom + 30, "parameters", `text-anchor="end" ${muted}`)
    + dots(px, py, [best[0], least], [here[0], yours])
    + svgText(Math.max(px(here[0]), X[0] + 24) + (isNear ? 0 : 11), py(yours) + (isNear ? 24 : -7), yours.toFixed(3),
      `text-anchor="${isNear ? "middle" : "start"}" font-weight="700" ${halo}`);
}

export function view(s) {
  const { E, A, B, a, b } = FITS[s.fit], { here: [n, tokens], best: [best, bestTokens], yours, least } = runs(s);
  const line = (text) => `<p>${text}</p>`, formula = (text) => `<p class="ex-formula">${text}</p>`;
  const saved = 100 * computeFor(s.fit, yours) / s.compute, size = n / best, ratio = plainRatio(s.ratio);
  const title = `${short(n)} parameters, ${short(tokens)} tokens: loss ${yours.toFixed(3)}`;
  const compared = yours - least < 0.001 ? "Yours is within 0.001 of it."
    : `Yours is ${(yours - least).toFixed(3)} above it. The model is <strong>${size < 1 ? `${short(1 / size)} times smaller`
      : `${short(size)} times larger`}</strong>, and so is its work for each token of an answer. For a loss like yours the `
      + `best size needs ${saved.toFixed(saved > 99 ? 1 : 0)} % of this compute.`;
  const summary = formula(`√(${power(s.compute)} / (6 · ${ratio})) = ${short(n)} parameters, · ${ratio} = ${short(tokens)} tokens`)
    + formula(`${E} + ${A} / parameters^${a} + ${B} / tokens^${b} = ${yours.toFixed(3)}`)
    + line(`Lowest loss with this compute: <strong>${least.toFixed(3)}</strong>, at ${short(best)} parameters and `
      + `<strong>${plainRatio(bestTokens / best)}</strong> tokens for each. ${compared}`)
    + line(`The thin line: 20 tokens per parameter, ${short(sizes(s.compute, 20)[0])} parameters.`
      + (n > 16e9 || tokens > 500e9 ? " The runs behind the fit end at 16 billion parameters and 500 billion tokens; "
        + "here it is carried on beyond them." : ""));
  return { svg: svgFigure(340, 366, `${title}; the lowest with this compute is ${least.toFixed(3)} at ${short(best)} parameters`,
    svgText(10, 17, title, 'font-weight="700" font-size="12.5"') + plane(s, 30, 210) + valley(s, 226, 330)), summary,
  limits: { compute: { text: power }, ratio: { text: plainRatio } } };
}

// A known run decides its numbers, whatever the state says of them.
export const settle = (s) => (s.model === "own" ? s : { ...s, ...run(s.model) });

export function follow(s, key) {
  if (key === "model") return s.model === "own" ? {} : run(s.model);
  return key === "compute" || key === "ratio" ? { compute: s.compute, ratio: s.ratio, model: "own" } : {};
}

export default explorer({ ABOUT, view, settle, follow });
