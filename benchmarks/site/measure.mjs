// node benchmarks/site/measure.mjs weight BASE PAGE...    bytes that a first visit transfers, by kind
// node benchmarks/site/measure.mjs explorers BASE PAGE... milliseconds of each explorer
// Prints one JSON object. BASE is a server that compresses, as web hosts do (run.py starts one).
import { launch } from "../../tests/browser/pages.mjs";

const [what, base, ...paths] = process.argv.slice(2);
const INPUTS = 60;
const browser = await launch();
const result = {};

const kind = (url) =>
  /\.(woff2?|ttf|otf)(\?|$)/.test(url) ? "fonts" : /mathjax/i.test(url) ? "math" : "rest";

async function weight(path) {
  const context = await browser.newContext({ viewport: { width: 1300, height: 900 } });
  const page = await context.newPage();
  const client = await context.newCDPSession(page);
  await client.send("Network.enable");
  const urls = new Map();
  const sums = { rest: 0, fonts: 0, math: 0, requests: 0 };
  client.on("Network.responseReceived", ({ requestId, response }) => {
    urls.set(requestId, response.url);
  });
  client.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    const url = urls.get(requestId) ?? "";
    if (!url.startsWith(base)) return;
    sums[kind(url)] += encodedDataLength;
    sums.requests += 1;
  });
  await page.goto(base + path, { waitUntil: "load" });
  await page.waitForTimeout(1500);                  // late fonts
  await context.close();
  return sums;
}

// For each explorer of a page: from the load event until it can be used; and, for the control that costs
// most, the work from an input event until the new figure is laid out, which must fit into one frame.
async function explorers(path) {
  const context = await browser.newContext({ viewport: { width: 1300, height: 900 } });
  const page = await context.newPage();
  await page.addInitScript(() => {
    window.readyAt = [];
    new MutationObserver((changes) => {
      for (const { target } of changes) {
        if (target.classList?.contains("ex-ready") && !target.dataset.noted) {
          target.dataset.noted = "yes";
          window.readyAt.push([target.dataset.explorer, performance.now()]);
        }
      }
    }).observe(document, { subtree: true, attributes: true, attributeFilter: ["class"] });
  });
  await page.goto(base + path, { waitUntil: "load" });
  await page.waitForFunction(() => {
    const all = document.querySelectorAll("article .ex-box").length;
    return all > 0 && window.readyAt.length >= all;
  });
  await page.evaluate(() => window.MathJax?.startup?.promise);
  const found = await page.evaluate((inputs) => {
    const loaded = performance.getEntriesByType("navigation")[0].loadEventEnd;
    const cost = (box, control) => {
      const [low, high] = [Number(control.min), Number(control.max)];
      const times = [];
      for (let i = 0; i < inputs; i += 1) {
        const share = ((i * 7) % inputs) / (inputs - 1);
        if (control.options) control.selectedIndex = i % control.options.length;
        else control.value = Math.round(low + share * (high - low));
        const start = performance.now();
        for (const event of ["input", "change"]) {
          control.dispatchEvent(new Event(event, { bubbles: true }));
        }
        box.querySelector(".ex-live").getBoundingClientRect();
        times.push(performance.now() - start);
      }
      return times.sort((a, b) => a - b)[Math.floor(inputs / 2)];
    };
    return [...document.querySelectorAll("article .ex-box")].map((box, at) => {
      const kinds = ["input[type=range]", "input[type=number]", "select"];
      const all = [...box.querySelectorAll(kinds.map((kind) => `.ex-live ${kind}`))];
      const [name, ready] = window.readyAt[at];
      const costs = all.filter((each) => each.offsetParent).map((each) => cost(box, each));
      const redraw = costs.length ? Math.max(...costs) : null;
      return { name, ready: Math.max(0, ready - loaded), redraw };
    });
  }, INPUTS);
  await context.close();
  return found;
}

for (const path of paths) {
  result[path] = what === "weight" ? await weight(path) : await explorers(path);
}
await browser.close();
console.log(JSON.stringify(result));
