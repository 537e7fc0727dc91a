// node book/_print/card.mjs
// Draw the social card, book/_static/card.png, from card.html. Run it after a change and commit both.
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
const page = await browser.newPage({ viewport: { width: 1200, height: 630 } });
await page.goto(pathToFileURL(here("card.html")).href);
await page.evaluate(() => document.fonts.ready);
await page.screenshot({ path: here("../_static/card.png") });
await browser.close();
