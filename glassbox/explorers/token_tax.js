// What tokenizers charge for the same sentences in six languages: tokens, the tax against English, and
// what a context window holds. Counts: token_tax.json, written by tests/golden/token_tax.py. Twenty
// sentences are few, and they say nothing of how well a model knows a language.
import { esc, explorer, short, svgFigure, svgLine, svgRect, svgText, whole } from "./kit.js";
import DATA from "./token_tax.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "token_tax",
  "ask": "Twenty sentences take 166 tokens in English with the vocabulary of GPT-2. How many do they take in German, and how many in Hindi? Then give another tokenizer a try: which change helps Hindi most?",
  "options": {
    "tokenizer": { "default": "r50k_base", "label": "Tokenizer", "wide": true, "choices": {
      "r50k_base": "GPT-2 and GPT-3, 50,257 entries", "cl100k_base": "GPT-4, 100,277 entries",
      "o200k_base": "GPT-4o, 200,019 entries", "english": "ours: English alone, 2,048 entries",
      "heavy": "ours: English 90 %, five others 2 % each", "balanced": "ours: six languages, a sixth each" } },
    "language": { "default": "de", "label": "Language", "choices": { "en": "English", "de": "German",
      "es": "Spanish", "ru": "Russian", "hi": "Hindi", "th": "Thai" } },
    "sentence": { "default": 0, "min": 0, "max": 20, "label": "Sentence" },
    "context": { "default": 8192, "min": 128, "max": 1000000, "label": "Window", "as": "number" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

const sum = (list) => list.reduce((a, b) => a + b, 0);
const some = (list, number) => (number ? [list[number - 1]] : list);      // sentence 0 means all of them
const wordsOf = (lang, number) => sum(some(DATA.sentences[lang], number).map((text) => text.split(/\s+/).length));

// Tokens, words by spaces, bytes; tokens per word, bytes per token, tokens against English.
export function rates(tokenizer, lang, number) {
  const counted = DATA.tokenizers[tokenizer].tokens, tokens = sum(some(counted[lang], number));
  const bytes = sum(some(DATA.sentences[lang], number).map((text) => new TextEncoder().encode(text).length));
  const words = wordsOf(lang, number);
  return { tokens, words, bytes, perWord: tokens / words, bytesPerToken: bytes / tokens,
    ratio: tokens / sum(some(counted.en, number)) };
}

// Words that a window holds: of the language itself, and of English that says the same.
export function holds(tokenizer, lang, number, context) {
  const { tokens, perWord } = rates(tokenizer, lang, number);
  return { own: context / perWord, english: context * wordsOf("en", number) / tokens };
}

// --- what is shown --------------------------------------------------------------------------------

const NAMES = DATA.languages;
const muted = 'fill="var(--ex-muted)" font-size="11"';

export function view(s) {
  const { tokenizer, language, sentence, context } = s, name = NAMES[language];
  const all = Object.keys(NAMES).map((lang) => [lang, rates(tokenizer, lang, sentence)]);
  const most = Math.max(...all.map(([, row]) => row.ratio)), full = 178 / most, left = 62;
  const rows = all.map(([lang, row], i) => {
    const y = 46 + 30 * i, chosen = lang === language, bold = chosen ? ' font-weight="700"' : "", end = left + full * row.ratio;
    return svgText(left - 7, y + 15, NAMES[lang], `text-anchor="end"${bold}`)
      + svgRect(left, y, full * row.ratio, 21, `rx="2" fill="var(--ex-${chosen ? "accent" : "muted"})"`)
      + svgText(end + 6, y + 15, `${row.ratio.toFixed(2)}`, bold.trim())
      + svgText(334, y + 15, whole(row.tokens), `text-anchor="end"${bold}`);
  }).join("");
  const bottom = 46 + 30 * all.length;
  const body = svgText(left, 34, "tokens, English = 1", muted) + svgText(334, 34, "tokens", `text-anchor="end" ${muted}`)
    + rows + svgLine(left + full, 40, left + full, bottom - 4, 'stroke="var(--ex-mark)" stroke-width="1.5" stroke-dasharray="4 3"');
  const what = sentence ? `Sentence ${sentence}` : "All twenty sentences";
  const me = rates(tokenizer, language, sentence), room = holds(tokenizer, language, sentence, context);
  const spaced = language === "th" ? "Thai has no spaces between words, so tokens per word mean nothing; "
    : `<strong>${me.perWord.toFixed(2)}</strong> tokens per word, `;
  const words = (n) => (n < 9999.5 ? whole(n) : short(n));
  const held = language === "en" ? `about ${words(room.own)} English words`
    : `what takes about <strong>${words(room.english)}</strong> words to say in English`
      + (language === "th" ? "" : ` (${words(room.own)} words of ${name})`);
  const texts = sentence ? `<p>${esc(DATA.sentences.en[sentence - 1])}</p>`
    + (language === "en" ? "" : `<p lang="${language}">${esc(DATA.sentences[language][sentence - 1])}</p>`) : "";
  const summary = texts + `<p>${name}: ${whole(me.tokens)} tokens for ${whole(me.bytes)} bytes. ${spaced}`
    + `<strong>${me.bytesPerToken.toFixed(2)}</strong> bytes per token.</p>`
    + `<p>At a price per token ${name} costs <strong>${me.ratio.toFixed(2)}</strong> times what English costs, and a window of `
    + `${whole(context)} tokens holds ${held}.</p>`
    + (DATA.tokenizers[tokenizer].vocabulary === 2048 ? "<p>Trained on 300 kB of telecom text; the other languages come from "
      + "the half of the sentences that is not counted, repeated up to their share.</p>" : "");
  return { svg: svgFigure(340, bottom + 4, `${what}, ${ABOUT.options.tokenizer.choices[tokenizer]}: `
    + all.map(([lang, row]) => `${NAMES[lang]} ${row.tokens} tokens, ratio ${row.ratio.toFixed(2)}`).join("; "),
  svgText(10, 18, what, 'font-weight="700" font-size="14"') + body), summary,
  limits: { sentence: { text: (n) => (n ? String(n) : "all 20") } } };
}

export default explorer({ ABOUT, view });
