"""How heavy a page of the book is, and how fast its explorers answer. Writes result.json.

    python benchmarks/site/run.py            (after `make book`; needs chromium, node, npm ci)
    python benchmarks/site/run.py --quick    one run, printed and not kept

Weight is compared with a stock Jupyter Book of the same pages, built here and visited in turn with
ours. Explorers have no peer that runs as a static page; they are set against their budgets.
"""

import argparse
import gzip
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import cache
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
HERE = Path(__file__).parent
RUNS = 5
PAGES = ["book/ch01_attention", "book/ch01_positions", "labs/lab01_attention/lab01_attention"]
BUDGET_KB = 600
BUDGETS = {"ready": ("usable after load", 100), "redraw": ("input to redraw, median", 16)}  # ms
STOCK = """title: Stock
only_build_toc_files: true
execute: {execute_notebooks: 'off'}
bibtex_bibfiles: [book/references.bib]
parse: {myst_enable_extensions: [amsmath, colon_fence, deflist, dollarmath, html_image]}
sphinx: {recursive_update: true, local_extensions: {explore: book/_ext}}
"""


class Compressing(SimpleHTTPRequestHandler):
    """A file server that compresses text, as web hosts do."""

    def do_GET(self) -> None:
        """Answer with the file, packed if it is text."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        kind = self.guess_type(str(path))
        text = kind.startswith("text/") or kind.endswith(("javascript", "json", "svg+xml"))
        body = packed(path) if text else path.read_bytes()
        self.send_response(200)
        self.send_header("content-type", kind)
        if text:
            self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@cache
def packed(path: Path) -> bytes:
    """A file as it travels."""
    return gzip.compress(path.read_bytes(), 6)


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The address of a site on this machine."""

    def handler(*args: Any) -> Compressing:
        return Compressing(*args, directory=str(site))

    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


def measure(what: str, base: str, pages: list[str]) -> dict[str, Any]:
    """What measure.mjs reports for each page."""
    command = ["node", str(HERE / "measure.mjs"), what, base, *(f"{page}.html" for page in pages)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return json.loads(done.stdout)


def stock_book(folder: Path) -> Path:
    """The same pages as Jupyter Book makes them by default."""
    for part in ("book", "labs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("vendor"))
    shutil.copy(ROOT / "_toc.yml", folder)
    (folder / "_config.yml").write_text(STOCK, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(folder), "-q"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "_build" / "html"


def median(values: list[float]) -> float:
    """The median, to three digits."""
    return float(f"{statistics.median(values):.3g}")


def weights(runs: int) -> list[dict[str, Any]]:
    """Bytes of a first visit without fonts and math, ours and stock in turn."""
    with tempfile.TemporaryDirectory() as folder:
        stock = stock_book(Path(folder))
        with served(SITE) as ours_at, served(stock) as stock_at:
            pairs = [(measure("weight", ours_at, PAGES), measure("weight", stock_at, PAGES))
                     for _ in range(runs)]  # fmt: skip
    rows = []
    for page in PAGES:
        ours = [a[f"{page}.html"]["rest"] / 1000 for a, _ in pairs]
        peer = [b[f"{page}.html"]["rest"] / 1000 for _, b in pairs]
        fonts = median([a[f"{page}.html"]["fonts"] / 1000 for a, _ in pairs])
        math = median([a[f"{page}.html"]["math"] / 1000 for a, _ in pairs])
        rows.append({
            "name": f"{page}: transferred without fonts and math", "ours": median(ours),
            "peer": median(peer), "unit": "kB",
            "ratio": median([b / a for a, b in zip(ours, peer, strict=True)]), "runs": runs,
            "note": f"budget {BUDGET_KB} kB; beside it fonts {fonts:g} kB, math {math:g} kB; "
            "peer: stock Jupyter Book 1 of the same page",
        })  # fmt: skip
    return rows


def explorers(n_runs: int) -> list[dict[str, Any]]:
    """Milliseconds of every explorer on every page that has one."""
    pages = [
        path.relative_to(SITE).with_suffix("").as_posix()
        for path in sorted(SITE.glob("*/**/*.html"))
        if 'class="ex-box"' in path.read_text(encoding="utf-8")
    ]
    if not pages:
        return []
    with served(SITE) as base:
        runs = [measure("explorers", base, pages) for _ in range(n_runs)]
    rows = []
    for page in pages:
        for at, first in enumerate(runs[0][f"{page}.html"]):
            for field, (what, budget) in BUDGETS.items():
                values = [run[f"{page}.html"][at].get(field) for run in runs]
                if None in values:
                    continue
                ours = median(values)
                rows.append({
                    "name": f"{page}: {first['name']}: {what}", "ours": ours, "peer": budget,
                    "unit": "ms", "ratio": median([budget / max(ours, 0.1)]), "runs": n_runs,
                    "note": "the peer is the budget",
                })  # fmt: skip
    return rows


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description="Measure the built book's pages.")
    parser.add_argument("--quick", action="store_true", help="one run, printed and not kept")
    quick = parser.parse_args().quick
    if not (SITE / "book" / "intro.html").is_file():
        raise SystemExit("The book is not built: run make book.")
    runs = 1 if quick else RUNS
    rows = weights(runs) + explorers(runs)
    about = f"{platform.machine()}, {os.cpu_count()} shared cores, {platform.system()}"
    result = {
        "machine": f"{about}, headless chromium, load average {os.getloadavg()[2]:.1f}",
        "date": date.today().isoformat(),
        "rows": rows,
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    if quick:
        print(text)
        return
    (HERE / "result.json").write_text(text + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['ours']:>8g} {row['unit']:3} {row['peer']:>8g} {row['name']}")


if __name__ == "__main__":
    main()
