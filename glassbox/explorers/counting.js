// Parameters of any transformer, from its configuration, in exact whole numbers.
// Closed formulas; tests compare every preset with a table computed in Python. What a model needs in
// memory, FLOPs and money is shown by the explorers memory and cost.
import { explorer, svgFigure, svgKey, svgStack, svgText, whole } from "./kit.js";
import MODELS from "./models.json" with { type: "json" };

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
    "guess": { "default": 0, "min": 0, "max": 9000000000000000, "label": "My count, to check", "wide": true,
      "as": "number" },
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
    "types": { "default": 2, "min": 1, "max": 2, "label": "Token types" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// The configuration of a preset, complete.
export const preset = (name) =>
  Object.fromEntries(ABOUT.options.preset.fills.map((key) => [key, MODELS[name][key]]));

const EMBED = 128;                                    // ALBERT's factorised embedding
const BUCKETS = 32;                                   // T5's relative positions

// A tensor of all copies together: { name, part, size, out: columns }.
const tensor = (name, part, copies, ...shape) =>
  ({ name, part, size: shape.reduce((a, b) => a * b, copies), out: copies * shape.at(-1) });
const linear = (name, part, rows, columns, copies, hasBias) => [
  tensor(`${name}.weight`, part, copies, rows, columns),
  ...(hasBias ? [tensor(`${name}.bias`, part, copies, columns)] : [])];
const norm = (name, width, copies, hasShift, part = "norm") => [
  tensor(`${name}.scale`, part, copies, width), ...(hasShift ? [tensor(`${name}.shift`, part, copies, width)] : [])];

function attention(s, name, copies, hasBias) {
  const C = s.d_model, wide = s.family === "llama" || s.family === "t5" ? s.n_heads * s.d_head : C;
  const narrow = s.family === "llama" ? s.n_kv_heads * s.d_head : wide;    // the others know no GQA
  return [["query", C, wide], ["key", C, narrow], ["value", C, narrow], ["out", wide, C]].flatMap(
    ([each, rows, columns]) => linear(`${name}.${each}`, "attention", rows, columns, copies, hasBias));
}

const feedForward = (s, name, maps, copies, hasBias) => maps.flatMap((each) => linear(`${name}.${each}`,
  "feed_forward", ...(each === "down" ? [s.d_ff, s.d_model] : [s.d_model, s.d_ff]), copies, hasBias));

const plainBlocks = (s, copies) => [...attention(s, "block.attention", copies, true),
  ...feedForward(s, "block.ff", ["up", "down"], copies, true),
  ...norm("block.norm1", s.d_model, copies, true), ...norm("block.norm2", s.d_model, copies, true)];

const output = (s, width) => (s.tied ? [] : [tensor("output.weight", "head", 1, width, s.vocab_size)]);

const FAMILIES = {
  gpt: (s) => [tensor("position.weight", "position", 1, s.context_len, s.d_model),
    ...plainBlocks(s, s.n_layers), ...norm("final_norm", s.d_model, 1, true), ...output(s, s.d_model)],
  bert: (s, e = s.d_model) => [tensor("types.weight", "embedding", 1, s.types, e),
    tensor("position.weight", "position", 1, s.context_len, e), ...norm("embedding_norm", e, 1, true),
    ...(e === s.d_model && s.family === "bert" ? [] : linear("widen", "embedding", e, s.d_model, 1, true)),
    ...plainBlocks(s, s.family === "albert" ? 1 : s.n_layers),   // ALBERT uses one block again and again
    ...(s.top === "pooler" ? linear("pooler", "head", s.d_model, s.d_model, 1, true) : []),
    ...(s.top === "mlm" ? [...linear("mlm.map", "head", s.d_model, e, 1, true), ...norm("mlm.norm", e, 1, true, "head"),
      tensor("mlm.output.bias", "head", 1, s.vocab_size), ...output(s, e)] : [])],
  albert: (s) => FAMILIES.bert(s, EMBED),
  t5: (s) => [...["encoder", "decoder"].flatMap((stack) => [
    tensor(`${stack}.position`, "position", 1, BUCKETS, s.n_heads),
    ...["attention", ...(stack === "encoder" ? [] : ["cross"])].flatMap((each) => [
      ...attention(s, `${stack}.block.${each}`, s.n_layers, false),
      ...norm(`${stack}.block.${each}_norm`, s.d_model, s.n_layers, false)]),
    ...feedForward(s, `${stack}.block.ff`, ["up", "down"], s.n_layers, false),
    ...norm(`${stack}.block.ff_norm`, s.d_model, s.n_layers, false),
    ...norm(`${stack}.final_norm`, s.d_model, 1, false)]), ...output(s, s.d_model)],
  llama: (s) => [...attention(s, "block.attention", s.n_layers, false),
    ...(s.n_experts > 1 ? [tensor("block.router", "feed_forward", s.n_layers, s.d_model, s.n_experts)] : []),
    ...feedForward(s, s.n_experts > 1 ? "block.expert" : "block.ff", ["gate", "up", "down"],
      s.n_layers * s.n_experts, false),
    ...["block.norm1", "block.norm2"].flatMap((name) => norm(name, s.d_model, s.n_layers, false)),
    ...norm("final_norm", s.d_model, 1, false), ...output(s, s.d_model)],
};

// Every weight once; a tied output matrix is the token table and not there a second time.
export const tensors = (s) => [tensor("token.weight", "embedding", 1, s.vocab_size,
  s.family === "albert" ? EMBED : s.d_model), ...FAMILIES[s.family](s)];

const add = (all) => all.reduce((sum, { size }) => sum + size, 0);
export const total = (s) => add(tensors(s));

// Parameters by part: { embedding, position, attention, feed_forward, norm, head }.
export function pieces(s) {
  const all = tensors(s);
  return Object.fromEntries(["embedding", "position", "attention", "feed_forward", "norm", "head"].map(
    (part) => [part, add(all.filter((each) => each.part === part))]));
}

// Parameters that one token meets: of the experts only k.
export function active(s) {
  const experts = add(tensors(s).filter(({ name }) => name.includes(".expert.")));
  return total(s) - experts / s.n_experts * (s.n_experts - Math.min(s.k, s.n_experts));
}

// What can be missing: name -> the tensors it covers. Of tensors of one kind and size (query and output)
// a count cannot tell which.
const PRESENT = {
  "the token table": /^token\.weight$/,
  "the position table": /^position\.weight$/,
  "the token-type rows": /^types\.weight$/,
  "the norm after the embeddings": /^embedding_norm\./,
  "the map from the embedding width to d_model": /^widen\./,
  "the query, key and value matrices": /\b(attention|cross)\.(query|key|value)\.weight$/,
  "the key and value matrices": /\b(attention|cross)\.(key|value)\.weight$/,
  "the biases of query, key and value": /\b(query|key|value)\.bias$/,
  "the bias of the attention output": /\battention\.out\.bias$/,
  "all attention biases": /\battention\..*\.bias$/,
  "the first feed-forward bias": /\bff\.up\.bias$/,
  "the second feed-forward bias": /\bff\.down\.bias$/,
  "all feed-forward biases": /\bff\..*\.bias$/,
  "all biases of the linear maps in the blocks": /^block\..*\.bias$/,
  "one norm of each block": /^block\.norm1\./,
  "all norms of the blocks": /\bblock\.\w*norm\d?\./,
  "all norms": /^(?!mlm).*norm\d?\./,
  "the shifts of all norms": /^(?!mlm).*norm\d?\.shift$/,
  "the final norm": /^final_norm\./,
  "the output matrix": /^output\.weight$/,
  "the pooler": /^pooler\./,
  "the map of the MLM head": /^mlm\.map\./,
  "the norm of the MLM head": /^mlm\.norm\./,
  "the output bias of the MLM head": /^mlm\.output\.bias$/,
  "the whole MLM head": /^mlm\./,
  "the router": /^block\.router$/,
  "the cross-attention": /\bcross\./,
  "the norm before cross-attention": /\bcross_norm\./,
  "one norm of each encoder block": /^encoder\.block\.ff_norm\./,
  "the final norm of one stack": /^encoder\.final_norm\./,
  "the final norms of both stacks": /^(en|de)coder\.final_norm\./,
  "the relative positions of one stack": /^encoder\.position$/,
  "the relative positions of both stacks": /^(en|de)coder\.position$/,
};

function present(s, all) {
  const one = (end) => all.find(({ name }) => name.endsWith(`block.${end}`))?.size ?? 0;
  const of = (pattern) => add(all.filter(({ name }) => pattern.test(name)));
  const wide = one("attention.query.weight"), narrow = one("attention.key.weight"), isT5 = s.family === "t5";
  const stack = isT5 ? " of one stack" : "", experts = of(/\.expert\./), E = s.n_experts;
  const found = Object.entries(PRESENT).map(([name, pattern]) => [name, of(pattern)]);
  found.push(...(wide === narrow ? [[`one attention matrix of each block${stack}`, wide]]
    : [["the query matrix, or the output matrix of attention", wide], ["the key matrix, or the value matrix", narrow]]));
  found.push(...(experts ? [["one of the three matrices of each expert", experts / 3],
    ["one expert of each block", experts / E], ["all experts but one", experts - experts / E],
    ["the experts a token does not use", experts - experts / E * s.k]]
    : [[`one feed-forward matrix of each block${stack}`, one("ff.up.weight")]]));
  const layers = s.family === "albert" ? 1 : s.n_layers;
  for (const each of isT5 ? ["encoder", "decoder"] : [""]) {
    found.push([`one ${each}${each && " "}block`, of(new RegExp(`^${each}${each && "\\."}block\\.`)) / layers]);
  }
  return found;
}

// What other families have, or what is easily thought to be there.
function absent(s, all) {
  const { n_layers: L, d_model: C, n_heads: H } = s, isAlbert = s.family === "albert", found = [];
  const isEncoder = s.family === "bert" || isAlbert;
  const maps = all.filter(({ name }) => /block\..*\.weight$/.test(name));
  const biases = (part) => maps.filter((each) => each.part === part).reduce((a, { out }) => a + out, 0);
  const attends = maps.filter(({ part }) => part === "attention");
  if (s.tied && (!isEncoder || s.top === "mlm")) found.push(["the output matrix, which is the token table", all[0].size]);
  if (s.family === "llama" || s.family === "t5") {
    found.push(["a position table", s.context_len * C],
      ["biases of the linear maps in the blocks", biases("attention") + biases("feed_forward")],
      ["biases of attention", biases("attention")], ["biases of the feed-forward maps", biases("feed_forward")],
      ["shifts of the norms", add(all.filter(({ part }) => part === "norm"))]);
  }
  if (s.family === "llama" && s.n_kv_heads < H) found.push(["keys and values at full width", 2 * C * (H - s.n_kv_heads) * s.d_head * L]);
  if (H > 1) found.push(["the attention matrices once per head", (H - 1) * add(attends)]);
  if (isEncoder) {
    found.push(["a final norm", 2 * C]);
    if (s.top !== "pooler") found.push(["a pooler", C * C + C]);
    if (s.types === 1) found.push(["a second token type", isAlbert ? EMBED : C]);
  }
  if (isAlbert) found.push(["a block of its own for every layer", (L - 1) * add(all.filter(({ name }) => name.startsWith("block.")))]);
  if (s.family === "t5") found.push(["relative positions in every block, not in the first alone", (L - 1) * 2 * BUCKETS * H]);
  return found;
}

// The single terms that make the right count into `got`: all of them where several do, none where two
// or more are wrong.
export function explain(got, s) {
  const all = tensors(s), difference = got - add(all);
  if (difference === 0) return [];
  const told = (how, sign) => ([name, size]) => [`${how}: ${name} (${whole(size)})`, sign * size];
  const there = present(s, all).filter(([, size]) => size);
  return [...there.flatMap((term) => [told("left out", -1)(term), told("counted twice", 1)(term)]),
    ...absent(s, all).filter(([, size]) => size).map(told("counted, but not there", 1))]
    .filter(([, size]) => size === difference).map(([text]) => text);
}

// Counts of a part of the model that are asked for often: the blocks alone.
export function readings(s) {
  const blocks = tensors(s).filter(({ name }) => name.includes("block."));
  return { "the matrices of the blocks": add(blocks.filter(({ name }) => !/norm|bias/.test(name))),
    "the blocks, with biases and norms": add(blocks) };
}

// --- what is shown --------------------------------------------------------------------------------

const CONFIG = ABOUT.options.preset.fills;
const FIELDS = {
  gpt: ["context_len", "tied"], bert: ["context_len", "top", "types"], albert: ["context_len", "top"],
  t5: ["d_head", "tied"], llama: ["n_kv_heads", "d_head", "n_experts", "tied"],
};
const PARTS = {
  embedding: ["c1", "embedding"], position: ["c6", "positions"], attention: ["c2", "attention"],
  feed_forward: ["c3", "feed-forward"], norm: ["c5", "norms"], head: ["c4", "head"],
};
const FORMULAS = {
  gpt: (s) => `V·C + P·C + L·(4C² + 4C + 2C·d_ff + d_ff + C + 4C) + 2C${s.tied ? "" : " + V·C"}`,
  bert: (s) => `(V + P + ${s.types})·C + 2C + L·(4C² + 4C + 2C·d_ff + d_ff + C + 4C)`
    + { none: "", pooler: " + C² + C", mlm: " + C² + C + 2C + V" }[s.top],
  albert: (s) => `(V + P + ${s.types} + 2)·128 + 128·C + C + one block (4C² + 4C + 2C·d_ff + d_ff`
    + " + C + 4C)" + { none: "", pooler: " + C² + C", mlm: " + (C + 3)·128 + V" }[s.top],
  t5: (s) => `V·C + L·(4C·H·D + 2C·d_ff + 2C) + L·(8C·H·D + 2C·d_ff + 3C) + 2C + 2·32·H`
    + (s.tied ? "" : " + V·C"),
  llama: (s) => `L·(2C·H·D + 2C·Hkv·D + ${s.n_experts > 1 ? "E·3C·d_ff + E·C" : "3C·d_ff"} + 2C) + `
    + `${s.tied ? "" : "2·"}V·C + C`,
};

function figure(s) {
  const n = total(s), rows = Object.entries(pieces(s)).filter(([, v]) => v);
  const title = `${whole(n)} parameters`;
  return svgFigure(340, 74 + 24 * rows.length,
    `${title}: ${rows.map(([key, v]) => `${PARTS[key][1]} ${whole(v)}`).join(", ")}`,
    svgText(10, 18, title, 'font-weight="700" font-size="14"')
    + svgStack(rows.map(([key, v]) => [v, PARTS[key][0]]), 10, 30, 320, 30, n)
    + svgKey(rows.map(([key, v]) => [...PARTS[key], whole(v), `${(100 * v / n).toFixed(1)} %`]), 84));
}

// What a count of the reader's own is off by.
function checked(s) {
  const off = s.guess - total(s), reasons = explain(s.guess, s);
  if (!s.guess) return "";
  if (!off) return "<p>Your count is <strong>right</strong>.</p>";
  const reading = Object.entries(readings(s)).find(([, size]) => size === s.guess);
  if (reading) return `<p>Your count is <strong>${reading[0]}</strong>, and nothing else.</p>`;
  return `<p>Your count is ${whole(Math.abs(off))} too ${off < 0 ? "small" : "large"}. `
    + (reasons.length ? `${reasons.length > 1 ? `One of ${reasons.length} terms` : "One term"} explains it:</p><ul>${
      reasons.map((reason) => `<li>${reason}</li>`).join("")}</ul>`
      : "No single term explains it: more than one is wrong.</p>");
}

function summary(s) {
  const { feed_forward: ff, attention: att, norm: norms } = pieces(s), n = total(s), met = active(s);
  return checked(s) + `<p class="ex-formula">${FORMULAS[s.family](s)}</p>`
    + `<p>= <strong>${whole(n)}</strong> parameters</p>`
    + (met < n ? `<p>A token meets <strong>${whole(met)}</strong> of them.</p>` : "")
    + `<p>The feed-forward layers hold ${(100 * ff / n).toFixed(1)} % of the model and `
    + `${(100 * ff / (ff + att + norms)).toFixed(1)} % of its blocks.</p>`;
}

export function view(s) {
  const shown = ["preset", "guess", "family", "n_layers", "d_model", "d_ff", "n_heads", "vocab_size",
    ...FIELDS[s.family], ...(s.family === "llama" && s.n_experts > 1 ? ["k"] : [])];
  return { svg: figure(s), summary: summary(s), shown };
}

// A preset decides its fields, whatever the state says of them.
export const settle = (s) => (s.preset === "own" ? s : { ...s, ...preset(s.preset) });

export function follow(s, key) {
  if (key === "preset") return s.preset === "own" ? {} : preset(s.preset);
  if (!CONFIG.includes(key)) return {};
  const own = Object.fromEntries(CONFIG.map((name) => [name, s[name]]));
  if (s.family !== "llama") Object.assign(own, { n_kv_heads: s.n_heads, n_experts: 1, k: 1 });
  if (!["llama", "t5"].includes(s.family)) own.d_head = Math.max(1, Math.floor(s.d_model / s.n_heads));
  return { ...own, preset: "own" };
}

export default explorer({ ABOUT, view, settle, follow });
