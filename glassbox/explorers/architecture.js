// The transformer's parts to click on: encoder, decoder or both, norm before or after, shapes and
// parameters for any sizes; a mode without names to label them, and the figure with the reader's notes
// as a file. One block is drawn for all L. It shows what a part does, not what a trained one learned.
import { download, esc, explorer, standalone, svgFigure, svgLine, svgPath, svgRect, svgText, whole }
  from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "architecture",
  "ask": "In which part do tokens exchange information, and in which does each token stay alone? Where does the position enter, and what moves when RoPE brings it? Decide, then click through the parts.",
  "options": {
    "family": { "default": "decoder", "label": "Family", "as": "radio", "wide": true, "choices": {
      "encoder": "encoder", "decoder": "decoder", "both": "encoder-decoder" } },
    "mode": { "default": "explore", "label": "Names", "as": "radio", "wide": true, "choices": {
      "explore": "shown", "label": "I label the parts" } },
    "norm": { "default": "pre", "label": "Norm", "choices": { "pre": "before (pre-norm)", "post": "after (post-norm)" } },
    "position": { "default": "added", "label": "Positions", "choices": {
      "added": "added once", "rope": "RoPE, on Q and K" } },
    "n_tokens": { "default": 6, "min": 1, "max": 4096, "label": "Tokens T", "as": "number" },
    "n_keys": { "default": 9, "min": 1, "max": 4096, "label": "Source S", "as": "number" },
    "d_model": { "default": 64, "min": 4, "max": 16384, "label": "Width C", "as": "number" },
    "n_heads": { "default": 4, "min": 1, "max": 128, "label": "Heads H", "as": "number" },
    "n_layers": { "default": 2, "min": 1, "max": 128, "label": "Layers L", "as": "number" },
    "vocab_size": { "default": 1000, "min": 2, "max": 300000, "label": "Vocab. V", "as": "number" },
    "part": { "default": "scores" },
    "notes": { "default": {} },
    "answers": { "default": {} },
    "checked": { "default": false, "label": "Show what is right" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// Parts in the order in which the data meet them; "+" is a residual add, [..] leaves the stream.
export function order(column, norm, position) {
  const rope = position === "rope" ? ["position"] : [];
  const sub = (name, inner) => (norm === "pre" ? [[name, ...inner], "+"] : [inner, "+", name]);
  return ["embed", ...(rope.length ? [] : ["position"]), "stream",
    ...sub("norm1", ["qkv", ...rope, "scores", "softmax", "out"]),
    ...(column === "cross" ? sub("normx", ["cross"]) : []),
    ...sub("norm2", ["ffn"]), ...(column === "encoder" && norm === "post" ? [] : ["head"])];
}

export const parts = (column, norm, position) => [...new Set(
  order(column, norm, position).flat().map((part) => (part === "+" ? "add" : part)))];

const width = (s) => Math.max(1, Math.floor(s.d_model / s.n_heads));

// Shapes [in, out] of a part for one text of n tokens (and, in cross-attention, S source tokens).
export function shape(part, column, s) {
  const n = column === "encoder" && s.family === "both" ? s.n_keys : s.n_tokens;
  const { d_model: C, n_heads: H } = s, D = width(s), stream = [n, C];
  const special = {
    embed: [[n], stream], qkv: [stream, [3, H, n, D]], scores: [[2, H, n, D], [H, n, n]],
    softmax: [[H, n, n], [H, n, n]], out: [[H, n, n], stream],
    cross: [stream, stream], head: [stream, column === "encoder" ? stream : [n, s.vocab_size]],
    position: s.position === "rope" ? [[2, H, n, D], [2, H, n, D]] : [stream, stream],
  };
  return special[part] ?? [stream, stream];
}

// Parameters of a part, once; linear maps and LayerNorms with biases, waves, d_ff = 4C, tied head.
export function parameters(part, s) {
  const C = s.d_model, inner = s.n_heads * width(s), map = (a, b) => a * b + b;
  return { embed: s.vocab_size * C, norm1: 2 * C, norm2: 2 * C, normx: 2 * C, qkv: 3 * map(C, inner),
    out: map(inner, C), cross: 3 * map(C, inner) + map(inner, C), ffn: map(C, 4 * C) + map(4 * C, C),
    head: s.norm === "pre" ? 2 * C : 0 }[part] ?? 0;
}

// [labelled, right] among the parts of the column that is labelled.
export function score(answers, list) {
  const given = list.filter((part) => answers[part]);
  return [given.length, given.filter((part) => answers[part] === part).length];
}

// --- what is shown --------------------------------------------------------------------------------

const NAMES = {
  embed: "token embedding", position: "positions", stream: "residual stream", norm1: "norm 1",
  qkv: "queries, keys, values", scores: "scores and mask", softmax: "softmax",
  out: "weighted sum, output map", add: "residual add", norm2: "norm 2", ffn: "feed-forward",
  head: "output head", normx: "norm of the cross part", cross: "cross-attention",
};
const name = (part, column, s) => (part !== "head" ? NAMES[part]
  : column === "encoder" ? "final norm" : s.norm === "pre" && s.family !== "both" ? "final norm, output head"
    : "output head");
const NARROW = { embed: "embedding", qkv: "Q, K, V", scores: "scores, mask", out: "sum, output",
  normx: "norm x", cross: "cross-attention", stream: "stream" };
const TELLS = {
  embed: () => "Each token's id picks one row of a table. Rows do not know of each other yet.",
  position: (s) => (s.position === "rope" ? "RoPE turns queries and keys by an angle that grows with "
    + "the position. Values are not turned." : "A vector that depends on the position alone is added."),
  stream: () => "One row of C numbers per token. Every part reads it and adds its result to it.",
  norm1: (s) => (s.norm === "pre" ? "Each row is brought to unit size before attention reads it; the "
    + "stream itself stays as it is." : "After the add: the stream itself is brought to unit size."),
  norm2: (s) => (s.norm === "pre" ? "The same before the feed-forward layer."
    : "The same after the second add. This is what makes it post-norm."),
  normx: () => "The same for cross-attention.",
  qkv: () => "Three linear maps of the same row, cut into H heads of width D.",
  scores: (s, column) => "Dot products of queries and keys over √D: each token is compared with others. "
    + (column === "encoder" ? "Only padding is masked: every token may read every other."
      : "The causal mask hides the future: key ≤ query."),
  softmax: () => "Each query hands out weights that sum to 1 over its keys.",
  out: () => "Values are summed by these weights: here information moves between "
    + "tokens. Heads are laid side by side and mixed by one map.",
  add: () => "The part's result is added to the stream, so that gradients find a straight way down.",
  cross: () => "Information moves from the other text into this one. Queries from this text, keys and values from the encoder's: (H, T, S) weights, no "
    + "causal mask, since the source is complete.",
  ffn: () => "Two maps, C to 4C and back, with a bend between them. Each token stays alone.",
  head: (s, column) => (column === "encoder" ? "The encoder's rows are brought to unit size and handed on."
    : "Each row is compared with all V rows of the token table: one logit per word."),
};
const tuple = (list) => `(${list.map(whole).join(", ")})`;
const columns = (s) => (s.family === "both" ? ["encoder", "cross"] : [s.family]);
const labelled = (s) => parts(columns(s).at(-1), s.norm, s.position);
const chosen = (s) => {
  const [column, part] = s.part.includes(":") ? s.part.split(":") : [columns(s).at(-1), s.part];
  const where = columns(s).includes(column) ? column : columns(s).at(-1);
  const list = parts(where, s.norm, s.position);
  return [where, list.includes(part) ? part : list[0]];
};

// One column: the stream as a line on the left, the parts that leave it as boxes on the right.
function drawColumn(column, index, s, x, boxWidth, narrow) {
  const [where, picked] = chosen(s), quiz = s.mode === "label", body = [];
  const list = parts(column, s.norm, s.position), asked = quiz && column === columns(s).at(-1);
  const line = x + 14, left = x + 34;
  let y = 26, cell = 0, top = 0, bottom = 0, entry = 0;
  const label = (part) => {
    if (!quiz) return (narrow && NARROW[part]) || name(part, column, s);
    if (!asked) return "";
    const given = s.answers[part], number = list.indexOf(part) + 1;
    const mark = given && s.checked ? (given === part ? " ✓" : " ✗") : "";
    return `${number}${given ? `: ${narrow ? NARROW[given] ?? NAMES[given] : NAMES[given]}` : ""}${mark}`;
  };
  const press = (part, inner, more = "") => {
    const on = column === where && part === picked;
    const seen = label(part), full = name(part, column, s);
    const text = quiz ? `Part ${seen || list.indexOf(part) + 1}` : seen === full ? full : `${seen}: ${full}`;
    body.push(`<g role="button" tabindex="${cell + index ? -1 : 0}" data-cell="${cell},${index}" `
      + `data-press="${column}:${part}:${cell}" aria-pressed="${on}" aria-label="${esc(text)}"${more}>${inner(on)}</g>`);
    cell += 1;
  };
  const box = (part, boxX, w) => (on) => svgRect(boxX, y, w, 23, `rx="4" fill="var(--ex-${on ? "soft" : "ground"})" `
    + `stroke="var(--ex-${on ? "mark" : "text"})" stroke-width="${on ? 2.5 : 1}"`)
    + svgText(boxX + w / 2, y + 16, label(part), `text-anchor="middle" font-size="${narrow ? 10.5 : 12}"`
      + (on ? ' font-weight="700"' : "")) + (s.notes[`${column}:${part}`]
      ? svgText(boxX + w - 8, y + 8, "✎", 'text-anchor="middle" font-size="9" fill="var(--ex-mark)"') : "");
  const sized = (part) => (narrow || quiz ? "" : svgText(left + boxWidth + 8, y + 16,
    tuple(shape(part, column, s)[1]), 'font-size="10" fill="var(--ex-muted)"'));
  const arrow = (fromY, toX) => svgPath([[line, fromY], [line, y + 11.5], [toX, y + 11.5]],
    'fill="none" stroke="var(--ex-muted)"') + svgPath([[toX - 6, y + 8], [toX, y + 11.5], [toX - 6, y + 15]],
    'fill="none" stroke="var(--ex-muted)"');
  for (const item of order(column, s.norm, s.position)) {
    if (item === "stream") {
      press("stream", (on) => svgRect(line - 9, y, 18, 23, 'fill="transparent"')
        + svgPath([[line - 5, y + 11], [line, y + 18], [line + 5, y + 11]], `fill="none" stroke-width="${on ? 3 : 2}" `
          + `stroke="var(--ex-${on ? "mark" : "accent"})"`)
        + svgText(left, y + 16, label("stream"), `font-size="${narrow ? 10.5 : 12}" ${on ? 'font-weight="700"'
          : 'fill="var(--ex-accent)"'}`));
      y += 30;
      top = y - 4;
    } else if (item === "+") {
      press("add", (on) => `<circle cx="${line}" cy="${y + 8}" r="9" fill="var(--ex-${on ? "soft" : "ground"})" `
        + `stroke="var(--ex-${on ? "mark" : "accent"})" stroke-width="${on ? 2.5 : 1.5}"/>`
        + svgText(line, y + 12.5, "+", 'text-anchor="middle" font-weight="700" font-size="14"')
        + (asked ? svgText(line + 14, y + 13, label("add"), 'font-size="10.5"') : ""));
      y += 25;
      bottom = y - 2;
    } else if (Array.isArray(item)) {
      const start = y;
      for (const part of item) {
        if (part === item[0]) body.push(arrow(start - 2, left));
        if (part === "cross") entry = y + 17;
        body.push(sized(part));
        press(part, box(part, left, boxWidth));
        y += 28;
      }
      body.push(svgPath([[left + boxWidth / 2, y - 5], [left + boxWidth / 2, y + 8], [line + 10, y + 8]],
        'fill="none" stroke="var(--ex-muted)"'));
    } else {
      body.push(sized(item));
      press(item, box(item, x, left - x + boxWidth));
      y += 30;
      if (item.startsWith("norm")) bottom = y - 4;
    }
  }
  const frame = svgRect(x - 4, top, left - x + boxWidth + 8, bottom - top,
    'fill="none" stroke="var(--ex-line)" stroke-dasharray="4 3" rx="6"')
    + svgText(left + boxWidth, top - 10, `${s.n_layers} ${s.n_layers > 1 ? "layers" : "layer"}`, 'text-anchor="end" font-size="11" fill="var(--ex-muted)"');
  const title = { encoder: "encoder", decoder: "decoder", cross: "decoder" }[column];
  const spine = svgLine(line, 24, line, y - 6, 'stroke="var(--ex-accent)" stroke-width="2.5"');
  return { height: y, entry, svg: svgText(x, 16, title, 'font-weight="700"') + spine + frame + body.join("") };
}

function draw(s) {
  const both = s.family === "both", list = columns(s).map((column, i) => (both
    ? drawColumn(column, i, s, 8 + 172 * i, 120, true) : drawColumn(column, i, s, 8, 192, false)));
  const height = Math.max(...list.map((column) => column.height));
  const link = both ? svgPath([[22, list[0].height - 6], [22, height - 4], [168, height - 4],
    [168, list[1].entry], [213, list[1].entry]], 'fill="none" stroke="var(--ex-c2)" stroke-width="1.5"')
    + svgPath([[206, list[1].entry - 4], [213, list[1].entry], [206, list[1].entry + 4]],
      'fill="none" stroke="var(--ex-c2)" stroke-width="1.5"')
    + svgText(30, height - 10, "keys, values", 'font-size="10" fill="var(--ex-c2)"') : "";
  return { height: height + 6, svg: link + list.map((column) => column.svg).join("") };
}

// The figure with the reader's labels and notes below it, as a file of its own.
export function annotated(s) {
  const { height, svg } = draw(s), lines = [];
  for (const [where, note] of Object.entries(s.notes)) {
    const [column, part] = where.split(":");
    if (!note.trim() || !columns(s).includes(column)) continue;
    const words = `${name(part, column, s)}: ${note.trim()}`.match(/.{1,52}(\s|$)|\S{52}/g);
    words.forEach((text, i) => lines.push((i ? "   " : "– ") + text.trim()));
  }
  const [given, right] = score(s.answers, labelled(s));
  if (s.mode === "label") lines.unshift(`${given} of ${labelled(s).length} parts labelled, ${right} right`);
  const text = lines.map((each, i) => svgText(8, height + 20 + 16 * i, each)).join("");
  return standalone(svgFigure(340, height + 30 + 16 * lines.length, `Annotated ${s.family}`, svg + text));
}

export function view(s) {
  const [column, part] = chosen(s), list = labelled(s), { height, svg } = draw(s);
  const [given, right] = score(s.answers, list), quiz = s.mode === "label";
  const [from, to] = shape(part, column, s), n = parameters(part, s);
  const told = `<p><strong>${name(part, column, s)}.</strong> ${TELLS[part](s, column)}</p>`
    + `<p class="ex-formula">${tuple(from)} → ${tuple(to)}</p>`
    + `<p>${n ? `${whole(n)} parameters${["embed", "head"].includes(part) ? "" : " per layer"}`
      : "No parameters of its own"}${part === "head" && column !== "encoder" ? "; the token table again as output map" : ""}.</p>`;
  const asked = `<p><strong>${given}</strong> of ${list.length} parts labelled`
    + `${s.checked ? `, <strong>${right}</strong> right` : ""}. You are at part ${list.indexOf(part) + 1}.</p>`;
  const shown = ["family", "mode", ...(quiz ? ["checked"] : ["norm", "position", "n_tokens", "d_model", "n_heads",
    "n_layers", "vocab_size", ...(s.family === "both" ? ["n_keys"] : [])])];
  return { shown, summary: quiz ? asked : told, svg: svgFigure(340, height,
    `Parts of the ${s.family === "both" ? "encoder-decoder" : s.family}; arrow keys move between them`, svg, "group") };
}

export const press = (s, token) => ({ part: token.split(":").slice(0, 2).join(":") });

export const follow = (s, key) => (["family", "norm", "position"].includes(key)
  ? { answers: {}, part: "scores" } : {});

// Label and note of the chosen part, and the file.
function tools(state, set) {
  const box = document.createElement("div");
  box.className = "ex-tools";
  const id = `ex-tools-${Math.random().toString(36).slice(2, 8)}`;
  box.innerHTML = `<div class="ex-label"><label for="${id}-label">This part is</label><select id="${id}-label">`
    + `</select></div><label for="${id}-note">Your note on this part</label><textarea id="${id}-note" rows="2" `
    + 'maxlength="300"></textarea><button type="button">Download annotated SVG</button>';
  const [select, note, button] = ["select", "textarea", "button"].map((tag) => box.querySelector(tag));
  select.addEventListener("change", () => {
    const s = state();
    set({ answers: { ...s.answers, [chosen(s)[1]]: select.value } });
  });
  note.addEventListener("input", () => {
    const s = state();
    set({ notes: { ...s.notes, [chosen(s).join(":")]: note.value } });
  });
  button.addEventListener("click", () => download(`transformer-${state().family}.svg`, annotated(state())));
  const show = () => {
    const s = state(), [column, part] = chosen(s), list = labelled(s);
    box.querySelector(".ex-label").hidden = s.mode !== "label" || column !== columns(s).at(-1);
    const names = list.map((each) => [each, name(each, columns(s).at(-1), s)]).sort((a, b) => a[1].localeCompare(b[1]));
    select.innerHTML = '<option value="">choose a name</option>' + names.map(
      ([each, text]) => `<option value="${each}">${esc(text)}</option>`).join("");
    select.value = s.answers[part] ?? "";
    const written = s.notes[`${column}:${part}`] ?? "";
    if (note.value !== written) note.value = written;
  };
  return { element: box, show };
}

export default explorer({ ABOUT, view, follow, press, extra: tools });
