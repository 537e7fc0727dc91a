// Which tokens of a dialogue train: the template's tokens, the loss mask, and what typical mistakes do
// to it. Words and marks stand for tokens here (the course's tokenizer cuts finer); the tokens between
// <| and |> are those of the template, and text that looks like one stays text.
import { esc, explorer, svgFigure, svgRect, svgText, textWidth } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "mask",
  "ask": "Which of these tokens should the model learn to write? Choose “I mark them” and mark them before you look.",
  "options": {
    "view": { "default": "show", "label": "Show", "as": "radio", "wide": true, "choices": {
      "show": "the mask", "mark": "I mark them" } },
    "mistake": { "default": "none", "label": "What the code does", "wide": true, "choices": {
      "none": "what it should: each answer and its end",
      "prompt": "mistake: loss on every token",
      "end": "mistake: the end token is masked",
      "late": "mistake: the mask sits one token too late",
      "early": "mistake: the mask sits one token too early",
      "pad": "mistake: padding is the end token, and is masked by its id",
      "last": "a choice: only the last answer trains" } },
    "system": { "default": "Be brief.", "label": "System text (may be empty)", "wide": true },
    "user1": { "default": "What does E42 mean?", "label": "Customer", "wide": true, "half": true },
    "answer1": { "default": "E42: no line signal.", "label": "Answer", "wide": true, "half": true },
    "user2": { "default": "And what now?", "label": "Customer, turn 2", "wide": true, "half": true },
    "answer2": { "default": "Restart the modem.", "label": "Answer, turn 2", "wide": true, "half": true },
    "user3": { "default": "Thanks!", "label": "Customer, turn 3", "wide": true, "half": true },
    "answer3": { "default": "You are welcome.", "label": "Answer, turn 3", "wide": true, "half": true },
    "turns": { "default": 2, "min": 1, "max": 3, "label": "Turns" },
    "width": { "default": 40, "min": 8, "max": 120, "label": "Row, tokens" },
    "marked": { "default": [] }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// Words and marks, each with the blanks before it; together they are the text again.
export const pieces = (text) => text.match(/\s*[\p{L}\p{M}\p{N}_]+|\s*[^\s\p{L}\p{M}\p{N}_]|\s+/gu) ?? [];

// Dialogue [[role, text], ...] -> [{ text, special, role, turn }, ...]; turn -1 is the token before all.
export function rendered(dialogue) {
  const tokens = [{ text: "<|bos|>", special: true, role: "", turn: -1 }];
  dialogue.forEach(([role, text], turn) => {
    const add = (piece, special) => tokens.push({ text: piece, special, role, turn });
    add(`<|${role}|>`, true);
    pieces(text).forEach((piece) => add(piece, false));
    add("<|end|>", true);
  });
  return tokens;
}

// Which tokens get a label, as the code of each mistake has it.
export function mask(tokens, mistake = "none") {
  const answers = tokens.map((token) => token.role === "assistant" && token.text !== "<|assistant|>");
  const isEnd = (i) => tokens[i].special && tokens[i].text === "<|end|>";
  const last = Math.max(...tokens.map((token) => (token.role === "assistant" ? token.turn : -1)));
  return tokens.map((token, i) => ({
    none: answers[i], prompt: i > 0, end: answers[i] && !isEnd(i), pad: answers[i] && !isEnd(i),
    late: i > 0 && answers[i - 1], early: Boolean(answers[i + 1]), last: answers[i] && token.turn === last,
  })[mistake]);
}

// A row of `width`: what fits of the tokens, and how many places are filled up or do not fit.
export const fitted = (n, width) => ({ kept: Math.min(n, width), pads: Math.max(0, width - n), cut: Math.max(0, n - width) });

// Marks against the mask: rightly marked, missing, too many.
export function compared(marked, right) {
  const hits = right.filter((yes, i) => yes && marked.includes(i)).length;
  return { hits, missing: right.filter(Boolean).length - hits, extra: marked.length - hits };
}

// --- what is shown --------------------------------------------------------------------------------

const TELLS = {
  none: "The model learns to write answers, and to stop after them.",
  prompt: "It also learns to write what customers ask; long questions then outweigh short answers.",
  end: "It never learns to stop: after the answer it goes on, often with a customer's next question.",
  late: "How an answer begins is never trained; what comes after its end is.",
  early: "It learns to write its own role token, and never to stop.",
  pad: "Padding and end share an id, so leaving out that id leaves out every end: it never learns to stop. Mask by position.",
  last: "Nothing wrong is learnt; the earlier answers are only read. Some templates do this on purpose.",
};
const many = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const shownText = (token) => (token.special ? token.text : token.text.trim() || "␣");

const dialogueOf = (s) => [...(s.system ? [["system", s.system]] : []),
  ...Array.from({ length: s.turns }, (_, i) => [["user", s[`user${i + 1}`]], ["assistant", s[`answer${i + 1}`]]]).flat()];

// All that a state says: the tokens that fit, with what the code trains and what it should.
function row(s) {
  const all = rendered(dialogueOf(s)), room = fitted(all.length, s.width);
  const tokens = all.slice(0, room.kept), ruled = mask(all, s.mistake).slice(0, room.kept);
  return { tokens, room, ruled, right: mask(all, s.mistake === "last" ? "last" : "none").slice(0, room.kept), marked: s.marked.filter((i) => i < room.kept) };
}

// One box: trained ones are filled and bold; a sign says where the code and the right mask differ.
function box(at, y, wide, text, { trained, sign, special, part = "" }) {
  const stroke = sign ? "mark" : trained ? "accent" : "line";
  return svgRect(at, y, wide, 25, `rx="3" fill="var(--ex-${trained ? "soft" : "ground"})" stroke="var(--ex-${stroke})" `
    + `stroke-width="${sign ? 2 : trained ? 1.5 : 1}"${sign === "−" ? ' stroke-dasharray="4 2"' : ""} ${part}`)
    + svgText(at + wide / 2, y + 16.5, sign + text, `text-anchor="middle" pointer-events="none"${trained ? ' font-weight="700"' : ""}`
      + `${special && !trained ? ' fill="var(--ex-muted)"' : ""}`);
}

function figure(s, { tokens, room, ruled, right, marked }) {
  const marks = s.view === "mark", left = 10, end = 330;
  let x = left, y = 44;
  const put = (text, wide, isNew) => {                  // a message begins on a line of its own
    if (x > left && (isNew || x + wide > end)) [x, y] = [left, y + 29];
    x += wide + 4;
    return x - wide - 4;
  };
  const boxes = tokens.map((token, i) => {
    const trained = marks ? marked.includes(i) : ruled[i], text = shownText(token);
    const sign = marks || ruled[i] === right[i] ? "" : ruled[i] ? "+" : "−";
    const wide = Math.min(end - left, Math.max(25, textWidth(sign + text) * (trained ? 1.08 : 1) + 9));
    const at = put(text, wide, i > 1 && token.turn !== tokens[i - 1].turn);
    const part = marks ? `role="checkbox" aria-checked="${trained}" data-press="t:${i}" data-cell="0,${i}" tabindex="${i ? -1 : 0}" `
      + `aria-label="token ${i + 1} of ${tokens.length}: ${esc(text)}"` : "";
    return box(at, y, wide, text, { trained, sign, special: token.special, part });
  });
  if (room.pads) {
    const text = `<|${s.mistake === "pad" ? "end" : "pad"}|> × ${room.pads}, padding`, wide = textWidth(text) + 9;
    boxes.push(box(put(text, wide, true), y, wide, text, { trained: false, sign: "", special: true }));
  }
  const n = (marks ? marked : ruled.filter(Boolean)).length, title = marks ? `You marked ${many(n, "token")}`
    : `${many(n, "token")} of ${tokens.length} ${n === 1 ? "trains" : "train"}`;
  const isRight = ruled.every((yes, i) => yes === right[i]);
  const key = marks ? "filled: marked by you" : `filled: trained${isRight ? "" : "; + wrongly, − wrongly not"}`;
  const told = marks ? "" : `: ${tokens.filter((_, i) => ruled[i]).map(shownText).join(" ") || "none"}`;
  return svgFigure(340, y + 35, `${title}${told}`, svgText(10, 18, title, 'font-weight="700" font-size="14"')
    + svgText(10, 36, key, 'fill="var(--ex-muted)" font-size="11"')
    + (marks ? `<g role="group" aria-label="Tokens of the row">${boxes.join("")}</g>` : boxes.join("")), marks ? "group" : "img");
}

const listed = (tokens, which) => tokens.map((token, i) => (which[i] ? `<code>${esc(shownText(token))}</code>` : "")).filter(Boolean).join(" ");

export function view(s) {
  const r = row(s), { tokens, room, ruled, right, marked } = r, marks = s.view === "mark";
  const n = ruled.filter(Boolean).length, real = tokens.length;
  const wrong = ruled.map((yes, i) => yes && !right[i]), missing = ruled.map((yes, i) => !yes && right[i]);
  const first = ruled.findIndex(Boolean);
  const cut = room.cut ? `<p>${many(room.cut, "token")} did not fit and ${room.cut === 1 ? "was" : "were"} cut off`
    + `${right.some(Boolean) ? "" : ", all answers among them: the row trains nothing and should be dropped"}.</p>` : "";
  const { hits, missing: open, extra } = compared(marked, right);
  const checked = `<p>You marked ${marked.length}: <strong>${hits}</strong> right, ${extra} too many, ${open} missing.</p>`
    + (open || extra || !hits ? "<p>Click a token, or go to it with the arrow keys and press Space.</p>"
      : `<p><strong>All ${hits} found.</strong> Answers and their end tokens, nothing else.</p>`);
  const shares = `<p><strong>${n}</strong> of ${many(real, "token")} ${n === 1 ? "has" : "have"} a label, ${(100 * n / real).toFixed(0)} %; `
    + `the other ${real - n}${room.pads ? ` and ${many(room.pads, "padding place")}` : ""} have −100. `
    + `${n ? `The loss is a mean over ${n}.` : "There is nothing to train."}</p>`;
  const differs = (wrong.some(Boolean) ? `<p>Trained, and should not be: ${listed(tokens, wrong)}</p>` : "")
    + (missing.some(Boolean) ? `<p>Not trained, and should be: ${listed(tokens, missing)}</p>` : "");
  const where = first > 0 ? `<p>The first trained token, <code>${esc(shownText(tokens[first]))}</code>, is predicted at `
    + `<code>${esc(shownText(tokens[first - 1]))}</code>.</p>` : "";
  const turnKeys = Array.from({ length: s.turns }, (_, i) => [`user${i + 1}`, `answer${i + 1}`]).flat();
  return { svg: figure(s, r), summary: marks ? checked + cut : shares + differs + `<p>${TELLS[s.mistake]}</p>` + where + cut,
    shown: ["view", ...(marks ? [] : ["mistake"]), "system", ...turnKeys, "turns", "width"],
    limits: { width: { text: String } } };
}

// Another text has other tokens: marks of the old one mean nothing.
export const follow = (s, key) => (["system", "turns"].includes(key) || /^(user|answer)/.test(key) ? { marked: [] } : {});

export function press(s, token) {
  const i = Number(token.split(":")[1]), rest = s.marked.filter((other) => other !== i);
  return { marked: rest.length < s.marked.length ? rest : [...s.marked, i] };
}

export default explorer({ ABOUT, view, follow, press });
