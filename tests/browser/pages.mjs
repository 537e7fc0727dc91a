// What the browser programs share: start Debian's chromium, serve the built site, list pages, notice
// what goes wrong on one, ask axe.
import { createReadStream, existsSync, readdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const ROOT = resolve(fileURLToPath(import.meta.url), "../../..");
export const SITE = join(ROOT, "_build", "html");

const TYPES = {
  ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css",
  ".svg": "image/svg+xml", ".png": "image/png", ".json": "application/json",
  ".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf",
};

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // No name but the loopback's resolves, so what leaves the site fails (and is seen as a request).
  args: [
    "--no-sandbox", "--disable-gpu",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ],
});

// The pages that a source file made; search and index are the theme's.
export function pages(site = SITE) {
  const found = [];
  const walk = (folder) => {
    for (const name of readdirSync(join(site, folder)).sort()) {
      const path = folder ? `${folder}/${name}` : name;
      if (statSync(join(site, path)).isDirectory()) {
        if (!name.startsWith("_")) walk(path);
      } else if (name.endsWith(".html") && folder) found.push(path);
    }
  };
  walk("");
  return found;
}

// Serve the site on a free port of the loopback interface, below `root`; what is not there gets
// 404.html, as on a web host.
export function serve(root = "/", site = SITE) {
  const server = createServer((request, response) => {
    const asked = decodeURIComponent(request.url.split("?")[0]);
    const path = join(site, normalize(asked.startsWith(root) ? asked.slice(root.length) : "404"));
    const there = path.startsWith(site) && existsSync(path) && !statSync(path).isDirectory();
    const file = there ? path : join(site, "404.html");
    response.writeHead(there ? 200 : 404, {
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
      "cache-control": "max-age=600",
    });
    createReadStream(file).pipe(response);
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => {
    done({ base: `http://127.0.0.1:${server.address().port}${root}`, stop: () => server.close() });
  }));
}

// Note errors in the console and requests that leave the site. The browser cannot resolve any name
// but the loopback's, so what is noted as outside has also failed.
export function watch(page, found, base = "file:") {
  page.on("console", (message) => {
    if (message.type() === "error") found.console.push(message.text());
  });
  page.on("pageerror", (error) => found.console.push(String(error)));
  page.on("response", (answer) => {
    if (answer.status() >= 400) found.console.push(`${answer.status()} ${answer.url()}`);
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(base) && !/^(file|data|blob):/.test(url)) found.outside.push(url);
  });
}

const AXE = join(ROOT, "node_modules", "axe-core", "axe.min.js");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

export const useAxe = (page) => page.addScriptTag({ path: AXE });

export async function axe(page, where, found, part = "html") {
  const { violations } = await page.evaluate(
    ([part, values]) => window.axe.run(part, {
      runOnly: { type: "tag", values }, resultTypes: ["violations"],
    }),
    [part, RULES],
  );
  for (const { id, nodes } of violations) {
    const places = nodes.slice(0, 3).map((node) => node.html.slice(0, 160));
    found.axe.push(`${where}: ${id}: ${places.join(" | ")}`);
  }
}
