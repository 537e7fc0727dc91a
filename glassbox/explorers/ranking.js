// What a reward model is fitted to: votes on pairs of answers by two groups who want different things, and
// the Bradley-Terry scores of each group and of both together. Answers, tastes and votes are made up. To
// both sides of each pair half a win is added, so that an answer which never lost has a finite score.
import { esc, explorer, svgDot, svgFigure, svgLine, svgRect, svgText, uniforms } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "ranking",
  "ask": "Two groups judge the same six answers: the first wants it direct, the second courteous. Who comes first when their votes are pooled: a favourite of one group, or another answer? And does noise change the order of the scores, or their distances?",
  "options": {
    "share": { "default": 0.5, "min": 0, "max": 1, "step": 0.1, "label": "Votes from group 2" },
    "apart": { "default": 1, "min": 0, "max": 1, "step": 0.1, "label": "How far they differ" },
    "noise": { "default": 0.1, "min": 0, "max": 1, "step": 0.1, "label": "Votes at random" },
    "votes": { "default": 50, "min": 10, "max": 200, "step": 10, "label": "Votes per pair" },
    "seed": { "default": 1, "min": 1, "max": 99, "label": "Seed" },
    "one": { "default": 2, "min": 0, "max": 5 },
    "two": { "default": 1, "min": 0, "max": 5 }
  }
};

export const ANSWERS = [
  ["A", "an order", "Restart the modem."],
  ["B", "technical", "E42: no line signal. Check the cable, restart."],
  ["C", "kind, complete", "Sorry for that. Please check the cable, then restart the modem."],
  ["D", "kind, short", "Thank you for asking. Please restart it."],
  ["E", "rude", "It is in the manual."],
  ["F", "kind, no help", "We are so sorry for your trouble."],
];
export const DIRECT = [0.6, 1.8, 1.2, 0.3, -1.2, -2.7], COURTEOUS = [-0.8, -0.5, 1.2, 1.6, -2.3, 0.8];

// --- arithmetic -----------------------------------------------------------------------------------

// How often an answer of score a is preferred to one of score b if a share of the votes is cast at random.
export const chance = (a, b, noise) => (1 - noise) / (1 + Math.exp(b - a)) + noise / 2;

// Votes on all pairs, one for each random number of draws[pair] -> wins[i][j]: how often i beat j.
export function tally(scores, noise, draws) {
  const n = scores.length, wins = scores.map(() => Array(n).fill(0));
  for (let i = 0, pair = 0; i < n; i += 1) {
    for (let j = i + 1; j < n; j += 1, pair += 1) {
      wins[i][j] = draws[pair].filter((u) => u < chance(scores[i], scores[j], noise)).length;
      wins[j][i] = draws[pair].length - wins[i][j];
    }
  }
  return wins;
}

// Bradley-Terry scores, their mean 0: the likeliest ones for these wins and half a win more everywhere.
// Newman's iteration: exp(score) is what an answer won over what it lost, each weighed by the others.
export function fit(wins) {
  let scores = wins.map(() => 0), moved = 1;
  for (let round = 0; round < 5000 && moved > 1e-13; round += 1) {
    const next = [...scores];
    next.forEach((own, i) => {
      let won = 0, lost = 0;
      next.forEach((other, j) => {
        const both = Math.exp(own) + Math.exp(other);
        won += i === j ? 0 : (wins[i][j] + 0.5) * Math.exp(other) / both;
        lost += i === j ? 0 : (wins[j][i] + 0.5) / both;
      });
      next[i] = Math.log(won / lost);
    });
    const mean = next.reduce((a, b) => a + b, 0) / next.length, centred = next.map((score) => score - mean);
    moved = Math.max(...centred.map((score, i) => Math.abs(score - scores[i])));
    scores = centred;
  }
  return scores;
}

// Chance that two votes on the same pair agree, mean over the pairs: two of one group, or one of each.
// null where there are not two.
export function agreement(wins, other) {
  const found = [];
  wins.forEach((row, i) => row.slice(i + 1).forEach((a, k) => {
    const j = i + 1 + k, b = wins[j][i], [c, d] = other ? [other[i][j], other[j][i]] : [a - 1, b - 1];
    const ways = (a + b) * (other ? c + d : a + b - 1);
    found.push(ways > 0 ? (a * c + b * d) / ways : null);
  }));
  return found.includes(null) ? null : found.reduce((a, b) => a + b, 0) / found.length;
}

// Agreement above chance; a coin agrees in half of the cases, as the sides are dealt at random.
export const kappa = (agree) => 2 * agree - 1;

// --- what is shown --------------------------------------------------------------------------------

const muted = 'fill="var(--ex-muted)" font-size="11"';
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
const signed = (x) => `${x < -0.005 ? "−" : ""}${Math.abs(x).toFixed(2)}`;
const nameOf = (i) => ANSWERS[i][0];
const sum = (a, b) => a.map((row, i) => row.map((count, j) => count + b[i][j]));
const firstOf = (scores) => scores.indexOf(Math.max(...scores));

// All votes of a state and what follows from them; a group without votes has no scores.
function judged(s) {
  const second = Math.round(s.share * s.votes), random = uniforms(s.seed, 15 * s.votes);
  const tastes = [DIRECT, DIRECT.map((score, i) => score + s.apart * (COURTEOUS[i] - score))];
  const wins = tastes.map((scores, group) => tally(scores, s.noise, Array.from({ length: 15 }, (_, pair) =>
    random.slice(pair * s.votes + (group ? s.votes - second : 0), (pair + 1) * s.votes - (group ? 0 : second)))));
  const pool = sum(...wins), sizes = [s.votes - second, second];
  return { wins, pool, sizes, fits: wins.map((own, group) => (sizes[group] ? fit(own) : null)), pooled: fit(pool) };
}

// The scores: a line for each answer, the best of the pool on top.
function scoresPart({ fits, pooled }, order) {
  const x = [142, 326], px = (v) => (x[0] + x[1]) / 2 + (x[1] - x[0]) * Math.min(4, Math.max(-4, v)) / 8, top = 50, high = 23;
  const end = top + high * order.length;
  const key = svgDot(148, 32, 4.5, 'fill="var(--ex-ground)" stroke="var(--ex-accent)" stroke-width="2.5"') + svgText(157, 36, "group 1", muted)
    + svgRect(206, 28, 8, 8, 'fill="var(--ex-c2)"') + svgText(219, 36, "group 2", muted)
    + svgRect(270, 25, 3.5, 14, 'fill="var(--ex-text)"') + svgText(279, 36, "together", muted);
  const rows = order.map((i, place) => {
    const y = top + high * (place + 0.5), both = fits.filter(Boolean).map((scores) => px(scores[i]));
    return svgText(10, y + 4, nameOf(i), 'font-weight="700"') + svgText(26, y + 4, ANSWERS[i][1], 'font-size="11"')
      + svgLine(x[0], y, x[1], y, 'stroke="var(--ex-line)" stroke-width="1"')
      + svgLine(Math.min(...both), y, Math.max(...both), y, 'stroke="var(--ex-muted)" stroke-width="2"')
      + svgRect(px(pooled[i]) - 1.75, y - 9, 3.5, 18, 'fill="var(--ex-text)"')
      + (fits[1] ? svgRect(px(fits[1][i]) - 4, y - 4, 8, 8, 'fill="var(--ex-c2)" stroke="var(--ex-ground)"') : "")
      + (fits[0] ? svgDot(px(fits[0][i]), y, 4.5, 'fill="var(--ex-ground)" stroke="var(--ex-accent)" stroke-width="2.5"') : "");
  });
  return key + svgLine(px(0), top, px(0), end, 'stroke="var(--ex-muted)" stroke-dasharray="2 3"') + rows.join("")
    + [-4, -2, 0, 2, 4].map((v) => svgText(px(v), end + 13, String(v).replace("-", "−"), `text-anchor="middle" ${muted}`)).join("")
    + svgText(10, end + 13, "score", muted);
}

// The votes: how often the answer of the row was preferred to that of the column.
function votesPart(s, { pool }, order) {
  const left = 36, wide = 49, top = 240, high = 22;
  const rows = order.map((i, row) => {
    const cells = order.map((j, column) => {
      const x = left + wide * column, y = top + high * row, part = pool[i][j] / s.votes, isChosen = s.one === i && s.two === j;
      if (i === j) return svgText(x + wide / 2, y + 15, "·", 'text-anchor="middle" fill="var(--ex-muted)"');
      return svgRect(x + 1, y + 1, wide - 2, high - 2, `rx="3" fill="var(--ex-accent)" fill-opacity="${(0.4 * part).toFixed(3)}" `
        + `stroke="var(--ex-${isChosen ? "mark" : "line"})" stroke-width="${isChosen ? 3 : 1}" role="gridcell" aria-selected="${isChosen}" `
        + `data-press="p:${i},${j}" data-cell="${row},${column - (column > row)}" tabindex="${isChosen ? 0 : -1}" `
        + `aria-label="${nameOf(i)} preferred to ${nameOf(j)}: ${percent(part)}"`)
        + svgText(x + wide / 2, y + 15, percent(part), `font-size="11" text-anchor="middle" pointer-events="none"${isChosen ? ' font-weight="700"' : ""}`);
    });
    return `<g role="row">${svgText(left - 8, top + high * row + 15, nameOf(i), 'font-weight="700" text-anchor="end"')}${cells.join("")}</g>`;
  });
  return svgText(10, top - 22, `Row preferred to column, of ${s.votes} votes`, muted)
    + order.map((j, column) => svgText(left + wide * (column + 0.5), top - 5, nameOf(j), 'font-weight="700" text-anchor="middle"')).join("")
    + `<g role="grid" aria-label="How often the row's answer was preferred to the column's">${rows.join("")}</g>`;
}

export function view(s) {
  const j = judged(s), { wins, pool, sizes, fits, pooled } = j, { one: a, two: b } = s;
  const order = pooled.map((_, i) => i).sort((p, q) => pooled[q] - pooled[p] || p - q), best = order[0];
  const alone = sizes.indexOf(0), title = `${alone < 0 ? "Pooled" : `Group ${2 - alone} alone`}, ${nameOf(best)} comes first`;
  const heads = fits.map((scores, group) => scores && [`group ${group + 1}`, firstOf(scores), scores]).filter(Boolean);
  const isNew = heads.length > 1 && heads.every(([, first]) => first !== best);
  const favours = heads.map(([name, first]) => `${name} puts <strong>${nameOf(first)}</strong> first`).join(", ");
  const agrees = [[0, "two of group 1"], [1, "two of group 2"], [null, "one of each"]].map(([group, who]) =>
    [who, group === null ? agreement(...wins) : agreement(wins[group])]).filter(([, p]) => p !== null)
    .map(([who, p]) => `${who} in <strong>${percent(p)}</strong> (κ ${signed(kappa(p))})`).join(", ");
  const votes = wins.map((own, group) => (sizes[group] ? `${own[a][b]} of ${sizes[group]} in group ${group + 1}` : "")).filter(Boolean);
  const gap = pooled[a] - pooled[b], spread = pooled[best] - pooled[order.at(-1)];
  const summary = `<p>${favours[0].toUpperCase()}${favours.slice(1)}${heads.length > 1 ? `; together they put <strong>${nameOf(best)}</strong> first`
    + `${isNew ? ", the favourite of neither" : ""}` : ""}. First and last are <strong>${spread.toFixed(2)}</strong> apart.</p>`
    + `<p>Two votes on the same pair agree: ${agrees}.</p>`
    + (a === b ? "" : `<p>${nameOf(a)}, “${esc(ANSWERS[a][2])}”, or ${nameOf(b)}, “${esc(ANSWERS[b][2])}”: ${nameOf(a)} has ${votes.join(", ")}`
      + `${votes.length > 1 ? `, ${pool[a][b]} of ${s.votes} together` : ""}. From the scores: σ(${signed(gap)}) = <strong>${percent(chance(gap, 0, 0))}</strong>.</p>`)
    + "<p>Click a cell, or reach it with the arrow keys and press Space.</p>";
  const told = order.map((i) => `${nameOf(i)} (${ANSWERS[i][1]}) ${signed(pooled[i])}`
    + fits.map((scores, group) => (scores && heads.length > 1 ? `, group ${group + 1} ${signed(scores[i])}` : "")).join(""));
  return { svg: figure(title, told, scoresPart(j, order) + votesPart(s, j, order)), summary,
    limits: Object.fromEntries(["share", "noise"].map((key) => [key, { text: percent }]).concat([["apart", { text: (v) => v.toFixed(1) }]])) };
}

const figure = (title, told, body) => svgFigure(340, 376, `${title}. Scores: ${told.join("; ")}`,
  svgText(10, 18, title, 'font-weight="700" font-size="14"') + body, "group");

export function press(s, token) {
  const [one, two] = token.split(":")[1].split(",").map(Number);
  return { one, two };
}

export default explorer({ ABOUT, view, press });
