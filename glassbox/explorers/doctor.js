// A doctor's round: ten recorded training runs of the micro model, nine of them with a fault. The reader
// names it from the curves. Runs: doctor.json, taken from book/experiments/loss_curves.json. One run of
// each; another seed or model would look somewhat different.
import { esc, explorer, svgFigure, svgLine, svgPath, svgText } from "./kit.js";
import DATA from "./doctor.json" with { type: "json" };

// JSON, read by Python as well.
export const ABOUT = {
  "name": "doctor",
  "ask": "Ten runs, one recipe; nine of them went wrong, each in its own way. Say what is wrong with this one before you choose: what would you look at first?",
  "options": {
    "curve": { "default": 1, "min": 1, "max": 10, "label": "Patient" },
    "guess": { "default": "none", "label": "Your diagnosis", "wide": true, "choices": {
      "none": "choose one",
      "healthy": "Nothing is wrong",
      "rate_too_high": "Learning rate too high",
      "rate_too_low": "Learning rate too low",
      "no_warmup": "No warm-up",
      "no_clipping": "No clipping, damaged batches",
      "data_in_order": "Text not shuffled",
      "labels_not_shifted": "Labels not shifted",
      "overfitting": "Too little text",
      "schedule_too_short": "Schedule ends too early",
      "precision_overflow": "Overflow in FP16" } },
    "compare": { "default": false, "label": "Healthy run beside it" },
    "reveal": { "default": false, "label": "Show the answer" },
    "answers": { "default": {} }
  }
};

// --- arithmetic -----------------------------------------------------------------------------------

// The runs in an order that tells nothing: every third, so that neighbours do not look alike.
export const patient = (number) => DATA.curves[(3 * number + 1) % DATA.curves.length].name;

// How many were answered, and how many rightly at the first attempt; answers: { number: first guess }.
export function score(answers) {
  const given = Object.entries(answers);
  return { tried: given.length, right: given.filter(([number, guess]) => patient(Number(number)) === guess).length };
}

// What can be read off a run: first and last loss, the lowest held-out loss and its step, the first step
// whose loss is no number; null where there is none.
export function reading(name) {
  const { steps, train, val } = run(name), known = (list) => list.filter((x) => x !== null);
  const low = Math.min(...known(val)), lost = train.findIndex((x, i) => x === null || val[i] === null);
  return { first: known(train)[0], train: known(train).at(-1), val: known(val).at(-1), lowest: low,
    at: steps[val.indexOf(low)], highest: Math.max(...known(train)), lost: lost < 0 ? null : steps[lost] };
}

// --- what is shown --------------------------------------------------------------------------------

const run = (name) => DATA.curves.find((curve) => curve.name === name);
const muted = 'fill="var(--ex-muted)" font-size="11"', TOP = 6;
const halo = 'stroke="var(--ex-ground)" stroke-width="4" paint-order="stroke"';

// A line that is broken where the loss is no number; what is above the figure stays at its edge.
function curve(steps, values, px, py, rest) {
  const parts = [[]];
  values.forEach((value, i) => (value === null ? parts.push([])
    : parts.at(-1).push([px(steps[i]), py(Math.min(value, TOP))])));
  return parts.filter((part) => part.length > 1).map((part) => svgPath(part, `fill="none" ${rest}`)).join("");
}

function figure(s, name, title, told) {
  const { steps, train, val } = run(name), x = [34, 262], y = [36, 236], lastStep = steps.at(-1);
  const px = (step) => x[0] + (x[1] - x[0]) * step / lastStep, py = (loss) => y[1] - (y[1] - y[0]) * loss / TOP;
  const grid = [0, 2, 4, 6].map((loss) => svgLine(x[0], py(loss), x[1], py(loss), 'stroke="var(--ex-line)"')
    + svgText(x[0] - 6, py(loss) + 4, loss, `text-anchor="end" ${muted}`)).join("");
  const chance = Math.log(256);
  const ends = [["training", "accent", train], ["held-out", "c2", val]].map(([label, colour, values]) => {
    const i = values.findLastIndex((value) => value !== null);
    return { label, colour, at: py(Math.min(values[i], TOP)) };
  });
  ends.push({ label: "chance, 5.55", colour: "muted", at: py(chance) });
  ends.sort((a, b) => a.at - b.at).forEach((end, i) => {                // labels stand clear of one another
    if (i) end.at = Math.max(end.at, ends[i - 1].at + 13);
  });
  const healthy = s.compare ? curve(run("healthy").steps, run("healthy").train, px, py, 'stroke="var(--ex-muted)" stroke-width="1.5" stroke-dasharray="2 3"')
    + svgText(x[1], y[1] + 32, "dotted: training loss of the healthy run", `text-anchor="end" ${muted}`) : "";
  const along = [0.1, 0.2, 0.35, 0.5, 0.65, 0.8].map((share) => Math.round(share * (steps.length - 1)));
  const heard = along.map((i) => `step ${steps[i]}: ${train[i]?.toFixed(2) ?? "no number"} and ${val[i]?.toFixed(2) ?? "no number"}`);
  return svgFigure(340, 274, `${title}: ${told}. Training and held-out loss at ${heard.join("; ")}`, svgText(10, 18, title, 'font-weight="700" font-size="14"') + grid
    + svgLine(x[0], py(chance), x[1], py(chance), 'stroke="var(--ex-muted)" stroke-dasharray="6 4"')
    + healthy
    + curve(steps, val, px, py, 'stroke="var(--ex-c2)" stroke-width="2" stroke-dasharray="6 3"')
    + curve(steps, train, px, py, 'stroke="var(--ex-accent)" stroke-width="2.5"')
    + ends.map(({ label, colour, at }) => svgText(x[1] + 4, at + 4, label, `fill="var(--ex-${colour})" font-weight="${colour === "muted" ? 400 : 600}" font-size="11" ${halo}`)).join("")
    + [0, lastStep].map((step) => svgText(px(step), y[1] + 16, step, `text-anchor="${step ? "end" : "start"}" ${muted}`)).join("")
    + svgText((x[0] + x[1]) / 2, y[1] + 16, "step", `text-anchor="middle" ${muted}`) + svgText(x[0] + 4, y[0] - 4, "loss, nats per byte", muted));
}

const dot = (text) => esc(/[.!?]$/.test(text) ? text : `${text}.`);
const line = (text) => `<p>${text}</p>`;

export function view(s) {
  const name = patient(s.curve), r = reading(name), it = run(name), choices = ABOUT.options.guess.choices;
  const told = `training loss ${r.first.toFixed(2)} at first, ${r.train.toFixed(2)} at the end, at most ${r.highest.toFixed(2)}; held-out `
    + `${r.val.toFixed(2)} at the end, lowest ${r.lowest.toFixed(2)} at step ${r.at}`
    + `${r.lost === null ? "" : `; no number from step ${r.lost} on`}`;
  const { tried, right } = score(s.answers), isRight = s.guess === name;
  const answer = line(`<strong>${esc(it.title)}:</strong> ${dot(it.fault)}`) + line(`<strong>Sign:</strong> ${dot(it.sign)}`)
    + line(`<strong>Cure:</strong> ${dot(it.cure)}`);
  const verdict = s.guess === "none" ? "" : isRight ? line("<strong>Right.</strong>")
    : line(`<strong>No.</strong> “${esc(choices[s.guess])}” looks different: ${dot(run(s.guess).sign)} Look again.`);
  const summary = line(`${told[0].toUpperCase()}${told.slice(1)}.`) + verdict + (isRight || s.reveal ? answer : "")
    + line(`First answers right: <strong>${right}</strong> of ${tried}${tried < 10 ? `; ${10 - tried} patients wait` : ""}.`);
  return { svg: figure(s, name, `Patient ${s.curve}`, told), summary };
}

// The first guess counts; another patient is another question.
export function follow(s, key) {
  if (key === "curve") return { guess: s.answers[s.curve] ?? "none", reveal: false };
  const isFirst = (key === "guess" && s.guess !== "none") || (key === "reveal" && s.reveal);
  return isFirst && !(s.curve in s.answers) ? { answers: { ...s.answers, [s.curve]: s.guess } } : {};
}

export default explorer({ ABOUT, view, follow });
