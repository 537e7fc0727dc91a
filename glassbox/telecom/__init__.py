"""The course's corpus: telecom text of an invented operator, made from a seed.

`documents(seed)` streams it, `corpus(n_bytes)` gives one string.
"""

from glassbox.telecom.facts import ERRORS, NAMES, PLANS, SERVICE_LEVELS, SITES, TEAMS
from glassbox.telecom.languages import parallel
from glassbox.telecom.loaders import local, public
from glassbox.telecom.stream import (
    KINDS,
    Record,
    corpus,
    document,
    documents,
    record,
    write,
)

__all__ = ["ERRORS", "KINDS", "NAMES", "PLANS", "SERVICE_LEVELS", "SITES", "TEAMS", "Record",
           "corpus", "document", "documents", "local", "parallel", "public", "record",
           "write"]  # fmt: skip
