// What the two browser programs share: start Debian's chromium, serve the built site, list pages.
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
export function pages() {
  const found = [];
  const walk = (folder) => {
    for (const name of readdirSync(join(SITE, folder)).sort()) {
      const path = folder ? `${folder}/${name}` : name;
      if (statSync(join(SITE, path)).isDirectory()) {
        if (!name.startsWith("_")) walk(path);
      } else if (name.endsWith(".html") && folder) found.push(path);
    }
  };
  walk("");
  return found;
}

// Serve the site on a free port of the loopback interface.
export function serve() {
  const server = createServer((request, response) => {
    const path = join(SITE, normalize(decodeURIComponent(request.url.split("?")[0])));
    if (!path.startsWith(SITE) || !existsSync(path) || statSync(path).isDirectory()) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {
      "content-type": TYPES[extname(path)] ?? "application/octet-stream",
      "cache-control": "max-age=600",
    });
    createReadStream(path).pipe(response);
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => {
    done({ base: `http://127.0.0.1:${server.address().port}/`, stop: () => server.close() });
  }));
}
