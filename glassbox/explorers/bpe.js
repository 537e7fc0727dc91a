// Byte-pair encoding, merge by merge, on the reader's text. Units are UTF-8 bytes; pairs are counted
// inside the pieces of GPT-2's split, never across. Ids: byte b is b, merge i is 256 + i. A real tokenizer
// learns from gigabytes and encodes other texts; here the text that is learned from is the one shown.
import { esc, explorer, svgBoxes, svgFigure, svgLine, svgRect, svgText, textWidth } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "bpe",
  "ask": "Which two neighbours are merged first? A space belongs to the word behind it, and if counts are equal the smaller pair of ids wins. Then: how many merges until <em>the</em> with its space is one token?",
  "options": {
    "text": { "label": "Your text, up to 300 characters", "wide": true, "longest": 300,
      "default": "the modem restarts, then the router restarts: the line is down, the other line is slow" },
    "step": { "default": 0, "min": 0, "max": 1200, "label": "Merges" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

export const MAX_CHARACTERS = 300;

// GPT-2's pattern; \s there is Unicode's white space.
const SPLIT = new RegExp("'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^S\\p{L}\\p{N}]+|[S]+(?![^S])|[S]+"
  .replaceAll("S", "\\p{White_Space}"), "gu");

// "the modem's" -> ["the", " modem", "'s"]
export const pieces = (text) => Array.from(text).slice(0, MAX_CHARACTERS).join("").match(SPLIT) ?? [];

export const bytes = (piece) => Array.from(new TextEncoder().encode(piece));

// How often each pair of neighbours occurs, [[a, b, count], ...], most frequent first, then smallest ids.
// `words` are lists of ids, `times` says how often each occurs.
export function pairCounts(words, times) {
  const counts = new Map();
  words.forEach((ids, w) => {
    for (let i = 0; i + 1 < ids.length; i += 1) {
      const key = ids[i] * 4096 + ids[i + 1];
      counts.set(key, (counts.get(key) ?? 0) + times[w]);
    }
  });
  return Array.from(counts, ([key, n]) => [Math.floor(key / 4096), key % 4096, n])
    .sort((x, y) => y[2] - x[2] || x[0] - y[0] || x[1] - y[1]);
}

// Each occurrence of the pair, from the left, becomes the new id.
export function mergePair(ids, [a, b], id) {
  const out = [];
  for (let i = 0; i < ids.length; i += 1) {
    const isPair = ids[i] === a && ids[i + 1] === b;
    out.push(isPair ? id : ids[i]);
    if (isPair) i += 1;
  }
  return out;
}

// All merges of a text in order, [[a, b, count], ...], until no pair is left.
export function merges(text) {
  const times = new Map(), found = [];
  for (const piece of pieces(text)) times.set(piece, (times.get(piece) ?? 0) + 1);
  let words = [...times.keys()].map(bytes);
  for (;;) {
    const [best] = pairCounts(words, [...times.values()]);
    if (!best) return found;
    const id = 256 + found.length;
    words = words.map((ids) => mergePair(ids, best, id));
    found.push(best);
  }
}

// The pieces of a text as lists of ids after the given merges.
export const encode = (text, list) => pieces(text).map((piece) =>
  list.reduce((ids, pair, i) => mergePair(ids, pair, 256 + i), bytes(piece)));

// The bytes that an id stands for.
export const spelled = (id, list) => (id < 256 ? [id]
  : [...spelled(list[id - 256][0], list), ...spelled(list[id - 256][1], list)]);

// Bytes as a reader can tell them apart: whole characters as they are, a space as a dot, the bytes of
// a part of a character as hexadecimal numbers in brackets.
export function label(list) {
  let text = "", loose = [];
  const flush = () => { if (loose.length) text += `‹${loose.join(" ")}›`; loose = []; };
  for (let i = 0; i < list.length; i += 1) {
    const first = list[i], long = first < 0x80 ? 1 : first >> 5 === 6 ? 2 : first >> 4 === 14 ? 3 : first >> 3 === 30 ? 4 : 0;
    const character = long && i + long <= list.length ? whole(list.slice(i, i + long)) : "";
    if (!character || /[\p{C}\p{Z}]/u.test(character) && character !== " ") {
      loose.push(first.toString(16).toUpperCase().padStart(2, "0"));
      continue;
    }
    flush();
    text += character === " " ? "·" : character;
    i += long - 1;
  }
  flush();
  return text;
}

function whole(list) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(list));
  } catch {
    return "";
  }
}

// --- what is shown --------------------------------------------------------------------------------

const memory = {};                                    // a step back or forth learns nothing anew
function learned(text) {
  if (memory.text !== text) Object.assign(memory, { text, list: merges(text) });
  return memory.list;
}

const quoted = (text) => `<code>${esc(text)}</code>`;
const marked = (text) => (/^\p{M}/u.test(text) ? `◌${text}` : text);   // a mark needs a letter to sit on

export function view(s) {
  const all = learned(s.text), list = all.slice(0, s.step), next = all[s.step], words = encode(s.text, list);
  const name = (id) => marked(label(spelled(id, list)));
  const tokens = words.flat().length, nBytes = words.flat().reduce((sum, id) => sum + spelled(id, list).length, 0);
  const boxes = words.flatMap((ids) => {
    const joins = new Set();
    for (let i = 0; next && i + 1 < ids.length; i += 1) {
      if (ids[i] === next[0] && ids[i + 1] === next[1] && !joins.has(i)) joins.add(i).add(i + 1);
    }
    return ids.map((id, i) => {
      const text = name(id), isNew = s.step && id === 255 + s.step, width = textWidth(text) + 6;
      return { text, width, gap: i ? 1 : 7, fill: isNew ? "soft" : "ground", stroke: joins.has(i) ? "mark" : isNew ? "accent" : "line",
        rest: joins.has(i) ? 'font-weight="700" fill="var(--ex-mark)"' : "" };
    });
  });
  const [text, below] = svgBoxes(boxes, 10, 30, 332);
  const times = new Map();
  words.forEach((ids) => times.set(ids.join(), [ids, (times.get(ids.join())?.[1] ?? 0) + 1]));
  const counts = pairCounts([...times.values()].map(([ids]) => ids), [...times.values()].map(([, n]) => n));
  const rows = counts.slice(0, 6).map(([a, b, n], i) => {
    const y = below + 44 + 21 * i, bold = i ? "" : ' font-weight="700" fill="var(--ex-mark)"';
    return svgText(132, y + 12, `${name(a)} + ${name(b)}`, `text-anchor="end"${bold}`)
      + svgRect(140, y + 1, 100 * n / counts[0][2], 15, `rx="1" fill="var(--ex-${i ? "muted" : "mark"})"`)
      + svgText(146 + 100 * n / counts[0][2], y + 13, n, bold.trim())
      + svgText(332, y + 13, `${a}, ${b}`, 'text-anchor="end" fill="var(--ex-muted)" font-size="11"');
  }).join("");
  const title = `${s.step} merge${s.step === 1 ? "" : "s"}: ${tokens} tokens for ${nBytes} bytes`;
  const head = counts.length ? svgLine(10, below + 14, 332, below + 14, 'stroke="var(--ex-line)"')
    + svgText(10, below + 34, "Most frequent pairs", 'fill="var(--ex-muted)"')
    + svgText(332, below + 34, "ids", 'text-anchor="end" fill="var(--ex-muted)" font-size="11"') : "";
  const tied = next ? counts.filter(([, , n]) => n === next[2]).length : 0;
  const plan = next ? `<p>Next: ${quoted(name(next[0]))} and ${quoted(name(next[1]))} (${next[0]}, ${next[1]}), seen <strong>${next[2]}</strong> `
    + `time${next[2] === 1 ? "" : "s"}, become id <strong>${256 + s.step}</strong>.${tied > 1
      ? ` ${tied} pairs are that frequent; this one has the smallest ids.` : ""}</p>`
    : "<p>No pair is left: each piece of the split is one token.</p>";
  const newest = list.map((_, i) => 256 + i).slice(-8).map((id) => `${id} ${quoted(name(id))}`).join(", ");
  const summary = plan + `<p>Vocabulary: 256 bytes + ${s.step} = <strong>${256 + s.step}</strong>. ${tokens} tokens / ${nBytes} bytes = `
    + `<strong>${nBytes ? (tokens / nBytes).toFixed(2) : "0.00"}</strong> tokens per byte.</p>`
    + (newest ? `<p>${list.length > 8 ? "Newest merges" : "Merges"}: ${newest}.</p>` : "")
    + "<p>· is a space; hexadecimal bytes in ‹ › are part of a character. Pairs never reach across the wider gaps.</p>";
  const spoken = words.slice(0, 40).map((ids) => ids.map(name).join("|")).join(" ");
  return { svg: svgFigure(342, below + (counts.length ? 50 + 21 * Math.min(6, counts.length) : 12), `${title}. ${spoken}`,
    svgText(10, 18, title, 'font-weight="700" font-size="14"') + text + head + rows), summary,
  limits: { step: { max: all.length } } };
}

export const settle = (s) => ({ ...s, step: Math.min(s.step, learned(s.text).length) });

export default explorer({ ABOUT, view, settle });
