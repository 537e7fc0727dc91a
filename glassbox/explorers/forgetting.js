// What fine-tuning forgets: answers to new questions against the loss on the base model's own text, for
// recorded runs of the course's small model. Runs: forgetting.json, taken from
// book/experiments/forgetting.json by tests/golden/forgetting.py. One run of each; nothing between them
// is made up, so the sliders move from run to run.
import { explorer, svgFigure, svgRect, svgText } from "./kit.js";
import DATA from "./forgetting.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "forgetting",
  "ask": "A higher learning rate: are more questions answered right, and what happens to the text that the base model knew? Say both, then move the rate. How much of the loss does a quarter of old text in the batch take back?",
  "options": {
    "rate": { "default": 3, "min": 1, "max": 4, "label": "Learning rate" },
    "share": { "default": 1, "min": 1, "max": 3, "label": "Share of replay" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// A run by its place in the grid, from 1: what it gained and what it forgot, in nats per token.
export function run(rate, share) {
  const loss = DATA.base_loss[rate - 1][share - 1], right = DATA.right[rate - 1][share - 1];
  return { rate: DATA.rates[rate - 1], share: DATA.shares[share - 1], right, loss,
    gained: right - DATA.before.right, forgot: loss - DATA.before.base_loss };
}

const all = () => DATA.rates.flatMap((_, i) => DATA.shares.map((_, j) => [i + 1, j + 1]));

// The run that forgets least among those that answer at least so many questions; null if there is none.
export function mildest(least) {
  const able = all().filter(([i, j]) => run(i, j).right >= least);
  return able.length ? able.reduce((a, b) => (run(...b).forgot < run(...a).forgot ? b : a)) : null;
}

// What replay takes back of the forgetting of the same rate without it; null where nothing is forgotten.
export function spared(rate, share) {
  const without = run(rate, 1).forgot;
  return without > 0 ? 1 - run(rate, share).forgot / without : null;
}

// --- what is shown --------------------------------------------------------------------------------

const muted = 'fill="var(--ex-muted)" font-size="11"';
const sci = (x) => x.toExponential();
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

// One map: a row for each share, a column for each rate; every cell says its number.
function map(s, { name, title, first, top, colour, amount, text, said }) {
  const left = 62, wide = 268 / DATA.rates.length, high = 28;
  const rows = DATA.shares.map((share, j) => {
    const cells = DATA.rates.map((rate, i) => {
      const chosen = s.rate === i + 1 && s.share === j + 1, x = left + wide * i, y = top + high * j, r = run(i + 1, j + 1);
      return svgRect(x + 1, y + 1, wide - 2, high - 2, `rx="3" fill="var(--ex-${colour})" fill-opacity="${(0.4 * amount(r)).toFixed(3)}" `
        + `stroke="var(--ex-${chosen ? "mark" : "line"})" stroke-width="${chosen ? 3 : 1}" role="gridcell" aria-selected="${chosen}" `
        + `data-press="${name}:${i + 1},${j + 1}" data-cell="${first + j},${i}" tabindex="${chosen && !first ? 0 : -1}" `
        + `aria-label="rate ${sci(rate)}, replay ${percent(share)}: ${said(r)}"`)
        + svgText(x + wide / 2, y + high / 2 + 4, text(r), `text-anchor="middle" pointer-events="none"${chosen ? ' font-weight="700"' : ""}`);
    }).join("");
    return `<g role="row">${svgText(left - 6, top + high * j + high / 2 + 4, percent(share), `text-anchor="end" ${muted}`)}${cells}</g>`;
  });
  const below = top + high * DATA.shares.length;
  return svgText(left + 1, top - 8, title, 'font-weight="700"')
    + `<g role="grid" aria-label="${title}">${rows.join("")}</g>`
    + svgText(left - 6, below + 14, "rate", `text-anchor="end" ${muted}`) + svgText(left - 6, top - 8, "replay", `text-anchor="end" ${muted}`)
    + DATA.rates.map((rate, i) => svgText(left + wide * (i + 0.5), below + 14, sci(rate), `text-anchor="middle" ${muted}`)).join("");
}

function figure(s, r) {
  const worst = Math.max(...all().map((place) => run(...place).forgot)), n = DATA.shares.length;
  const share = (x) => Math.min(1, Math.max(0, x));
  return svgFigure(340, 266, `Two maps of ${DATA.rates.length * n} runs. Chosen: rate ${sci(r.rate)}, replay ${percent(r.share)}: `
    + `${percent(r.right)} of the questions right, loss on base text ${r.loss.toFixed(2)}`,
  map(s, { name: "right", title: "Questions answered right", first: 0, top: 28, colour: "accent",
    amount: (x) => share(x.right), text: (x) => percent(x.right), said: (x) => `${percent(x.right)} right` })
    + map(s, { name: "loss", title: `Loss on base text, before: ${DATA.before.base_loss.toFixed(2)}`, first: n, top: 160, colour: "c2",
      amount: (x) => Math.sqrt(share(x.forgot / worst)), text: (x) => x.loss.toFixed(2), said: (x) => `loss ${x.loss.toFixed(2)}` }), "group");
}

export function view(s) {
  const r = run(s.rate, s.share), part = spared(s.rate, s.share), best = mildest(0.75), b = best && run(...best);
  const isBest = best && best[0] === s.rate && best[1] === s.share;
  const saved = s.share === 1 || part === null ? "" : ` Without replay it forgets ${run(s.rate, 1).forgot.toFixed(2)}: `
    + `replay ${part < 0 ? "adds to it" : `takes back <strong>${percent(part)}</strong>`}.`;
  const summary = `<p>Rate <strong>${sci(r.rate)}</strong>, replay <strong>${percent(r.share)}</strong>: `
    + `<strong>${percent(r.right)}</strong> of the held-out questions are answered right, before ${percent(DATA.before.right)}.</p>`
    + `<p>On text of the kind it was pretrained on the loss goes from ${DATA.before.base_loss.toFixed(2)} to <strong>${r.loss.toFixed(2)}</strong> nats per token: `
    + `${r.forgot > 0 ? `it forgets <strong>${r.forgot.toFixed(2)}</strong>` : `it forgets nothing (${r.forgot.toFixed(2)})`}.${saved}</p>`
    + (b ? `<p>${isBest ? "No run that answers three quarters or more forgets less." : `Of the runs that answer three quarters or more the mildest is rate ${sci(b.rate)} with replay `
      + `${percent(b.share)}: ${percent(b.right)} right, ${b.forgot.toFixed(2)} forgotten.`}</p>` : "<p>No run answers three quarters.</p>")
    + "<p>Click a cell, or reach it with the arrow keys and press Space.</p>";
  return { svg: figure(s, r), summary, limits: { rate: { text: (i) => sci(DATA.rates[i - 1]) },
    share: { text: (j) => percent(DATA.shares[j - 1]) } } };
}

export function press(s, token) {
  const [rate, share] = token.split(":")[1].split(",").map(Number);
  return { rate, share };
}

export default explorer({ ABOUT, view, press });
