// Drives every page of the built site as a reader would and prints one JSON object: for each page
// the list of what is wrong, by kind. An empty list means that the page was tried and is well.
//
// Over http: outside requests, console errors, axe in light and dark and with a tip open, sideways
// scroll on a phone, every quiz option, tips by keyboard, the print view. From file://: outside
// requests and console errors (axe itself causes errors there).
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { axe, launch, pages, serve, SITE, useAxe, watch } from "./pages.mjs";

const PHONE = { width: 375, height: 800 };
const DESK = { width: 1300, height: 900 };

const browser = await launch();
const http = await browser.newContext({
  viewport: DESK, colorScheme: "light", reducedMotion: "reduce",
});
const files = await browser.newContext({ viewport: DESK });
// A busy machine is slow, not wrong: only what never comes is a fault.
for (const context of [http, files]) context.setDefaultTimeout(120_000);
const { base, stop } = await serve();
const report = {};

// Formulas are set and, where there is a quiz, its questions stand (it waits half a second itself).
async function ready(page) {
  await page.evaluate(() => window.MathJax?.startup?.promise);
  if (await page.locator(".Quiz").count()) await page.waitForTimeout(700);
}

// The words of an explanation, without its formulas (MathJax replaces those on the page).
const plain = (text) => text.replaceAll(/\s+/g, " ").trim();
const words = (text) => plain(text.replaceAll(/<[^>]*>/g, " ").split("$")[0]);

async function quiz(page, found) {
  for (const question of await page.locator(".Quiz").all()) {
    found.quiz_questions += 1;
    for (const option of await question.locator("label.MCButton").all()) {
      found.quiz_options += 1;
      const expected = words((await option.getAttribute("data-feedback")) ?? "");
      await option.locator("input").focus();
      await page.keyboard.press("Space");
      const shown = plain(await question.locator(".Feedback").innerText());
      if (!expected || !shown.includes(expected)) {
        found.quiz.push(`${await option.innerText()}: expected "${expected}", shown "${shown}"`);
      }
    }
  }
}

// The first glossary term and the first citation of the page: Tab reaches them, Escape closes.
async function tips(page, found) {
  const kinds = {
    term: "article a.reference:has(.std-term)",
    citation: "article a.reference.internal:not(:has(.std-term))[href*='bibliography.html#']",
  };
  for (const [kind, selector] of Object.entries(kinds)) {
    const link = page.locator(selector).first();
    if (!(await link.count())) continue;
    await link.focus();
    const tip = page.locator(".tippy-box");
    await tip.first().waitFor({ timeout: 10_000 }).catch(() => {});
    if (!(await tip.count()) || (await tip.first().innerText()).length < 20) {
      found.tips.push(`${kind}: no tip on keyboard focus`);
      continue;
    }
    found.tips_seen += 1;
    if (kind === "term") await axe(page, "tip open", found, ".tippy-box");
    await page.keyboard.press("Escape");
    await tip.first().waitFor({ state: "detached", timeout: 10_000 })
      .catch(() => found.tips.push(`${kind}: Escape does not close the tip`));
    await link.blur();
  }
}

async function print(page, found) {
  await page.emulateMedia({ media: "print" });
  const [text, height] = await page.evaluate(() => {
    const article = document.querySelector("article.bd-article");
    return [article.innerText.trim().length, article.getBoundingClientRect().height];
  });
  if (text < 200 || height < 100) found.print.push(`${text} characters, ${height} px high`);
  await page.emulateMedia({ media: "screen" });
}

async function overHttp(path, found) {
  const page = await http.newPage();
  watch(page, found, base);
  await page.goto(base + path, { waitUntil: "load" });
  await ready(page);
  await useAxe(page);
  await axe(page, "light", found);
  found.has_tips = await page.evaluate(() => typeof window.tippy === "function");
  if (found.has_tips) await tips(page, found);
  await quiz(page, found);
  await page.emulateMedia({ colorScheme: "dark" });
  const isDark = () => document.documentElement.dataset.theme === "dark";
  await page.waitForFunction(isDark, null, { timeout: 10_000 })
    .catch(() => found.axe.push("dark: the page stays light"));
  await page.evaluate(() => scrollTo(0, 0));   // what the sticky header half covers counts as small
  await page.waitForTimeout(300);   // colours fade over
  await axe(page, "dark", found);
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(PHONE);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  if (width > PHONE.width) found.sideways.push(`${width} px wide on a ${PHONE.width} px phone`);
  await page.setViewportSize(DESK);
  await print(page, found);
  await page.close();
}

async function fromFile(path, found) {
  const page = await files.newPage();
  watch(page, found, base);
  await page.goto(pathToFileURL(join(SITE, path)).href, { waitUntil: "load" });
  await ready(page);
  await page.close();
}

const todo = pages();
async function visit() {
  for (let path = todo.shift(); path; path = todo.shift()) {
    const found = {
      outside: [], console: [], axe: [], sideways: [], quiz: [], tips: [], print: [],
      quiz_questions: 0, quiz_options: 0, tips_seen: 0,
    };
    report[path] = found;
    await Promise.all([overHttp(path, found), fromFile(path, found)]);
  }
}
await Promise.all([visit(), visit(), visit()]);     // a page mostly waits
await browser.close();
stop();
console.log(JSON.stringify(report));
