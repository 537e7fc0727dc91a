// node book/_print/pdf.mjs JOINED.html TARGET.pdf
// Print the joined book (book/pdf.py) once its formulas are set and its pictures are there.
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [joined, target] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
const page = await browser.newPage({ colorScheme: "light" });
page.setDefaultTimeout(300_000);
const missing = [];
page.on("requestfailed", (request) => missing.push(request.url()));
await page.goto(pathToFileURL(joined).href, { waitUntil: "load", timeout: 300_000 });
await page.evaluate(async () => {
  await window.MathJax.startup.promise;
  await document.fonts.ready;
});
const plain = await page.$$eval(".math", (all) =>
  all.filter((one) => !one.querySelector("mjx-container")).map((one) => one.textContent));
for (const [what, found] of [["not found", missing], ["formulas not set", plain]]) {
  if (found.length) {
    console.error(`${what}:\n${found.join("\n")}`);
    process.exit(1);
  }
}
await page.pdf({
  path: target, preferCSSPageSize: true, printBackground: true, tagged: true, outline: true,
  timeout: 300_000,
});
await browser.close();
