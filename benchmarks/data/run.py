"""Near duplicates and merges: ours against datasketch, rensa and tokenizers, up to a million rows.

    python benchmarks/data/run.py               about an hour on one core
    python benchmarks/data/run.py --quick       a thousand documents, two rounds, writes nothing
    python benchmarks/data/run.py --folder F    keeps corpus and measurements in F, goes on there

Every measurement is a process of its own, with one thread, over the same generated corpus in
memory. Contenders take turns, in a new order every round. What is counted is the processor time of
the function alone, and how far the process grew beyond the texts that it was given. Writes
result.json, growth.svg and the table in README.md.
"""

import argparse
import gc
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import date
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from glassbox.cleaning import bpe, duplicates, libraries

HERE = Path(__file__).resolve().parent
SEED, HELD_OUT, VOCAB_SIZE = 0, 1000, 1024
BANDS = {"n_hashes": 192, "bands": 32}  # of 6
SIZES = {1_000: 5, 10_000: 5, 100_000: 5, 1_000_000: 1}  # documents: rounds
Done = dict[str, dict[int, list[dict[str, float]]]]


# --- contenders --------------------------------------------------------------------------------


def tokenizers_merges(texts: list[str]) -> Any:
    """The trainer of tokenizers on GPT-2's pieces."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, initial_alphabet=alphabet, show_progress=False))  # fmt: skip
    return made


WORK: dict[str, tuple[str, Callable[[list[str]], Any], int]] = {
    "ours": ("duplicates", lambda t: duplicates.duplicates(t, **BANDS), 1_000_000),
    "datasketch": ("duplicates", libraries.datasketch_groups, 100_000),
    "datasketch, our bands": (
        "duplicates",
        lambda t: libraries.datasketch_groups(t, n_hashes=192, params=(32, 6), verify=True),
        10_000,
    ),
    "rensa": ("duplicates", lambda t: libraries.rensa_groups(t, **BANDS), 1_000_000),
    "ours, merges": ("merges", lambda t: bpe.learn(t, VOCAB_SIZE), 1_000_000),
    "tokenizers": ("merges", tokenizers_merges, 100_000),
}
"""Contender -> what it does, how, and how many documents it is given at most."""
PAIRS = [("ours", "datasketch"), ("ours", "datasketch, our bands"), ("ours", "rensa"),
         ("ours, merges", "tokenizers")]  # fmt: skip


def n_tokens(learned: Any, texts: list[str]) -> int:
    """How many tokens the texts become, with our merges by tiktoken, else by the tokenizer."""
    if not isinstance(learned, list):
        return sum(len(found.ids) for found in learned.encode_batch(texts))
    import tiktoken

    ranks = {bytes([b]): b for b in range(256)}
    for a, b in learned:
        ranks.setdefault(a + b, len(ranks))
    encoding = tiktoken.Encoding("", pat_str=bpe.GPT2, mergeable_ranks=ranks, special_tokens={})
    return sum(map(len, encoding.encode_ordinary_batch(texts, num_threads=1)))


# --- one measurement, in a process of its own ----------------------------------------------------


def rows(folder: Path, name: str, n: int) -> Iterable[list]:
    """The first n rows [text, cluster] of a corpus that lies in the folder."""
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
        yield from map(json.loads, islice(lines, n))


def grown() -> tuple[float, float]:
    """Bytes in memory now and the most since the last call (Linux; elsewhere 0, 0)."""
    try:
        status = Path("/proc/self/status").read_text()
        found = [int(re.search(rf"{key}:\s+(\d+)", status)[1]) for key in ("VmRSS", "VmHWM")]
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0.0, 0.0
    return 1024.0 * found[0], 1024.0 * found[1]


def one(name: str, n: int, folder: Path) -> dict[str, float]:
    """Processor seconds, bytes beyond the texts, and how good the answer is."""
    task, function, _ = WORK[name]
    function(["a first call", "loads what is loaded once", "a first call"] * 10)
    texts, clusters = map(list, zip(*rows(folder, "corpus", n), strict=True))
    gc.collect()
    before, _ = grown()
    start = time.process_time()
    answer = function(texts)
    seconds = time.process_time() - start
    found = {"seconds": seconds, "bytes": (grown()[1] - before) / n}
    if task == "duplicates":
        return found | libraries.agreement(answer, clusters)
    held_out = [text for text, _ in rows(folder, "held_out", HELD_OUT)]
    size = sum(len(text.encode()) for text in held_out)
    return found | {"bytes_per_token": size / n_tokens(answer, held_out)}


# --- all measurements ----------------------------------------------------------------------------


def make(folder: Path, n: int) -> None:
    """The corpus and the held-out texts, unless they are there."""
    from glassbox.telecom.defects import planted_stream

    for name, seed, size in (("corpus", SEED, n), ("held_out", "held out", HELD_OUT)):
        file, size_file = folder / f"{name}.jsonl", folder / f"{name}.size"
        if size_file.exists() and int(size_file.read_text()) >= size:
            continue
        print(f"{size} rows of {name} ...", flush=True)
        with file.open("w", encoding="utf-8") as out:
            for row in planted_stream(seed, size):
                out.write(json.dumps([row["text"], row["cluster"]], ensure_ascii=False) + "\n")
        size_file.write_text(str(size))


def measure(folder: Path, sizes: dict[int, int]) -> Done:
    """Every contender at every size, in turns; what an earlier start has measured is taken."""
    log = folder / "measured.jsonl"
    known = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done: Done = {name: {n: [] for n in sizes} for name in WORK}
    for n, rounds in sizes.items():
        for turn in range(rounds):
            names = [name for name in WORK if n <= WORK[name][2]]
            for name in random.Random(f"{n} {turn}").sample(names, len(names)):
                key = [name, n, turn]
                found = next((k["found"] for k in known if k["key"] == key), None)
                if found is None:
                    found = _child(name, n, folder)
                    with log.open("a") as out:
                        out.write(json.dumps({"key": key, "found": found}) + "\n")
                    print(name, n, {k: round(v, 4) for k, v in found.items()}, flush=True)
                done[name][n].append(found)
    return done


def _child(name: str, n: int, folder: Path) -> dict[str, float]:
    single = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, __file__, "--one", name, "--size", str(n), "--folder", str(folder)]
    told = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **single})
    if told.returncode:
        raise SystemExit(f"{name} with {n} documents failed:\n{told.stderr[-2000:]}")
    return json.loads(told.stdout.splitlines()[-1])


# --- result --------------------------------------------------------------------------------------


def quality(found: list[dict[str, float]]) -> str:
    """How good, and how large, in words."""
    first = found[0]
    good = (f"F1 {first['f1']:.4f}" if "f1" in first
            else f"{first['bytes_per_token']:.3f} bytes a token")  # fmt: skip
    return f"{good}, {median(f['bytes'] for f in found):,.0f} bytes a document"


def compared(own: str, peer: str, n: int, done: Done) -> dict[str, Any]:
    """A row: throughput of both, and the median ratio of pairs."""
    ours, theirs = done[own][n], done[peer][n]
    ratios = sorted(b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True))
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    return {"name": f"{WORK[own][0]}, {n:,} documents: ours against {peer}",
            "ours": round(n / median(f["seconds"] for f in ours), 1),
            "peer": round(n / median(f["seconds"] for f in theirs), 1), "unit": "documents/s",
            "ratio": round(median(ratios), 3), "runs": len(ratios),
            "note": f"middle half of the ratios {low:.2f} to {high:.2f}; ours {quality(ours)}; "
                    f"{peer} {quality(theirs)}"}  # fmt: skip


def alone(name: str, n: int, done: Done) -> dict[str, Any]:
    """A row for what ran too seldom for a ratio."""
    found = done[name][n]
    return {"name": f"{WORK[name][0]}, {n:,} documents: {name.split(',')[0]} alone",
            "ours": round(n / median(f["seconds"] for f in found), 1), "peer": None,
            "unit": "documents/s", "ratio": None, "runs": len(found),
            "note": quality(found)}  # fmt: skip


def results(done: Done, sizes: dict[int, int], folder: Path) -> list[dict[str, Any]]:
    """All rows of result.json."""
    found = [compared(own, peer, n, done) for own, peer in PAIRS for n, rounds in sizes.items()
             if rounds >= 2 and done[peer][n]]  # fmt: skip
    found += [alone(name, n, done) for n, rounds in sizes.items() if rounds < 2
              for name in WORK if done[name][n]]  # fmt: skip
    n = min(10_000, max(sizes))
    texts = [text for text, _ in rows(folder, "corpus", n)]
    kept = duplicates.sketches(texts, **BANDS)
    stated = duplicates.memory(kept.bounds[-1] / n, BANDS["bands"])
    largest = max(sizes)
    measured = median(f["bytes"] for f in done["ours"][largest])
    found.append({"name": "duplicates: memory that ours states for these documents", "peer": None,
                  "ours": round(stated), "unit": "bytes a document", "ratio": None, "runs": 1,
                  "note": f"4 a band, 4 a shingle ({kept.bounds[-1] / n:.0f} on average), 16; at "
                          f"{largest:,} documents {measured:,.0f} were measured, with blocks and "
                          "the list of ids"})  # fmt: skip
    return found


def draw(done: Done, file: Path) -> None:
    """Seconds against documents, both axes logarithmic."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {"svg.hashsalt": "growth", "svg.fonttype": "none", "font.size": 8}
    figure, axes = plt.subplots(1, 2, figsize=(6, 3), sharey=True, layout="constrained")
    for axis, task in zip(axes, ("duplicates", "merges"), strict=True):
        for name, (own, _, _) in WORK.items():
            points = {n: median(f["seconds"] for f in found)
                      for n, found in done[name].items() if found}  # fmt: skip
            if own != task or not points or name.endswith("bands"):  # those: see the table
                continue
            ours = name.startswith("ours")
            axis.plot(points.keys(), points.values(), "o-" if ours else "s--", markersize=3)
            axis.annotate(name.split(", merges")[0], (max(points), points[max(points)]), (3, 0),
                          textcoords="offset points", va="center")  # fmt: skip
        axis.set(xscale="log", yscale="log", xlabel="documents", xlim=(500, 3e7),
                 title={"duplicates": "near duplicates", "merges": "BPE merges"}[task])  # fmt: skip
    axes[0].set_ylabel("processor seconds, one thread")
    figure.savefig(file, metadata={"Date": None})


def table(found: list[dict[str, Any]]) -> str:
    """The rows as a table for README.md."""
    lines = ["| | ratio | runs | |", "|---|--:|--:|---|"]
    for r in found:
        value = f"**{r['ratio']:.2f}**" if r["ratio"] else f"{r['ours']:,.0f} {r['unit']}"
        lines.append(f"| {r['name']} | {value} | {r['runs']} | {r['note']} |")
    return "\n".join(lines)


def machine() -> str:
    """The machine and the versions in words."""
    names = ("numpy", "datasketch", "rensa", "tokenizers", "tiktoken")
    return (f"one thread of {platform.machine()}, {platform.system()}, Python "
            f"{platform.python_version()}; {', '.join(f'{n} {version(n)}' for n in names)}; "
            f"processor time; load at the end {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; "
            "not run on a GPU")  # fmt: skip


def write(found: list[dict[str, Any]]) -> None:
    """result.json and the table in README.md."""
    result = {"machine": machine(), "date": date.today().isoformat(), "rows": found}
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (HERE / "result.json").write_text(text + "\n", encoding="utf-8")
    readme = HERE / "README.md"
    marks = r"(<!-- table: written by run\.py -->\n).*(<!-- end -->)"
    figure = "![Processor seconds against the number of documents](growth.svg)"
    new = re.sub(marks, lambda m: f"{m[1]}\n{table(found)}\n\n{figure}\n\n{m[2]}",
                 readme.read_text("utf-8"), flags=re.S)  # fmt: skip
    readme.write_text(new, encoding="utf-8")


def main() -> None:
    """Make, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where corpus and measurements are kept")
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=list(SIZES),
                        help="only these; the result is written if all are measured")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="two rounds, nothing is written")
    parser.add_argument("--one", choices=WORK, help="measure one contender (used by the others)")
    parser.add_argument("--size", type=int, default=1000, help="documents for --one")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one, given.size, given.folder)))
        return
    sizes = {1000: 2} if given.quick else {n: SIZES[n] for n in given.sizes}
    with tempfile.TemporaryDirectory() as other:
        folder = given.folder or Path(other)
        folder.mkdir(parents=True, exist_ok=True)
        make(folder, max(sizes))
        done = measure(folder, sizes)
        found = results(done, sizes, folder)
    print(table(found))
    if sizes == SIZES:
        write(found)
        draw(done, HERE / "growth.svg")


if __name__ == "__main__":
    main()
