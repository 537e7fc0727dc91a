// What all explorers share: labelled controls made from an explorer's OPTIONS, redrawing, mouse and
// keyboard on parts of a figure. It knows no page, no notebook and no arithmetic. Hosts cannot follow
// imports (file:// forbids them), so glassbox/explore.py puts this text in front of an explorer's.

export const defaults = (options) =>
  Object.fromEntries(Object.entries(options).map(([key, option]) => [key, option.default]));

export const esc = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

// The nearest allowed value, for what a keyboard or a notebook may bring; integers stay integers.
export function clean(option, value) {
  if (option.choices) return String(value) in option.choices ? String(value) : option.default;
  if (typeof option.default !== "number") return value;
  const number = Number(value);
  if (!Number.isFinite(number)) return option.default;
  const near = Number.isInteger(option.step ?? 1) ? Math.round(number) : number;
  return Math.min(option.max, Math.max(option.min, near));
}

const group = (text) => text.replace(/\B(?=(\d{3})+(?!\d))/g, ",");

// 124439808 -> "124,439,808"
export const whole = (n) => group(String(Math.round(n)));

// Three significant digits and a unit of thousands: 1.99 G, 354 M; for numbers of any size.
export function short(n, units = ["", "K", "M", "B", "T"]) {
  let step = 0;
  while (n >= 999.5 && step < units.length - 1) { n /= 1000; step += 1; }
  return `${n >= 99.5 ? group(n.toFixed(0)) : n >= 9.95 ? n.toFixed(1) : n.toFixed(2)} ${units[step]}`
    .trim();
}

// n numbers in [0, 1), the same for the same seed (mulberry32).
export function uniforms(seed, n) {
  let a = seed | 0;
  return Array.from({ length: n }, () => {
    a = (a + 0x6D2B79F5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  });
}

// --- pieces of SVG; colours are CSS variables, so that the figure follows the page's theme ---------


// Two digits are enough, and the last digits of a sine or an exponential differ between machines.
const at = (n) => Math.round(n * 100) / 100;

export const svgText = (x, y, text, rest = "") =>
  `<text x="${at(x)}" y="${at(y)}" ${rest}>${esc(text)}</text>`;

export const svgLine = (x1, y1, x2, y2, rest = "") =>
  `<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" ${rest}/>`;

export const svgRect = (x, y, width, height, rest = "") =>
  `<rect x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}" ${rest}/>`;

export const svgDot = (x, y, r, rest = "") => `<circle cx="${at(x)}" cy="${at(y)}" r="${r}" ${rest}/>`;

// A path through points [[x, y], ...].
export const svgPath = (points, rest = "") =>
  `<path d="M${points.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L")}" ${rest}/>`;

// One bar of parts [[amount, colour], ...] from x on; an amount of `full` takes the whole width.
export function svgStack(parts, x, y, width, height, full) {
  return parts.map(([amount, colour]) => {
    const wide = width * amount / full, part = svgRect(x, y, wide, height,
      `fill="var(--ex-${colour})" stroke="var(--ex-ground)" stroke-width="${wide > 4 ? 1.5 : 0}"`);
    x += wide;
    return part;
  }).join("");
}

// About how wide a text of 12 px is; marks that sit on a letter take no room.
export const textWidth = (text) => [...text].reduce((sum, c) => sum + (/\p{M}/u.test(c) ? 0
  : /[ -~]/.test(c) ? ("ijl.,:;'|!tf".includes(c) ? 4 : "mwMW@<>".includes(c) ? 10.5 : 7.2)
    : c > "\u2e7f" ? 12.5 : 7.8), 0);

// Boxes in lines from x to right, `high` each: items [{ text, gap, fill, stroke, rest, width? }, ...]
// -> [SVG, y below]. `gap` is the space before the box on its line.
export function svgBoxes(items, x, y, right, high = 21) {
  let at = x;
  const drawn = items.map(({ text, gap = 4, fill = "soft", stroke = "line", rest = "", width }) => {
    const wide = Math.min(right - x, width ?? textWidth(text) + 9);
    at += at > x ? gap : 0;
    if (at + wide > right + 0.01) [at, y] = [x, y + high + 4];
    const box = svgRect(at, y, wide, high, `rx="3" fill="var(--ex-${fill})" stroke="var(--ex-${stroke})"`)
      + svgText(at + wide / 2, y + high / 2 + 4, text, `text-anchor="middle" ${rest}`);
    at += wide;
    return box;
  });
  return [drawn.join(""), y + high];
}

// What the colours mean, a line each: rows [[colour, name, amount, share], ...], 24 high.
export const svgKey = (rows, y) => rows.map(([colour, name, amount, share], i) =>
  svgRect(10, y + 24 * i - 10, 12, 12, `rx="2" fill="var(--ex-${colour})"`)
    + svgText(29, y + 24 * i, name) + svgText(276, y + 24 * i, amount, 'text-anchor="end"')
    + svgText(330, y + 24 * i, share, 'text-anchor="end" fill="var(--ex-muted)"')).join("");

// A whole figure. It is one image to a screen reader unless it has parts to press.
export function svgFigure(width, height, label, body, role = "img") {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="${role}" `
    + `aria-label="${esc(label)}" style="max-width:${Math.round(width * 1.5)}px" `
    + `font-family="system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif" font-size="12" `
    + `fill="var(--ex-text)">${body}</svg>`;
}

const LIGHT = {
  text: "#1f2933", muted: "#4a5764", line: "#c3ccd2", ground: "#ffffff", soft: "#e3f1f4",
  accent: "#0b6075", mark: "#a65a00", "c1": "#0072b2", "c2": "#b84a00", "c3": "#007a5a",
  "c4": "#8e4585", "c5": "#5b6770", "c6": "#806000",
};

// The same figure for a file of its own: no variables, on white.
export const standalone = (svg) => svg
  .replace(/var\(--ex-([a-z0-9]+)\)/g, (_, name) => LIGHT[name])
  .replace(/ (tabindex|data-[a-z]+|style|class|aria-pressed)="[^"]*"/g, "")
  .replace(">", `><rect width="100%" height="100%" fill="${LIGHT.ground}"/>`);

// Offer text as a file; works from file:// and in a notebook alike.
export function download(name, text, type = "image/svg+xml") {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// --- controls -----------------------------------------------------------------------------------

let instances = 0;

// A slider over powers of ten, 20 steps each, gives values of two digits.
const toSlider = (option, value) => (option.log ? Math.log10(value) : value);
const fromSlider = (at) => Number((10 ** at).toPrecision(2));

// One labelled native control -> { row, show(value, option) }.
function control(key, option, id, change) {
  const row = document.createElement("div");
  row.className = option.half ? "ex-control ex-half" : "ex-control";
  row.dataset.key = key;
  const name = `<span>${esc(option.label)}</span>`;
  if (option.choices && option.as === "radio") {
    row.innerHTML = `<fieldset><legend>${name}</legend>${Object.entries(option.choices).map(
      ([value, label]) => `<label><input type="radio" name="${id}" value="${esc(value)}">`
        + `<span>${esc(label)}</span></label>`).join("")}</fieldset>`;
    row.addEventListener("change", (event) => change(event.target.value));
    return { row, show: (value) => {
      for (const input of row.querySelectorAll("input")) input.checked = input.value === value;
    } };
  }
  if (option.choices) {
    row.innerHTML = `<label for="${id}">${name}</label><select id="${id}">${Object.entries(
      option.choices).map(([value, label]) => `<option value="${esc(value)}">${esc(label)}</option>`)
      .join("")}</select>`;
  } else if (typeof option.default === "boolean") {
    row.innerHTML = `<label class="ex-check"><input type="checkbox" id="${id}">${name}</label>`;
  } else if (typeof option.default === "string") {
    row.innerHTML = `<label for="${id}">${name}</label>`
      + `<input type="text" id="${id}" autocomplete="off" spellcheck="false" maxlength="${option.longest ?? 120}">`;
  } else if (option.as === "number") {
    row.innerHTML = `<label for="${id}">${name}</label><input type="number" id="${id}" `
      + `min="${option.min}" max="${option.max}" step="${option.step ?? 1}">`;
  } else {
    row.innerHTML = `<label for="${id}">${name}</label><output for="${id}"></output>`
      + `<input type="range" id="${id}" min="${toSlider(option, option.min)}" `
      + `max="${toSlider(option, option.max)}" step="${option.log ? 0.05 : option.step ?? 1}">`;
  }
  const input = row.querySelector("input, select");
  const output = row.querySelector("output");
  const read = () => (input.type === "checkbox" ? input.checked
    : clean(option, option.log ? fromSlider(Number(input.value)) : input.value));
  input.addEventListener(input.type === "number" ? "change" : "input", () => change(read()));
  return { row, show: (value, { max = option.max, text = String } = {}) => {
    if (input.type === "checkbox") input.checked = value;
    else {
      if (input.type === "range") input.max = toSlider(option, max);
      if (option.log) row.dataset.value = value;
      if (input.value !== String(value)) input.value = toSlider(option, value);
    }
    if (output) {
      output.textContent = text(value);
      input.setAttribute("aria-valuetext", text(value));
    }
  } };
}

// --- the explorer: { render({ model, el }) }, anywidget's format -----------------------------------
//
// ABOUT     { name, ask: the question that asks for a prediction, options: key -> { default, label?,
//           min/max/step | choices | longest?, wide?, half? (two fields a line) } }; one without a label
//           has no control
// view(s)   pure: { svg, summary (HTML), shown: keys of the controls, limits: key -> { max, text } }
// settle(s) pure: the state as it counts, where one option decides others
// follow(s, key)  pure: what else changes when the reader changes `key`
// press(s, token) pure: what changes when [data-press=token] is clicked or gets Enter or Space
// extra(state, set) -> { element, show? }: controls of the explorer's own; show() follows each redraw

export function explorer({ ABOUT, view, settle = (s) => s, follow, press, extra }) {
  const { name, ask, options: OPTIONS } = ABOUT;
  const render = ({ model, el }) => {
    instances += 1;
    const prefix = `ex-${name}-${instances}-${Math.random().toString(36).slice(2, 7)}`;
    const state = () => settle(Object.fromEntries(Object.entries(OPTIONS).map(
      ([key, option]) => [key, clean(option, model.get(key))])));
    const set = (patch) => {
      for (const [key, value] of Object.entries(patch)) model.set(key, value);
      model.save_changes();
    };
    const root = document.createElement("div");
    root.className = "ex";
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", `Explorer: ${name}`);
    root.innerHTML = '<div class="ex-top"></div><div class="ex-controls"></div><div class="ex-stage">'
      + '<div class="ex-figure"></div><div class="ex-summary" role="status"></div></div>';
    if (!("captioned" in el.dataset)) {
      root.insertAdjacentHTML("afterbegin",
        `<p class="ex-ask"><strong>Predict first.</strong> ${ask}</p>`);
    }
    const [top, panel, figure, summary] = [".ex-top", ".ex-controls", ".ex-figure", ".ex-summary"]
      .map((part) => root.querySelector(part));

    const controls = {};
    for (const [key, option] of Object.entries(OPTIONS)) {
      if (!option.label) continue;
      controls[key] = control(key, option, `${prefix}-${key}`, (value) => {
        const next = { ...state(), [key]: value };
        set({ [key]: value, ...follow?.(next, key) });
      });
      (option.wide ? top : panel).append(controls[key].row);
    }
    const own = extra?.(state, set);
    if (own) panel.append(own.element);

    // The part of the figure that Tab reaches: the one used last, else the first of its grid.
    let current = null;
    const draw = () => {
      const s = state();
      const { svg, summary: text, shown, limits = {} } = view(s);
      const focused = figure.contains(document.activeElement);
      figure.innerHTML = svg;
      if (summary.innerHTML !== text) summary.innerHTML = text;
      for (const [key, { row, show }] of Object.entries(controls)) {
        row.hidden = shown ? !shown.includes(key) : false;
        show(s[key], limits[key]);
      }
      const part = current && figure.querySelector(`[data-press="${CSS.escape(current)}"]`);
      if (part) {
        for (const other of figure.querySelectorAll("[data-cell]")) other.setAttribute("tabindex", -1);
        part.setAttribute("tabindex", 0);
        if (focused) part.focus();
      }
      own?.show?.();
    };

    const use = (event) => {
      const part = event.target.closest?.("[data-press]");
      if (!part) return;
      event.preventDefault();
      current = part.dataset.press;
      set(press(state(), current));
    };
    const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    root.addEventListener("click", use);
    root.addEventListener("keydown", (event) => {
      // Plain keys are the explorer's: JupyterLab would take arrows for cells, and D D deletes one.
      const leaves = event.ctrlKey || event.metaKey || event.altKey
        || ["Escape", "Tab"].includes(event.key) || (event.shiftKey && event.key === "Enter");
      if (!leaves) event.stopPropagation();
      const part = event.target.closest?.("svg [data-press]");
      if (!part) return;
      if (event.key === "Enter" || event.key === " ") use(event);
      const step = part.dataset.cell && STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      const [row, column] = part.dataset.cell.split(",").map(Number);
      const next = figure.querySelector(`[data-cell="${row + step[0]},${column + step[1]}"]`);
      if (!next) return;
      part.setAttribute("tabindex", -1);
      next.setAttribute("tabindex", 0);
      next.focus();
      current = next.dataset.press;
    });

    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      queueMicrotask(() => { waiting = false; draw(); });
    };
    for (const key of Object.keys(OPTIONS)) model.on(`change:${key}`, later);
    draw();
    el.classList.add("ex-host");
    el.append(root);
    return () => {
      for (const key of Object.keys(OPTIONS)) model.off(`change:${key}`, later);
      root.remove();
    };
  };
  return { render };
}
