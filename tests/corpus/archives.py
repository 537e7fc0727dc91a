"""Archives of which nothing may be taken, by what is wrong with them."""

import io
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable

from corpus.paper import LAB

NOTEBOOK = b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}'


def zipped(*names: str, data: bytes = NOTEBOOK, mode: int = 0) -> bytes:
    """A zip file with these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of doubled names
        for name in names:
            info = zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6))
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, mode << 16
            archive.writestr(info, data)
    return file.getvalue()


def tarred(*names: str, kind: bytes = tarfile.REGTYPE, data: bytes = NOTEBOOK,
           form: str = "w") -> bytes:  # fmt: skip
    """A tar file with these members, after an honest one."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=form) as archive:
        for name in (f"bob/{LAB}.ipynb", *names):
            info = tarfile.TarInfo(name)
            info.type = kind if name in names else tarfile.REGTYPE
            info.linkname, info.size = "/etc/passwd", len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def lying() -> bytes:
    """A member of 30 MB that says it has a thousand bytes."""
    data = zipped(f"bob/{LAB}.ipynb", data=bytes(30_000_000))
    return data.replace(struct.pack("<I", 30_000_000), struct.pack("<I", 1000))


BOB = f"bob/{LAB}.ipynb"
ARCHIVES: dict[str, Callable[[], bytes]] = {
    "g18": lambda: zipped(BOB, f"../../eve/{LAB}.ipynb"),
    "g18-absolute": lambda: zipped(BOB, f"/tmp/eve/{LAB}.ipynb"),
    "g18-backslash": lambda: zipped(BOB, f"..\\..\\eve\\{LAB}.ipynb"),
    "g18-drive": lambda: zipped(BOB, f"C:\\eve\\{LAB}.ipynb"),
    "g18-inside": lambda: zipped(BOB, f"eve/../../../{LAB}.ipynb"),
    "g18-tar": lambda: tarred(f"../../eve/{LAB}.ipynb"),
    "g19-bomb": lambda: zipped(BOB, data=bytes(150_000_000)),
    "g19-gzip-bomb": lambda: tarred(f"eve/{LAB}.ipynb", data=bytes(60_000_000), form="w:gz"),
    "g19-lying": lying,
    "g19-nested": lambda: zipped(f"eve/{LAB}.zip", data=zipped(BOB)),
    "g19-link": lambda: zipped(BOB, f"eve/{LAB}.ipynb", data=b"/etc/passwd", mode=0o120777),
    "g19-twice": lambda: zipped(BOB, BOB),
    "g19-many": lambda: zipped(*(f"s{n}/{LAB}.ipynb" for n in range(2001))),
    "g19-tar-link": lambda: tarred(f"eve/{LAB}.ipynb", kind=tarfile.SYMTYPE),
    "g19-tar-hard-link": lambda: tarred(f"eve/{LAB}.ipynb", kind=tarfile.LNKTYPE),
    "g19-tar-device": lambda: tarred(f"eve/{LAB}.ipynb", kind=tarfile.CHRTYPE),
    "g19-tar-pipe": lambda: tarred(f"eve/{LAB}.ipynb", kind=tarfile.FIFOTYPE),
    "g19-cut": lambda: tarred(f"eve/{LAB}.ipynb", form="w:gz")[:-50],
    "g19-cut-zip": lambda: zipped(BOB, f"eve/{LAB}.ipynb")[:-30],
    "g19-noise": lambda: bytes(range(256)) * 100,
    "g19-empty": lambda: b"",
    "h4-dots": lambda: zipped(BOB, f"../{LAB}.ipynb"),
}  # fmt: skip
STRANGE_NAMES = (
    "[4] x",
    "-rf",
    "n" * 300,
    "caf\u00e9",
    "cafe\u0301",
    "Twin",
    "twin",
    "a\nb",
    "=1+1",
)
