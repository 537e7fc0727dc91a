"""Check a learner's own numbers against the learner's own choices; there is no one right answer.

`challenge_1` reads a count of "a transformer of 12 layers, 768 wide" together with what it is said
to count; six readings are defensible and each is accepted with its assumptions. `activity_2` reads
a sheet of use cases (model, GPU, bits, users) and computes every number again from the choices in
it. `activity_3` compares what a room found in `audited`, 200 documents with planted defects, with
what was planted, and `data_report` writes it down. They answer in words and raise nothing; their
points are for the room and are recorded nowhere. Whether a choice is *wise*, fast enough or cheap
enough is not judged here.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from glassbox import counting
from glassbox.check import Table
from glassbox.telecom.defects import DEFECTS, Planted, planted

# --- challenge 1: one question, six answers --------------------------------------------------

CHOICES = {
    "counts": ("matrices", "blocks", "model"),
    "family": ("GPT-2", "BERT"),
    "tied": (True, False),
    "pooler": (True, False),
}
"""What a reading may state. Of a whole model: its family, and of a GPT-2 `tied`, of a BERT
`pooler`."""

# reading -> the reading it grows from, and what is added to that
STEPS = {
    "the matrices of the blocks": ("", "four attention maps and two feed-forward maps per block"),
    "the blocks, with biases and norms": ("the matrices of the blocks", "biases and norms"),
    "BERT without pooler": (
        "the blocks, with biases and norms",
        "30,522 tokens, 512 positions, 2 token types, the norm after the embeddings",
    ),
    "BERT with pooler": ("BERT without pooler", "the pooler"),
    "GPT-2, tied head": (
        "the blocks, with biases and norms", "50,257 tokens, 1,024 positions, the final norm"),
    "GPT-2, untied head": ("GPT-2, tied head", "the output matrix"),
}  # fmt: skip


def challenge_1(reading: Mapping[str, Any]) -> str:
    """Whether `number` is what the stated assumptions give, in sentences after ✓, ✗ or –."""
    needed = ["number", *_asked(reading)]
    if missing := [key for key in needed if reading.get(key) is None]:
        return f"– not filled in yet: {', '.join(missing)}"
    for key in needed[1:]:
        if reading[key] not in CHOICES[key]:
            known = ", ".join(map(repr, CHOICES[key]))
            return f"✗ {key} is {reading[key]!r}; choose one of {known}."
    number, name, known = reading["number"], _named(reading), counting.readings()
    if not isinstance(number, int) or isinstance(number, bool):
        return f"✗ Your number is {number!r}; a count is a whole number."
    if number == known[name]:
        return f"✓ {number:,} is right for {name}.\n{_ladder(known)}"
    told = f"✗ You state {name}, which is {known[name]:,}. "
    others = [other for other, n in known.items() if n == number]
    if others:
        return told + f"{number:,} is {others[0]}. {_between(name, others[0], known)}"
    return told + f"{number:,} is {_off(number - known[name])}.{_guess(number, name)}"


def _asked(reading: Mapping[str, Any]) -> list[str]:
    """The assumptions that a reading has to state."""
    if reading.get("counts") != "model":
        return ["counts"]
    return ["counts", "family", *{"GPT-2": ["tied"], "BERT": ["pooler"]}.get(reading["family"], [])]


def _named(reading: Mapping[str, Any]) -> str:
    """The name that `counting.readings` has for what a reading states."""
    if reading["counts"] != "model":
        return list(STEPS)[("matrices", "blocks").index(reading["counts"])]
    if reading["family"] == "BERT":
        return f"BERT {'with' if reading['pooler'] else 'without'} pooler"
    return f"GPT-2, {'tied' if reading['tied'] else 'untied'} head"


def _off(difference: int) -> str:
    return f"{abs(difference):,} too {'many' if difference > 0 else 'few'}"


def _path(name: str) -> list[str]:
    """A reading and all those it grows from."""
    return [name, *_path(STEPS[name][0])] if name else []


def _between(stated: str, found: str, known: Mapping[str, int]) -> str:
    """What has to be left out and added to get from one reading to the other."""
    here, there = _path(stated), _path(found)
    steps = [f"take away {STEPS[n][1]} ({known[n] - known[STEPS[n][0]]:,})"
             for n in here if n not in there]  # fmt: skip
    steps += [f"add {STEPS[n][1]} ({known[n] - known[STEPS[n][0]]:,})"
              for n in reversed(there) if n not in here]  # fmt: skip
    return f"From the one to the other: {'; '.join(steps)}."


def _guess(number: int, name: str) -> str:
    """The single terms that would explain a number; nothing for parts of a model."""
    model = {
        "GPT-2, tied head": counting.MODELS["GPT-2 small"],
        "GPT-2, untied head": replace(counting.MODELS["GPT-2 small"], tied=False),
        "BERT with pooler": counting.MODELS["BERT-base"],
        "BERT without pooler": replace(counting.MODELS["BERT-base"], pooler=False),
    }.get(name)
    found = counting.explain(number, model) if model else []
    return f" That fits: {' or '.join(found)}." if found else ""


def _ladder(known: Mapping[str, int]) -> str:
    """All readings and what each adds to another one."""
    lines = ["Why people answer differently:"]
    for name, (base, added) in STEPS.items():
        step = known[name] - known.get(base, 0)
        grows = f"{base} + {step:,}: {added}" if base else added
        lines.append(f"  {known[name]:>11,}  {name} = {grows}")
    return "\n".join(lines)


# --- activity 2: three use cases -------------------------------------------------------------

WHOLE = ("parameters", "lora_parameters")  # counts, compared exactly
TOLERANCE = 0.01


def activity_2(sheet: Mapping[str, Mapping[str, Any]]) -> Table:
    """Every number of the sheet, and whether it follows from the choices of its use case.

    A use case holds the choices model (a name in counting.MODELS), gpu (in counting.GPUS), bits,
    users, tokens (each user's context) and lora_rank; and the numbers parameters, weights_gb,
    cache_gib (16 bits), serving_gb (both), fits (on one GPU), training_gb (16 bytes per
    parameter), lora_parameters (all maps of the blocks).
    """
    rows = []
    for case, cells in sheet.items():
        try:
            wanted = _consequences(cells)
        except (KeyError, TypeError, ValueError) as error:
            rows.append([case, "choices", "", "✗", str(error.args[0])])
            continue
        if not wanted:
            rows.append([case, "choices", "", "–", "not filled in yet"])
        for field, want in wanted.items():
            got = cells.get(field)
            verdict = "–" if got is None else "✓" if _agrees(field, got, want) else "✗"
            told = _apart(field, got, want, cells["model"]) if verdict == "✗" else ""
            rows.append([case, field, _number(got), verdict, told])
    done = sum(row[3] == "✓" for row in rows)
    foot = f"{done} of {len(rows)} agree with your own choices."
    return Table(["use case", "field", "yours", "", "what your choices say"], rows, foot)


def _consequences(cells: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers that follow from a use case's choices; none while a choice is open."""
    choices = ("model", "gpu", "bits", "users", "tokens", "lora_rank")
    if any(cells.get(name) is None for name in choices):
        return {}
    for key, known in (("model", counting.MODELS), ("gpu", counting.GPUS)):
        if cells[key] not in known:
            raise ValueError(f"no {key} {cells[key]!r}; known are {', '.join(known)}.")
    model, gpu = counting.MODELS[cells["model"]], counting.GPUS[cells["gpu"]]
    n_params = counting.count(model)["total"]
    weights = n_params * cells["bits"] / 8
    cache = counting.cache(model, cells["users"], cells["tokens"])
    maps = ["query", "key", "value", "out", "up", "down"]
    maps += ["gate"] if model.family in ("llama", "mixtral") else []
    return {
        "parameters": n_params,
        "weights_gb": weights / 1e9,
        "cache_gib": cache / 2**30,
        "serving_gb": (weights + cache) / 1e9,
        "fits": weights + cache <= gpu.memory,
        "training_gb": counting.memory(n_params)["total"] / 1e9,
        "lora_parameters": counting.lora(model, cells["lora_rank"], maps),
    }


def _agrees(field: str, got: object, want: Any) -> bool:
    if not isinstance(got, int | float) or isinstance(got, bool) != isinstance(want, bool):
        return False
    if field in WHOLE or isinstance(want, bool):
        return got == want
    return abs(got - want) <= TOLERANCE * abs(want)


def _apart(field: str, got: object, want: Any, model: str) -> str:
    """How far a number is off, without telling the right one."""
    if isinstance(want, bool) or not isinstance(got, int | float):
        return "the other answer" if isinstance(want, bool) else "expected a number"
    if field == "parameters":
        found = counting.explain(got, counting.MODELS[model])
        return f"{_off(got - want)}." + (f" That fits: {' or '.join(found)}." if found else "")
    if not want:
        return "should be 0: nothing is cached"
    ratio = got / want
    mixed = any(abs(ratio / r - 1) < 0.005 for r in (2**30 / 1e9, 1e9 / 2**30))
    return f"{ratio:.3g} times what follows" + (": GB and GiB?" if mixed else "")


def _number(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


# --- activity 3: an audit of 200 documents ---------------------------------------------------

DOCUMENTS, EACH = 200, 0.04  # eight documents with each of the twelve defects
PRECISION, RECALL = 0.8, 0.7  # from here on a kind has its full point
RECOMMENDATIONS: dict[str, str] = {
    "exact_duplicate": "Keep one of several identical documents, by a hash of the text.",
    "near_duplicate": "Join near copies by MinHash and keep one of each group.",
    "mojibake": "Find the system that reads the wrong encoding, and read the bytes anew.",
    "html": "Extract the main text of pages again, with one tool and a test.",
    "boilerplate": "Drop lines that stand in many documents before anything is counted.",
    "spam": "Train a classifier on pages two people judged; check what it drops.",
    "truncated": "Raise the length limit of the export and fetch cut documents again.",
    "personal_data": "Replace personal data by pseudonyms before the text leaves its system.",
    "wrong_fact": "Compare codes, levels and regions with operations' tables every night.",
    "stale_tariff": "Date each price's expiry, and take expired pages out of the sources.",
    "wrong_intent": "Let two people label a sample, say how they agree, relabel the rest.",
    "toxic": "Keep abuse out of what the model imitates and for training the filter.",
}
"""What a room may recommend, by the defect that it answers; three, each with a reason."""


@cache
def audited(student: str = "") -> Planted:
    """The documents of activity 3; with a name, a set of one's own."""
    return planted(0, DOCUMENTS, dict.fromkeys(DEFECTS, EACH), student)


def activity_3(findings: Mapping[str, Collection[str]], recommendations: Mapping[str, str],
               student: str = "") -> Table:  # fmt: skip
    """Precision and recall of each kind of finding, and whether the recommendations follow.

    `findings` holds the ids of documents by defect, `recommendations` a reason by defect, three of
    them. A kind gives its point in full from precision 0.8 and recall 0.7 on; below, the part of it
    that the worse of the two has reached.
    """
    corpus, rows, points = audited(student), [], 0.0
    known = {row["id"] for row in corpus.rows}
    for kind in DEFECTS:
        truth, got = corpus.truth[kind], set(findings.get(kind, ()))
        if kind not in findings:
            rows.append([kind, "", "", "", "–", "not looked for yet"])
            continue
        right = len(got & truth)
        precision, recall = right / max(1, len(got)), right / len(truth)
        point = min(1.0, precision / PRECISION, recall / RECALL)
        points += point
        mark, words = "✓" if point == 1 else "✗", _audit_words(got, truth, known, point)
        rows.append([kind, str(len(got)), f"{precision:.2f}", f"{recall:.2f}", mark, words])
    advice = _advice(findings, recommendations)
    rows += [["recommendation", "", "", "", *told] for told in advice]
    foot = f"{points:.1f} of {len(DEFECTS)} points for findings. "
    foot += f"A point is full at precision {PRECISION} and recall {RECALL}."
    if unknown := set(findings) - set(DEFECTS):
        foot += f" No such kind: {', '.join(map(repr, sorted(unknown)))}."
    return Table(["kind", "found", "precision", "recall", "", "in words"], rows, foot)


def _audit_words(got: set[str], truth: set[str], known: set[str], point: float) -> str:
    """What a finding got wrong, without telling which documents."""
    if strange := got - known:
        return f"{len(strange)} of your ids are none of these documents"
    if not got:
        return f"nothing found, {len(truth)} are there"
    if point == 1:
        return "full point"
    parts = []
    if len(got & truth) < PRECISION * len(got):
        parts.append(f"{len(got - truth)} of {len(got)} have another defect or none")
    if len(got & truth) < RECALL * len(truth):
        parts.append(f"{len(truth - got)} of {len(truth)} were missed")
    return f"{point:.1f} of a point: " + " and ".join(parts)


def _advice(findings: Mapping[str, Collection[str]], chosen: Mapping[str, str]) -> list[list[str]]:
    """A mark and words for each recommendation, and for how many there are."""
    told = [] if len(chosen) == 3 else [["–", f"{len(chosen)} chosen; choose three"]]
    for kind, reason in chosen.items():
        if kind not in RECOMMENDATIONS:
            told.append(["✗", f"{kind!r} is none of RECOMMENDATIONS"])
        elif not findings.get(kind):
            told.append(["✗", f"{kind}: you found no document that needs it"])
        elif len(str(reason).split()) < 5:
            told.append(["–", f"{kind}: give a reason of at least five words"])
        else:
            told.append(["✓", f"{kind}: it follows from {len(findings[kind])} documents"])
    return told


def data_report(findings: Mapping[str, Collection[str]], recommendations: Mapping[str, str],
                path: str | Path | None = None, student: str = "") -> str:  # fmt: skip
    """The report in Markdown, filled with the room's own numbers; with a path, also a file."""
    corpus = audited(student)
    rows = {row["id"]: row for row in corpus.rows}
    touched = {own for some in findings.values() for own in some if own in rows}
    size = sum(len(row["text"].encode()) for row in corpus.rows)
    lost = sum(len(rows[own]["text"].encode()) for own in touched)
    lines = [
        "# Data quality report", "",
        f"Audited: {len(rows)} documents, {size:,} bytes, dated "
        f"{min(r['date'] for r in rows.values())} to {max(r['date'] for r in rows.values())}.",
        f"With at least one finding: {len(touched)} documents ({len(touched) / len(rows):.0%}), "
        f"{lost:,} bytes ({lost / size:.0%}).", "",
        "## Findings", "", "| defect | documents | share | mostly from | for example |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for kind, found in findings.items():
        ids = sorted(own for own in found if own in rows)
        most = Counter(rows[own]["source"] for own in ids).most_common(1)
        lines.append(f"| {kind} | {len(ids)} | {len(ids) / len(rows):.1%} | "
                     f"{most[0][0] if most else ''} | {', '.join(ids[:3])} |")  # fmt: skip
    lines += ["", "## Recommendations", ""]
    lines += [f"{n}. **{RECOMMENDATIONS.get(kind, kind)}** {reason}"
              for n, (kind, reason) in enumerate(recommendations.items(), 1)]  # fmt: skip
    lines += ["", "## What was not examined", ""]
    lines += ["Whether the documents are those that users will ask about; licences; consent."]
    text = "\n".join(lines) + "\n"
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
