// The filter funnel: stages over a small corpus with planted defects, each on or off, some with a limit;
// what every stage removes, whether that was what it should find, and which sound documents are lost.
// What the rules measure in each document is in funnel.json, made by tests/golden/funnel.py with
// glassbox.cleaning; here the limits are applied to it.
import { esc, explorer, short, svgFigure, svgLine, svgRect, svgText } from "./kit.js";
import DATA from "./funnel.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "funnel",
  "ask": "Gopher asks for 50 words and for two different English stop words. Which sound documents of a telecom company fall to these two limits? Name two kinds. Then find limits that lose none of them and still catch the spam.",
  "options": {
    "at": { "default": "rules", "label": "Look at", "wide": true, "choices": {
      "repair": "repair: HTML, encoding, page frames", "rules": "rules: words, letters, stop words",
      "classifier": "quality classifier", "ends": "ends: texts that are cut off", "list": "list: words that insult",
      "duplicates": "duplicates", "overlap": "overlap with the test", "redact": "redaction of personal data" } },
    "ends": { "default": "cut", "label": "Cut off is", "wide": true, "choices": {
      "cut": "what ends in no word of the corpus", "mark": "C4: what ends without . ! ? or a quotation mark" } },
    "english": { "default": false, "label": "Ask only English text for stop words", "wide": true },
    "length": { "default": 50, "min": 0, "max": 100, "step": 5, "label": "Words, at least" },
    "letters": { "default": 0.8, "min": 0.5, "max": 1, "step": 0.05, "label": "With a letter, at least" },
    "stop": { "default": 2, "min": 0, "max": 5, "label": "Stop words, at least" },
    "score": { "default": 0.5, "min": 0, "max": 1, "step": 0.05, "label": "Quality, at least" },
    "same": { "default": 0.7, "min": 0.4, "max": 1, "step": 0.05, "label": "Duplicate from Jaccard" },
    "off": { "default": [] }
  }
};

const STAGES = ["repair", "rules", "classifier", "ends", "list", "duplicates", "overlap", "redact"];
const AIMS = { repair: ["html", "mojibake", "boilerplate"], rules: ["spam"], classifier: ["spam"], ends: ["truncated"], list: ["toxic"],
  duplicates: ["exact_duplicate", "near_duplicate"], overlap: ["contamination"], redact: ["personal_data"] };

// --- arithmetic -----------------------------------------------------------------------------------

// What is measured in document i, by name.
const measured = (i, isMended) => Object.fromEntries(((isMended && DATA.rows[i].mended) || DATA.rows[i].raw).map((x, k) => [DATA.fields[k], x]));

// Whether a document passes one of the stages that drop documents one by one.
export function passes(stage, m, s) {
  if (stage === "rules") return m.words >= s.length && m.letters >= s.letters && (m.stop >= s.stop || (s.english && !m.english));
  if (stage === "classifier") return m.score >= s.score;
  if (stage === "ends") return s.ends === "cut" ? !m.cut : Boolean(m.mark);
  return stage === "list" ? !m.listed : m.overlap < 0.5;
}

// The first document of each group; who is alike with one of a group belongs to it.
export function firsts(alive, pairs, same) {
  const first = new Map(alive.map((i) => [i, i]));
  for (const [i, j, share] of pairs) {
    if (share < same || !first.has(i) || !first.has(j) || first.get(i) === first.get(j)) continue;
    const [low, high] = [first.get(i), first.get(j)].sort((a, b) => a - b);
    for (const [k, f] of first) if (f === high) first.set(k, low);
  }
  return alive.filter((i) => first.get(i) === i);
}

// Every stage that is on: what is left, how many documents it dropped and changed, and how that agrees
// with what it aims at. First the corpus as it is. `touched` are the documents dropped or changed.
export function run(s) {
  let alive = DATA.rows.map((_, i) => i);
  const on = STAGES.filter((stage) => !s.off.includes(stage)), isMended = on.includes("repair");
  const size = (list, field, mended) => list.reduce((sum, i) => sum + measured(i, mended)[field], 0);
  const report = [{ stage: "raw", documents: alive.length, bytes: size(alive, "bytes", false), dropped: 0, changed: 0, precision: null, recall: null }];
  for (const stage of on) {
    const before = alive;
    const changed = before.filter((i) => (stage === "repair" ? Boolean(DATA.rows[i].changed)
      : stage === "redact" && measured(i, isMended).personal > 0));
    if (stage === "duplicates") alive = firsts(before, DATA.pairs[isMended ? "mended" : "raw"], s.same);
    else if (stage !== "repair" && stage !== "redact") alive = before.filter((i) => passes(stage, measured(i, isMended), s));
    const dropped = before.filter((i) => !alive.includes(i)), touched = [...dropped, ...changed];
    const isMeant = (i) => DATA.rows[i].defects.some((d) => AIMS[stage].includes(DATA.defects[d]));
    const meant = before.filter(isMeant), right = touched.filter(isMeant).length;
    report.push({ stage, documents: alive.length, bytes: size(alive, stage === "redact" ? "redacted" : "bytes", isMended),
      dropped: dropped.length, changed: changed.length, precision: touched.length ? right / touched.length : null,
      recall: meant.length ? right / meant.length : null, touched, missed: meant.filter((i) => !touched.includes(i)) });
  }
  return report;
}

// Of each defect [how many documents are dropped, or mended by the stage that aims at it; planted].
export function gone(s) {
  const report = run(s), last = report.flatMap(({ stage, touched = [] }) => touched.map((i) => [i, stage]));
  return Object.fromEntries(DATA.defects.map((name, d) => {
    const held = DATA.rows.map((_, i) => i).filter((i) => DATA.rows[i].defects.includes(d));
    const isGone = (i) => last.some(([j, stage]) => i === j && (!["repair", "redact"].includes(stage) || AIMS[stage].includes(name)));
    return [name, [held.filter(isGone).length, held.length]];
  }));
}

// Sound documents that are lost, as [lost, of]: all, those in other languages than English, and logs.
export function lost(s) {
  const dropped = new Set(run(s).flatMap(({ stage, touched = [] }) => (["repair", "redact"].includes(stage) ? [] : touched)));
  const sound = DATA.rows.map((row, i) => [row, i]).filter(([row]) => !row.defects.length);
  const count = (list) => [list.filter(([, i]) => dropped.has(i)).length, list.length];
  return { all: count(sound), foreign: count(sound.filter(([row]) => row.language !== "en" && row.kind !== "dialogue")),
    logs: count(sound.filter(([row]) => row.kind === "syslog")) };
}

// --- what is shown --------------------------------------------------------------------------------

const NAMES = { raw: "as planted", repair: "repair", rules: "rules", classifier: "classifier", ends: "cut off", list: "word list", duplicates: "duplicates",
  overlap: "test overlap", redact: "redaction" };
const muted = 'fill="var(--ex-muted)" font-size="11"';
const many = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const share = (x) => (x === null ? "–" : x.toFixed(2));
const plain = (name) => name.replace("_", " ");

function rows(s, report) {
  const top = 58, high = 25, all = report[0].documents, by = Object.fromEntries(report.map((line) => [line.stage, line]));
  let left = report[0];
  const drawn = ["raw", ...STAGES].map((stage, k) => {
    const y = top + high * k, isOn = stage in by, line = by[stage] ?? left, isChosen = s.at === stage;
    left = line;
    const box = stage === "raw" ? "" : svgRect(10, y - 9, 11, 11, 'rx="2" fill="var(--ex-ground)" stroke="var(--ex-text)" pointer-events="none"')
      + (isOn ? svgText(15.5, y + 0.5, "✓", 'text-anchor="middle" font-size="11" font-weight="700" pointer-events="none"') : "");
    const press = stage === "raw" ? "" : svgRect(5, y - 15, 112, 22, `rx="4" fill="var(--ex-ground)" fill-opacity="0" stroke="var(--ex-${isChosen ? "mark" : "ground"})" `
      + `stroke-width="2" role="checkbox" aria-checked="${isOn}" aria-label="${NAMES[stage]}: ${isOn ? `on, ${many(line.documents, "document")} left` : "off"}" `
      + `data-press="s:${stage}" data-cell="${k - 1},0" tabindex="${k === 1 ? 0 : -1}"`);
    return press + box + svgText(stage === "raw" ? 10 : 26, y, NAMES[stage], `pointer-events="none"${isOn ? "" : ' fill="var(--ex-muted)"'}${isChosen ? ' font-weight="700"' : ""}`)
      + svgRect(122, y - 11, 76 * line.documents / all, 15, `fill="var(--ex-${isOn ? "accent" : "ground"})" fill-opacity="${isOn ? 0.5 : 1}" stroke="var(--ex-accent)" stroke-width="${isOn ? 0 : 1}"`)
      + svgText(224, y, String(line.documents), 'text-anchor="end" font-weight="700" font-size="11"')
      + svgText(258, y, (line.bytes / 1000).toFixed(0), `text-anchor="end" ${muted}`)
      + (stage === "raw" || !isOn ? "" : svgText(296, y, share(line.precision), 'text-anchor="end" font-size="11"') + svgText(331, y, share(line.recall), 'text-anchor="end" font-size="11"'));
  });
  const head = [[224, "texts"], [258, "KB"], [296, "prec."], [331, "recall"]].map(([x, name]) => svgText(x, 36, name, `text-anchor="end" ${muted}`)).join("");
  return [head + `<g role="group" aria-label="Stages, each on or off">${drawn.join("")}</g>`, top + high * (STAGES.length + 1)];
}

// How much of each planted defect is gone.
function defects(found, top) {
  const names = Object.keys(found), half = Math.ceil(names.length / 2);
  return svgLine(10, top - 14, 330, top - 14, 'stroke="var(--ex-line)"') + svgText(10, top + 2, "Planted defects, how many are gone", muted)
    + names.map((name, k) => {
      const x = k < half ? 10 : 178, y = top + 21 + 19 * (k % half), [part, all] = found[name];
      return svgText(x, y, plain(name), 'font-size="11"') + svgRect(x + 95, y - 9, 22, 10, 'fill="var(--ex-ground)" stroke="var(--ex-line)"')
        + svgRect(x + 95, y - 9, all ? 22 * part / all : 0, 10, 'fill="var(--ex-accent)"') + svgText(x + 152, y, `${part}/${all}`, 'text-anchor="end" font-size="11"');
    }).join("");
}

export function view(s) {
  const report = run(s), found = gone(s), end = report.at(-1), { all, foreign, logs } = lost(s);
  const title = `${end.documents} of ${report[0].documents} documents are left`;
  const [body, below] = rows(s, report), bottom = below + 21 + 19 * Math.ceil(DATA.defects.length / 2);
  const told = report.slice(1).map((line) => `${NAMES[line.stage]}: ${line.documents} left, precision ${share(line.precision)}, recall ${share(line.recall)}`);
  const svg = svgFigure(340, bottom + 8, `${title}. ${told.join("; ")}. Gone: ${Object.entries(found).map(([name, [part, of]]) => `${plain(name)} ${part} of ${of}`).join(", ")}`,
    svgText(10, 18, title, 'font-weight="700" font-size="14"') + body + defects(found, below + 6), "group");
  const line = report.find(({ stage }) => stage === s.at);
  const quoted = (list) => list.slice(0, 2).map((i) => `“${esc(DATA.rows[i].text)}…” (${DATA.rows[i].kind}, ${DATA.rows[i].language})`).join(", ")
    + (list.length > 2 ? ` and ${list.length - 2} more` : "");
  const isMeant = (i) => DATA.rows[i].defects.some((d) => AIMS[s.at].includes(DATA.defects[d]));
  const detail = () => {
    const touched = line.touched, wrongly = touched.filter((i) => !isMeant(i)), verb = line.changed ? "changes" : "drops";
    return `<p><strong>${NAMES[s.at]}</strong> (for ${AIMS[s.at].map(plain).join(", ")}) ${verb} ${many(touched.length, "document")}, ${touched.length - wrongly.length} rightly: `
      + `precision <strong>${share(line.precision)}</strong>, recall <strong>${share(line.recall)}</strong> of what reaches it.</p>`
      + (wrongly.length ? `<p>${line.changed ? "Changed" : "Dropped"}, but not for that: ${quoted(wrongly)}.</p>` : "")
      + (line.missed.length ? `<p>Missed: ${quoted(line.missed)}.</p>` : "");
  };
  const summary = `<p>Of ${all[1]} sound documents <strong>${all[0]}</strong> ${all[0] === 1 ? "is" : "are"} lost: ${foreign[0]} of the ${foreign[1]} that are not in English, ${logs[0]} of the ${many(logs[1], "log")}. `
    + `${short(report[0].bytes)}B become ${short(end.bytes)}B.</p>`
    + (line ? detail() : `<p><strong>${NAMES[s.at]}</strong> is off.</p>`)
    + "<p>A wrong fact, an old tariff or a wrong label looks like any other text: no stage here aims at it. Click a stage to turn it on or off.</p>";
  const hidden = [...(s.off.includes("rules") ? ["length", "letters", "stop", "english"] : []), ...(s.off.includes("classifier") ? ["score"] : []),
    ...(s.off.includes("ends") ? ["ends"] : []), ...(s.off.includes("duplicates") ? ["same"] : [])];
  return { svg, summary, shown: Object.keys(ABOUT.options).filter((key) => !hidden.includes(key)),
    limits: Object.fromEntries(["letters", "score", "same"].map((key) => [key, { text: (v) => v.toFixed(2) }])) };
}

export function press(s, token) {
  const stage = token.split(":")[1], off = s.off.filter((other) => other !== stage);
  return { off: off.length < s.off.length ? off : [...s.off, stage], at: stage };
}

export default explorer({ ABOUT, view, press });
