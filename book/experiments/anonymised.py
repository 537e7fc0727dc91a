"""Hide the personal data of a corpus in four ways and measure what is lost, and what is not hidden.

The ways: *redacted* puts the kind in place of a value, *named* a keyed pseudonym, *erased* nothing,
*dropped* leaves out each document that holds a value. Four questions. *Intent*: how well does a
classifier on bags of words tell the topics of dialogues that it has not seen from what the customer
says? 8 dialogues for training and 40 for testing of each of 15 topics, ten draws of both; trained
on hidden texts, tested on texts hidden alike (dropped: on all texts, as customers go on calling).
*Model*: bits per byte of a model that counts which byte follows which five (Witten and Bell's way
to mix the orders: no chance in it), on held-out documents, outside of values, five draws. *Linked*:
300 customers call up to five times and write their number in one of three ways; what share of the
pairs of calls of one customer has the same name, and are two customers joined? *Undone*: who tries
all numbers of the range recovers what share of hashed ones? What this does not show: larger models
and corpora, or what somebody who reads a text can guess from the rest of it.

    python book/experiments/anonymised.py            # two minutes
    python book/experiments/anonymised.py --smallest # 3 topics, one draw; prints the accuracies
"""

import argparse
import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F

from glassbox.preference import mean_interval
from glassbox.privacy import Pseudonyms, find, plain
from glassbox.telecom.dialogue import TOPICS
from glassbox.telecom.stream import Record, record

WAYS = ("raw", "redacted", "named", "erased", "dropped")
SEEDS = (21, 22, 23, 24, 25)
MORE_SEEDS = tuple(range(21, 31))  # of the quick question, intent
KEY = b"a key for this experiment"
KINDS = ("dialogue", "ticket", "syslog")
ORDER = 5  # bytes that the model of counts looks back
Piece = tuple[str, bool]  # text, and whether it stands for a value


def hidden(text: str, way: str, names: Pseudonyms | None = None) -> list[Piece]:
    """The text with its values hidden, in pieces; dropped texts keep their values."""
    pieces, done, names = [], 0, names or Pseudonyms(KEY)
    for start, end, kind in find(text):
        value = text[start:end]
        shown = {"redacted": f"[{kind.upper()}]", "named": names.name(kind, value), "erased": ""}
        pieces += [(text[done:start], False), (shown.get(way, value), True)]
        done = end
    return [*pieces, (text[done:], False)]


def kept(texts: Sequence[str], way: str) -> list[int]:
    """Which texts are still there."""
    return [i for i, text in enumerate(texts) if way != "dropped" or not find(text)]


# --- intent --------------------------------------------------------------------------------------


def dialogues(seed: int, topics: Sequence[str], each: int) -> list[Record]:
    """`each` dialogues of each topic."""
    there, found, number = Counter[str](), [], 0
    while len(found) < each * len(topics):
        one = record(seed, number, ("dialogue",))
        number += 1
        if one.topic in topics and there[one.topic] < each:
            there[one.topic] += 1
            found.append(one)
    return found


def words(pieces: Sequence[Piece]) -> set[str]:
    """The words of the customer."""
    lines = "".join(text for text, _ in pieces).splitlines()
    return set(re.findall(r"\w+", " ".join(x for x in lines if x.startswith("Customer")).lower()))


def accuracy(train: list[tuple[set[str], int]], test: list[tuple[set[str], int]]) -> np.ndarray:
    """Softmax regression on which words occur -> for each test text whether it is told rightly."""
    vocabulary = {word: i for i, word in enumerate(sorted(set().union(*(bag for bag, _ in train))))}

    def matrix(some: list[tuple[set[str], int]]) -> torch.Tensor:
        rows = torch.zeros(len(some), len(vocabulary) + 1)
        for row, (bag, _) in zip(rows, some, strict=True):
            row[[vocabulary[word] for word in bag if word in vocabulary]] = 1.0
            row[-1] = 1.0
        return rows

    x, y = matrix(train), torch.tensor([label for _, label in train])
    weights = torch.zeros(x.shape[1], int(y.max()) + 1, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (F.cross_entropy(x @ weights, y) + 1e-3 * weights.square().sum()).backward()
        optimizer.step()
    told = (matrix(test) @ weights.detach()).argmax(1)
    return (told == torch.tensor([label for _, label in test])).numpy()


def intent(
    seed: int, topics: Sequence[str] = TOPICS, n_train: int = 8, n_test: int = 40
) -> dict[str, dict]:
    """By way: the accuracy, and that of each topic, after training on texts hidden that way."""
    some = dialogues(seed, topics, n_train + n_test)
    chosen, test, there = [], [], Counter[str]()
    for one in some:
        there[one.topic] += 1
        (chosen if there[one.topic] <= n_train else test).append(one)
    told = {}
    for way in WAYS:
        still = [chosen[i] for i in kept([one.text for one in chosen], way)]
        bags = [[(words(hidden(one.text, way)), topics.index(one.topic)) for one in part]
                for part in (still, test)]  # fmt: skip
        right = accuracy(*bags)
        by_topic = defaultdict(list)
        for one, hit in zip(test, right.tolist(), strict=True):
            by_topic[one.topic].append(hit)
        topic_means = {topic: float(np.mean(by_topic[topic])) for topic in topics}
        told[way] = {"all": float(right.mean()), "documents": len(still), "topics": topic_means}
    return told


# --- a language model ----------------------------------------------------------------------------


def coded(pieces: Sequence[Piece]) -> tuple[list[int], list[bool]]:
    """The bytes of a text and a line break, and which of them count: those outside of values."""
    told = [(byte, not value) for text, value in (*pieces, ("\n", False)) for byte in text.encode()]
    return [byte for byte, _ in told], [counts for _, counts in told]


class Counts:
    """Which byte follows which `order` bytes, and fewer where those are new (Witten and Bell)."""

    def __init__(self, data: bytes, order: int = ORDER) -> None:
        self.order = order
        self.after: dict[bytes, Counter[int]] = defaultdict(Counter)
        for at in range(order, len(data)):
            for back in range(order + 1):
                self.after[data[at - back : at]][data[at]] += 1

    def chance(self, before: bytes, byte: int) -> float:
        """The probability of a byte after others."""
        chance = 1 / 256
        for back in range(self.order + 1):
            seen = self.after.get(before[len(before) - back :])
            if seen is None:
                break
            chance = (seen[byte] + len(seen) * chance) / (seen.total() + len(seen))
        return chance


def bits_per_byte(way: str, seed: int, n: int = 450) -> float:
    """Count in n documents hidden that way, then measure 90 others, outside of their values."""
    texts = [record(seed, number, KINDS).text for number in range(n + 90)]
    train = [coded(hidden(texts[i], way))[0] for i in kept(texts[:n], way)]
    model = Counts(bytes(byte for some in train for byte in some))
    costs = []
    for text in texts[n:]:
        data, counts = coded(hidden(text, way))
        costs += [-math.log2(model.chance(bytes(data[max(0, at - ORDER) : at]), data[at]))
                  for at in range(1, len(data)) if counts[at]]  # fmt: skip
    return float(np.mean(costs))


# --- linking, and undoing ------------------------------------------------------------------------


def calls(seed: int, customers: int = 300) -> list[tuple[int, str]]:
    """(customer, sentence with his number) of one to five calls each, in one of three ways."""
    chance = Random(f"calls {seed}")
    numbers = chance.sample(range(1000), customers)
    found = []
    for customer, number in enumerate(numbers):
        for _ in range(chance.randint(1, 5)):
            start = chance.choice(("+44 7700 900", "07700 900", "+447700900"))
            found.append((customer, f"My number is {start}{number:03d}."))
    return found


def linked(seed: int) -> dict[str, dict[str, float]]:
    """By way: the share of pairs of one customer's calls that read alike, and of others' pairs."""
    made = calls(seed)
    names = {"named": Pseudonyms(KEY), "named in one form": Pseudonyms(KEY, form=plain)}
    told = {}
    for way in ("raw", "redacted", "named", "named in one form", "erased"):
        texts = ["".join(piece for piece, _ in hidden(text, way.split()[0], names.get(way)))
                 for _, text in made]  # fmt: skip
        same, joined, false = 0, 0, 0
        for (one, a), (other, b) in combinations(zip((c for c, _ in made), texts, strict=True), 2):
            same += one == other
            alike = a == b and way not in ("redacted", "erased")  # these read alike for everybody
            joined += alike and one == other
            false += alike and one != other
        told[way] = {"joined": round(joined / same, 4), "false": false, "pairs": same}
    return told


def undone() -> dict[str, float]:
    """The share of 1,000 numbers that somebody finds who hashes all of the range himself."""
    numbers = [f"+44 7700 900{n:03d}" for n in range(1000)]
    secret, guessed = Pseudonyms(KEY), Pseudonyms(b"a guess")
    ways = {
        "sha256": ([hashlib.sha256(n.encode()).hexdigest() for n in numbers],
                   {hashlib.sha256(n.encode()).hexdigest() for n in numbers}),
        "hmac": ([secret.name("phone", n) for n in numbers],
                 {guessed.name("phone", n) for n in numbers}),
    }  # fmt: skip
    return {way: sum(hash_ in table for hash_ in seen) / len(seen)
            for way, (seen, table) in ways.items()}  # fmt: skip


# --- all of it -----------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> dict[str, object]:
    """The mean of several runs and its 95 % interval."""
    mean, low, high = mean_interval(values)
    return {"mean": round(mean, 4), "low": round(low, 4), "high": round(high, 4),
            "values": [round(value, 4) for value in values]}  # fmt: skip


def main() -> None:
    """Write the data, or print the smallest case."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    if parser.parse_args().smallest:
        told = intent(1, ("port_number", "roaming", "sim"), 4, 10)
        print({way: row["all"] for way, row in told.items()}, linked(1)["named"], undone())
        print({way: bits_per_byte(way, 1, n=30) for way in WAYS})
        return
    runs = [intent(seed) for seed in MORE_SEEDS]
    bits = {way: [bits_per_byte(way, seed) for seed in SEEDS] for way in WAYS}
    some = [record(SEEDS[0], number, KINDS) for number in range(450)]
    texts = [one.text for one in some]
    every = Counter(one.kind for one in some)
    still = Counter(some[i].kind for i in kept(texts, "dropped"))
    data = {
        "setup": {"seeds": SEEDS, "seeds_of_intent": MORE_SEEDS, "topics": len(TOPICS),
                  "train_of_a_topic": 8, "test_of_a_topic": 40, "documents": 450, "held_out": 90},
        "intent": {way: spread([run[way]["all"] for run in runs]) for way in WAYS},
        "intent_documents": {way: spread([run[way]["documents"] for run in runs]) for way in WAYS},
        "intent_by_topic": {topic: {way: spread([run[way]["topics"][topic] for run in runs])
                                    for way in WAYS} for topic in TOPICS},
        "bits_per_byte": {way: spread(values) for way, values in bits.items()},
        "bits_lost": {way: spread([a - b for a, b in zip(bits[way], bits["raw"], strict=True)])
                      for way in WAYS[1:]},
        "kept": {way: round(len(kept(texts, way)) / len(texts), 4) for way in WAYS},
        "kept_if_dropped": {kind: round(still[kind] / every[kind], 4) for kind in KINDS},
        "linked": linked(SEEDS[0]),
        "undone": undone(),
    }  # fmt: skip
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
