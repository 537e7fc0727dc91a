// Personal data of nine kinds in a text: found by form alone, then replaced by its kind or by a keyed
// pseudonym, and what common mistakes in the rules miss or take for personal. The definitions are those of
// glassbox/telecom/personal.py; tests hold both side by side. Samples: redaction.json, made by
// tests/golden/redaction.py; every value in them is nobody's.
import { esc, explorer, svgFigure, svgRect, svgText } from "./kit.js";
import DATA from "./redaction.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "redaction",
  "ask": "Which pieces of this text say who somebody is, and which numbers say nothing? Decide for each, then look. After that let the code make a mistake: does it miss something, or does it find what is none?",
  "options": {
    "text": { "label": "A sample, or your text", "wide": true, "longest": 300,
      "default": "Good morning. Please check 121236-956J, then close the case. Call +49-30-23125044. Line 999.999.999.999 is dead. The device is 00-447745-300859-7, its radio 1.2.3.182.5." },
    "show": { "default": "found", "label": "Show", "as": "radio", "wide": true, "choices": {
      "found": "what is found", "redacted": "redacted", "named": "pseudonyms" } },
    "rules": { "default": "right", "label": "What the code does", "wide": true, "choices": {
      "right": "what it should: forms, check digits, edges",
      "edges": "mistake: a value need not stand free",
      "checks": "mistake: check digits are not checked",
      "octets": "mistake: any number may stand in an IP address",
      "phones": "mistake: one phone format, +44 7700 900123" } },
    "sample": { "default": 1, "min": 1, "max": 12, "label": "Sample" },
    "key": { "default": 1, "min": 1, "max": 9, "label": "Key" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// Of equally long values that overlap the first kind counts.
const PRIORITY = ["email", "ip", "national_id", "iccid", "card", "imsi", "imei", "msisdn", "phone"];
const COUNTRIES = ["001", "999", "208", "214", "234", "262", "310", "520"];
const MOBILE = { 447: 12, 336: 11, 337: 11, 4917: 12 };
const CARDS = [["4", "4", 16], ["51", "55", 16], ["2221", "2720", 16], ["6011", "6011", 16], ["65", "65", 16],
  ["3528", "3589", 16], ["34", "34", 15], ["37", "37", 15]];
const CHECK = "0123456789ABCDEFHJKLMNPRSTUVWXY";
const LAYOUTS = Object.fromEntries(Object.entries({ iccid: [[4, 4, 4, 4, 3], [4, 4, 4, 4, 4]], card: [[4, 4, 4, 4], [4, 6, 5]],
  imsi: [[3, 2, 10]], imei: [[2, 6, 6, 1]], msisdn: [] }).map(([kind, all]) => [kind, new RegExp(["^[0-9]+$", ...all.map(
  ([first, ...rest]) => `^[0-9]{${first}}(?:${[" ", "-"].map((joint) => rest.map((n) => `${joint}[0-9]{${n}}`).join("")).join("|")})$`)].join("|"))]));

// Whether the last digit checks the others: from the right every second counts double, its digits added.
export const luhn = (digits) => /^[0-9]+$/.test(digits) && [...digits].reverse()
  .reduce((sum, d, i) => sum + (i % 2 ? Number("0246813579"[d]) : Number(d)), 0) % 10 === 0;

const isCode = (value, rules) => {
  const [, date, number, last] = /^([0-9]{6})[-+A]([0-9]{3})([0-9A-Y])$/.exec(value) ?? [];
  return Boolean(date) && /^(0[1-9]|[12][0-9]|3[01])(0[1-9]|1[0-2])/.test(date)
    && (rules === "checks" || CHECK[Number(date + number) % 31] === last);
};
const isPhone = (value, rules) => {
  if (rules === "phones") return /^\+44 7700 900[0-9]{3}$/.test(value);
  const n = value.replace("(0)", "").replace(/^00/, "").replaceAll(/[^0-9]/g, "").length;
  return (/^(\+|00[ ./-]?)[1-9][0-9]*( ?\(0\) ?[0-9]+| ?\([0-9]+\) ?[0-9]{2,}|[ ./-][0-9]+)?([ ./-][0-9]{2,})*$/.test(value) && n >= 9 && n <= 12)
    || (/^(\(0[1-9][0-9]*\) ?[0-9]{2,}|0[1-9][0-9]*)([ ./-][0-9]{2,})*$/.test(value) && n >= 10 && n <= 11)
    || /^(\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ ./-])[0-9]{3}[ ./-][0-9]{4}$/.test(value);
};

// The kind of something that is digits in groups or an identity code; null if it is none.
export function kindOf(value, rules = "right") {
  const digits = value.replaceAll(/[^0-9]/g, ""), n = digits.length, checked = rules === "checks" || luhn(digits);
  const right = {
    iccid: () => (n === 19 || n === 20) && digits.startsWith("89") && checked,
    card: () => checked && CARDS.some(([low, high, size]) => n === size && digits.slice(0, low.length) >= low && digits.slice(0, low.length) <= high),
    imsi: () => n === 15 && COUNTRIES.includes(digits.slice(0, 3)),
    imei: () => n === 15 && checked,
    msisdn: () => Object.entries(MOBILE).some(([low, size]) => digits.startsWith(low) && n === size),
  };
  return isCode(value, rules) ? "national_id" : Object.keys(right).find((kind) => LAYOUTS[kind].test(value) && right[kind]())
    ?? (isPhone(value, rules) ? "phone" : null);
}

export const isIpv4 = (value, rules = "right") => value.split(".").length === 4 && value.split(".").every((part) =>
  (rules === "octets" ? /^[0-9]+$/ : /^(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])$/).test(part));

// Eight groups of hexadecimal digits; one run of zero groups may be written ::.
export function isIpv6(value) {
  const parts = value.split("::"), groups = parts.flatMap((part) => (part ? part.split(":") : []));
  return parts.length <= 2 && groups.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group))
    && (parts.length === 2 ? groups.length <= 7 : groups.length === 8);
}

// Whether a stretch stands free: nothing before or after makes it a part of something longer.
function isFree(text, start, end, port) {
  const before = text.slice(Math.max(0, start - 2), start), after = text.slice(end, end + 2);
  return !/[A-Za-z0-9_#+]$|[A-Za-z0-9][-./]$/.test(before) && ((port && /^:[0-9]/.test(after)) || !/^(?:[A-Za-z0-9_]|[-./:][A-Za-z0-9])/.test(after));
}

// Everything that looks like a value, [[start, end, kind, port?], ...]; many overlap.
function candidates(text, rules) {
  const all = [];
  for (const { index: at } of text.matchAll(/@/g)) {
    const name = /[A-Za-z0-9_.%+-]*$/.exec(text.slice(0, at))[0].replace(/^[.%+-]+/, "");
    const domain = /^[A-Za-z0-9.-]*/.exec(text.slice(at + 1))[0].split("..")[0].replace(/[.-]+$/, "");
    const fits = /[A-Za-z0-9_]$/.test(name) && !name.includes("..") && /^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}$/.test(domain);
    if (fits) all.push([at - name.length, at + 1 + domain.length, "email"]);
  }
  for (const { 0: run, index } of text.matchAll(/[0-9]+(?:\.[0-9]+)+/g)) {
    const four = rules === "edges" ? /^[0-9]+(\.[0-9]+){3}/.exec(run)?.[0] ?? run : run;
    if (isIpv4(four, rules)) all.push([index, index + four.length, "ip", true]);
  }
  for (const { 0: run, index } of text.matchAll(/[0-9A-Fa-f]*:[0-9A-Fa-f:]+/g)) {
    const address = run.endsWith("::") ? run : run.replace(/:$/, "");
    if (isIpv6(address)) all.push([index, index + address.length, "ip"]);
  }
  const groups = [...text.matchAll(/[0-9]+/g)].map(({ 0: run, index }) => [index, index + run.length]);
  groups.forEach(([start], i) => {
    const starts = "(+".includes(text[start - 1] || " ") ? [start, start - 1] : [start];
    for (let j = i; j < groups.length && groups[j][1] - start < 40; j += 1) {
      for (const from of starts) {
        for (const to of [groups[j][1], groups[j][1] + 1]) {   // an identity code may end with a letter
          const kind = to <= text.length && (to === groups[j][1] || /[A-Y]/.test(text[to - 1])) && kindOf(text.slice(from, to), rules);
          if (kind) all.push([from, to, kind]);
        }
      }
    }
  });
  return all;
}

// The values in a text, [[start, end, kind], ...] in order; of two that overlap the longer counts.
export function find(text, rules = "right") {
  const kept = [], rank = (span) => PRIORITY.indexOf(span[2]);
  const free = candidates(text, rules).filter(([start, end, , port]) => rules === "edges" || isFree(text, start, end, port));
  for (const [start, end, kind] of free.sort((a, b) => b[1] - b[0] - (a[1] - a[0]) || rank(a) - rank(b) || a[0] - b[0])) {
    if (kept.every((other) => end <= other[0] || start >= other[1])) kept.push([start, end, kind]);
  }
  return kept.sort((a, b) => a[0] - b[0]);
}

// The text with name(kind, value) in place of each value, in pieces [[text, its span or null], ...].
const rewritten = (text, spans, name) => [...spans, [text.length]].flatMap((span, i) => {
  const [start, end, kind] = span;
  return [[text.slice(i ? spans[i - 1][1] : 0, start), null], ...(kind ? [[name(kind, text.slice(start, end)), span]] : [])];
}).filter(([part]) => part);

const token = (kind) => `[${kind.toUpperCase()}]`;
export const redacted = (text, spans) => rewritten(text, spans, token).map(([part]) => part).join("");

// SHA-256 by the book, on lists of bytes: the web's own is not there for a page that is a file.
const PRIMES = Array.from({ length: 312 }, (_, n) => n).filter((n) => n > 1 && !Array.from({ length: n }, (_, d) => d).some((d) => d > 1 && n % d === 0));
const fraction = (x) => Math.floor((x % 1) * 2 ** 32) | 0;
const K = PRIMES.map((p) => fraction(Math.cbrt(p))), H = PRIMES.slice(0, 8).map((p) => fraction(Math.sqrt(p)));
const turn = (x, n) => (x >>> n) | (x << (32 - n));

export function sha256(bytes) {
  const padded = [...bytes, 128, ...Array((119 - bytes.length % 64) % 64).fill(0), ...[...Array(8).keys()].map((i) => Math.floor(8 * bytes.length / 256 ** (7 - i)) % 256)];
  const sum = [...H];
  for (let at = 0; at < padded.length; at += 64) {
    const w = Array.from({ length: 16 }, (_, i) => padded.slice(at + 4 * i, at + 4 * i + 4).reduce((word, byte) => (word << 8) | byte, 0));
    let [a, b, c, d, e, f, g, h] = sum;
    for (let i = 0; i < 64; i += 1) {
      if (i > 15) {
        const early = w[i - 15], late = w[i - 2];
        w[i] = (w[i - 16] + w[i - 7] + (turn(early, 7) ^ turn(early, 18) ^ (early >>> 3)) + (turn(late, 17) ^ turn(late, 19) ^ (late >>> 10))) | 0;
      }
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => { sum[i] = (sum[i] + word) | 0; });
  }
  return sum.flatMap((word) => [24, 16, 8, 0].map((shift) => (word >>> shift) & 255));
}

// A value's name: the kind and 64 bits of an HMAC, so that without the key nobody can try all numbers.
export function pseudonym(key, kind, value) {
  const utf8 = (text) => [...new TextEncoder().encode(text)], padded = utf8(key).concat(Array(64).fill(0)).slice(0, 64);
  const inner = sha256([...padded.map((byte) => byte ^ 0x36), ...utf8(`${kind}\0${value}`)]);
  const mark = sha256([...padded.map((byte) => byte ^ 0x5c), ...inner]).slice(0, 8);
  return `<${kind}:${mark.map((byte) => byte.toString(16).padStart(2, "0")).join("")}>`;
}

// Found against true values, exact in place and kind: right, false alarms, misses.
export function compared(found, truth) {
  const has = (list, span) => list.some((other) => String(other) === String(span));
  return { right: found.filter((span) => has(truth, span)), extra: found.filter((span) => !has(truth, span)),
    missed: truth.filter((span) => !has(found, span)) };
}

// Over all samples: true values, and how many were found right, wrongly, or not.
export function total(rules) {
  const each = DATA.samples.map(({ text, spans }) => compared(find(text, rules), spans));
  const count = (part) => each.reduce((sum, one) => sum + one[part].length, 0);
  return { right: count("right"), extra: count("extra"), missed: count("missed") };
}

// --- what is shown --------------------------------------------------------------------------------

const WIDE = 7.25, ROOM = 44, HIGH = 31;                // of one character of 12 px; characters and height of a line
const many = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const nameOf = (kind) => kind.replace("_", " ");

// Pieces [{ text, label?, stroke? }, ...] in lines, cut where a line is full -> [SVG, height].
function flowed(pieces, top) {
  let [x, line] = [0, 0];
  const drawn = pieces.flatMap((piece) => (piece.label ? [piece.text] : piece.text.match(/\S+\s*|\s+/g)).flatMap((word) => {
    if (x && x + word.trimEnd().length > ROOM) [x, line] = [0, line + 1];
    const parts = word.match(new RegExp(`[^]{1,${ROOM}}`, "gu"));
    return parts.map((part, i) => {
      if (i) [x, line] = [0, line + 1];
      const at = 10 + WIDE * x, y = top + HIGH * line, length = WIDE * part.trimEnd().length;
      x += part.length;
      const fit = /^[ -~]*$/.test(part) ? "" : `textLength="${length.toFixed(1)}" lengthAdjust="spacingAndGlyphs" `;
      const box = piece.label ? svgRect(at - 1, y - 13, length + 2, 18, `rx="3" fill="var(--ex-${piece.stroke === "accent" ? "soft" : "ground"})" `
        + `stroke="var(--ex-${piece.stroke})" stroke-width="1.5"${piece.dashed ? ' stroke-dasharray="4 2"' : ""}`) : "";
      return box + (part.trim() ? svgText(at, y, part.trimEnd(), `${fit}xml:space="preserve" font-family="ui-monospace, Menlo, Consolas, monospace"`) : "")
        + (piece.label && !i ? svgText(at, y + 14, piece.label, `font-size="9.5" fill="var(--ex-${piece.stroke})" font-weight="600"`) : "");
    });
  }));
  return [drawn.join(""), top + HIGH * line + 24];
}

export function view(s) {
  const known = DATA.samples.find(({ text }) => text === s.text), found = find(s.text, s.rules);
  const result = known && compared(found, known.spans), all = total(s.rules);
  const isExtra = (span) => Boolean(result) && result.extra.includes(span);
  const missed = (result?.missed ?? []).filter(([start, end]) => found.every((other) => end <= other[0] || start >= other[1]));
  const marks = [...found, ...missed].sort((a, b) => a[0] - b[0]);
  const name = { found: (_, value) => value, redacted: token, named: (kind, value) => pseudonym(`key ${s.key}`, kind, value) }[s.show];
  const shown = rewritten(s.text, s.show === "found" ? marks : found, name).map(([text, span]) => (!span ? { text }
    : s.show !== "found" ? { text, label: " ", stroke: "accent" }
      : missed.includes(span) ? { text, label: `missed: ${nameOf(span[2])}`, stroke: "mark" }
        : isExtra(span) ? { text, label: `✗ no ${nameOf(span[2])}`, stroke: "mark", dashed: true } : { text, label: nameOf(span[2]), stroke: "accent" }));
  const title = `${many(found.length, "value")} ${s.show === "found" ? "found" : s.show === "redacted" ? "redacted" : "named"}`
    + `${result && result.extra.length + result.missed.length ? `: ${result.missed.length} missed, ${many(result.extra.length, "false alarm")}` : ""}`;
  const [body, bottom] = flowed(shown, 46);
  const svg = svgFigure(340, bottom, `${title}. ${shown.map(({ text, label }) => (label?.trim() ? `${text} (${label})` : text)).join("")}`,
    svgText(10, 18, title, 'font-weight="700" font-size="14"') + body);

  const list = (spans) => spans.map(([start, end, kind]) => `${nameOf(kind)} <code>${esc(s.text.slice(start, end))}</code>`).join(", ");
  const said = [found.length ? `<p>Found: ${list(found)}.</p>` : "<p>Nothing is found.</p>"];
  if (result) {
    if (result.extra.length) said.push(`<p>✗ False alarm${result.extra.length === 1 ? "" : "s"}: ${list(result.extra)}.</p>`);
    if (result.missed.length) said.push(`<p>Missed: ${list(result.missed)}.${result.missed.some(([, , kind]) => !PRIORITY.includes(kind)) ? " No form tells a name or a street: that takes a trained model, which errs." : ""}</p>`);
  } else said.push("<p>This text is yours, so nobody has marked it: whether something is missed is for you to say.</p>");
  if (s.show === "named") said.push("<p>The same value gets the same name, another key other names. Who has the key and the list of names has the values: this is still personal data.</p>");
  if (s.show === "redacted") said.push("<p>Only the kind is left. Whether two of them were the same customer is lost.</p>");
  const calls = all.right + all.extra, true_ = all.right + all.missed;
  said.push(`<p>These rules on all ${DATA.samples.length} samples: ${all.right} of ${true_} values found, recall <strong>${(all.right / true_).toFixed(2)}</strong>; `
    + `${many(all.extra, "false alarm")}, precision <strong>${(all.right / calls).toFixed(2)}</strong>.</p>`);
  return { svg, summary: said.join(""), shown: ["text", "show", "rules", "sample", ...(s.show === "named" ? ["key"] : [])] };
}

// A sample that is asked for brings its text; another text is the reader's own.
export const settle = (s) => (s.text === ABOUT.options.text.default && s.sample > 1 ? { ...s, text: DATA.samples[s.sample - 1].text } : s);

export const follow = (s, key) => (key === "sample" ? { text: DATA.samples[s.sample - 1].text } : {});

export default explorer({ ABOUT, view, settle, follow });
