"""Well-kept libraries beside `glassbox.privacy.find`, for comparisons: nothing here is graded.

`phones` is phonenumbers (the tables of numbering plans behind Android's dialler), `numbers` asks
python-stdnum's check digits of whatever looks like a number, `hosts` Python's own ipaddress, and
`find` is all of them together. Both libraries know far more countries than our definitions; what
they do not know is where in a text a number begins and which of nine kinds it is. They are not
needed elsewhere: a missing one is said when it is asked for.
"""

import importlib
import ipaddress
import re
from collections.abc import Iterable
from types import ModuleType

from glassbox.telecom.personal import Span

REGIONS = ("GB", "DE", "FR", "US")


def _library(name: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(
            f"{package} is not installed. Only this comparison needs it: pip install {package}"
        ) from None


def phones(text: str, valid: bool = True, regions: Iterable[str] = REGIONS) -> list[Span]:
    """The phone numbers that phonenumbers finds in a text, if it may be from any of the regions.

    `valid` asks that the numbering plan knows the number's range, else only the length counts.
    """
    library = _library("phonenumbers", "phonenumbers")
    leniency = library.Leniency.VALID if valid else library.Leniency.POSSIBLE
    return _apart(
        Span(match.start, match.end, "phone")
        for region in regions
        for match in library.PhoneNumberMatcher(text, region, leniency=leniency)
    )


def numbers(text: str) -> list[Span]:
    """Stretches of digits that python-stdnum calls an IMEI, IMSI, Finnish code or Luhn number."""
    imei, imsi = _library("stdnum.imei", "python-stdnum"), _library("stdnum.imsi", "python-stdnum")
    luhn, hetu = (
        _library("stdnum.luhn", "python-stdnum"),
        _library("stdnum.fi.hetu", "python-stdnum"),
    )
    found = []
    for run in re.finditer(r"[0-9]{6}[-+A][0-9]{3}[0-9A-Z]|[0-9](?:[ -]?[0-9])+", text):
        digits = re.sub("[ -]", "", run[0])
        if hetu.is_valid(run[0], allow_temporary=True):
            kind = "national_id"
        elif len(digits) in (19, 20) and digits.startswith("89") and luhn.is_valid(digits):
            kind = "iccid"
        elif len(digits) == 15 and imsi.is_valid(digits):
            kind = "imsi"
        elif len(digits) == 15 and imei.is_valid(digits):
            kind = "imei"
        elif 13 <= len(digits) <= 19 and luhn.is_valid(digits):
            kind = "card"
        else:
            continue
        found.append(Span(*run.span(), kind))
    return found


def hosts(text: str) -> list[Span]:
    """Words that ipaddress accepts, and words with an @ and a dot behind it."""
    found = []
    for word in re.finditer(r"[^\s()\[\]<>\"'=,;]+", text):
        start, told = word.start(), word[0].rstrip(".:!?")
        if re.fullmatch(r"[\w.+%-]+@[\w-]+(\.[\w-]+)+", told, re.ASCII):
            found.append(Span(start, start + len(told), "email"))
            continue
        try:
            ipaddress.ip_address(told)
        except ValueError:
            continue
        found.append(Span(start, start + len(told), "ip"))
    return found


def find(text: str) -> list[Span]:
    """All of them together: where two overlap, the longer."""
    return _apart([*hosts(text), *numbers(text), *phones(text)])


def _apart(spans: Iterable[Span]) -> list[Span]:
    kept: list[Span] = []
    for span in sorted(set(spans), key=lambda span: (span.start - span.end, span)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return sorted(kept)
