"""A grammar written as text, and a writer that draws sentences from it.

A rule is a line with its name; the indented lines below are its forms. In a form `{x}` is a fact of
the document or a form of rule x, `{^x}` the same with a capital, `{10-59}` a whole number from that
range, `|` a line break, and `-` alone is an empty form. A line indented by eight goes on the form
above; a fifth space belongs to the form. Earlier forms are drawn more often, as in real text few
phrases are frequent and many are rare: form floor(n * u^p) of n for a uniform u, where p is the
number behind the rule's name, or that given for all.

The only source of chance is `random.Random.random`, whose sequence for an integer seed Python
promises to keep; products of floats are exact by IEEE 754 on every machine, so the same seed gives
the same text everywhere.
"""

import re
from collections.abc import Callable, Iterable, Mapping

Form = tuple[str, tuple[str, ...]]
Rule = tuple[tuple[Form, ...], int]  # the forms, and p: 1 (equal chances), 2, 4 or 8
Rules = dict[str, Rule]
SLOT = re.compile(r"\{([^}]+)\}")


def rules(text: str, power: int = 2, **tables: Iterable[str]) -> Rules:
    """The rules in `text`; each table is one more rule, whose forms have equal chances."""
    forms: dict[str, list[Form]] = {}
    powers: dict[str, int] = {}
    for line in re.sub(r"\n {8}(?=\|)", "", text).replace("\n        ", " ").splitlines():
        if line.strip() and not line.startswith(" "):
            name, _, own = line.strip().partition(" ")
            here, powers[name] = forms.setdefault(name, []), int(own or power)
        elif line.strip():
            here.append(_form(line[4:].rstrip()))
    found: Rules = {name: (tuple(some), powers[name]) for name, some in forms.items()}
    found |= {name: (tuple((item, ()) for item in some), 1) for name, some in tables.items()}
    for some, _ in list(found.values()):
        for slot in {slot for _, slots in some for slot in slots}:
            numbers = re.fullmatch(r"(\d+)-(\d+)", slot)
            if numbers and slot not in found:
                low, high = map(int, numbers.groups())
                found[slot] = (tuple((str(n), ()) for n in range(low, high + 1)), 1)
    return found


def _form(text: str) -> Form:
    """A form as a string for the % operator, and the names that fill it."""
    if text == "-":
        return "", ()
    slots = tuple(SLOT.findall(text))
    return SLOT.sub("%s", text.replace("%", "%%" if slots else "%").replace("|", "\n")), slots


class Writer:
    """Called with the name of a rule, gives a text; the same facts fill every form.

    A class and not a function that calls itself: that would be a cycle, and each document would
    stay in memory with its generator until Python looks for cycles.
    """

    def __init__(self, given: Rules, facts: Mapping[str, str], draw: Callable[[], float]) -> None:
        self.given, self.facts, self.draw = given, facts, draw

    def __call__(self, name: str) -> str:
        """A text for this fact or rule."""
        if name in self.facts:
            return self.facts[name]
        if name[0] == "^":
            text = self(name[1:])
            return text[:1].upper() + text[1:]
        forms, power = self.given[name]
        u = self.draw()
        while power > 1:  # u to the power p
            u *= u
            power //= 2
        form, slots = forms[int(u * len(forms))]
        return form % tuple([self(slot) for slot in slots]) if slots else form
