// node tests/browser/explorers.mjs [NAME]   # all explorers, or one
// Drives every explorer of book/explorers.html, over http and from file://: each control by mouse and by
// keyboard, each part of a figure that can be pressed. What the page then shows must be what the
// explorer's own pure functions say of that state; those are tested against Python elsewhere. A few
// numbers are asked for by name. Over http also: axe in light and dark and the width of a phone, in
// every scene, the exported file, print, and a browser without JavaScript.
// Prints one JSON object, kinds of findings -> list, and what was seen.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { axe, launch, serve, SITE, useAxe, watch } from "./pages.mjs";

const PAGE = "book/explorers.html", PHONE = { width: 375, height: 800 }, DESK = { width: 1300, height: 900 };

// Ways into the parts of each explorer that the first look does not show: option -> value, by a control.
const SCENES = {
  attention: [{}, { mask: "global" }, { mask: "cross" }, { view: "mask" }, { view: "mask", mask: "sliding" }],
  architecture: [{}, { family: "both" }, { mode: "label" }, { family: "encoder" }],
  positions: [{}, { scheme: "waves" }, { scheme: "alibi" }],
  counting: [{}, { preset: "bert" }, { preset: "mixtral" }],
  memory: [{}, { train: "lora-all" }, { preset: "own" }, { view: "sharing" }, { view: "serving" }],
  cost: [{}, { preset: "own" }, { preset: "gpt3" }],
  scaling: [{}, { fit: "hoffmann" }, { model: "llama3-8b" }],
  sampling: [{}, { draws: 100 }],
  pipeline: [{}, { kind: "1f1b", n_micro: 32 }, { kind: "data" }],
  doctor: [{}, { curve: 2, guess: "overfitting" }, { curve: 3, compare: true, reveal: true }],
  token_tax: [{}, { tokenizer: "english", language: "th", sentence: 3 }],
  bpe: [{}, { step: 20 }, { text: "เน็ตช้ามาก связь", step: 3 }],
  spans: [{}, { rate: 0.75, mean_length: 1 }],
  schedule: [{}, { kind: "wsd" }, { kind: "constant" }],
  mask: [{}, { view: "mark" }, { turns: 3, mistake: "prompt" }, { width: 10 }],
  forgetting: [{}],
  lora: [{}, { map: "ff_out", layer: 4, rank: 96 }],
  nf4: [{}, { weights: "outliers" }, { kind: "int", bits: 8 }],
  ranking: [{}, { share: 1 }, { noise: 1, votes: 10 }],
  dpo: [{}, { kind: "smoothed", pair: "wrong" }, { kind: "ipo", pair: "own" }],
  clip: [{}, { rule: "clipped", advantage: -1 }, { clip: 0.05, advantage: 0 }],
  gae: [{}, { lam: 0, off: -0.5 }, { mark: -1, price: 1 }],
  hacking: [{}, { axis: "kl", weight: 2 }],
  minhash: [{}, { bands: 64, rows: 16, at: 0.95 }, { one: "", n: 5 }],
  mixture: [{}, { alpha: 0, web: 0 }],
  before_after: [{}, { show: "gap", stage: 2 }, { seeds: 2 }],
  funnel: [{}, { at: "ends", ends: "mark" }, { at: "redact", english: true, length: 20, letters: 0.7 }],
  redaction: [{}, { sample: 5, rules: "edges" }, { sample: 3, show: "named" }, { show: "redacted", text: "" }],
};
// Figures that a reader must find: explorer, options, text of the summary or the figure.
const FIGURES = [
  ["attention", { layer: "0", head: "1" }, "it reads modem 0.92"],
  ["attention", { sentence: "the customer says the modem restarts because they", head: "0" },
    "they reads customer 0.93"],
  ["attention", { view: "mask", mask: "sliding", window: 3 }, "21 of 8 · 8 = 64 cells"],
  ["architecture", { norm: "pre" }, "(2, 4, 6, 16) → (4, 6, 6)"],
  ["architecture", { family: "both" }, "cross-attention"],
  ["positions", { scheme: "rope", m: 3, n: 1 }, "cos((3 − 1) · 1.00) = −0.416"],
  ["positions", { scheme: "alibi", n_heads: 8, head: 1 }, "weighs 0.368"],
  ["counting", { preset: "llama3-8b" }, "8,030,261,248"],
  ["counting", { preset: "gpt3" }, "174,604,259,328"],
  ["counting", { preset: "bert", guess: 108891648 }, "left out: the pooler (590,592)"],
  ["memory", {}, "107.81 GB"],
  ["memory", { zero: "3", n_gpus: 8 }, "13.48 GB per GPU"],
  ["memory", { preset: "llama3-8b", view: "serving", users: 32, context: 8192 }, "50.42 GB"],
  ["memory", { view: "sharing", n_gpus: 64 }, "only 32 heads"],
  ["cost", { preset: "llama2-70b" }, "MFU 0.428"],
  ["cost", { preset: "telecom", mfu_low: 0.4, mfu_high: 0.4, gpu: "A100" }, "16.1 hours"],
  ["counting", { preset: "gpt2", n_layers: 24 }, "209,494,272"],
  ["scaling", { model: "gpt3" }, "(6 · 1.72)) = 175 B parameters"],
  ["scaling", { compute: 1e20, ratio: 20 }, "913 M parameters"],
  ["sampling", { temperature: 0.5 }, "7.39 : 1"],
  ["sampling", { top_k: 2 }, "2 of 10 words"],
  ["pipeline", {}, "3 / 7 = 42.9 %"],
  ["pipeline", { kind: "1f1b", n_gpus: 8, n_micro: 32 }, "The first GPU keeps 8 micro-batches, the last 1"],
  ["doctor", { curve: 3, guess: "healthy" }, "Right."],
  ["doctor", { curve: 2, guess: "no_warmup" }, "Look again."],
  ["token_tax", { language: "hi" }, "costs 6.59 times what English costs"],
  ["token_tax", { tokenizer: "o200k_base", language: "th" }, "holds what takes about 4,700 words to say in English"],
  ["bpe", { step: 3 }, "258 ·the"],
  ["bpe", { text: "เน็ต" }, "12 tokens for 12 bytes"],
  ["spans", { sentence: "the cat sat on the mat", rate: 0.5, mean_length: 3 }, "3 of 6 words hidden (50 %), in 1 span"],
  ["schedule", { step: 550 }, "= 1.65e-4"],
  ["schedule", { kind: "wsd", step: 900, decay: 0.2 }, "rate 1.65e-4, 55.0 % of the peak"],
  ["mask", { mistake: "early" }, "Trained, and should not be: <|assistant|> <|assistant|>"],
  ["mask", { turns: 1, system: "", width: 8 }, "the row trains nothing"],
  ["forgetting", { rate: 4 }, "Rate 5e-3, replay 0\u00a0%: "],
  ["forgetting", { rate: 4, share: 3 }, "replay takes back"],
  ["lora", { rank: 8 }, "8 · (288 + 96) = 3,072 of 27,648, 11 %"],
  ["lora", { rank: 16, alpha: 32, a: 14336 }, "alpha / r = 32 / 16 = 2"],
  ["nf4", { double: true }, "4 + 8 / 64 + 32 / (64 · 256) = 4.127 bits"],
  ["nf4", { weights: "uniform" }, "int4 in the same blocks: 0.0600, 14 % less"],
  ["ranking", {}, "together they put C first, the favourite of neither"],
  ["ranking", { share: 0 }, "Group 1 puts B first"],
  ["dpo", { pair: "rise" }, "loss = −ln σ(0.1 · 6) = 0.437"],
  ["dpo", { chosen: 1, rejected: -1, beta: 0.5 }, "loss = −ln σ(0.5 · 2) = 0.313"],
  ["dpo", { kind: "smoothed", swapped: 0.1 }, "It rests at margin 22.0"],
  ["clip", { ratio: 1.5, advantage: -1 }, "min(1.50 · −1.0, 1.20 · −1.0) = −1.50"],
  ["clip", { ratio: 1.5, advantage: -1, rule: "clipped" }, "PPO has it on here"],
  ["gae", { lam: 1 }, "The largest advantage has Thank, 0.60"],
  ["gae", { lam: 0 }, "The largest advantage has Restart, 0.25"],
  ["hacking", { weight: 1, bias: 3 }, "the reward is hacked"],
  ["minhash", { at: 0.7 }, "= 0.6133"],
  ["minhash", { n: 1 }, "Your texts share 13 of 15 shingles: Jaccard 0.867"],
  ["redaction", { text: "ring +44 7700 900123, not 447700900124" }, "phone +44 7700 900123, msisdn 447700900124"],
  ["redaction", { show: "redacted", text: "q@example.net" }, "[EMAIL]"],
  ["before_after", { show: "gap" }, "Better in 5 of 5"],
  ["funnel", { same: 1, at: "duplicates" }, "duplicates (for exact duplicate, near duplicate) drops"],
  ["funnel", { length: 0, letters: 0.5, stop: 0, score: 0 }, "rules (for spam) drops 0 documents"],
  ["mixture", { alpha: 0 }, "At 0 all sources get the same share"],
  ["mixture", { budget: 100 }, "no alpha makes a source be read more than 4 times"],
];

const found = { outside: [], console: [], mouse: [], keyboard: [], figures: [], axe: [], sideways: [],
  export: [], print: [], "no script": [] };
const seen = { explorers: 0, moves: 0, parts: 0, figures: 0 };

// What the page must show of a state, from the module's text that the page itself carries.
async function modules(page) {
  const texts = await page.locator("script[data-module]").evaluateAll((all) =>
    all.map((script) => [script.dataset.module, JSON.parse(script.textContent)]));
  const loaded = {};
  for (const [name, text] of texts) {
    loaded[name] = await import(`data:text/javascript;base64,${Buffer.from(text).toString("base64")}`);
  }
  return loaded;
}

class Driver {
  constructor(page, box, name, module, where) {
    Object.assign(this, { page, box, name, module, where, moved: { mouse: new Set(), keyboard: new Set() } });
    this.options = module.ABOUT.options;
  }

  async start() {
    this.raw = JSON.parse(await this.box.getAttribute("data-state"));
    return this;
  }

  get state() {
    return (this.module.settle ?? ((s) => s))(this.raw);
  }

  row(key) {
    return this.box.locator(`[data-key="${key}"]`);
  }

  async value(key) {
    const option = this.options[key], row = this.row(key);
    if (option.as === "radio") return row.locator("input:checked").inputValue();
    if (typeof option.default === "boolean") return row.locator("input").isChecked();
    if (option.log) return Number(await row.getAttribute("data-value"));   // the slider stands at its logarithm
    const text = await row.locator("input, select").inputValue();
    return typeof option.default === "number" ? Number(text) : text;
  }

  // The reader has changed `key`: the page must show what the module says of the new state.
  async changed(key, how) {
    const value = await this.value(key), before = this.state[key];
    const next = { ...this.state, [key]: value };
    this.raw = { ...this.raw, [key]: value, ...this.module.follow?.(next, key) };
    if (value !== before) this.moved[how].add(key);
    await this.agrees(`${key} = ${value}`, how);
  }

  async agrees(what, how) {
    seen.moves += 1;
    const { svg, summary, shown = Object.keys(this.options) } = this.module.view(this.state);
    const same = await this.box.evaluate((box, [svg, summary, shown]) => {
      const make = (html) => Object.assign(document.createElement("div"), { innerHTML: html });
      const plain = (element) => element.innerHTML.replaceAll(/ tabindex="-?\d"/g, "");
      const rows = [...box.querySelectorAll("[data-key]")].filter((row) => !row.hidden);
      return [plain(box.querySelector(".ex-figure")) === plain(make(svg)),
        box.querySelector(".ex-summary").textContent === make(summary).textContent,
        rows.every((row) => shown.includes(row.dataset.key))];
    }, [svg, summary, shown]);
    ["figure", "summary", "controls"].forEach((part, i) => {
      if (!same[i]) found[how].push(`${this.where} ${this.name}, ${what}: the ${part} is not that of the state`);
    });
  }

  async set(key, value) {
    const option = this.options[key], row = this.row(key);
    if (this.state[key] === value) return;
    if (option.as === "radio") await row.locator(`label:has(input[value="${value}"])`).click();
    else if (option.choices) await row.locator("select").selectOption(value);
    else if (typeof option.default === "boolean") await row.locator("input").setChecked(value);
    else await row.locator("input").fill(String(option.log ? Math.log10(value).toFixed(2) : value));
    if (option.as === "number") await row.locator("input").press("Tab");
    await this.changed(key, "mouse");
  }

  async mouse(key) {
    const option = this.options[key], row = this.row(key), input = row.locator("input, select").first();
    if (option.choices) {
      const others = Object.keys(option.choices).filter((value) => value !== this.state[key]);
      const back = this.state[key];
      await this.set(key, others[0]);
      return this.set(key, back);
    }
    if (typeof option.default === "boolean") await input.click();
    else if (option.as === "number") {
      await input.click({ clickCount: 3 });
      await this.page.keyboard.type(String(Math.min(option.max, this.state[key] * 2)));
      await this.row(key).locator("label").click();
      await this.page.keyboard.press("Tab");
    } else if (typeof option.default === "string") {
      await input.click();
      await this.page.keyboard.press("End");
      await this.page.keyboard.type(" and");
    } else {
      const size = await input.boundingBox();
      const share = this.state[key] > (Number(await input.getAttribute("max")) + option.min) / 2 ? 0.2 : 0.8;
      await input.click({ position: { x: size.width * share, y: size.height / 2 } });
    }
    return this.changed(key, "mouse");
  }

  async keyboard(key) {
    const option = this.options[key], row = this.row(key);
    const input = row.locator(option.as === "radio" ? "input:checked" : "input, select").first();
    const before = await this.value(key);
    await input.focus();
    const keys = typeof option.default === "boolean" ? ["Space"]
      : option.choices ? ["ArrowDown", "ArrowUp"]
        : typeof option.default === "string" ? ["Backspace"]
          : option.as === "number" ? ["ArrowUp", "ArrowDown"] : ["ArrowRight", "ArrowLeft"];
    if (keys[0] === "Backspace") await this.page.keyboard.press("End");
    let used = "";
    for (used of keys) {
      await this.page.keyboard.press(used);
      if ((await this.value(key)) !== before) break;
    }
    await this.changed(key, "keyboard");
    const kept = await row.evaluate((element) => element.contains(document.activeElement));
    if (!kept) found.keyboard.push(`${this.where} ${this.name}: ${key} loses the focus`);
    const ring = await input.evaluate((element) => {
      const place = element.type === "radio" ? element.nextElementSibling : element;
      return getComputedStyle(place).outlineStyle;
    });
    if (kept && ring === "none") found.keyboard.push(`${this.where} ${this.name}: ${key} shows no focus`);
    if (!option.choices) return;
    await this.page.keyboard.press(keys.find((other) => other !== used));   // and back
    await this.changed(key, "keyboard");
  }

  async pressed(token, how) {
    this.raw = { ...this.raw, ...this.module.press(this.state, token) };
    seen.parts += 1;
    await this.agrees(`part ${token}`, how);
  }

  // Parts of the figure: three by mouse; with the keyboard Tab's part, then arrows, Space and Enter.
  async parts() {
    const parts = this.box.locator(".ex-figure [data-press]");
    const n = await parts.count();
    for (const i of [0, Math.floor(n / 2), n - 1].slice(0, n)) {
      const token = await parts.nth(i).getAttribute("data-press");
      const at = await parts.nth(i).boundingBox();
      await parts.nth(i).click({ position: { x: 6, y: Math.min(8, at.height / 2) }, force: true });
      await this.pressed(token, "mouse");
    }
    const first = this.box.locator('.ex-figure [data-cell][tabindex="0"]');
    if ((await first.count()) === 0) return;
    if ((await first.count()) > 1) found.keyboard.push(`${this.name}: several parts are reached by Tab`);
    await first.first().focus();
    for (const keys of [["ArrowUp", "Space"], ["ArrowUp", "Enter"], ["ArrowLeft", "Space"]]) {
      await this.page.keyboard.press(keys[0]);
      const token = await this.page.evaluate(() => document.activeElement.dataset.press);
      if (!token) {
        found.keyboard.push(`${this.where} ${this.name}: the focus is lost in the figure`);
        return;
      }
      await this.page.keyboard.press(keys[1]);
      await this.pressed(token, "keyboard");
    }
  }

  // All controls back to the explorer's default, the ones that decide others first.
  async reset() {
    for (let again = 0; again < 2; again += 1) {
      for (const [key, option] of Object.entries(this.options)) {
        if (!option.label || this.state[key] === option.default) continue;
        if ((await this.visible()).includes(key)) await this.set(key, option.default);
      }
    }
  }

  async visible() {
    return this.box.locator("[data-key]").evaluateAll((rows) =>
      rows.filter((row) => !row.hidden).map((row) => row.dataset.key));
  }
}

// One page for all scenes of an explorer.
async function open(context, url, name, notes) {
  const page = await context.newPage();
  watch(page, found, notes.base);
  await page.goto(url, { waitUntil: "load" });
  const box = page.locator(`.ex-box[data-explorer="${name}"]`);
  await box.locator(".ex-figure svg").waitFor();
  notes.modules ??= await modules(page);
  return new Driver(page, box, name, notes.modules[name], notes.where).start();
}

async function scene(driver, wanted) {
  await driver.reset();
  for (const [key, value] of Object.entries(wanted)) await driver.set(key, value);
  if (driver.where === "http") await looks(driver, `${driver.name} ${JSON.stringify(wanted)}`);
  for (const how of ["keyboard", "mouse"]) {
    for (const key of await driver.visible()) {
      if (!(key in wanted) && (await driver.visible()).includes(key)) await driver[how](key);
    }
  }
  await driver.parts();
}

// axe in both colour schemes; on a phone nothing is wider than its box.
async function looks({ page, box }, what) {
  const part = `.ex-box[data-explorer="${what.split(" ")[0]}"]`;
  await useAxe(page);
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.waitForFunction((theme) => document.documentElement.dataset.theme === theme, scheme);
    await page.waitForTimeout(200);
    await axe(page, `${what}, ${scheme}`, found, part);
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(PHONE);
  const [width, out] = await box.evaluate((element) => {
    const edge = element.getBoundingClientRect().right + 1;
    const wide = [...element.querySelectorAll(".ex-live :not(svg *)")].find((part) =>
      part.getBoundingClientRect().right > edge);
    return [document.documentElement.scrollWidth, wide?.outerHTML.slice(0, 120)];
  });
  if (width > PHONE.width) found.sideways.push(`${what}: ${width} px wide`);
  if (out) found.sideways.push(`${what}: ${out} leaves its box`);
  await page.setViewportSize(DESK);
}

async function figures(driver) {
  for (const [name, wanted, text] of FIGURES.filter(([name]) => name === driver.name)) {
    await driver.reset();
    for (const [key, value] of Object.entries(wanted)) await driver.set(key, value);
    const shown = await driver.box.locator(".ex-stage").evaluate((stage) => stage.textContent);
    if (!shown.includes(text)) {
      found.figures.push(`${driver.where} ${name} ${JSON.stringify(wanted)}: no "${text}" in "${shown.slice(-400)}"`);
    }
    seen.figures += 1;
  }
}

// Label a part, write a note, save: the file stands by itself and holds both.
async function exported(driver) {
  const { page, box } = driver;
  await driver.reset();
  await box.locator('label:has(input[value="label"])').click();
  await box.locator(".ex-label select").selectOption("scores");
  await box.locator("textarea").fill("half < the work & all of the talk");
  const [file] = await Promise.all([page.waitForEvent("download"), box.locator("button").click()]);
  const svg = readFileSync(await file.path(), "utf8");
  const faults = await page.evaluate((text) => {
    const parsed = new DOMParser().parseFromString(text, "image/svg+xml");
    return [parsed.querySelector("parsererror")?.textContent, /var\(--|tabindex|data-/.test(text) && "not standalone",
      !parsed.documentElement.textContent.includes("half < the work & all of the talk") && "no note",
      !parsed.documentElement.textContent.includes("1 of 12 parts labelled, 1 right") && "no score"].filter(Boolean);
  }, svg);
  faults.forEach((fault) => found.export.push(`${driver.where}: ${fault}`));
  if (file.suggestedFilename() !== "transformer-decoder.svg") found.export.push(file.suggestedFilename());
}

async function printed(context, url) {
  const page = await context.newPage();
  await page.goto(url, { waitUntil: "load" });
  await page.locator(".ex-ready .ex-figure svg").last().waitFor();
  await page.emulateMedia({ media: "print" });
  const sizes = await page.locator(".ex-box").evaluateAll((boxes) => boxes.map((box) => [
    box.querySelector(".ex-still").getBoundingClientRect().height,
    box.querySelector(".ex-live").getBoundingClientRect().height]));
  sizes.forEach(([still, live], i) => {
    if (still < 150 || live > 0) found.print.push(`explorer ${i}: still ${still} px, live ${live} px high`);
  });
  await page.close();
}

async function withoutScript(browser, url) {
  const context = await browser.newContext({ viewport: DESK, javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(url, { waitUntil: "load" });
  for (const still of await page.locator(".ex-still svg").all()) {
    const box = await still.boundingBox();
    if (!box || box.height < 150) found["no script"].push("a still picture is not shown");
  }
  if ((await page.locator(".ex-still svg").count()) !== Object.keys(SCENES).length) found["no script"].push("pictures are missing");
  await context.close();
}

const WAYS = ["mouse", "keyboard"];
const browser = await launch();
const { base, stop } = await serve();
async function fresh() {
  const context = await browser.newContext({ viewport: DESK, colorScheme: "light", reducedMotion: "reduce" });
  context.setDefaultTimeout(120_000);     // a busy machine is slow, not wrong
  return context;
}

// One explorer from one place, everything a reader can do with it.
async function drive({ where, base, name }) {
  const context = await fresh();
  const notes = { where, base };
  const driver = await open(context, base + PAGE, name, notes);
  for (const wanted of SCENES[name]) await scene(driver, wanted);
  for (const [key, option] of Object.entries(driver.options)) {
    for (const how of WAYS) {
      if (option.label && !driver.moved[how].has(key)) found[how].push(`${where} ${name}: ${key} was never moved`);
    }
  }
  await figures(driver);
  if (name === "architecture") await exported(driver);
  await context.close();
  if (where === "http") seen.explorers += 1;
  for (const other of Object.keys(notes.modules)) if (!(other in SCENES)) forgotten.add(other);
  process.stderr.write(`${where} ${name} ${Math.round(performance.now() / 1000)} s\n`);
}

const places = [["http", base], ["file", `${pathToFileURL(SITE).href}/`]];
const forgotten = new Set();
const todo = Object.keys(SCENES).filter((name) => !process.argv[2] || process.argv[2] === name)
  .flatMap((name) => places.map(([where, base]) => ({ where, base, name })));
async function work() {
  for (let one = todo.shift(); one; one = todo.shift()) await drive(one);
}
await Promise.all([work(), work(), work()]);     // an explorer mostly waits
if (forgotten.size) found.figures.push(`no scenes for ${[...forgotten]}`);
const context = await fresh();
await printed(context, base + PAGE);
await context.close();
await withoutScript(browser, base + PAGE);
await browser.close();
stop();
console.log(JSON.stringify({ found, seen }));
