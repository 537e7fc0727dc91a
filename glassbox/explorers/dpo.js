// One preference pair under DPO: what beta and the margin do to the loss and to the push, and what the loss
// does not see. All log-ratios are summed over the answer's tokens, in nats. IPO is the paper's, on sums;
// libraries may divide by the length. Smoothing is the loss for labels of which a share is swapped.
import { explorer, svgDot, svgFigure, svgLine, svgPath, svgRect, svgText } from "./kit.js";

// JSON, read by Python as well.
export const ABOUT = {
  "name": "dpo",
  "ask": "Both answers have become less likely than under the reference, the rejected one more so. Is the loss above ln 2 = 0.693 or below? And if both lose 5 nats more? Say it, then choose another case.",
  "options": {
    "pair": { "default": "fall", "label": "After some steps", "as": "radio", "wide": true,
      "fills": ["chosen", "rejected"], "otherwise": "own", "choices": {
        "start": "the start", "hoped": "as hoped", "fall": "both fall", "rise": "both rise", "wrong": "the wrong way", "own": "own" } },
    "chosen": { "default": -3, "min": -20, "max": 10, "step": 0.5, "label": "Chosen, log-ratio" },
    "rejected": { "default": -9, "min": -20, "max": 10, "step": 0.5, "label": "Rejected, log-ratio" },
    "beta": { "default": 0.1, "min": 0.01, "max": 1, "step": 0.01, "label": "beta" },
    "kind": { "default": "dpo", "label": "Loss", "choices": {
      "dpo": "DPO", "smoothed": "DPO, smoothed", "ipo": "IPO" } },
    "swapped": { "default": 0.1, "min": 0.05, "max": 0.4, "step": 0.05, "label": "Share swapped" }
  }
};

export const PAIRS = { start: [0, 0], hoped: [3, -3], fall: [-3, -9], rise: [9, 3], wrong: [-3, 3] };

// --- arithmetic -----------------------------------------------------------------------------------

export const sigmoid = (x) => 1 / (1 + Math.exp(-x));

const lnSigmoid = (x) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)));

// Loss of a pair whose chosen log-ratio is `margin` above the rejected one.
export function loss(kind, margin, beta, swapped) {
  if (kind === "ipo") return (margin - 1 / (2 * beta)) ** 2;
  const share = kind === "smoothed" ? swapped : 0;
  return -(1 - share) * lnSigmoid(beta * margin) - share * lnSigmoid(-beta * margin);
}

// Its derivative with respect to the margin, and so to the chosen log-probability.
export function slope(kind, margin, beta, swapped) {
  if (kind === "ipo") return 2 * (margin - 1 / (2 * beta));
  return -beta * (sigmoid(-beta * margin) - (kind === "smoothed" ? swapped : 0));
}

// The margin at which the loss is least; null if it falls for ever.
export const restsAt = (kind, beta, swapped) =>
  ({ dpo: null, smoothed: Math.log((1 - swapped) / swapped) / beta, ipo: 1 / (2 * beta) })[kind];

// The margin at which DPO's push is so small a share of beta.
export const spentAt = (beta, share) => Math.log((1 - share) / share) / beta;

// --- what is shown --------------------------------------------------------------------------------

const NAMES = { dpo: "DPO", smoothed: "smoothed DPO", ipo: "IPO" };
const muted = 'fill="var(--ex-muted)" font-size="11"';
const signed = (x, digits = 1) => {
  const text = Math.abs(x).toFixed(digits);
  return Number(text) === 0 ? text : `${x < 0 ? "−" : "+"}${text}`;
};
const number = (x) => (x < 0 ? `−${-x}` : String(x));
const digits = (x) => (Math.abs(x) >= 99.95 ? x.toFixed(0) : Math.abs(x) >= 9.995 ? x.toFixed(1) : x.toFixed(3)).replace("-", "−");
const REACH = 30;                                       // margins that are drawn, to both sides

// Two bars from the line of the reference, and the margin between their ends.
function bars(s) {
  const x = [66, 300], px = (v) => x[0] + (x[1] - x[0]) * (v + 20) / 30, margin = s.chosen - s.rejected;
  const bar = (name, value, y, colour) => {
    const from = Math.min(px(0), px(value)), long = Math.abs(px(value) - px(0));
    return svgText(x[0] - 6, y + 12, name, 'text-anchor="end" font-size="11"')
      + svgRect(from, y, long, 16, `rx="2" fill="var(--ex-${colour})"`)
      + svgText(px(value) + (value < 0 ? -5 : 5), y + 12, signed(value), `text-anchor="${value < 0 ? "end" : "start"}" font-size="11"`);
  };
  const [low, high] = [s.rejected, s.chosen].map(px), at = 98;
  const arrow = margin === 0 ? "" : svgLine(low, at, high, at, 'stroke="var(--ex-mark)" stroke-width="2"')
    + [low, high].map((end) => svgLine(end, at - 4, end, at + 4, 'stroke="var(--ex-mark)" stroke-width="2"')).join("");
  const middle = Math.min(296, Math.max(44, (low + high) / 2));
  return svgText(10, 36, "against the reference, nats", muted) + bar("chosen", s.chosen, 46, "accent") + bar("rejected", s.rejected, 68, "c2")
    + svgLine(px(0), 42, px(0), 88, 'stroke="var(--ex-muted)"') + arrow
    + svgText(middle, at + 17, `margin ${signed(margin)}`, 'font-size="11" font-weight="700" text-anchor="middle"');
}

// One curve over the margin, between `low` and `top`, with the pair on it; what is beyond is cut off.
function panel(s, title, of, [low, top], y, ticks) {
  const x = [44, 326], margin = s.chosen - s.rejected, px = (m) => x[0] + (x[1] - x[0]) * (m + REACH) / (2 * REACH);
  const cut = (v) => Math.min(top, Math.max(low, v)), py = (v) => y[1] - (y[1] - y[0]) * (cut(v) - low) / (top - low);
  const curve = (kind, rest) => svgPath(Array.from({ length: 121 }, (_, i) => REACH * (i / 60 - 1)).map((m) =>
    [px(m), py(of(kind, m))]), `fill="none" ${rest}`);
  const rest = restsAt(s.kind, s.beta, s.swapped);
  return svgText(10, y[0] - 10, title, muted)
    + ticks.map((v) => svgLine(x[0], py(v), x[1], py(v), 'stroke="var(--ex-line)"')
      + svgText(x[0] - 6, py(v) + 4, v === Math.LN2 ? "ln 2" : number(v), `text-anchor="end" ${muted}`)).join("")
    + svgLine(px(0), y[0], px(0), y[1], 'stroke="var(--ex-muted)" stroke-dasharray="2 3"')
    + (rest !== null && rest <= REACH ? svgLine(px(rest), y[0], px(rest), y[1], 'stroke="var(--ex-c3)" stroke-width="1.5" stroke-dasharray="5 3"') : "")
    + (s.kind === "dpo" || title.startsWith("loss") && s.kind === "ipo" ? "" : curve("dpo", 'stroke="var(--ex-muted)" stroke-dasharray="4 3"'))
    + curve(s.kind, 'stroke="var(--ex-accent)" stroke-width="2.5"')
    + svgDot(px(margin), py(of(s.kind, margin)), 5.5, 'fill="var(--ex-ground)" stroke="var(--ex-mark)" stroke-width="3"');
}

export function view(s) {
  const margin = s.chosen - s.rejected, { kind, beta, swapped } = s, now = loss(kind, margin, beta, swapped);
  const push = -slope(kind, margin, beta, swapped), first = -slope(kind, 0, beta, swapped), rest = restsAt(kind, beta, swapped);
  const relative = (which, m) => slope(which, m, beta, swapped) / slope(which, 0, beta, swapped);
  const title = `${NAMES[kind][0].toUpperCase()}${NAMES[kind].slice(1)}, margin ${signed(margin)}: loss ${digits(now)}`;
  const body = svgText(10, 18, title, 'font-weight="700" font-size="14"') + bars(s)
    + panel(s, kind === "ipo" ? "loss, by margin" : `loss, by margin${kind === "dpo" ? "" : "; thin: without smoothing"}`,
      (which, m) => loss(which, m, beta, swapped), kind === "ipo" ? [0, 900] : [0, 4], [154, 236],
      kind === "ipo" ? [0, 300, 600, 900] : [0, Math.LN2, 2, 4])
    + panel(s, `push on the margin, at the start 1${kind === "dpo" ? "" : "; thin: DPO"}`, relative, [-1, 2], [272, 332], [-1, 0, 1, 2])
    + [-30, -15, 0, 15, 30].map((m) => svgText(44 + 282 * (m + REACH) / (2 * REACH), 348, number(m), `text-anchor="middle" ${muted}`)).join("")
    + svgText(326, 363, `margin, nats${rest === null ? "" : rest > REACH ? `; rests at ${digits(rest)}, not drawn` : "; broken: where it rests"}`, `text-anchor="end" ${muted}`);
  const formula = { dpo: `−ln σ(${beta} · ${number(margin)})`, ipo: `(${number(margin)} − 1 / (2 · ${beta}))²`,
    smoothed: `−${(1 - swapped).toFixed(2)} ln σ(${beta} · ${number(margin)}) − ${swapped.toFixed(2)} ln σ(−${beta} · ${number(margin)})` }[kind];
  const fell = s.chosen < 0 && margin > 0 ? " <strong>The margin has grown while the chosen answer lost probability</strong>: the loss sees only the difference."
    : margin === 0 ? " The margin is 0, whatever beta is." : margin < 0 ? " The policy prefers the rejected answer more than the reference did."
      : " Moved both alike, the loss would be the same.";
  const where = { dpo: `DPO's push never ends; a tenth of beta is left at margin <strong>${spentAt(beta, 0.1).toFixed(1)}</strong>.`,
    smoothed: `It rests at margin <strong>${digits(rest ?? 0)}</strong>: further out it is pulled back.`,
    ipo: `It rests at margin 1 / (2 · ${beta}) = <strong>${digits(rest ?? 0)}</strong>: further out it is pulled back.` }[kind];
  const summary = `<p class="ex-formula">margin = ${number(s.chosen)} − ${s.rejected < 0 ? `(${number(s.rejected)})` : s.rejected} = ${number(margin)}<br>`
    + `loss = ${formula} = ${digits(now)}</p>`
    + `<p>The chosen answer is <strong>${times(s.chosen)}</strong> as likely as under the reference, the rejected one ${times(s.rejected)}.${fell}</p>`
    + `<p>Derivative by the chosen log-probability: <strong>${signed(-push, 4)}</strong>, by the rejected one ${signed(push, 4)}; at the start ${signed(-first, 4)}. `
    + `Equal and opposite: nothing says which of the two shall move. ${where}</p>`
    + `<p>As a reward model the policy gives ${signed(beta * s.chosen, 2)} and ${signed(beta * s.rejected, 2)}: it prefers the chosen answer with ${(100 * sigmoid(beta * margin)).toFixed(1)} %.</p>`;
  const told = `${title}. Chosen ${signed(s.chosen)}, rejected ${signed(s.rejected)} nats against the reference. Push ${digits(relative(kind, margin))} of that at the start.`;
  return { svg: svgFigure(340, 370, told, body), summary,
    shown: Object.keys(ABOUT.options).filter((key) => key !== "swapped" || kind === "smoothed"),
    limits: { chosen: { text: signed }, rejected: { text: signed }, beta: { text: (v) => v.toFixed(2) }, swapped: { text: (v) => `${Math.round(100 * v)} %` } } };
}

// e to the power of a log-ratio, as a factor or a part.
const times = (x) => (x >= 0 ? `${Number(Math.exp(x).toPrecision(3)).toLocaleString("en-US")} times` : `1/${Number(Math.exp(-x).toPrecision(3)).toLocaleString("en-US")}`);

// A case fills in both log-ratios; who moves one of them has a case of his own.
export const settle = (s) => (s.pair === "own" ? s : { ...s, chosen: PAIRS[s.pair][0], rejected: PAIRS[s.pair][1] });
export const follow = (s, key) => (["chosen", "rejected"].includes(key) ? { pair: "own", chosen: s.chosen, rejected: s.rejected } : {});

export default explorer({ ABOUT, view, settle, follow });
