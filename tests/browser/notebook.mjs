// node tests/browser/notebook.mjs ADDRESS CELLS
// Opens a notebook of CELLS cells in a running JupyterLab, which make one explorer each and then print
// their options; moves an explorer by keyboard, asks Python what it is, and lets Python move it.
// Prints one JSON object: findings by kind and what was seen.
import { launch } from "./pages.mjs";

const found = { outside: [], console: [], widgets: [] };
const seen = {};
const [address, count] = process.argv.slice(2);
const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1300, height: 1000 } });
page.on("request", (request) => {
  const { hostname, protocol } = new URL(request.url());
  if (/^(http|ws)/.test(protocol) && hostname !== "127.0.0.1") found.outside.push(request.url());
});
page.on("pageerror", (error) => found.console.push(String(error)));

await page.goto(address, { waitUntil: "load" });
const cells = page.locator(".jp-Notebook .jp-CodeCell");
await cells.first().locator(".cm-content").click({ timeout: 120_000 });
// the cells come one after the other; a slow machine takes its time for the last
await cells.nth(Number(count) - 1).locator(".cm-content").waitFor({ timeout: 120_000 });
await page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").waitFor({ timeout: 120_000 });

async function run(index) {
  await cells.nth(index).locator(".cm-content").click();
  await page.keyboard.press("Shift+Enter");
}

// A cell `m = explore.NAME(...)` shows the figure; a key on its first slider or number changes it.
const names = await cells.evaluateAll((all) => all.map((cell) =>
  /explore\.(\w+)\(/.exec(cell.querySelector(".cm-content").textContent)?.[1]));
await run(0);
for (const [index, name] of names.entries()) {
  if (!name) continue;
  await run(index);
  const root = cells.nth(index).locator(`.ex[aria-label="Explorer: ${name}"]`);
  await root.locator("svg").waitFor({ timeout: 60_000 })
    .catch(() => found.widgets.push(`${name}: no figure`));
  const ask = await root.locator(".ex-ask").innerText().catch(() => "");
  if (!ask.startsWith("Predict first.")) found.widgets.push(`${name}: no question, "${ask}"`);
  const input = root.locator(".ex-control:not([hidden]) :is([type=range], [type=number])").first();
  const picture = () => root.locator(".ex-stage").evaluate((stage) => stage.innerHTML);
  const before = await picture();
  await input.focus();
  await page.keyboard.press(name === "attention" ? "ArrowLeft" : "ArrowUp");
  await page.waitForFunction(([element, old]) => element.querySelector(".ex-stage").innerHTML !== old,
    [await root.elementHandle(), before], { timeout: 30_000 })
    .catch(() => found.widgets.push(`${name}: a key changes nothing`));
  const { key, value } = await input.evaluate((element) => ({ ...element.closest("[data-key]").dataset }));
  seen[name] = [key, Number(value ?? await input.inputValue())];
}

// The last cells: print what Python knows, then set a value from Python.
const last = names.length - 1;
await run(last - 1);
const output = cells.nth(last - 1).locator(".jp-OutputArea-output").first();
await output.waitFor({ timeout: 60_000 });
seen.printed = JSON.parse(await output.innerText());
await run(last);
const counting = page.locator('.ex[aria-label="Explorer: counting"]');
await counting.locator('.ex-summary:has-text("8,030,261,248")').waitFor({ timeout: 60_000 })
  .catch(() => found.widgets.push("counting: a value set in Python does not arrive"));
seen.layers = await counting.locator('[data-key="n_layers"] input').inputValue();
await browser.close();
console.log(JSON.stringify({ found, seen }));
