// Parameters, memory, FLOPs and cost of any transformer, from its configuration.
// Closed formulas, in exact whole numbers; tests compare every preset with a table computed in Python.
// Nothing is measured: MFU and price are what the reader assumes.
import { esc, explorer, short, svgFigure, svgLine, svgRect, svgText, whole } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "counting",
  "ask": "Where do the parameters of GPT-2 small sit: in attention, in the feed-forward layers or in the token table? Order the three, then look. Which order does Llama 3 8B have?",
  "options": {
    "preset": { "default": "gpt2", "label": "Model", "wide": true, "otherwise": "own",
      "fills": ["family", "n_layers", "d_model", "d_ff", "n_heads", "n_kv_heads", "d_head", "vocab_size",
        "context_len", "n_experts", "k", "tied", "top", "types"], "choices": {
      "own": "my own numbers",
      "gpt2": "GPT-2 small", "gpt2-untied": "GPT-2 small, untied head", "gpt2-medium": "GPT-2 medium",
      "gpt2-large": "GPT-2 large", "gpt2-xl": "GPT-2 xl",
      "gpt3-small": "GPT-3 small", "gpt3-xl": "GPT-3 XL (1.3B)", "gpt3-2.7b": "GPT-3 2.7B",
      "gpt3-6.7b": "GPT-3 6.7B", "gpt3": "GPT-3 175B",
      "bert": "BERT-base, with pooler", "bert-plain": "BERT-base, no pooler",
      "bert-mlm": "BERT-base, MLM head", "bert-large": "BERT-large, with pooler",
      "bert-large-plain": "BERT-large, no pooler", "roberta": "RoBERTa-base, with pooler",
      "roberta-plain": "RoBERTa-base, no pooler", "albert": "ALBERT-base, with pooler",
      "t5-small": "T5-small", "t5-base": "T5-base", "t5-large": "T5-large", "t5-3b": "T5-3B",
      "t5-11b": "T5-11B",
      "llama2-7b": "Llama 1 and 2 7B", "llama2-13b": "Llama 1 and 2 13B", "llama1-33b": "Llama 1 33B",
      "llama1-65b": "Llama 1 65B", "llama2-70b": "Llama 2 70B", "llama3-8b": "Llama 3 8B",
      "llama3-70b": "Llama 3 70B", "llama3.1-405b": "Llama 3.1 405B", "llama3.2-1b": "Llama 3.2 1B",
      "llama3.2-3b": "Llama 3.2 3B", "tinyllama": "TinyLlama 1.1B", "mistral-7b": "Mistral 7B",
      "mixtral": "Mixtral 8x7B", "lab-64": "lab model, C 64, context 64",
      "lab": "lab model, C 64", "lab-128": "lab model, C 128" } },
    "view": { "default": "parameters", "label": "Count", "as": "radio", "wide": true, "choices": {
      "parameters": "parameters", "memory": "memory", "cost": "training cost" } },
    "family": { "default": "gpt", "label": "Family", "choices": { "gpt": "GPT", "bert": "BERT",
      "albert": "ALBERT", "t5": "T5", "llama": "Llama, Mistral" } },
    "n_layers": { "default": 12, "min": 1, "max": 512, "label": "Layers L", "as": "number" },
    "d_model": { "default": 768, "min": 1, "max": 65536, "label": "Width C", "as": "number" },
    "d_ff": { "default": 3072, "min": 1, "max": 524288, "label": "Inner width d_ff", "as": "number" },
    "n_heads": { "default": 12, "min": 1, "max": 1024, "label": "Heads H", "as": "number" },
    "n_kv_heads": { "default": 12, "min": 1, "max": 1024, "label": "Key heads Hkv", "as": "number" },
    "d_head": { "default": 64, "min": 1, "max": 4096, "label": "Head width D", "as": "number" },
    "vocab_size": { "default": 50257, "min": 1, "max": 1000000, "label": "Vocabulary V", "as": "number" },
    "context_len": { "default": 1024, "min": 1, "max": 10000000, "label": "Context", "as": "number" },
    "n_experts": { "default": 1, "min": 1, "max": 512, "label": "Experts E", "as": "number" },
    "k": { "default": 1, "min": 1, "max": 512, "label": "used per token", "as": "number" },
    "tied": { "default": true, "label": "Head tied to the token table" },
    "top": { "default": "none", "label": "On top", "choices": { "none": "nothing", "pooler": "pooler",
      "mlm": "MLM head" } },
    "types": { "default": 2, "min": 1, "max": 2, "label": "Token types" },
    "n_sequences": { "default": 8, "min": 1, "max": 4096, "label": "Sequences B", "as": "number" },
    "n_tokens": { "default": 1024, "min": 1, "max": 10000000, "label": "Tokens T", "as": "number" },
    "n_gpus": { "default": 1, "min": 1, "max": 100000, "label": "GPUs", "as": "number" },
    "zero": { "default": "0", "label": "Shared out (ZeRO)", "choices": { "0": "nothing",
      "1": "1: optimizer", "2": "2: and gradients", "3": "3: and weights" } },
    "training_tokens": { "default": 10, "min": 0.001, "max": 100000, "step": 0.001,
      "label": "Billions of tokens", "as": "number" },
    "gpu": { "default": "A100", "label": "GPU", "choices": { "V100": "V100, 125 TFLOP/s",
      "A100": "A100, 312 TFLOP/s", "H100": "H100, 989 TFLOP/s" } },
    "mfu": { "default": 0.4, "min": 0.05, "max": 0.7, "step": 0.01, "label": "MFU (assumed)" },
    "price": { "default": 2, "min": 0.1, "max": 10, "step": 0.1, "label": "$ per GPU-hour" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

const gpt = (L, C, H, context_len, more = {}) => ({ family: "gpt", n_layers: L, d_model: C, d_ff: 4 * C,
  n_heads: H, n_kv_heads: H, d_head: Math.floor(C / H), vocab_size: 50257, context_len, tied: true, ...more });
const bert = (L, C, H, top, more = {}) => ({ ...gpt(L, C, H, 512), family: "bert", vocab_size: 30522, top,
  types: 2, ...more });
const t5 = (L, C, d_ff, H, D) => ({ family: "t5", n_layers: L, d_model: C, d_ff, n_heads: H,
  n_kv_heads: H, d_head: D, vocab_size: 32128, context_len: 512, tied: true });
const llama = (L, C, d_ff, H, Hkv, V, context_len, more = {}) => ({ family: "llama", n_layers: L,
  d_model: C, d_ff, n_heads: H, n_kv_heads: Hkv, d_head: C / H, vocab_size: V, context_len,
  tied: false, ...more });

export const PRESETS = {
  "gpt2": gpt(12, 768, 12, 1024), "gpt2-untied": gpt(12, 768, 12, 1024, { tied: false }),
  "gpt2-medium": gpt(24, 1024, 16, 1024), "gpt2-large": gpt(36, 1280, 20, 1024),
  "gpt2-xl": gpt(48, 1600, 25, 1024), "gpt3-small": gpt(12, 768, 12, 2048),
  "gpt3-xl": gpt(24, 2048, 16, 2048), "gpt3-2.7b": gpt(32, 2560, 32, 2048),
  "gpt3-6.7b": gpt(32, 4096, 32, 2048), "gpt3": gpt(96, 12288, 96, 2048),
  "bert": bert(12, 768, 12, "pooler"), "bert-plain": bert(12, 768, 12, "none"),
  "bert-mlm": bert(12, 768, 12, "mlm"), "bert-large": bert(24, 1024, 16, "pooler"),
  "bert-large-plain": bert(24, 1024, 16, "none"),
  "roberta": bert(12, 768, 12, "pooler", { vocab_size: 50265, context_len: 514, types: 1 }),
  "roberta-plain": bert(12, 768, 12, "none", { vocab_size: 50265, context_len: 514, types: 1 }),
  "albert": bert(12, 768, 12, "pooler", { family: "albert", vocab_size: 30000 }),
  "t5-small": t5(6, 512, 2048, 8, 64), "t5-base": t5(12, 768, 3072, 12, 64),
  "t5-large": t5(24, 1024, 4096, 16, 64), "t5-3b": t5(24, 1024, 16384, 32, 128),
  "t5-11b": t5(24, 1024, 65536, 128, 128),
  "llama2-7b": llama(32, 4096, 11008, 32, 32, 32000, 4096),
  "llama2-13b": llama(40, 5120, 13824, 40, 40, 32000, 4096),
  "llama1-33b": llama(60, 6656, 17920, 52, 52, 32000, 2048),
  "llama1-65b": llama(80, 8192, 22016, 64, 64, 32000, 2048),
  "llama2-70b": llama(80, 8192, 28672, 64, 8, 32000, 4096),
  "llama3-8b": llama(32, 4096, 14336, 32, 8, 128256, 8192),
  "llama3-70b": llama(80, 8192, 28672, 64, 8, 128256, 8192),
  "llama3.1-405b": llama(126, 16384, 53248, 128, 8, 128256, 131072),
  "llama3.2-1b": llama(16, 2048, 8192, 32, 8, 128256, 131072, { tied: true }),
  "llama3.2-3b": llama(28, 3072, 8192, 24, 8, 128256, 131072, { tied: true }),
  "tinyllama": llama(22, 2048, 5632, 32, 4, 32000, 2048),
  "mistral-7b": llama(32, 4096, 14336, 32, 8, 32000, 8192),
  "mixtral": llama(32, 4096, 14336, 32, 8, 32000, 32768, { n_experts: 8, k: 2 }),
  "lab-64": gpt(2, 64, 4, 64, { vocab_size: 256 }), "lab": gpt(2, 64, 4, 128, { vocab_size: 256 }),
  "lab-128": gpt(4, 128, 4, 128, { vocab_size: 256 }),
};

// The configuration of a preset, complete.
export const preset = (name) => ({ n_experts: 1, k: 1, top: "none", types: 2, ...PRESETS[name] });

const EMBED = 128;                                    // ALBERT's factorised embedding
const BUCKETS = 32;                                   // T5's relative positions

// Parameters by piece: { tokens, positions, attention, ffn, norms, head }; a tied head is counted once.
export function pieces(s) {
  const { n_layers: L, d_model: C, d_ff: F, vocab_size: V, context_len: P, n_heads: H } = s;
  const inner = s.n_heads * s.d_head, keys = s.n_kv_heads * s.d_head;
  if (s.family === "llama") {
    const router = s.n_experts > 1 ? s.n_experts * C : 0;
    return { tokens: V * C, positions: 0, attention: L * (2 * C * inner + 2 * C * keys),
      ffn: L * (s.n_experts * 3 * C * F + router), norms: L * 2 * C + C, head: s.tied ? 0 : V * C };
  }
  if (s.family === "t5") {
    return { tokens: V * C, positions: 2 * BUCKETS * H, attention: 3 * L * 4 * C * inner,
      ffn: 2 * L * 2 * C * F, norms: L * 5 * C + 2 * C, head: s.tied ? 0 : V * C };
  }
  const block = { attention: 4 * C * C + 4 * C, ffn: 2 * C * F + F + C, norms: 4 * C };
  const depth = s.family === "albert" ? 1 : L;        // ALBERT uses one block again and again
  const [attention, ffn, norms] = ["attention", "ffn", "norms"].map((part) => depth * block[part]);
  if (s.family === "gpt") {
    return { tokens: V * C, positions: P * C, attention, ffn, norms: norms + 2 * C,
      head: s.tied ? 0 : V * C };
  }
  const e = s.family === "albert" ? EMBED : C;
  const top = { none: 0, pooler: C * C + C, mlm: C * C + C + 2 * C + V }[s.top];
  return { tokens: V * e + s.types * e + (s.family === "albert" ? e * C + C : 0), positions: P * e, attention, ffn,
    norms: norms + 2 * e, head: top + (s.top === "mlm" && !s.tied ? V * C : 0) };
}

export const total = (s) => Object.values(pieces(s)).reduce((a, b) => a + b, 0);

// Parameters that one token meets: of the experts only k.
export const active = (s) =>
  total(s) - s.n_layers * (s.n_experts - Math.min(s.k, s.n_experts)) * 3 * s.d_model * s.d_ff
    * (s.family === "llama" ? 1 : 0);

// Bytes per GPU of mixed-precision AdamW: 2 weights, 2 gradients, 12 optimizer; ZeRO shares them out.
export function stateBytes(n, zero, nGpus) {
  const share = (stage) => (Number(zero) >= stage ? nGpus : 1);
  return { weights: 2 * n / share(3), gradients: 2 * n / share(2), optimizer: 12 * n / share(1) };
}

// Bytes of activations for one step in 16 bits (GPT shape), nothing recomputed.
export const activationBytes = (s, B, T) =>
  s.n_layers * (34 * B * T * s.d_model + 5 * B * s.n_heads * T * T);

// Bytes of keys and values per token, 16 bits; an encoder keeps none.
export const cacheBytes = (s) => (s.family === "bert" || s.family === "albert" ? 0
  : 2 * s.n_layers * s.n_kv_heads * s.d_head * 2);

export const PEAK = { V100: 125e12, A100: 312e12, H100: 989e12 };

export const trainingFlops = (n, nTokens) => 6 * n * nTokens;
export const gpuHours = (flops, gpu, mfu) => flops / (PEAK[gpu] * mfu) / 3600;

// --- what is shown --------------------------------------------------------------------------------

const CONFIG = ABOUT.options.preset.fills;
const FIELDS = {
  gpt: ["context_len", "tied"], bert: ["context_len", "top", "types"], albert: ["context_len", "top"],
  t5: ["d_head", "tied"], llama: ["n_kv_heads", "d_head", "n_experts", "tied"],
};
const LABELS = {
  tokens: "token table", positions: "positions", attention: "attention", ffn: "feed-forward",
  norms: "norms", head: "head", weights: "weights", gradients: "gradients",
  optimizer: "optimizer (master, m, v)", activations: "activations", cache: "KV cache",
};
const COLOURS = ["c1", "c6", "c2", "c3", "c5", "c4"];
const FORMULAS = {
  gpt: (s) => `V·C + P·C + L·(4C² + 4C + 2C·d_ff + d_ff + C + 4C) + 2C${s.tied ? "" : " + V·C"}`,
  bert: (s) => `(V + P + ${s.types})·C + 2C + L·(4C² + 4C + 2C·d_ff + d_ff + C + 4C)`
    + { none: "", pooler: " + C² + C", mlm: " + C² + C + 2C + V" }[s.top],
  albert: (s) => `(V + P + ${s.types} + 2)·128 + 128·C + C + one block (4C² + 4C + 2C·d_ff + d_ff`
    + " + C + 4C)" + { none: "", pooler: " + C² + C", mlm: " + C² + C + 2C + V" }[s.top],
  t5: (s) => `V·C + L·(4C·H·D + 2C·d_ff + 2C) + L·(8C·H·D + 2C·d_ff + 3C) + 2C + 2·32·H`
    + (s.tied ? "" : " + V·C"),
  llama: (s) => `L·(2C·H·D + 2C·Hkv·D + ${s.n_experts > 1 ? "E·3C·d_ff + E·C" : "3C·d_ff"} + 2C) + `
    + `${s.tied ? "" : "2·"}V·C + C`,
};
const gib = (bytes) => bytes / 2 ** 30;
const amount = (n) => (n >= 99.5 && n < 1e6 ? whole(n) : short(n));
const bytesText = (n) => short(n, ["B", "kB", "MB", "GB", "TB", "PB"]);

// The parts of the chosen view: [key, amount, text].
export function bars(s) {
  const n = total(s);
  if (s.view === "parameters") {
    return Object.entries(pieces(s)).filter(([, v]) => v).map(([key, v]) => [key, v, whole(v)]);
  }
  const parts = { ...stateBytes(n, s.zero, s.n_gpus), activations:
    activationBytes(s, s.n_sequences, s.n_tokens), cache: s.n_sequences * s.n_tokens * cacheBytes(s) };
  return Object.entries(parts).filter(([, v]) => v).map(([key, v]) => [key, v, bytesText(v)]);
}

function stacked(s) {
  const rows = bars(s), isMemory = s.view === "memory";
  const stack = isMemory ? rows.filter(([key]) => key !== "cache") : rows;
  const sum = stack.reduce((a, [, v]) => a + v, 0), colour = (i) => `var(--ex-${COLOURS[i % 6]})`;
  let x = 10;
  const bar = stack.map(([, v], i) => {
    const width = 320 * v / sum, part = svgRect(x, 30, width, 30,
      `fill="${colour(i)}" stroke="var(--ex-ground)" stroke-width="${width > 4 ? 1.5 : 0}"`);
    x += width;
    return part;
  }).join("");
  const list = rows.map(([key, v, text], i) => {
    const y = 84 + 24 * i, inStack = stack.length > i;
    return svgRect(10, y - 10, 12, 12, `rx="2" fill="${colour(i)}"`) + svgText(29, y, LABELS[key])
      + svgText(276, y, text, 'text-anchor="end"')
      + svgText(330, y, inStack ? `${(100 * v / sum).toFixed(1)} %` : "",
        'text-anchor="end" fill="var(--ex-muted)"');
  }).join("");
  const title = isMemory ? `Training, per GPU: ${bytesText(sum)}` : `${whole(sum)} parameters`;
  return svgFigure(340, 74 + 24 * rows.length, `${title}: ` + rows.map(
    ([key, , text]) => `${LABELS[key]} ${text}`).join(", "),
  svgText(10, 18, title, 'font-weight="700" font-size="14"') + bar + list);
}

// Hours against MFU for the three GPUs, on logarithmic bars.
function costFigure(s) {
  const n = active(s), flops = trainingFlops(n, s.training_tokens * 1e9);
  const rows = Object.keys(PEAK).map((gpu) => [gpu, gpuHours(flops, gpu, s.mfu)]);
  const longest = rows[0][1];
  const body = rows.map(([gpu, hours], i) => {
    const y = 44 + 42 * i, chosen = gpu === s.gpu, width = Math.max(2, 200 * hours / longest);
    return svgText(48, y + 15, gpu, `text-anchor="end"${chosen ? ' font-weight="700"' : ""}`)
      + svgRect(56, y, width, 22, `rx="2" fill="var(--ex-${chosen ? "accent" : "line"})"`)
      + svgText(56 + width + 6, y + 15, `${amount(hours)} h`, chosen ? 'font-weight="700"' : "");
  }).join("");
  return svgFigure(340, 174, `GPU-hours: ${rows.map(([g, h]) => `${g} ${amount(h)}`).join(", ")}`,
    svgText(10, 20, `${flops.toExponential(2)} FLOPs`, 'font-weight="700" font-size="14"')
    + svgLine(56, 36, 56, 168, 'stroke="var(--ex-muted)"') + body);
}

function summary(s) {
  const n = total(s), line = (text) => `<p>${text}</p>`;
  const formula = (text) => `<p class="ex-formula">${text}</p>`;
  if (s.view === "parameters") {
    const { ffn, attention, norms } = pieces(s);
    const moe = active(s) < n ? line(`A token meets <strong>${whole(active(s))}</strong> of them.`) : "";
    return formula(FORMULAS[s.family](s)) + line(`= <strong>${whole(n)}</strong> parameters`) + moe
      + line(`The feed-forward layers hold ${(100 * ffn / n).toFixed(1)} % of the model and `
        + `${(100 * ffn / (ffn + attention + norms)).toFixed(1)} % of its blocks.`);
  }
  if (s.view === "memory") {
    const perToken = cacheBytes(s), parts = stateBytes(n, s.zero, s.n_gpus);
    const held = parts.weights + parts.gradients + parts.optimizer;
    return formula(`16 bytes · ${whole(n)} = ${(16 * n / 1e9).toFixed(2)} GB`)
      + line(`Weights, gradients and optimizer: <strong>${(held / 1e9).toFixed(2)} GB</strong> per GPU. `
        + `The weights alone in bf16: ${(2 * n / 1e9).toFixed(2)} GB; int8: ${(n / 1e9).toFixed(2)} GB; `
        + `4.5 bit: ${(4.5 * n / 8e9).toFixed(2)} GB.`)
      + (perToken ? line(`For writing, not for training: the KV cache, ${whole(perToken)} bytes per token, `
        + `<strong>${gib(perToken * s.n_sequences * s.n_tokens).toFixed(3)} GiB</strong> for `
        + `${whole(s.n_sequences)} × ${whole(s.n_tokens)} tokens.`) : "")
      + line("Activations: 16 bit, nothing recomputed, GPT shape.");
  }
  const counted = active(s), flops = trainingFlops(counted, s.training_tokens * 1e9);
  const hours = gpuHours(flops, s.gpu, s.mfu);
  return formula(`6 · ${whole(counted)} · ${esc(s.training_tokens)}e9 = ${flops.toExponential(3)} FLOPs`)
    + formula(`/ (${PEAK[s.gpu] / 1e12}e12 · ${s.mfu.toFixed(2)} · 3600) = ${whole(hours)} GPU-hours`)
    + line(`On ${whole(s.n_gpus)} GPU${s.n_gpus > 1 ? "s" : ""}: <strong>${amount(hours / 24 / s.n_gpus)} days</strong>, `
      + `<strong>$${amount(hours * s.price)}</strong> at $${s.price.toFixed(2)} per hour. `
      + `${(s.training_tokens * 1e9 / counted).toFixed(2)} tokens per parameter.`);
}

export function view(s) {
  const shown = ["preset", "view"];
  if (s.view === "parameters") {
    shown.push("family", "n_layers", "d_model", "d_ff", "n_heads", "vocab_size", ...FIELDS[s.family],
      ...(s.family === "llama" && s.n_experts > 1 ? ["k"] : []));
  } else if (s.view === "memory") shown.push("n_sequences", "n_tokens", "n_gpus", "zero");
  else shown.push("training_tokens", "gpu", "mfu", "n_gpus", "price");
  const limits = { mfu: { text: (v) => v.toFixed(2) }, price: { text: (v) => v.toFixed(2) } };
  return { svg: s.view === "cost" ? costFigure(s) : stacked(s), summary: summary(s), shown, limits };
}

// A preset decides its fields, whatever the state says of them.
export const settle = (s) => (s.preset === "own" ? s : { ...s, ...preset(s.preset) });

export function follow(s, key) {
  if (key === "preset") {
    const chosen = settle(s);
    return { ...Object.fromEntries(CONFIG.map((name) => [name, chosen[name]])),
      n_tokens: Math.min(chosen.context_len, 8192) };
  }
  if (!CONFIG.includes(key)) return {};
  const own = Object.fromEntries(CONFIG.map((name) => [name, s[name]]));
  if (s.family !== "llama") Object.assign(own, { n_kv_heads: s.n_heads, n_experts: 1, k: 1 });
  if (!["llama", "t5"].includes(s.family)) own.d_head = Math.max(1, Math.floor(s.d_model / s.n_heads));
  return { ...own, preset: "own" };
}

export default explorer({ ABOUT, view, settle, follow });
