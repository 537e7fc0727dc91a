"""The icons of the page frame, drawn as lines, in place of the theme's icon library.

The theme ships a script of 1.5 MB that turns `<i class="fa-...">` into pictures in the reader's
browser. The few that we use are drawn here and put into the page when it is built. `inline` leaves
an icon that is not drawn yet as it is; `missing` names it, so that the build can say so.
"""

import re

# What stands inside an SVG of 24 by 24; strokes take the colour of the text.
ICONS = {
    "magnifying-glass": '<circle cx="10.5" cy="10.5" r="6.5"/><path d="m15.5 15.5 5 5"/>',
    "bars": '<path d="M4 6.5h16M4 12h16M4 17.5h16"/>',
    "list": '<path d="M9 6h11M9 12h11M9 18h11M4.5 6h.01M4.5 12h.01M4.5 18h.01"/>',
    "chevron-down": '<path d="m6 9 6 6 6-6"/>',
    "angle-right": '<path d="m9 5 7 7-7 7"/>',
    "angle-left": '<path d="m15 5-7 7 7 7"/>',
    "arrow-up": '<path d="M12 20V5M5.5 11 12 4.5l6.5 6.5"/>',
    "sun": '<circle cx="12" cy="12" r="4"/><path d="M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7'
    'M17 17l1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4"/>',
    "moon": '<path d="M20 14.2A8.3 8.3 0 1 1 9.8 4a6.6 6.6 0 0 0 10.2 10.2z"/>',
    "circle-half-stroke": '<circle cx="12" cy="12" r="8"/>'
    '<path fill="currentColor" d="M12 4a8 8 0 0 1 0 16z"/>',
    "expand": '<path d="M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5"/>',
    "download": '<path d="M12 4v11M7 10.5l5 5 5-5M4.5 20h15"/>',
    "file": '<path d="M6 3.5h8l4.5 4.5v12.5H6zM14 3.5V8h4.5"/>',
    "file-pdf": '<path d="M7 9V3.5h10V9M7 17H4V9h16v8h-3M7 14h10v6.5H7z"/>',    # a printer
    "code": '<path d="m8 7-5 5 5 5M16 7l5 5-5 5"/>',
    "lightbulb": '<path d="M9.5 20.5h5M9 17.5c0-2.5-3-4-3-7.5a6 6 0 0 1 12 0c0 3.5-3 5-3 7.5z"/>',
    "rocket": '<path d="M12 3c3.4 2.5 4.5 6 4.5 9.5L14.5 16h-5l-2-3.5C7.5 9 8.6 5.5 12 3z'
    'M7.5 12 5 15v3.5l4.2-2.3M16.5 12l2.5 3v3.5l-4.2-2.3M12 18.5v2.5"/>'
    '<circle cx="12" cy="9.5" r="1.5"/>',
    "github": '<circle cx="6.5" cy="5.5" r="2.2"/><circle cx="6.5" cy="18.5" r="2.2"/>'
    '<circle cx="17.5" cy="8.5" r="2.2"/><path d="M6.5 7.7v8.6M17.5 10.7c0 4-11 2-11 5.6"/>',
}  # fmt: skip

_ICON = re.compile(r'<(i|span) class="([^"]*\bfa-[^"]*)"([^>]*)>\s*</\1>')


def inline(html: str) -> str:
    """Replace every icon that is drawn here."""

    def drawn(match: re.Match[str]) -> str:
        name = _name(match[2])
        if name is None:
            return match[0]
        hidden = "" if "aria-hidden" in match[3] else ' aria-hidden="true"'
        attributes = f'class="gb-icon {match[2]}" viewBox="0 0 24 24"{hidden}{match[3]}'
        return f"<svg {attributes}>{ICONS[name]}</svg>"

    return _ICON.sub(drawn, html)


def missing(html: str) -> set[str]:
    """The classes of icons that nothing here draws."""
    return {match[2] for match in _ICON.finditer(html) if _name(match[2]) is None}


def _name(classes: str) -> str | None:
    names = (c.removeprefix("fa-") for c in classes.split() if c.startswith("fa-"))
    return next((name for name in names if name in ICONS), None)
