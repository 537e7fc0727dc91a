// Generalised advantage estimation over one short answer: which token gets the credit, from which later
// jumps it comes, and what lambda trades. Rewards and values are made up: a mark after the last token,
// minus a KL price per token; the values are right on average up to the error that is set.
import { esc, explorer, svgDot, svgFigure, svgLine, svgPath, svgRect, svgText } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "gae",
  "ask": "The only reward, 1, comes after the last token. Which token gets the largest advantage at λ = 1, and which at λ = 0? Say both, then move λ.",
  "options": {
    "lam": { "default": 0.95, "min": 0, "max": 1, "step": 0.05, "label": "lambda λ" },
    "gamma": { "default": 1, "min": 0.8, "max": 1, "step": 0.01, "label": "gamma γ" },
    "mark": { "default": 1, "min": -1, "max": 1, "step": 0.1, "label": "Mark at the end" },
    "price": { "default": 0, "min": 0, "max": 1, "step": 0.05, "label": "KL price β" },
    "off": { "default": 0, "min": -0.5, "max": 0.5, "step": 0.1, "label": "Values are off by" },
    "token": { "default": 0, "min": 0, "max": 5 }
  }
};

export const TOKENS = ["Thank", "you.", "Restart", "it", "now.", "<|end|>"];
export const VALUES = [0.4, 0.5, 0.55, 0.8, 0.8, 0.9], KL = [0.2, 0.1, 0, 0.5, 0.3, 0];

// --- arithmetic -----------------------------------------------------------------------------------

// What each token is paid: minus the price of its KL, and the mark for the last.
export const paid = (kl, price, mark) => kl.map((nats, t) => (t === kl.length - 1 ? mark : 0) - price * nats);

// Jumps: the reward and the value after a token, less the value before it. After the last there is none.
export const jumps = (rewards, values, gamma) =>
  rewards.map((reward, t) => reward + gamma * (values[t + 1] ?? 0) - values[t]);

// What each later jump adds to the advantage of token t.
export const parts = (rewards, values, gamma, lam, t) =>
  jumps(rewards, values, gamma).slice(t).map((jump, k) => (gamma * lam) ** k * jump);

export const advantages = (rewards, values, gamma, lam) =>
  rewards.map((_, t) => parts(rewards, values, gamma, lam, t).reduce((a, b) => a + b, 0));

// Of the estimate of a return, n tokens before the end: its mean error if every later value is off by
// `off`, and its standard deviation if each true jump has the standard deviation `noise`.
export function errors(n, gamma, lam, off, noise) {
  let bias = off, square = 0;                           // n-step sums, by powers of gamma lambda
  for (let k = 0; k < n; k += 1) {
    const weight = (gamma * lam) ** k;
    bias += weight * off * ((k < n - 1 ? gamma : 0) - 1);
    square += weight * weight;
  }
  return { bias, noise: noise * Math.sqrt(square) };
}

// --- what is shown --------------------------------------------------------------------------------

const NOISE = 0.1;
const muted = 'fill="var(--ex-muted)" font-size="11"';
const number = (x, digits = 2) => x.toFixed(digits).replace("-", "−").replace(/^−(0\.0+)$/, "$1");
const signed = (x, digits = 2) => `${Number(x.toFixed(digits)) > 0 ? "+" : ""}${number(x, digits)}`;

// A column for each token: reward, value, jump, its weight, and the advantage as a bar.
function columns(s, { rewards, values, found, all, added }) {
  const left = 57, wide = 46.5, mid = (t) => left + wide * (t + 0.5), y = [150, 246];
  const most = Math.max(0.5, ...all.map(Math.abs)), low = Math.min(0, ...all), top = Math.max(0, ...all);
  const unit = (y[1] - y[0] - 28) / Math.max(most, top - low), zero = y[0] + 14 + unit * top;
  const row = (name, at, text, rest = "") => svgText(left - 6, at, name, `text-anchor="end" ${muted}`)
    + TOKENS.map((_, t) => svgText(mid(t), at, text(t), `text-anchor="middle" font-size="11" ${rest}`)).join("");
  const bars = all.map((a, t) => {
    const size = Math.abs(a) * unit, isChosen = t === s.token;
    return svgRect(mid(t) - 14, a < 0 ? zero : zero - size, 28, size, `rx="2" fill="var(--ex-${a < 0 ? "c2" : "accent"})"`)
      + svgText(mid(t), a < 0 ? zero + size + 12 : zero - size - 4, number(a), `text-anchor="middle" font-size="11"${isChosen ? ' font-weight="700"' : ""}`);
  }).join("");
  const press = TOKENS.map((token, t) => svgRect(left + wide * t + 1, 28, wide - 2, y[1] - 24, `rx="4" fill="transparent" `
    + `stroke="${t === s.token ? "var(--ex-mark)" : "transparent"}" stroke-width="2.5" role="radio" aria-checked="${t === s.token}" data-press="t:${t}" data-cell="0,${t}" `
    + `tabindex="${t === s.token ? 0 : -1}" aria-label="token ${t + 1}, ${esc(token)}: advantage ${number(all[t])}"`)).join("");
  const weights = TOKENS.map((_, t) => (t < s.token ? "" : number((s.gamma * s.lam) ** (t - s.token))));
  const shade = TOKENS.map((_, t) => (t < s.token ? "" : svgRect(left + wide * t + 2, 80, wide - 4, 17,
    `rx="3" fill="var(--ex-mark)" fill-opacity="${(0.3 * (s.gamma * s.lam) ** (t - s.token)).toFixed(3)}"`))).join("");
  return shade + row("", 42, (t) => TOKENS[t]) + row("reward", 60, (t) => number(rewards[t]))
    + row("value", 76, (t) => number(values[t])) + row("jump", 93, (t) => signed(found[t]))
    + row("weight", 112, (t) => weights[t], 'fill="var(--ex-muted)"') + row("adds", 128, (t) => (t < s.token ? "" : signed(added[t - s.token])))
    + svgLine(left, zero, left + 6 * wide, zero, 'stroke="var(--ex-muted)"') + svgText(left - 6, zero + 4, "sum", `text-anchor="end" ${muted}`) + bars
    + `<g role="radiogroup" aria-label="Token whose sum is shown">${press}</g>`;
}

// Error of the mean, noise and both together, for every lambda.
function trade(s, n) {
  const x = [58, 286], y = [284, 352], of = (lam) => errors(n, s.gamma, lam, s.off, NOISE);
  const grid = Array.from({ length: 41 }, (_, i) => i / 40), total = ({ bias, noise }) => Math.hypot(bias, noise);
  const most = Math.max(0.25, ...grid.map((lam) => total(of(lam)))), px = (lam) => x[0] + (x[1] - x[0]) * lam, py = (v) => y[1] - (y[1] - y[0]) * v / most;
  const kinds = [["bias", "c2", ({ bias }) => Math.abs(bias), "6 3"], ["noise", "c1", ({ noise }) => noise, "2 3"], ["both", "text", total, ""]];
  const now = of(s.lam), ends = kinds.map(([name, colour, value]) => ({ name, colour, at: py(value(of(1))) })).sort((a, b) => a.at - b.at);
  ends.forEach((end, i) => { end.at = i ? Math.max(end.at, ends[i - 1].at + 12) : Math.min(end.at, y[1] - 24); });
  return svgText(10, y[0] - 14, `error of the return from “${TOKENS[s.token]}” on, by λ`, muted)
    + [0, 0.2, 0.4].filter((v) => v < most).map((v) => svgLine(x[0], py(v), x[1], py(v), 'stroke="var(--ex-line)"') + svgText(x[0] - 6, py(v) + 4, v, `text-anchor="end" ${muted}`)).join("")
    + kinds.map(([, colour, value, dash]) => svgPath(grid.map((lam) => [px(lam), py(value(of(lam)))]),
      `fill="none" stroke="var(--ex-${colour})" stroke-width="2"${dash ? ` stroke-dasharray="${dash}"` : ""}`)).join("")
    + svgLine(px(s.lam), y[0], px(s.lam), y[1], 'stroke="var(--ex-mark)"') + svgDot(px(s.lam), py(total(now)), 5, 'fill="var(--ex-ground)" stroke="var(--ex-mark)" stroke-width="3"')
    + ends.map(({ name, colour, at }) => svgText(x[1] + 5, at + 4, name, `font-size="11" font-weight="600" fill="var(--ex-${colour})"`)).join("")
    + [0, 0.5, 1].map((lam) => svgText(px(lam), y[1] + 15, lam, `text-anchor="middle" ${muted}`)).join("");
}

export function view(s) {
  const rewards = paid(KL, s.price, s.mark), values = VALUES.map((value) => value + s.off), t = s.token, n = TOKENS.length - t;
  const found = jumps(rewards, values, s.gamma), all = advantages(rewards, values, s.gamma, s.lam), added = parts(rewards, values, s.gamma, s.lam, t);
  const title = `Advantage of “${TOKENS[t]}”: ${signed(all[t])}`, best = all.indexOf(Math.max(...all)), { bias, noise } = errors(n, s.gamma, s.lam, s.off, NOISE);
  const grid = Array.from({ length: 101 }, (_, i) => i / 100), size = (lam) => Math.hypot(...Object.values(errors(n, s.gamma, lam, s.off, NOISE)));
  const least = grid.reduce((a, b) => (size(b) < size(a) - 1e-12 ? b : a));
  const weight = number(s.gamma * s.lam, 3).replace(/0+$/, "").replace(/\.$/, "");
  const kind = s.lam === 1 && s.gamma === 1 ? "λ = 1: all rewards to come, less the value before the token; no later value counts."
    : s.lam === 0 ? "λ = 0: one jump only; the rest of the answer is what the value network says of it."
      : `Each later jump counts γλ = ${weight} times the one before.`;
  const summary = `<p class="ex-formula">${added.map((part, k) => `${k ? part < 0 ? " − " : " + " : part < 0 ? "−" : ""}${number(Math.abs(part), 3)}`).join("")} = ${number(all[t], 3)}</p>`
    + `<p>${kind} Advantage + value before it = return, which the value network learns: ${number(all[t])} + ${number(values[t])} = <strong>${number(all[t] + values[t])}</strong>.</p>`
    + `<p>The largest advantage has <strong>${esc(TOKENS[best])}</strong>, ${number(all[best])}.</p>`
    + `<p>Over many answers, if a true jump varies by ${NOISE}: the return so estimated is off by <strong>${number(bias)}</strong> on average and varies by <strong>${number(noise)}</strong>; `
    + `least error at λ = ${number(least)}.</p><p>Click a token, or reach it with the arrow keys and press Space.</p>`;
  return { svg: svgFigure(340, 372, `${title}. Advantages: ${TOKENS.map((token, i) => `${token} ${number(all[i])}`).join(", ")}. `
    + `Error of the mean ${number(bias)}, noise ${number(noise)}.`, svgText(10, 18, title, 'font-weight="700" font-size="14"')
      + columns(s, { rewards, values, found, all, added }) + trade(s, n), "group"), summary,
  limits: { lam: { text: number }, gamma: { text: number }, mark: { text: (v) => number(v, 1) }, price: { text: number }, off: { text: (v) => signed(v, 1) } } };
}

export const press = (s, token) => ({ token: Number(token.split(":")[1]) });

export default explorer({ ABOUT, view, press });
