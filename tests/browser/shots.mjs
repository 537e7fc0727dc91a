// node tests/browser/shots.mjs OUTDIR [PART-OF-A-PAGE'S-PATH]
// Pictures of every built page, to be looked at: light, dark, and light on a 375-pixel phone.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { launch, pages, serve } from "./pages.mjs";

const [out, part = ""] = process.argv.slice(2);
if (!out) {
  console.error("usage: node tests/browser/shots.mjs OUTDIR [PART]");
  process.exit(2);
}
mkdirSync(out, { recursive: true });
const views = [
  ["light", { colorScheme: "light", viewport: { width: 1300, height: 900 } }],
  ["dark", { colorScheme: "dark", viewport: { width: 1300, height: 900 } }],
  ["phone", { colorScheme: "light", viewport: { width: 375, height: 800 }, isMobile: true }],
];
const browser = await launch();
const { base, stop } = await serve();
for (const [view, options] of views) {
  const page = await (await browser.newContext(options)).newPage();
  for (const path of pages().filter((name) => name.includes(part))) {
    await page.goto(base + path, { waitUntil: "load" });
    await page.waitForTimeout(900);   // formulas are set, the quiz stands
    const name = path.replace(/\.html$/, "").replaceAll("/", "-");
    await page.screenshot({ path: join(out, `${name}.${view}.png`), fullPage: true });
  }
}
await browser.close();
stop();
