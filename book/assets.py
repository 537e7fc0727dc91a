"""Copy the site's third-party scripts from installed packages into `book/_static/vendor/`.

MathJax comes from the PyPI package `sphinx-mathjax-offline`; the hover tips (tippy, popper) come
from `node_modules`, which `npm ci` fills. Without `node_modules` the site is built without hover
tips. Nothing is downloaded here, and nothing that others wrote is committed to the repository.
"""

import shutil
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "book" / "_static" / "vendor"

MATHJAX = Path(sysconfig.get_path("purelib")) / "sphinx-mathjax-offline" / "static" / "mathjax"
MATHJAX_PARTS = [
    "tex-mml-chtml.js",
    "input/tex/extensions",
    "output/chtml/fonts",
    "a11y",
    "ui",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
]

TIPS = {
    "popper.min.js": "@popperjs/core/dist/umd/popper.min.js",
    "tippy-bundle.umd.min.js": "tippy.js/dist/tippy-bundle.umd.min.js",
}


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, making the folders above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def copy_mathjax() -> None:
    """Copy the parts of MathJax that the pages load."""
    if not MATHJAX.is_dir():
        raise SystemExit(f"MathJax is not at {MATHJAX}: run pip install -r requirements.txt")
    for part in MATHJAX_PARTS:
        copy(MATHJAX / part, VENDOR / "mathjax" / part)


def copy_tips() -> bool:
    """Copy tippy and popper if npm has installed them; remove a half or old copy otherwise."""
    sources = {name: ROOT / "node_modules" / path for name, path in TIPS.items()}
    shutil.rmtree(VENDOR / "tippy", ignore_errors=True)
    if not all(source.is_file() for source in sources.values()):
        return False
    for name, source in sources.items():
        copy(source, VENDOR / "tippy" / name)
    return True


def main() -> None:
    """Fill the vendor folder and say whether the site will have hover tips."""
    copy_mathjax()
    tips = "with hover tips" if copy_tips() else "without hover tips (no node_modules: run npm ci)"
    print(f"book/_static/vendor is ready, {tips}.")


if __name__ == "__main__":
    main()
