"""Train the same micro model on a raw crawl and on what is left of it after each stage of cleaning.

Five seeds; each makes its own crawl of 600 documents (`effect.CRAWL`: one of six is sound as it
stands), its own clean held-out text (150 sound documents), its own start and order of reading.
Within a seed all runs share start, held-out text, steps and tokens, so stages are compared in
pairs. Stages add up: `text` extracts pages and mends encodings, `boilerplate` drops lines that
stand in many documents, `filters` drops what rules, a classifier, a list of words and cut ends
name, `duplicates` keeps one of each group and drops what holds a test item. `truth` is no method:
it uses what was planted, and says how far cleaning could have gone. The settings of the model were
chosen on other seeds. What this does not show: larger models, longer training, memorised text
(nothing is read often enough here), or how much of the gain a user would notice.

    python book/experiments/raw_and_clean.py            # three minutes
    python book/experiments/raw_and_clean.py --smallest # one seed, raw and truth, 20 steps; prints
"""

import argparse
import json
import time
from pathlib import Path

import torch

from glassbox.cleaning import effect
from glassbox.cleaning.pipeline import standard
from glassbox.preference import mean_interval
from glassbox.telecom import Planted, planted

SEEDS = (1, 2, 3, 4, 5)
STEPS, DOCUMENTS, HELD_OUT = 150, 600, 150
STAGES: dict[str, tuple[str, ...]] = {  # name -> the stages of `pipeline.standard` in it
    "raw": (),
    "text": ("html", "encoding"),
    "boilerplate": ("boilerplate",),
    "filters": ("rules", "classifier", "truncated", "listed words"),
    "duplicates": ("duplicates", "contamination"),
}
NAMES = (*STAGES, "truth")


def crawl(seed: int) -> Planted:
    """The raw corpus of a seed."""
    return planted(f"fresh crawl {seed}", DOCUMENTS, effect.CRAWL)


def held_out(seed: int) -> list[str]:
    """Sound text of a seed, from another draw."""
    return [row["text"] for row in planted(f"fresh held-out {seed}", HELD_OUT, {}).rows]


def perfect(corpus: Planted) -> list[str]:
    """What is left if every planted defect is found and mended or dropped."""
    dropped = set().union(*(corpus.truth[name] for name in (
        "exact_duplicate", "near_duplicate", "spam", "truncated", "toxic", "contamination",
    )))  # fmt: skip
    return [corpus.clean.get(row["id"], row["text"]) for row in corpus.rows
            if row["id"] not in dropped]  # fmt: skip


def versions(corpus: Planted) -> dict[str, list[str]]:
    """The texts after each stage, raw first, truth last."""
    rows, found = corpus.rows, {}
    ready = {stage.name: stage.run for stage in standard(corpus.test_items)}
    for name, parts in STAGES.items():
        for part in parts:
            rows = ready[part](rows)
        found[name] = [row["text"] for row in rows]
    return found | {"truth": perfect(corpus)}


def measured(seed: int, names: tuple[str, ...] = NAMES, steps: int = STEPS) -> dict[str, float]:
    """Bits per byte on the held-out text of a seed, by stage."""
    texts, test = versions(crawl(seed)), held_out(seed)
    return {name: effect.train_and_measure(texts[name], test, steps, seed) for name in names}


def _summary(values: list[float], against: list[float]) -> dict[str, list[float]]:
    gap = [other - own for own, other in zip(values, against, strict=True)]
    mean, low, high = (round(x, 4) for x in mean_interval(values))
    return {"bits_per_byte": [round(x, 4) for x in values], "mean": mean, "low": low, "high": high,
            "gap": [round(x, 4) for x in mean_interval(gap)],
            "gaps": [round(x, 4) for x in gap]}  # fmt: skip


def main() -> None:
    """Run all of it and write the data file, or print the smallest case."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        print(measured(1, ("raw", "truth"), 20))
        return
    began, bits, sizes = time.process_time(), [], []
    for seed in SEEDS:
        texts = versions(crawl(seed))
        sizes.append({name: (len(some), sum(len(t.encode()) for t in some))
                      for name, some in texts.items()})  # fmt: skip
        bits.append(measured(seed))
        print(seed, {name: round(x, 3) for name, x in bits[-1].items()}, flush=True)
    raw = [run["raw"] for run in bits]
    record = {
        "stages": [
            {"name": name,
             "documents": round(sum(size[name][0] for size in sizes) / len(SEEDS)),
             "bytes": round(sum(size[name][1] for size in sizes) / len(SEEDS)),
             **_summary([run[name] for run in bits], raw)}
            for name in NAMES
        ],
        "seeds": list(SEEDS), "steps": STEPS,
        "tokens": STEPS * effect.ROWS * effect.CONFIG.context_len,
        "held_out_bytes": round(sum(len("\n\n".join(held_out(s)).encode()) for s in SEEDS) / 5),
        "settings": {"documents": DOCUMENTS, "held_out": HELD_OUT, "rows": effect.ROWS,
                     "context_len": effect.CONFIG.context_len, "rate": effect.RATE,
                     "start": effect.START, "shares": effect.CRAWL},
        "seconds": round(time.process_time() - began),
    }  # fmt: skip
    text = json.dumps(record, indent=1)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
