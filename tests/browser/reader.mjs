// node tests/browser/reader.mjs [SITE]
// What a reader does, from a double-clicked file with every network request refused: search, a quiz,
// ticks of progress, explorers; then over http what a file cannot show: a MathJax that comes late, the
// 404 page, and axe on the pages that site.mjs does not visit. Prints {kind: [what is wrong]}.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { axe, launch, pages, serve, SITE as BUILT, useAxe, watch } from "./pages.mjs";

const SITE = resolve(process.argv[2] ?? BUILT);
const ADDRESS = (path) => pathToFileURL(SITE).href + "/" + path;
const DESK = { width: 1300, height: 900 };
const found = {
  outside: [], console: [], search: [], math: [], quiz: [], progress: [], clear: [], "no script": [],
  explorers: [], "late mathjax": [], "not found": [], axe: [], sideways: [],
};
const seen = { explorers: 0, passages: 0, controls: 0 };
// What there is to read, as the pages themselves know it: {name, title, sections, quiz}.
const contents = JSON.parse(
  readFileSync(join(SITE, "_static", "contents.js"), "utf8").split(" = ")[1].replace(/;\s*$/, ""));
const READ = contents.find((page) => page.name.endsWith("ch01_attention"));
const QUIZ = `${contents.find((page) => page.quiz.length).name}.html`;
const N = READ.sections.length;
const expect = (kind, true_, message) => { if (!true_) found[kind].push(message); };

const browser = await launch();
// A busy machine is slow, not wrong: only what never comes is a fault.
async function visitor(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(120_000);
  return context;
}
const reader = await visitor({
  viewport: DESK, colorScheme: "light", reducedMotion: "reduce", offline: true,
});
async function open(path, context = reader) {
  const page = await context.newPage();
  watch(page, found);
  await page.goto(ADDRESS(path), { waitUntil: "load" });
  return page;
}
const kept = (page) => page.evaluate(() => JSON.parse(localStorage.getItem("glassbox.progress.1")));

// By keyboard from the first page to a section that holds the word.
async function search() {
  const page = await open("book/intro.html");
  await page.keyboard.press("Control+k");
  await page.keyboard.type("softmax");
  await page.keyboard.press("Enter");
  await page.locator("#search-results .gb-hit mark").first().waitFor();
  await page.waitForTimeout(1000);                  // the results come one by one
  const results = page.locator("#search-results ul.search > li");
  expect("search", (await results.count()) >= 4, `${await results.count()} results`);
  seen.passages = await page.locator("#search-results .gb-hit").count();
  for (const item of await results.all()) {
    const text = await item.innerText();
    expect("search", /softmax/i.test(text), `a result without the word: ${text.slice(0, 80)}`);
  }
  await page.locator("#search-results .gb-hit a").first().click();
  await page.waitForLoadState("load");
  const there = await page.evaluate(() => document.getElementById(location.hash.slice(1))?.innerText);
  expect("search", /softmax/i.test(there ?? ""), `${page.url()} does not lead to the word`);
  await page.close();
}

async function math() {
  const page = await open("book/ch01_attention.html");
  await page.evaluate(() => window.MathJax.startup.promise);
  const [set, raw] = await page.evaluate(() => [
    document.querySelectorAll("article mjx-container").length,
    [...document.querySelectorAll("article .math")].filter((e) => /\\[([]/.test(e.innerText)).length,
  ]);
  expect("math", set > 20, `${set} formulas are set`);
  expect("math", raw === 0, `${raw} formulas are raw`);
  await page.close();
}

// One question: a wrong option, then the right one; it is remembered after a reload.
async function quiz() {
  const page = await open(QUIZ);
  const question = page.locator(".Quiz").first();
  await question.locator("label[data-correct=false] input").first().press("Space");
  expect("quiz", !Object.keys((await kept(page)) ?? {}).length, "a wrong answer counts as right");
  await question.locator("label[data-correct=true] input").first().press("Space");
  await question.locator(".gb-right").waitFor({ timeout: 3000 })
    .catch(() => found.quiz.push("a right answer leaves no mark"));
  await page.reload({ waitUntil: "load" });
  await page.waitForTimeout(300);
  expect("quiz", await page.locator(".Quiz .gb-right").first().isVisible(), "it is forgotten");
  const marks = await page.locator(".Quiz .gb-right:visible").count();
  expect("quiz", marks === 1, `${marks} questions are marked`);
  await page.close();
}

// The tick by keyboard, the tick by reading, what the lists say, and clearing it all.
async function progress() {
  const page = await reader.newPage();
  watch(page, found);
  await page.clock.install();
  await page.goto(ADDRESS("book/ch01_attention.html"), { waitUntil: "load" });
  const buttons = page.locator(".gb-tick");
  expect("progress", (await buttons.count()) === N, `${await buttons.count()} buttons`);
  const first = buttons.first();
  await first.press("Enter");
  expect("progress", (await first.getAttribute("aria-pressed")) === "true", "Enter sets no tick");
  const link = page.locator(".bd-sidebar-primary a.reference:has(.gb-sign)");
  const said = await page.locator(".bd-sidebar-primary a[href='#'] .visually-hidden").innerText();
  expect("progress", said.includes(`1 of ${N} sections read`), `the sidebar says "${said}"`);
  expect("progress", (await link.count()) >= 1, "no sign in the sidebar");
  await first.press("Space");
  expect("progress", (await first.getAttribute("aria-pressed")) === "false", "Space takes no tick away");

  const last = buttons.last();
  await last.scrollIntoViewIfNeeded();
  await page.clock.runFor(3000);
  expect("progress", (await last.getAttribute("aria-pressed")) === "false", "read after 3 seconds");
  await page.clock.runFor(300_000);
  expect("progress", (await last.getAttribute("aria-pressed")) === "true", "reading sets no tick");
  await last.press("Enter");
  await page.clock.runFor(300_000);
  expect("progress", (await last.getAttribute("aria-pressed")) === "false", "a removed tick returns");
  await last.press("Enter");
  await first.press("Enter");
  await page.close();

  const mine = await open("book/progress.html");
  const summary = await mine.locator("#gb-progress [role=status]").innerText();
  expect("progress", /read 2 of \d+ sections.* 1 of \d+ quiz/.test(summary), `it says "${summary}"`);
  const row = mine.locator(`#gb-progress tr:has(a[href$="${READ.name}.html"])`);
  expect("progress", (await row.innerText()).includes(`2 of ${N}`), await row.innerText());
  const next = mine.locator("#gb-progress a").first();
  expect("progress", await next.isVisible(), "no link to go on");
  await mine.getByRole("button", { name: "Clear my progress" }).press("Enter");
  await mine.getByRole("button", { name: "No, keep it" }).press("Enter");
  expect("clear", Object.keys(await kept(mine)).length > 0, "No clears it");
  await mine.getByRole("button", { name: "Clear my progress" }).press("Enter");
  await mine.getByRole("button", { name: "Yes, clear everything" }).press("Enter");
  expect("clear", Object.keys(await kept(mine)).length === 0, "Yes does not clear it");
  const after = await mine.locator("#gb-progress [role=status]").innerText();
  expect("clear", /read 0 of \d+ sections.* 0 of/.test(after), `then it says "${after}"`);
  const focus = await mine.evaluate(() => document.activeElement.innerText);
  expect("clear", focus === "Clear my progress", `the focus is lost: "${focus}"`);
  await mine.close();
}

async function noScript() {
  const context = await visitor({ javaScriptEnabled: false, offline: true });
  const page = await open(QUIZ, context);
  expect("no script", (await page.locator(".gb-tick").count()) === 0, "there are ticks");
  expect("no script", await page.locator(".quiz-answers").first().isVisible(), "no list of answers");
  await page.goto(ADDRESS("book/progress.html"));
  const text = await page.locator("#gb-progress").innerText();
  expect("no script", /need JavaScript/.test(text), `the progress page says "${text}"`);
  await context.close();
}

// Each explorer stands, and a key on one of its sliders changes the figure.
async function explorers() {
  for (const path of pages(SITE)) {
    if (!readFileSync(join(SITE, path), "utf8").includes('class="ex-box"')) continue;
    const page = await open(path);
    for (const box of await page.locator("article .ex-box").all()) {
      seen.explorers += 1;
      const name = `${path}: ${await box.getAttribute("data-explorer")}`;
      await box.locator(".ex-live svg").first().waitFor()
        .catch(() => found.explorers.push(`${name}: no figure`));
      const picture = () => box.locator(".ex-live").evaluate((live) =>
        [...live.querySelectorAll("svg")].map((svg) => svg.outerHTML).join() + live.innerText);
      const sliders = await box.locator(".ex-live input[type=range]:enabled:visible").all();
      if (!sliders.length) continue;
      const before = await picture();
      let moved = false;
      for (const slider of sliders) {
        const value = await slider.inputValue();
        await slider.press("ArrowRight");
        if ((await slider.inputValue()) === value) await slider.press("ArrowLeft");
        await page.waitForTimeout(200);
        moved ||= (await picture()) !== before;
      }
      expect("explorers", moved, `${name}: no key on a slider changes anything`);
      seen.controls += sliders.length;
    }
    await page.close();
  }
}

// A slow machine: MathJax arrives after the quiz has stood for two seconds. The same page with the
// quiz's own script must fail, else this says nothing.
async function lateMathJax(base, repaired) {
  const context = await visitor({ viewport: DESK });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(base)) errors.push(`asked for ${request.url()}`);
  });
  const client = await context.newCDPSession(page);
  await client.send("Emulation.setCPUThrottlingRate", { rate: 3 });
  await page.route("**/tex-mml-chtml.js*", async (route) => {
    await new Promise((done) => setTimeout(done, 2500));
    await route.continue();
  });
  if (!repaired) {
    await page.route(`**/${QUIZ}`, async (route) => {
      const answer = await route.fetch();
      const body = (await answer.text()).replaceAll("quizMath", "MathJax");
      await route.fulfill({ response: answer, body });
    });
  }
  await page.goto(base + QUIZ, { waitUntil: "load" });
  await page.evaluate(() => window.MathJax?.startup?.promise);
  await page.waitForTimeout(1500);
  if (repaired) {
    found["late mathjax"].push(...errors);
    const raw = await page.locator(".Quiz").evaluateAll((all) =>
      all.filter((quiz) => /\$|\\\(/.test(quiz.innerText)).length);
    expect("late mathjax", raw === 0, `${raw} questions with raw formulas`);
    const set = await page.evaluate(async () => {   // no question of today has a formula: add one
      const place = document.querySelector(".Quiz").appendChild(document.createElement("p"));
      place.className = "mathjax_process";
      place.textContent = "\\(x^2\\)";
      window.quizMath.typeset([place]);
      await new Promise((done) => setTimeout(done, 500));
      return place.querySelectorAll("mjx-container").length;
    });
    expect("late mathjax", set === 1, "quizMath sets no formula");
  } else {
    expect("late mathjax", errors.length > 0, "the fault does not show: the check sees nothing");
  }
  await context.close();
}

async function notFound() {
  const { base, stop } = await serve("/glassbox/", SITE);
  const page = await (await visitor({ viewport: DESK })).newPage();
  const failed = [];
  page.on("response", (answer) => { if (answer.status() >= 400) failed.push(answer.url()); });
  page.on("pageerror", (error) => found["not found"].push(String(error)));
  await page.goto(`${base}book/old/place.html`, { waitUntil: "load" });
  expect("not found", failed.length === 1, `missing: ${failed.slice(1).join(", ")}`);
  expect("not found", /No page here/.test(await page.innerText("article h1")), "not our page");
  await page.getByRole("link", { name: "first page" }).click();
  await page.waitForLoadState("load");
  expect("not found", page.url() === `${base}book/intro.html`, `it leads to ${page.url()}`);
  await page.close();
  stop();
}

// The pages that site.mjs does not visit, and a page with ticks.
async function looks(base) {
  const context = await visitor({
    viewport: DESK, colorScheme: "light", reducedMotion: "reduce",
  });
  const paths = ["search.html?q=softmax", "404.html", "book/progress.html", "book/ch01_attention.html"];
  for (const path of paths) {
    const page = await context.newPage();
    await page.goto(base + path, { waitUntil: "load" });
    for (const button of await page.locator(".gb-tick").all()) await button.press("Enter");
    await page.waitForTimeout(600);
    await useAxe(page);
    await axe(page, `${path} light`, found);
    await page.emulateMedia({ colorScheme: "dark" });
    await page.waitForTimeout(400);
    await axe(page, `${path} dark`, found);
    await page.setViewportSize({ width: 375, height: 800 });
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    if (width > 375) found.sideways.push(`${path}: ${width} px wide`);
    await page.close();
  }
  await context.close();
}

await search();
await math();
await quiz();
await progress();
await noScript();
await explorers();
const { base, stop } = await serve("/glassbox/", SITE);
await lateMathJax(base, true);
await lateMathJax(base, false);
await looks(base);
stop();
await notFound();
await browser.close();
console.log(JSON.stringify({ found, seen }));
