"""Copy the site's third-party scripts from installed packages into `book/_static/vendor/`.

MathJax comes from the PyPI package `sphinx-mathjax-offline`; the hover tips (tippy, popper) and the
fonts come from `node_modules`, which `npm ci` fills. Without `node_modules` the site is built
without hover tips and with the fonts of the reader's system. Nothing is downloaded here, and
nothing that others wrote is committed to the repository.
"""

import re
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

# Of each font: the letters that its package calls by these names, upright and, for text, italic.
FONTS = {
    "source-serif-4": (["wght.css", "wght-italic.css"], ["latin", "latin-ext", "greek"]),
    "source-sans-3": (["wght.css", "wght-italic.css"], ["latin", "latin-ext"]),
    "source-code-pro": (["wght.css"], ["latin", "greek"]),
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


def copy_fonts() -> bool:
    """Copy the fonts and write `fonts.css`, which names them, if npm has installed them."""
    shutil.rmtree(VENDOR / "fonts", ignore_errors=True)
    packages = {name: ROOT / "node_modules" / "@fontsource-variable" / name for name in FONTS}
    if not all(package.is_dir() for package in packages.values()):
        return False
    rules = []
    for name, (styles, letters) in FONTS.items():
        for style in styles:
            text = (packages[name] / style).read_text(encoding="utf-8")
            rule = rf"/\* {name}-({'|'.join(letters)})-wght-\w+ \*/\s*(@font-face \{{.*?\}})"
            rules += [found[2].replace("./files/", "") for found in re.finditer(rule, text, re.S)]
        copy(packages[name] / "LICENSE", VENDOR / "fonts" / f"{name}.LICENSE")
        for file in re.findall(rf"url\(({name}[^)]*)\)", "".join(rules)):
            copy(packages[name] / "files" / file, VENDOR / "fonts" / file)
    (VENDOR / "fonts" / "fonts.css").write_text("\n".join(rules), encoding="utf-8")
    return True


def main() -> None:
    """Fill the vendor folder and say what the site will have."""
    copy_mathjax()
    extras = {"hover tips": copy_tips(), "fonts": copy_fonts()}
    missing = [name for name, there in extras.items() if not there]
    without = f", without {' and '.join(missing)} (run npm ci)" if missing else ""
    print(f"book/_static/vendor is ready{without}.")


if __name__ == "__main__":
    main()
