// PPO's clipped objective for one token: what counts, and where the gradient is off. Two mistakes and the
// plain product stand beside it. At the edges of the clip the gradient is still on, as torch has it.
import { explorer, svgDot, svgFigure, svgLine, svgPath, svgRect, svgText } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "clip",
  "ask": "A token with a bad outcome (advantage −1) has become 1.5 times as likely as it was. Does clipping switch off its gradient? And that of a good one? Say both, then click the cells.",
  "options": {
    "rule": { "default": "min", "label": "What the code does", "wide": true, "choices": {
      "min": "what it should: the smaller of both terms", "max": "mistake: the larger of both terms",
      "clipped": "mistake: the clipped term alone", "plain": "no clipping at all" } },
    "ratio": { "default": 1.4, "min": 0.1, "max": 2, "step": 0.05, "label": "Ratio ρ" },
    "advantage": { "default": 1, "min": -2, "max": 2, "step": 0.1, "label": "Advantage A" },
    "clip": { "default": 0.2, "min": 0.05, "max": 0.5, "step": 0.05, "label": "Clip ε" }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// The two terms, both to be made large.
export function terms(ratio, advantage, clip) {
  return [ratio * advantage, Math.min(1 + clip, Math.max(1 - clip, ratio)) * advantage];
}

// The objective under a rule.
export function objective(rule, ratio, advantage, clip) {
  const [plain, clipped] = terms(ratio, advantage, clip);
  return { min: Math.min(plain, clipped), max: Math.max(plain, clipped), clipped, plain }[rule];
}

// Whether the objective still changes with the ratio.
export function isOn(rule, ratio, advantage, clip) {
  const [plain, clipped] = terms(ratio, advantage, clip), isInside = ratio >= 1 - clip && ratio <= 1 + clip;
  return advantage !== 0 && (isInside || { min: plain < clipped, max: plain > clipped, clipped: false, plain: true }[rule]);
}

// Its derivative by the token's log-probability: the ratio's own derivative is the ratio.
export const push = (rule, ratio, advantage, clip) => (isOn(rule, ratio, advantage, clip) ? ratio * advantage : 0);

// --- what is shown --------------------------------------------------------------------------------

const muted = 'fill="var(--ex-muted)" font-size="11"';
const number = (x, digits = 2) => x.toFixed(digits).replace("-", "−").replace(/^−(0\.0+)$/, "$1");
const COLUMNS = [["below 1 − ε", -1], ["between", 0], ["above 1 + ε", 1]];
const columnOf = (ratio, clip) => (ratio < 1 - clip ? 0 : ratio > 1 + clip ? 2 : 1);

// A ratio that lies in a column, as far as the slider goes.
const within = (column, clip) => Number((column === 1 ? 1 : column ? Math.min(1.95, 1.2 + clip) : Math.max(0.1, 0.8 - clip)).toFixed(2));

// The six cases: rows for the sign of the advantage, columns for the place of the ratio.
function cells(s) {
  const left = 74, wide = 84, top = 270, high = 30, here = columnOf(s.ratio, s.clip);
  const rows = [["A > 0", 1], ["A < 0", -1]].map(([name, sign], row) => {
    const parts = COLUMNS.map(([place], column) => {
      const on = isOn(s.rule, within(column, s.clip), sign, s.clip), x = left + wide * column, y = top + high * row;
      const isHere = here === column && Math.sign(s.advantage) === sign;
      const text = on ? (sign > 0 ? "↑ likelier" : "↓ rarer") : "off";
      return svgRect(x + 1, y + 1, wide - 2, high - 2, `rx="3" fill="var(--ex-${on ? "soft" : "ground"})" `
        + `stroke="var(--ex-${isHere ? "mark" : "line"})" stroke-width="${isHere ? 3 : 1}" role="gridcell" aria-selected="${isHere}" `
        + `data-press="c:${column},${sign}" data-cell="${row},${column}" tabindex="${row || column !== 1 ? -1 : 0}" `
        + `aria-label="${name}, ratio ${place}: ${on ? `made ${text.slice(2)}` : "gradient off"}"`)
        + svgText(x + wide / 2, y + 19, text, `font-size="11" text-anchor="middle" pointer-events="none"${on ? "" : ' fill="var(--ex-muted)"'}${isHere ? ' font-weight="700"' : ""}`);
    });
    return `<g role="row">${svgText(left - 8, top + high * row + 19, name, 'text-anchor="end"')}${parts.join("")}</g>`;
  });
  return COLUMNS.map(([place], column) => svgText(left + wide * (column + 0.5), top - 6, place, `text-anchor="middle" ${muted}`)).join("")
    + svgText(left - 8, top - 6, "ratio", `text-anchor="end" ${muted}`)
    + `<g role="grid" aria-label="Where the gradient is on">${rows.join("")}</g>`;
}

function figure(s, title) {
  const x = [44, 326], y = [44, 214], size = Math.max(0.5, Math.abs(s.advantage)), [low, top] = s.advantage < 0 ? [-2 * size, 0] : [0, 2 * size];
  const px = (r) => x[0] + (x[1] - x[0]) * r / 2, py = (v) => y[1] - (y[1] - y[0]) * (v - low) / (top - low);
  const edges = [1 - s.clip, 1 + s.clip], points = [...Array.from({ length: 81 }, (_, i) => i / 40), ...edges].sort((a, b) => a - b);
  const curve = (rule, rest) => svgPath(points.map((r) => [px(r), py(objective(rule, r, s.advantage, s.clip))]), `fill="none" ${rest}`);
  const now = objective(s.rule, s.ratio, s.advantage, s.clip);
  const strips = [[0, edges[0]], edges, [edges[1], 2]].map(([from, to]) => {   // on: filled; off: dashed
    const on = isOn(s.rule, (from + to) / 2, s.advantage, s.clip);
    return svgRect(px(from) + 1, y[1] + 5, px(to) - px(from) - 2, 7, on ? 'rx="2" fill="var(--ex-accent)"'
      : 'rx="2" fill="none" stroke="var(--ex-muted)" stroke-dasharray="3 2"');
  }).join("");
  const ticks = [low, (low + top) / 2, top].map((v) => svgLine(x[0], py(v), x[1], py(v), 'stroke="var(--ex-line)"')
    + svgText(x[0] - 6, py(v) + 4, number(v, 1), `text-anchor="end" ${muted}`)).join("");
  const told = [0, 1, 2].map((column) => `${COLUMNS[column][0]} ${["A > 0", "A < 0"].map((name, row) =>
    `${name} ${isOn(s.rule, within(column, s.clip), row ? -1 : 1, s.clip) ? "on" : "off"}`).join(", ")}`).join("; ");
  return svgFigure(340, 334, `${title}. Gradient, by ratio: ${told}.`, svgText(10, 18, title, 'font-weight="700" font-size="14"')
    + svgText(10, 34, "objective, by ratio; thin: ρ · A; filled band: gradient on", muted) + ticks
    + edges.map((edge) => svgLine(px(edge), y[0], px(edge), y[1], 'stroke="var(--ex-muted)" stroke-dasharray="2 3"')).join("")
    + curve("plain", 'stroke="var(--ex-muted)" stroke-dasharray="4 3"') + curve(s.rule, 'stroke="var(--ex-accent)" stroke-width="3"')
    + svgDot(px(s.ratio), py(now), 5.5, 'fill="var(--ex-ground)" stroke="var(--ex-mark)" stroke-width="3"') + strips
    + [[0, "middle"], [edges[0], "end"], [edges[1], "start"], [2, "middle"]].map(([r, anchor]) =>
      svgText(px(r), y[1] + 27, number(r, r % 1 ? 2 : 0), `text-anchor="${anchor}" ${muted}`)).join("")
    + cells(s), "group");
}

// Why it is on or off, in the case at hand.
function reason(s, on) {
  const column = columnOf(s.ratio, s.clip), isGood = s.advantage > 0, moved = column === 0 ? "less" : "more";
  if (s.advantage === 0) return "An advantage of 0 asks for nothing.";
  if (column === 1) return "The ratio is near 1: both terms are the same, and the gradient is that of plain policy gradients times ρ.";
  const far = `It has become ${moved} likely, and ${isGood ? "more" : "less"} is what it should become`;
  const isMeant = (column === 2) === isGood;
  if (s.rule === "plain") return isMeant ? `${far}: nothing stops it, although the data are from the old policy.` : `It went the wrong way, and is called back.`;
  if (isMeant) return on ? `${far}: the mistake lets it run on without a limit.` : `${far}: enough for this batch.`;
  return on ? "It went the wrong way: it is called back at full strength." : "It went the wrong way, and <strong>nothing calls it back</strong>: that is what the minimum is for.";
}

export function view(s) {
  const [plain, clipped] = terms(s.ratio, s.advantage, s.clip), now = objective(s.rule, s.ratio, s.advantage, s.clip);
  const on = isOn(s.rule, s.ratio, s.advantage, s.clip), bound = Math.min(1 + s.clip, Math.max(1 - s.clip, s.ratio));
  const title = `Objective ${number(now)}, gradient ${on ? "on" : "off"}`, a = number(s.advantage, 1);
  const both = `${number(s.ratio)} · ${a}, ${number(bound)} · ${a}`;
  const formula = { min: `min(${both})`, max: `max(${both})`, clipped: `${number(bound)} · ${a}`, plain: `${number(s.ratio)} · ${a}` }[s.rule];
  const other = s.rule === "min" || on === isOn("min", s.ratio, s.advantage, s.clip) ? "" : ` PPO has it <strong>${on ? "off" : "on"}</strong> here.`;
  const summary = `<p class="ex-formula">${formula} = ${number(now)}</p>`
    + `<p>The token is <strong>${number(s.ratio)} times</strong> as likely as under the policy that wrote it: ρ A = ${number(plain)}, clipped ${number(clipped)}.</p>`
    + `<p>Gradient by its log-probability: <strong>${number(push(s.rule, s.ratio, s.advantage, s.clip))}</strong>. ${reason(s, on)}${other}</p>`
    + "<p>Click a cell, or reach it with the arrow keys and press Space.</p>";
  return { svg: figure(s, title), summary, limits: { ratio: { text: (v) => v.toFixed(2) },
    advantage: { text: (v) => number(v, 1) }, clip: { text: (v) => v.toFixed(2) } } };
}

export function press(s, token) {
  const [column, sign] = token.split(":")[1].split(",").map(Number);
  return { ratio: within(column, s.clip), advantage: sign * (Math.abs(s.advantage) || 1) };
}

export default explorer({ ABOUT, view, press });
