"""The course's corpus: telecom text of an invented operator, made from a seed.

`documents(seed)` streams it without end, `corpus(n_bytes)` gives one string, `write(path, n_bytes)`
a file of any size; `record` also tells a document's kind, topic and language. The facts that all
texts agree on are the tables `ERRORS`, `PLANS`, `SERVICE_LEVELS`, `SITES`, `TEAMS` (see `facts`).
`parallel` holds twenty sentences in six languages. `public` and `local` give texts from elsewhere
as the same kind of iterator. `planted` makes a corpus with defects and tells the truth about each,
`planted_stream` one of any size. The generator reads no file and needs no network.
"""

from glassbox.telecom.defects import DEFECTS, Planted, planted, planted_stream
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

__all__ = ["DEFECTS", "ERRORS", "KINDS", "NAMES", "PLANS", "SERVICE_LEVELS", "SITES", "TEAMS",
           "Planted", "Record", "corpus", "document", "documents", "local", "parallel", "planted",
           "planted_stream", "public", "record", "write"]  # fmt: skip
