// What training takes: FLOPs, GPU-hours, days and money, as ranges between two assumptions each.
// Six FLOPs per parameter and token; the reader chooses MFU and price. Failed runs, experiments, storage
// and people are left out, and they are not small.
import { explorer, short, svgDot, svgFigure, svgLine, svgPath, svgText, whole } from "./kit.js";
import MODELS from "./models.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "cost",
  "ask": "LLaMA 65B read 1.4 trillion tokens on 2,048 GPUs of type A100. How many days did it take, and what would it cost at one to two dollars an hour? Be right within a factor of two.",
  "options": {
    "preset": { "default": "llama1-65b", "label": "Training of", "wide": true, "otherwise": "own",
      "fills": ["n_params", "training_tokens"], "choices": { "own": "my own numbers",
      "gpt3": "GPT-3 175B, 300 billion tokens", "llama1-7b": "LLaMA 7B, 1.0 trillion tokens",
      "llama1-13b": "LLaMA 13B, 1.0 trillion tokens", "llama1-33b": "LLaMA 33B, 1.4 trillion tokens",
      "llama1-65b": "LLaMA 65B, 1.4 trillion tokens", "llama2-7b": "Llama 2 7B, 2.0 trillion tokens",
      "llama2-70b": "Llama 2 70B, 2.0 trillion tokens", "llama3.1-405b": "Llama 3.1 405B, 15.6 trillion tokens",
      "7b": "a 7B model, 140 billion tokens", "telecom": "Llama 3 8B, 150 million telecom tokens" } },
    "n_params": { "default": 65285660672, "min": 1, "max": 100000000000000, "label": "Parameters", "as": "number",
      "wide": true },
    "training_tokens": { "default": 1400, "min": 0.0001, "max": 1000000, "step": 0.0001,
      "label": "Billions of tokens", "as": "number", "wide": true },
    "train": { "default": "all", "label": "Train", "choices": { "all": "all weights: 6 FLOPs",
      "lora": "LoRA: 4 FLOPs" } },
    "gpu": { "default": "run", "label": "GPU", "choices": { "V100": "V100, 125 TFLOP/s",
      "A100": "A100, 312 TFLOP/s", "H100": "H100, 989 TFLOP/s", "run": "that of the run" } },
    "n_gpus": { "default": 2048, "min": 1, "max": 1000000, "label": "GPUs", "as": "number" },
    "mfu_low": { "default": 0.3, "min": 0.05, "max": 0.7, "step": 0.01, "label": "MFU, at worst" },
    "mfu_high": { "default": 0.5, "min": 0.05, "max": 0.7, "step": 0.01, "label": "MFU, at best" },
    "price_low": { "default": 1, "min": 0.1, "max": 10, "step": 0.1, "label": "$ per hour, low" },
    "price_high": { "default": 2, "min": 0.1, "max": 10, "step": 0.1, "label": "$ per hour, high" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// Dense 16-bit operations per second, from NVIDIA's data sheets. The larger numbers there need sparsity.
export const PEAK = { V100: 125e12, A100: 312e12, H100: 989e12 };

// Runs: the model that has the parameters, billions of tokens, GPU and how many; GPU-hours where
// they are known; tokens of a sequence.
const RUNS = {
  "gpt3": { model: "gpt3", tokens: 300, gpu: "V100", gpus: 10000, hours: 3.55e6, context: 2048,
    source: "Patterson 2021, from 24.6 TFLOP/s" },
  "llama1-7b": { model: "llama2-7b", tokens: 1000, gpu: "A100", gpus: 2048, hours: 82432, context: 2048 },
  "llama1-13b": { model: "llama2-13b", tokens: 1000, gpu: "A100", gpus: 2048, hours: 135168, context: 2048 },
  "llama1-33b": { model: "llama1-33b", tokens: 1400, gpu: "A100", gpus: 2048, hours: 530432, context: 2048 },
  "llama1-65b": { model: "llama1-65b", tokens: 1400, gpu: "A100", gpus: 2048, hours: 1022362, context: 2048 },
  "llama2-7b": { model: "llama2-7b", tokens: 2000, gpu: "A100", gpus: 2048, hours: 184320, context: 4096 },
  "llama2-70b": { model: "llama2-70b", tokens: 2000, gpu: "A100", gpus: 2048, hours: 1720320, context: 4096 },
  "llama3.1-405b": { model: "llama3.1-405b", tokens: 15600, gpu: "H100", gpus: 16384, hours: 30.84e6,
    context: 8192, source: "its model card" },
  "7b": { model: "llama2-7b", tokens: 140, gpu: "A100", gpus: 64 },
  "telecom": { model: "llama3-8b", tokens: 0.15, gpu: "H100", gpus: 1 },
};

// Parameters, billions of tokens, GPU and GPU-hours of a run; null where they are not known.
export const run = (name) => {
  const { model, tokens, gpu, hours = null } = RUNS[name];
  return { n_params: MODELS[model].total, training_tokens: tokens, gpu, hours };
};

// Forward 2, backward 4; where the weights are frozen the backward pass has no gradients of them: 2.
export const trainingFlops = (n, nTokens, train) => (train === "lora" ? 4 : 6) * n * nTokens;
export const gpuHours = (flops, gpu, mfu) => flops / (PEAK[gpu] * mfu) / 3600;
export const days = (flops, gpu, nGpus, mfu) => gpuHours(flops, gpu, mfu) / nGpus / 24;
export const mfuOf = (flops, gpu, hours) => flops / (PEAK[gpu] * hours * 3600);

// Lowest and highest cost: fast and cheap, slow and dear.
export const costRange = (flops, gpu, mfu, price) =>
  [gpuHours(flops, gpu, Math.max(...mfu)) * Math.min(...price),
    gpuHours(flops, gpu, Math.min(...mfu)) * Math.max(...price)];

// What attention over full contexts of T tokens adds to 6 FLOPs per parameter, as a share of them.
export function attentionShare(model, T) {
  const { n_layers, n_heads, d_head, active } = MODELS[model];
  return 2 * n_layers * n_heads * d_head * T / active;
}

// --- what is shown --------------------------------------------------------------------------------

const SHEET = { V100: "FP16; it has no BF16", A100: "dense BF16", H100: "dense BF16" };
const flopsText = (n) => n.toExponential(3).replace("e+", "e");
const dollars = (n) => `$${short(n).replace(/^(\d+)\.00$/, "$1")}`;
const between = ([a, b], text, word = "to") => (text(a) === text(b) ? text(a) : `${text(a)} ${word} ${text(b)}`);
const exact = (n) => (n >= 99.5 ? whole(n) : short(n));
const hoursText = (n) => (n < 99999.5 && n >= 99.5 ? whole(n) : short(n));
const sorted = (a, b) => (a <= b ? [a, b] : [b, a]);
const flopsOf = (s) => trainingFlops(s.n_params, s.training_tokens * 1e9, s.train);
const known = (s) => (s.preset !== "own" && s.train === "all" && RUNS[s.preset].gpu === s.gpu
  && RUNS[s.preset].hours ? RUNS[s.preset] : null);

// GPU-hours against MFU: the chosen GPU, its range, the others thin; and what was measured.
function curves(s, mfu, x, y) {
  const flops = flopsOf(s), [low, high] = mfu;
  const top = 1.05 * gpuHours(flops, s.gpu, Math.min(0.2, low));
  const px = (m) => x[0] + (x[1] - x[0]) * (m - 0.05) / 0.65, py = (h) => y[1] - (y[1] - y[0]) * h / top;
  const curve = (gpu, from = 0.05, to = 0.7) => Array.from({ length: 66 }, (_, i) => from + (to - from) * i / 65)
    .map((m) => [m, gpuHours(flops, gpu, m)]).filter(([, h]) => h <= top).map(([m, h]) => [px(m), py(h)]);
  const band = [[px(low), y[1]], ...curve(s.gpu, low, high), [px(high), y[1]]];
  const lines = Object.keys(PEAK).map((gpu) => {
    const points = curve(gpu), chosen = gpu === s.gpu;
    return points.length < 2 ? "" : svgPath(points, `fill="none" stroke="var(--ex-${chosen ? "accent" : "muted"})" `
      + `stroke-width="${chosen ? 3 : 1.2}"${chosen ? "" : ' stroke-dasharray="5 3"'}`)
      + svgText(x[1] + 4, points.at(-1)[1] + 4, gpu, `font-size="11"${chosen ? ' font-weight="700"' : ""}`);
  }).join("");
  const ends = (low === high ? [low] : [low, high]).map((m) => {
    const h = gpuHours(flops, s.gpu, m);
    return svgDot(px(m), py(h), 4, 'fill="var(--ex-accent)"')
      + svgText(px(m) + 5, py(h) - 7, `${hoursText(h)} h`, 'font-weight="600"');
  }).join("");
  const ticks = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7].map((m) => svgLine(px(m), y[1], px(m), y[1] + 4,
    'stroke="var(--ex-muted)"') + svgText(px(m), y[1] + 16, m, 'text-anchor="middle" font-size="11" fill="var(--ex-muted)"'))
    .join("");
  const real = known(s), at = real && mfuOf(flops, s.gpu, real.hours);
  const mark = real ? svgLine(px(at), py(real.hours), px(at), y[1], 'stroke="var(--ex-mark)" stroke-width="2"')
    + svgDot(px(at), py(real.hours), 5, 'fill="var(--ex-ground)" stroke="var(--ex-mark)" stroke-width="2.5"')
    + svgText(px(at) - 4, y[1] - 7, "the real run", 'font-size="11" text-anchor="end"') : "";
  return svgPath(band, 'fill="var(--ex-soft)"') + svgLine(x[0], y[1], x[1], y[1], 'stroke="var(--ex-muted)"') + ticks
    + svgText(x[1], y[1] + 30, "MFU: share of the peak that is reached", 'text-anchor="end" font-size="11" fill="var(--ex-muted)"')
    + lines + mark + ends;
}

// Dollars for both ends of both assumptions.
function table(s, mfu, price, y) {
  const flops = flopsOf(s), columns = [205, 330], [low, high] = costRange(flops, s.gpu, mfu, price);
  const head = [...mfu].reverse().map((m, i) => svgText(columns[i], y, `MFU ${m.toFixed(2)}`,
    'text-anchor="end" fill="var(--ex-muted)"')).join("");
  return head + price.map((usd, row) => svgText(10, y + 24 * (row + 1), `$${usd.toFixed(2)} per hour`)
    + [...mfu].reverse().map((m, i) => {
      const sum = gpuHours(flops, s.gpu, m) * usd, isEnd = sum === low || sum === high;
      return svgText(columns[i], y + 24 * (row + 1), dollars(sum),
        `text-anchor="end"${isEnd ? ' font-weight="700"' : ""}`);
    }).join("")).join("");
}

export function view(s) {
  const mfu = sorted(s.mfu_low, s.mfu_high), price = sorted(s.price_low, s.price_high), flops = flopsOf(s);
  const hours = [mfu[1], mfu[0]].map((m) => gpuHours(flops, s.gpu, m)), sums = costRange(flops, s.gpu, mfu, price);
  const time = [mfu[1], mfu[0]].map((m) => days(flops, s.gpu, s.n_gpus, m));
  const real = known(s), settings = RUNS[s.preset];
  const unit = time[1] < 1 ? [24, "hours"] : [1, "days"];
  const spans = `${between(time.map((d) => d * unit[0]), (d) => short(d))} ${unit[1]}`;
  const line = (text) => `<p>${text}</p>`, formula = (text) => `<p class="ex-formula">${text}</p>`;
  const title = `${between(hours, hoursText)} GPU-hours`;
  const summary = formula(`${s.train === "lora" ? 4 : 6} · ${whole(s.n_params)} · ${s.training_tokens}e9 = ${flopsText(flops)} FLOPs`)
    + formula(`/ (${PEAK[s.gpu] / 1e12}e12 · ${between([...mfu].reverse(), (m) => m.toFixed(2), "…")} · 3600) = `
      + `${between(hours, exact, "…")} GPU-hours`)
    + line(`On ${whole(s.n_gpus)} GPU${s.n_gpus > 1 ? "s" : ""}: <strong>${spans}</strong>. `
      + `<strong>${between(sums, dollars)}</strong> at ${between(price, (p) => `$${p.toFixed(2)}`)} per hour.`)
    + (real ? line(`The real run took ${whole(real.hours)} ${s.gpu}-hours (${real.source ?? "the paper"}): `
      + `MFU <strong>${mfuOf(flops, s.gpu, real.hours).toFixed(3)}</strong>, `
      + `${between(price.map((p) => p * real.hours), dollars)} at these prices.`) : "")
    + line(`${short(s.training_tokens * 1e9 / s.n_params)} tokens per parameter. Peak: NVIDIA's data sheet, ${SHEET[s.gpu]}. `
      + "MFU and price are assumptions: yours."
      + (settings?.context ? ` Attention over ${whole(settings.context)} tokens would add `
        + `${(100 * attentionShare(settings.model, settings.context)).toFixed(2)} %.` : ""));
  return { svg: svgFigure(340, 306, `${title}, ${between(sums, dollars)}`,
    svgText(10, 18, title, 'font-weight="700" font-size="14"') + curves(s, mfu, [14, 296], [34, 190])
    + table(s, mfu, price, 250)), summary,
  shown: ["preset", ...(s.preset === "own" ? ABOUT.options.preset.fills : []), "train", "gpu", "n_gpus",
    "mfu_low", "mfu_high", "price_low", "price_high"],
  limits: Object.fromEntries(["mfu_low", "mfu_high", "price_low", "price_high"].map(
    (key) => [key, { text: (v) => v.toFixed(2) }])) };
}

// A run decides its size, whatever the state says of it, and its GPU unless another is chosen.
export function settle(s) {
  const { n_params, training_tokens, gpu } = s.preset === "own" ? { ...s, gpu: "A100" } : run(s.preset);
  return { ...s, n_params, training_tokens, gpu: s.gpu === "run" ? gpu : s.gpu };
}

// A chosen run brings its GPUs; they may then be changed.
export function follow(s, key) {
  if (key !== "preset" || s.preset === "own") return {};
  const { n_params, training_tokens } = run(s.preset);
  return { n_params, training_tokens, gpu: "run", n_gpus: RUNS[s.preset].gpus };
}

export default explorer({ ABOUT, view, settle, follow });
