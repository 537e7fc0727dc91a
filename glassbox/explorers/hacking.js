// Reward hacking, recorded: the proxy that the small assistant was trained on, and gold, over the rounds of
// runs with different prices of KL and different weaknesses of the reward for length. Runs: hacking.json,
// taken from book/experiments/reward_hacking.json by tests/golden/hacking.py. One run of each; nothing
// between them is made up, so the sliders move from run to run.
import { esc, explorer, svgDot, svgFigure, svgLine, svgPath, svgRect, svgText } from "./kit.js";
import DATA from "./hacking.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "hacking",
  "ask": "The proxy pays for a polite opening and a little for each word. Gold, which is never trained on, asks for a polite opening and the right fact. What becomes of gold while the proxy rises? Say it, then what a price for KL changes.",
  "options": {
    "weight": { "default": 1, "min": 1, "max": 3, "label": "KL weight" },
    "bias": { "default": 3, "min": 1, "max": 3, "label": "Reward per word" },
    "at": { "default": 12, "min": 1, "max": 12, "label": "Round" },
    "axis": { "default": "steps", "label": "Against", "as": "radio", "choices": { "steps": "rounds", "kl": "KL spent" } }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// A run by its place in the grid, from 1.
export const run = (weight, bias) => Object.fromEntries(["proxy", "gold", "kl", "length"].map((key) => [key, DATA[key][weight - 1][bias - 1]]));

// Where a list is largest, from 1; the first of several.
export const peak = (list) => list.indexOf(Math.max(...list)) + 1;

// What happened after gold was best: by how much it fell, and the proxy rose.
export function after(weight, bias) {
  const { proxy, gold } = run(weight, bias), best = peak(gold) - 1;
  return { fell: gold[best] - gold.at(-1), rose: proxy.at(-1) - proxy[best] };
}

// --- what is shown --------------------------------------------------------------------------------

const muted = 'fill="var(--ex-muted)" font-size="11"';
const number = (x, digits = 2) => x.toFixed(digits).replace("-", "−").replace(/^−(0\.0+)$/, "$1");
const halo = 'stroke="var(--ex-ground)" stroke-width="4" paint-order="stroke"';
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
const all = () => DATA.kl_weights.flatMap((_, i) => DATA.length_bias.map((_, j) => [i + 1, j + 1]));
const most = (key) => Math.max(...all().map(([i, j]) => Math.max(...run(i, j)[key])));

// One list of every run over rounds or KL, the chosen run's on top, with its dot.
function panel(s, { key, name, colour, y, top, ticks, text }) {
  const x = [46, 286], byKl = s.axis === "kl", far = byKl ? most("kl") : DATA.steps.at(-1), r = run(s.weight, s.bias), at = s.at - 1;
  const px = (v) => x[0] + (x[1] - x[0]) * v / far, py = (v) => y[1] - (y[1] - y[0]) * v / top;
  const line = (one, colour, size) => {                 // KL comes and goes: there points say more than a line
    const points = one[key].map((v, k) => [px(byKl ? one.kl[k] : DATA.steps[k]), py(v)]);
    return byKl ? points.map(([a, b]) => svgDot(a, b, size + 0.5, `fill="var(--ex-${colour})"`)).join("")
      : svgPath(points, `fill="none" stroke="var(--ex-${colour})" stroke-width="${size}"`);
  };
  const here = px(byKl ? r.kl[at] : DATA.steps[at]);
  const best = peak(r.gold) - 1, peaked = px(byKl ? r.kl[best] : DATA.steps[best]);
  return svgText(10, y[0] - 8, name, muted) + svgLine(peaked, y[0], peaked, y[1], 'stroke="var(--ex-c3)" stroke-width="1.5" stroke-dasharray="5 3"')
    + ticks.map((v) => svgLine(x[0], py(v), x[1], py(v), 'stroke="var(--ex-line)"') + svgText(x[0] - 6, py(v) + 4, text(v), `text-anchor="end" ${muted}`)).join("")
    + all().filter(([i, j]) => i !== s.weight || j !== s.bias).map(([i, j]) => line(run(i, j), "line", 1)).join("")
    + line(r, colour, 2.5)
    + svgDot(here, py(r[key][at]), 5.5, 'fill="var(--ex-ground)" stroke="var(--ex-mark)" stroke-width="3"')
    + svgText(here > 240 ? here + 9 : here, py(r[key][at]) + (here > 240 ? 4 : -11), text(r[key][at]), `font-size="11" font-weight="700" text-anchor="${here > 240 ? "start" : "middle"}" ${halo}`);
}

function figure(s, r, title) {
  const x = [46, 286], byKl = s.axis === "kl", far = byKl ? most("kl") : DATA.steps.at(-1);
  const px = (v) => x[0] + (x[1] - x[0]) * v / far, high = Math.ceil(most("proxy"));
  const body = svgText(10, 18, title, 'font-weight="700" font-size="14"')
    + panel(s, { key: "proxy", name: "proxy: what is trained", colour: "c2", y: [52, 138], top: high, ticks: [0, high / 2, high], text: (v) => number(v, v % 1 ? 2 : 0) })
    + panel(s, { key: "gold", name: "gold: polite and right", colour: "accent", y: [174, 260], top: 1, ticks: [0, 0.5, 1], text: percent })
    + [0, far / 2, far].map((v) => svgText(px(v), 276, number(v, byKl ? 1 : 0), `text-anchor="middle" ${muted}`)).join("")
    + svgText(286, 292, byKl ? "KL, nats per answer" : "rounds", `text-anchor="end" ${muted}`)
    + svgText(10, 310, "broken: gold at its best; grey: the other runs", muted);
  const told = [0, 0.25, 0.5, 0.75, 1].map((part) => Math.round(part * (DATA.steps.length - 1)))
    .map((k) => `round ${DATA.steps[k]}: ${number(r.proxy[k])}, ${percent(r.gold[k])}, ${number(r.kl[k], 1)} nats`);
  return svgFigure(340, 318, `${title}. Proxy, gold and KL at ${told.join("; ")}`, body);
}

export function view(s) {
  const r = run(s.weight, s.bias), at = s.at - 1, best = peak(r.gold) - 1, { fell, rose } = after(s.weight, s.bias);
  const title = `Round ${DATA.steps[at]}: proxy ${number(r.proxy[at])}, gold ${percent(r.gold[at])}`;
  const verdict = fell > 0.05 && rose > 0 ? `After that the proxy rises by ${number(rose)}, and <strong>gold falls by ${Math.round(100 * fell)} points</strong>: the reward is hacked.`
    : fell > 0.05 ? `After that both fall, gold by ${Math.round(100 * fell)} points.` : "It stays near that.";
  const said = DATA.samples[s.weight - 1][s.bias - 1].map((text, i) => `<p>${esc(DATA.questions[i])} <em>${esc(text || "(nothing)")}</em></p>`).join("");
  const summary = `<p>KL weight <strong>${DATA.kl_weights[s.weight - 1]}</strong>, <strong>${DATA.length_bias[s.bias - 1]}</strong> per word. In round ${DATA.steps[at]} an answer has `
    + `${number(r.length[at], 1)} tokens and is <strong>${number(r.kl[at], 1)} nats</strong> from the reference.</p>`
    + `<p>Gold was best in round ${DATA.steps[best]}, ${percent(r.gold[best])}, at ${number(r.kl[best], 1)} nats. ${verdict}</p>`
    + `<p>Two answers at the end of this run:</p>${said}`;
  return { svg: figure(s, r, title), summary, limits: { weight: { text: (i) => String(DATA.kl_weights[i - 1]) },
    bias: { text: (j) => String(DATA.length_bias[j - 1]) }, at: { text: (k) => String(DATA.steps[k - 1]) } } };
}

export default explorer({ ABOUT, view });
