// Memory of a model on each GPU: in training, shared out over many GPUs, and when it answers.
// Closed formulas in bytes. Logits, buffers of communication and gaps between tensors are left out, so a
// real run needs somewhat more. The latency is a floor: reading all weights once for each token.
import { explorer, svgFigure, svgKey, svgLine, svgRect, svgStack, svgText, short, whole } from "./kit.js";
import MODELS from "./models.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "memory",
  "ask": "A model of 7 billion parameters takes 13.5 GB in 16 bits. How many times that does training need, and does it fit a GPU of 80 GB? Then share it over 8 GPUs: which ZeRO stage is the first that fits?",
  "options": {
    "preset": { "default": "llama2-7b", "label": "Model", "wide": true, "otherwise": "own",
      "fills": ["n_params", "n_layers", "d_model", "d_ff", "n_heads", "n_kv_heads", "d_head", "gated"],
      "choices": { "own": "my own numbers", "gpt2": "GPT-2 small", "gpt2-xl": "GPT-2 xl", "gpt3": "GPT-3 175B",
      "bert": "BERT-base, with pooler", "llama2-7b": "Llama 1 and 2 7B",
      "llama2-13b": "Llama 1 and 2 13B", "llama1-65b": "Llama 1 65B", "llama2-70b": "Llama 2 70B",
      "llama3-8b": "Llama 3 8B", "llama3-70b": "Llama 3 70B", "llama3.1-405b": "Llama 3.1 405B",
      "llama3.2-1b": "Llama 3.2 1B", "llama3.2-3b": "Llama 3.2 3B", "tinyllama": "TinyLlama 1.1B",
      "mistral-7b": "Mistral 7B", "mixtral": "Mixtral 8x7B", "lab": "lab model, C 64" } },
    "view": { "default": "training", "label": "Memory of", "as": "radio", "wide": true, "choices": {
      "training": "training", "sharing": "ways to share it", "serving": "serving" } },
    "n_params": { "default": 6738415616, "min": 1, "max": 100000000000000, "label": "Parameters", "as": "number",
      "wide": true },
    "n_layers": { "default": 32, "min": 1, "max": 512, "label": "Layers L", "as": "number" },
    "d_model": { "default": 4096, "min": 1, "max": 65536, "label": "Width C", "as": "number" },
    "d_ff": { "default": 11008, "min": 1, "max": 524288, "label": "Inner width d_ff", "as": "number" },
    "n_heads": { "default": 32, "min": 1, "max": 1024, "label": "Heads H", "as": "number" },
    "n_kv_heads": { "default": 32, "min": 1, "max": 1024, "label": "Key heads Hkv", "as": "number" },
    "d_head": { "default": 128, "min": 1, "max": 4096, "label": "Head width D", "as": "number" },
    "gated": { "default": true, "label": "SwiGLU (three matrices)" },
    "train": { "default": "all", "label": "Train", "choices": { "all": "all weights",
      "lora-qv": "LoRA: q and v", "lora-all": "LoRA: all maps" } },
    "rank": { "default": 16, "min": 1, "max": 256, "label": "Rank r", "as": "number" },
    "base": { "default": "16", "label": "Frozen base in", "choices": { "16": "bf16", "8": "int8",
      "4.5": "NF4, 4.5 bits", "4.127": "NF4 twice, 4.127 bits" } },
    "precision": { "default": "mixed", "label": "Numbers", "choices": {
      "mixed": "bf16, float32 master", "fp32": "float32", "bf16": "bf16 alone" } },
    "optimizer": { "default": "adamw", "label": "Optimizer", "choices": { "adamw": "AdamW",
      "adam8": "AdamW, 8 bits", "momentum": "SGD, momentum", "sgd": "SGD" } },
    "zero": { "default": "0", "label": "Shared out (ZeRO)", "choices": { "0": "nothing",
      "1": "1: optimizer", "2": "2: and gradients", "3": "3: and weights" } },
    "n_gpus": { "default": 8, "min": 1, "max": 100000, "label": "GPUs", "as": "number" },
    "batch": { "default": 1, "min": 1, "max": 4096, "label": "Sequences B", "as": "number" },
    "n_tokens": { "default": 4096, "min": 1, "max": 10000000, "label": "Tokens T", "as": "number" },
    "flash": { "default": true, "label": "Flash attention" },
    "checkpoint": { "default": false, "label": "Checkpointing" },
    "bits": { "default": "16", "label": "Weights in", "choices": { "16": "bf16", "8": "int8",
      "4.5": "4.5 bits", "4.127": "4.127 bits" } },
    "cache_bits": { "default": "16", "label": "Cache in", "choices": { "16": "16 bits", "8": "8 bits" } },
    "kv": { "default": "built", "label": "Key and value heads", "choices": { "built": "as built",
      "all": "one per query head", "one": "one for all" } },
    "users": { "default": 8, "min": 1, "max": 100000, "label": "Users at once", "as": "number" },
    "context": { "default": 4096, "min": 1, "max": 10000000, "label": "Tokens each", "as": "number" },
    "gpu": { "default": "H100", "label": "GPU", "choices": { "T4": "T4, 320 GB/s", "L4": "L4, 300 GB/s",
      "A100-40": "A100-40, 1,555 GB/s", "A100-80": "A100-80, 2,039 GB/s", "H100": "H100, 3,350 GB/s" } }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// Dense 16-bit FLOP/s, bytes per second and bytes of memory, from NVIDIA's data sheets.
export const GPUS = {
  "T4": { peak: 65e12, bandwidth: 320e9, memory: 16e9 },
  "L4": { peak: 121e12, bandwidth: 300e9, memory: 24e9 },
  "A100-40": { peak: 312e12, bandwidth: 1555e9, memory: 40e9 },
  "A100-80": { peak: 312e12, bandwidth: 2039e9, memory: 80e9 },
  "H100": { peak: 989e12, bandwidth: 3350e9, memory: 80e9 },
};

// The numbers of a preset as the explorer's options name them.
export const preset = (name) => {
  const { total, family, ...m } = MODELS[name];
  return { n_params: total, n_layers: m.n_layers, d_model: m.d_model, d_ff: m.d_ff, n_heads: m.n_heads,
    n_kv_heads: m.n_kv_heads, d_head: m.d_head, gated: family === "llama" };
};

// Bytes per trained parameter: { weights, gradients, optimizer }.
export function bytesEach(precision, optimizer) {
  const wide = precision === "bf16" ? 2 : 4, master = precision === "mixed" ? 4 : 0;
  const moments = { adamw: 2 * wide, adam8: 2, momentum: wide, sgd: 0 }[optimizer];
  const each = precision === "fp32" ? 4 : 2;
  return { weights: each, gradients: each, optimizer: master + moments };
}

// Parameters of low-rank adapters: rank · (rows + columns) of each matrix they stand beside.
export function loraParams(m, train, rank, nExperts = 1) {
  const inner = m.n_heads * m.d_head, keys = m.n_kv_heads * m.d_head, C = m.d_model;
  const qv = (C + inner) + (C + keys);
  const rest = (C + keys) + (inner + C) + nExperts * (m.gated ? 3 : 2) * (C + m.d_ff);
  return m.n_layers * rank * (train === "all" ? 0 : train === "lora-qv" ? qv : qv + rest);
}

// Bytes per GPU of n trained parameters, and of n frozen ones beside them; ZeRO shares them out.
export function stateBytes(n, each, zero, nGpus, frozen = 0) {
  const share = (stage) => (Number(zero) >= stage ? nGpus : 1);
  return { weights: (each.weights * n + frozen) / share(3), gradients: each.gradients * n / share(2),
    optimizer: each.optimizer * n / share(1) };
}

// Bytes of activations for one step in 16 bits (GPT shape). Flash attention keeps no scores;
// checkpointing keeps the input of each block alone.
export const activationBytes = (m, B, T, flash, checkpoint) => (checkpoint
  ? 2 * m.n_layers * B * T * m.d_model
  : m.n_layers * (34 * B * T * m.d_model + (flash ? 0 : 5 * B * m.n_heads * T * T)));

// With checkpointing one block stands in full while it is computed again.
export const blockBytes = (m, B, T, flash, checkpoint) =>
  (checkpoint ? activationBytes({ ...m, n_layers: 1 }, B, T, flash, false) : 0);

// Bytes per GPU when g GPUs share training in one way: "dp", "zero1" to "zero3", "tensor", "pipeline".
// Tensor parallelism leaves 10 of the 34 whole on each GPU; the first stage of a pipeline holds the
// activations of as many micro-batches as there are stages, so it saves none of them.
export function sharedBytes(m, each, way, g, B, T, flash, checkpoint) {
  const isCut = way === "tensor" || way === "pipeline";
  const states = isCut ? stateBytes(m.n_params / g, each, "0", 1)
    : stateBytes(m.n_params, each, way === "dp" ? "0" : way.slice(4), g);
  const whole = activationBytes(m, B, T, flash, checkpoint), block = blockBytes(m, B, T, flash, checkpoint);
  const kept = (bytes, layers) => 10 * layers * B * T * m.d_model + (bytes - 10 * layers * B * T * m.d_model) / g;
  return { ...states,
    activations: way === "tensor" && !checkpoint ? kept(whole, m.n_layers) : whole,
    block: way === "tensor" && checkpoint ? kept(block, 1) : block };
}

export const weightBytes = (n, bits) => n * Number(bits) / 8;

// Bytes of keys and values per token.
export const cacheBytes = (m, bits) => 2 * m.n_layers * m.n_kv_heads * m.d_head * Number(bits) / 8;

// Seconds for one token of each user: every weight that a token meets and every cached key is read once,
// or the GPU computes for longer than that.
export function stepSeconds(active, bits, cache, users, gpu) {
  const read = weightBytes(active, bits) + cache;
  return Math.max(read / GPUS[gpu].bandwidth, 2 * active * users / GPUS[gpu].peak);
}

// --- what is shown --------------------------------------------------------------------------------

const CONFIG = ABOUT.options.preset.fills;
const LINES = [16e9, 40e9, 80e9];
const PARTS = {
  weights: ["c1", "weights"], gradients: ["c6", "gradients"], optimizer: ["c3", "optimizer"],
  activations: ["c2", "activations"], block: ["c5", "one block again"], cache: ["c4", "KV cache"],
};
const WAYS = { dp: "data parallel", zero1: "ZeRO 1", zero2: "ZeRO 2", zero3: "ZeRO 3, FSDP",
  tensor: "tensor", pipeline: "pipeline" };
const bytesText = (n) => short(n, ["B", "kB", "MB", "GB", "TB", "PB"]);
const gb = (n) => `${n < 1e12 ? (n / 1e9).toFixed(2) : whole(n / 1e9)} GB`;
const gib = (n) => `${(n / 2 ** 30).toFixed(3)} GiB`;
const sum = (parts) => Object.values(parts).reduce((a, b) => a + b, 0);
const line = (text) => `<p>${text}</p>`;
const formula = (text) => `<p class="ex-formula">${text}</p>`;
const known = (s) => (s.preset === "own" ? null : MODELS[s.preset]);
const active = (s) => known(s)?.active ?? s.n_params;
const isEncoder = (s) => known(s)?.family === "bert";

// All parts of a state of training; those of a state of serving.
export function training(s) {
  const n = s.train === "all" ? s.n_params : loraParams(s, s.train, s.rank, known(s)?.n_experts);
  const frozen = s.train === "all" ? 0 : weightBytes(s.n_params, s.base);
  const kept = [s.batch, s.n_tokens, s.flash, s.checkpoint];
  return { ...stateBytes(n, bytesEach(s.precision, s.optimizer), s.zero, s.n_gpus, frozen),
    activations: activationBytes(s, ...kept), block: blockBytes(s, ...kept) };
}

export function serving(s) {
  const n_kv_heads = { built: s.n_kv_heads, all: s.n_heads, one: 1 }[s.kv];
  const perToken = isEncoder(s) ? 0 : cacheBytes({ ...s, n_kv_heads }, s.cache_bits);
  return { weights: weightBytes(s.n_params, s.bits), perToken, cache: perToken * s.users * s.context };
}

// The end of an axis on which `most` bytes stand, and the lines of GPUs on it.
function axis(most, x, width, top, bottom) {
  const full = 1.05 * (LINES.find((size) => size >= most) ?? most);
  const at = (size) => x + width * size / full;
  const shown = LINES.filter((size, i) => size <= full
    && (LINES[i + 1] > full || i === 2 || at(LINES[i + 1]) - at(size) > 40));
  return [full, shown.map((size) => svgText(at(size), top - 5, `${size / 1e9} GB`,
    'text-anchor="middle" fill="var(--ex-muted)" font-size="11"')
    + svgLine(at(size), top, at(size), bottom, 'stroke="var(--ex-text)" stroke-dasharray="4 3"')).join("")];
}

const fits = (bytes) => {
  const size = LINES.find((each) => bytes <= each);
  return size ? `fits ${size / 1e9} GB` : "more than 80 GB";
};

function stacked(title, parts) {
  const rows = Object.entries(parts).filter(([, v]) => v), total = sum(parts);
  const [full, lines] = axis(total, 10, 320, 42, 82);
  return [104 + 24 * rows.length, svgText(10, 18, title, 'font-weight="700" font-size="14"')
    + svgStack(rows.map(([key, v]) => [v, PARTS[key][0]]), 10, 47, 320, 30, full) + lines
    + svgKey(rows.map(([key, v]) => [...PARTS[key], bytesText(v), `${(100 * v / total).toFixed(1)} %`]), 106),
  rows.map(([key, v]) => `${PARTS[key][1]} ${bytesText(v)}`).join(", ")];
}

function trainingView(s) {
  const parts = training(s), total = sum(parts), each = bytesEach(s.precision, s.optimizer);
  const title = `Per GPU: ${bytesText(total)}, ${fits(total)}`;
  const [height, body, label] = stacked(title, parts);
  const { weights, gradients, optimizer } = parts, held = weights + gradients + optimizer;
  const all = sum(each), n = s.train === "all" ? s.n_params : loraParams(s, s.train, s.rank, known(s)?.n_experts);
  const text = `${each.weights} + ${each.gradients} + ${each.optimizer} = ${all} bytes · ${whole(n)} = ${gb(all * n)}`;
  const score = s.flash ? "" : " + 5·B·H·T²";
  return { svg: svgFigure(340, height - 16, `${title}: ${label}`, body), summary:
    formula(text) + (s.train === "all" ? "" : line(`${whole(n)} parameters are trained, `
      + `${(100 * n / s.n_params).toFixed(3)} % of the model; the frozen rest takes `
      + `${gb(weightBytes(s.n_params, s.base))}.`))
    + line(`Weights, gradients and optimizer: <strong>${gb(held)}</strong> per GPU (${gib(held)})`
      + `${s.zero !== "0" && s.n_gpus > 1 ? `, shared by ${whole(s.n_gpus)}` : ""}.`)
    + formula(s.checkpoint ? "L·2·B·T·C" : `L·(34·B·T·C${score})`)
    + line(`Activations: <strong>${gib(parts.activations)}</strong> in 16 bits, GPT shape`
      + `${s.checkpoint ? ", and one block in full while it is computed again" : ""}. `
      + "Left out: logits, buffers, gaps.") };
}

function sharingView(s) {
  const each = bytesEach(s.precision, s.optimizer), kept = [s.batch, s.n_tokens, s.flash, s.checkpoint];
  const limit = { tensor: [s.n_heads, "heads"], pipeline: [s.n_layers, "layers"] };
  const rows = Object.keys(WAYS).map((way) => (s.n_gpus > (limit[way]?.[0] ?? Infinity)
    ? [way, null, `only ${limit[way].join(" ")}`]
    : [way, sharedBytes(s, each, way, s.n_gpus, ...kept), ""]));
  const totals = rows.filter(([, parts]) => parts).map(([, parts]) => sum(parts));
  const most = Math.max(...totals), least = Math.min(...totals);
  const [full, lines] = axis(most, 100, 190, 42, 238);
  const body = rows.map(([way, parts, why], i) => {
    const y = 50 + 32 * i;
    const end = parts ? 100 + 190 * sum(parts) / full : 100;
    return svgText(94, y + 15, WAYS[way], 'text-anchor="end"')
      + (parts ? svgStack(Object.entries(parts).filter(([, v]) => v).map(([key, v]) => [v, PARTS[key][0]]),
        100, y, 190, 22, full) : "")
      + svgText(end + 5, y + 15, parts ? bytesText(sum(parts)) : why,
        `font-weight="${parts ? 600 : 400}" stroke="var(--ex-ground)" stroke-width="4" paint-order="stroke"`);
  }).join("");
  const key = Object.keys(rows[0][1]).filter((part) => rows[0][1][part]);
  const keys = key.map((part, i) => svgRect(10 + 112 * (i % 3), 250 + 20 * Math.floor(i / 3), 11, 11,
    `rx="2" fill="var(--ex-${PARTS[part][0]})"`)
    + svgText(26 + 112 * (i % 3), 260 + 20 * Math.floor(i / 3), PARTS[part][1])).join("");
  const title = `Per GPU, on ${whole(s.n_gpus)} GPU${s.n_gpus > 1 ? "s" : ""}`;
  const words = rows.map(([way, parts, why]) => `${WAYS[way]} ${parts ? bytesText(sum(parts)) : why}`);
  const good = rows.filter(([, parts]) => parts && sum(parts) <= 80e9).map(([way]) => WAYS[way]);
  return { svg: svgFigure(340, 292, `${title}: ${words.join(", ")}`,
    svgText(10, 18, title, 'font-weight="700" font-size="14"') + lines + body + keys), summary:
    line(`From <strong>${gb(most)}</strong> to <strong>${gb(least)}</strong> per GPU. `
      + `Fits 80 GB: ${good.join("; ") || "none"}.`)
    + line("Data parallelism copies the model, ZeRO shares its states out, tensor parallelism cuts each "
      + "matrix, a pipeline deals out the layers.")
    + line("B is what one GPU works on at a time; with tensor and pipeline, what the group does. The first "
      + "stage of a pipeline keeps the activations of as many micro-batches as it has stages, so "
      + "it saves none of them.") };
}

function servingView(s) {
  const { weights, perToken, cache } = serving(s), total = weights + cache, gpu = GPUS[s.gpu];
  const title = `Serving: ${bytesText(total)}, ${fits(total)}`;
  const [height, body, label] = stacked(title, { weights, cache });
  const floors = Object.keys(GPUS).map((name) =>
    [name, 1000 * stepSeconds(active(s), s.bits, 0, 1, name)]);
  const longest = Math.max(...floors.map(([, ms]) => ms)), top = height + 12;
  const bars = floors.map(([name, ms], i) => {
    const y = top + 12 + 26 * i, isChosen = name === s.gpu, width = Math.max(2, 150 * ms / longest);
    const note = GPUS[name].memory < weights ? ", too small" : "";
    return svgText(62, y + 14, name, `text-anchor="end"${isChosen ? ' font-weight="700"' : ""}`)
      + svgRect(70, y, width, 19, `rx="2" fill="var(--ex-${isChosen ? "accent" : "line"})"`)
      + svgText(76 + width, y + 14, `${short(ms)} ms${note}`, isChosen ? 'font-weight="700"' : "");
  }).join("");
  const ms = 1000 * stepSeconds(active(s), s.bits, cache, s.users, s.gpu);
  const words = floors.map(([name, each]) => `${name} ${short(each)} ms`).join(", ");
  const read = active(s) < s.n_params ? `${whole(active(s))} of ${whole(s.n_params)} weights are read`
    : "all weights are read";
  return { svg: svgFigure(340, top + 150, `${title}: ${label}. Floor for one user: ${words}`, body
    + svgText(10, top, "Floor per token, one user, empty cache", 'font-weight="700"') + bars), summary:
    (perToken ? formula(`2·L·Hkv·D·${Number(s.cache_bits) / 8} = ${whole(perToken)} bytes per token`)
      + line(`KV cache: <strong>${gib(cache)}</strong> for ${whole(s.users)} × ${whole(s.context)} tokens; `
        + `weights ${gb(weights)}; together <strong>${gb(total)}</strong>.`)
      : line(`An encoder keeps no cache. Weights: <strong>${gb(weights)}</strong>.`))
    + line(`On the ${s.gpu}, for one user ${read} at ${whole(gpu.bandwidth / 1e9)} GB/s: at least `
      + `<strong>${short(1000 * stepSeconds(active(s), s.bits, 0, 1, s.gpu))} ms</strong> per token. `
      + `With ${whole(s.users)} user${s.users > 1 ? "s" : ""} and the cache: ${short(ms)} ms, `
      + `${whole(1000 * s.users / ms)} tokens/s${total > gpu.memory ? ", if it fitted" : ""}`
      + `${active(s) < s.n_params && s.users > 1 ? "; fewer, as other users need other experts" : ""}.`)
    + line(`Weights in bf16: ${gb(2 * s.n_params)}; int8: ${gb(s.n_params)}; 4.5 bit: ${gb(4.5 * s.n_params / 8)}.`) };
}

const VIEWS = { training: trainingView, sharing: sharingView, serving: servingView };
const TRAINED = ["precision", "optimizer", "batch", "n_tokens", "flash", "checkpoint"];

export function view(s) {
  const shown = ["preset", "view", ...(s.preset === "own" ? CONFIG : []), ...{
    training: ["train", "zero", ...TRAINED, ...(s.train === "all" ? [] : ["rank", "base"]),
      ...(s.zero === "0" ? [] : ["n_gpus"])],
    sharing: ["n_gpus", ...TRAINED], serving: ["bits", "cache_bits", "kv", "users", "context", "gpu"] }[s.view]];
  return { ...VIEWS[s.view](s), shown };
}

// A preset decides its numbers, whatever the state says of them.
export const settle = (s) => (s.preset === "own" ? s : { ...s, ...preset(s.preset) });

export const follow = (s, key) => (key === "preset" && s.preset !== "own" ? preset(s.preset) : {});

export default explorer({ ABOUT, view, settle, follow });
