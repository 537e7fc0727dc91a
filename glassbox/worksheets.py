"""Check a learner's own numbers against the learner's own choices; there is no one right answer.

`challenge_1` reads a count of "a transformer of 12 layers, 768 wide" together with what it is said
to count; six readings are defensible and each is accepted with its assumptions. `activity_2` reads
a sheet of use cases (model, GPU, bits, users) and computes every number again from the choices in
it. Both answer in words and raise nothing; neither gives points. Whether a choice is *wise*, fast
enough or cheap enough is not judged here.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from glassbox import counting
from glassbox.check import Table

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
