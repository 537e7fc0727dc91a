"""The corpus with planted defects: its truth is checked by other means than those that made it."""

import html
import re
import subprocess
import sys
from collections import Counter

import pytest

from glassbox import privacy
from glassbox.telecom import DEFECTS, planted, planted_stream
from glassbox.telecom.defects import CORPUS_DEFECTS, SHARES
from glassbox.telecom.facts import ERRORS, PLANS, SERVICE_LEVELS, SITES
from glassbox.telecom.strays import ABUSE, BANNERS, OLD_PLANS


def shingles(text, n=5):
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def closeness(a, b):
    both = len(a & b)
    return both / (len(a) + len(b) - both)


@pytest.fixture(scope="module", params=[0, "another"])
def corpus(request):
    return planted(request.param, 300)


def texts(corpus, defect):
    return {row["id"]: row for row in corpus.rows if row["id"] in corpus.truth[defect]}


def test_counts_and_keys(corpus):
    assert [row["id"] for row in corpus.rows] == [f"d{i:05d}" for i in range(300)]
    keys = {"id", "text", "kind", "source", "language", "date", "intent"}
    assert all(row.keys() == keys and all(isinstance(v, str) for v in row.values())
               for row in corpus.rows)  # fmt: skip
    assert all(re.fullmatch(r"20(19|2\d)-\d\d-\d\d", row["date"]) for row in corpus.rows)
    assert set(corpus.truth) == {*DEFECTS, *CORPUS_DEFECTS} == set(SHARES)
    for name, share in SHARES.items():
        if name != "imbalance":
            assert len(corpus.truth[name]) == int(share * 300 + 0.5), name
    of = Counter(own for name in DEFECTS if "duplicate" not in name for own in corpus.truth[name])
    assert set(of.values()) == {1}


def test_duplicates_are_near_and_all_else_is_far(corpus):
    """Raw and, for other pairs, cleaned: no threshold from 0.5 to 0.75 is a matter of taste."""
    group = {own: i for i, some in enumerate(corpus.clusters) for own in some}
    of = {row["id"]: shingles(row["text"]) for row in corpus.rows}
    ids = list(of)
    for a, own in enumerate(ids):
        for other in ids[:a]:
            if group.get(own, own) != group.get(other, other):
                assert closeness(of[own], of[other]) <= 0.5, (own, other)
    clean = {own: shingles(text) for own, text in corpus.clean.items()}
    for own, grams in clean.items():
        assert all(closeness(grams, of[i]) <= 0.5 for i in ids if i != own)
    for some in corpus.clusters:
        assert all(max(closeness(of[a], of[b]) for b in some if b != a) >= 0.75 for a in some)


def test_which_row_of_a_group_is_the_copy(corpus):
    seen, exact, near = {}, set(), set()
    group = {own: i for i, some in enumerate(corpus.clusters) for own in some}
    for row in corpus.rows:
        if row["id"] in group:
            earlier = seen.setdefault(group[row["id"]], [])
            (exact if row["text"] in earlier else near if earlier else set()).add(row["id"])
            earlier.append(row["text"])
    assert exact == corpus.truth["exact_duplicate"]
    assert near == corpus.truth["near_duplicate"]
    assert len({row["text"] for row in corpus.rows}) == 300 - len(exact)


def test_personal_data_is_where_it_is_said_to_be(corpus):
    for row in corpus.rows:
        spans = corpus.spans.get(row["id"], [])
        assert sorted(privacy.find(row["text"])) == sorted(spans), row
    assert set(corpus.spans) == corpus.truth["personal_data"]


def test_mojibake_can_be_undone(corpus):
    for own, row in texts(corpus, "mojibake").items():
        forms, text = [], row["text"]
        for codec in ("cp1252", "latin-1"):
            once = b"".join(letter.encode(codec, "ignore") or bytes([ord(letter)])
                            for letter in text).decode()  # fmt: skip
            forms += [once]
            if codec == "cp1252" and all(ord(c) < 256 or c.encode(codec, "ignore") for c in once):
                twice = b"".join(c.encode(codec, "ignore") or bytes([ord(c)]) for c in once)
                forms += [twice.decode(errors="replace")]
            elif all(ord(letter) < 256 for letter in once):
                forms += [once.encode("latin-1").decode(errors="replace")]
            if any(ord(letter) > 255 for letter in text):
                break
        assert corpus.clean[own] in forms
        assert row["text"] != corpus.clean[own]


def test_markup_hides_the_text(corpus):
    for own, row in texts(corpus, "html").items():
        assert re.search(r"<(html|b|br/?|p|i|a |/?div|/p|span)|&nbsp;", row["text"])
        seen = re.sub(r"(?s)<(style|script|title|nav)>.*?</\1>|<!.*?>", " ", row["text"])
        seen = html.unescape(re.sub(r"</?[a-z][^>]*>", " ", seen))
        assert seen.split() == corpus.clean[own].split()


def test_boilerplate_spam_and_ends(corpus):
    blocks = {line for block in BANNERS for line in block}
    for own, row in texts(corpus, "boilerplate").items():
        assert "\n".join(x for x in row["text"].split("\n") if x not in blocks) == corpus.clean[own]
    for own, row in texts(corpus, "truncated").items():
        whole, text = corpus.clean[own], row["text"]
        assert whole.startswith(text)
        assert text[-1].isalpha()
        assert whole[len(text)].isalpha()
    assert all(row["kind"] == "web" for row in texts(corpus, "spam").values())


def test_insults_use_listed_words_and_nothing_else_does(corpus):
    insulted = {row["id"] for row in corpus.rows
                if set(re.findall(r"[a-z]+", row["text"].lower())) & set(ABUSE)}  # fmt: skip
    assert insulted == corpus.truth["toxic"]


def contradicts(text):
    """Whether the text says of its one code, level or site what the tables do not say."""
    codes = [e for e in ERRORS if e.code in text]
    low, causes = text.lower(), {e.cause for e in ERRORS}
    if len(codes) == 1:
        told = {cause for cause in causes if cause.lower() in low}
        if told and codes[0].cause not in told:
            return True
        titles = {
            e.title for e in ERRORS if re.search(rf"\b{codes[0].code}[,:]? \(?{e.title}", text)
        }
        if titles and codes[0].title not in titles:
            return True
    levels = [s for s in SERVICE_LEVELS if re.search(rf"\b{s.severity}\b", text)]
    due = re.findall(r"repair\w*(?: is| are)?(?: due)? (?:in|within) (\d+) hours", text)
    if len(levels) == 1 and any(int(hours) != levels[0].repair_hours for hours in due):
        return True
    return any(re.search(rf"{s.code} {s.name}, region (?!{s.region})", text) for s in SITES)


def test_facts(corpus):
    examined = corpus.truth["contamination"]  # their test item has a code of its own
    wrong = {row["id"] for row in corpus.rows if contradicts(row["text"])} - examined
    planned = corpus.truth["wrong_fact"]
    assert planned <= wrong, sorted(planned - wrong)
    assert wrong <= planned, [row["text"] for row in corpus.rows if row["id"] in wrong - planned]


def test_tariffs(corpus):
    old = {(plan.name, plan.price): plan.until for plan in OLD_PLANS}
    assert not old.keys() & {(plan.name, plan.price) for plan in PLANS}
    stale = set()
    for row in corpus.rows:
        for name, price in old:
            line = next((x for x in row["text"].split("\n")
                         if re.search(rf"\b{name}\b", x) and re.search(rf"\b{price} euros", x)
                         and re.search(r"\b20\d\d\b", x)), "")  # fmt: skip
            if line and int(re.search(r"\b20\d\d\b", line)[0]) <= old[name, price]:
                stale.add(row["id"])
                assert row["date"][:4] in line
    assert stale == corpus.truth["stale_tariff"]


def test_labels(corpus):
    right = {row["id"]: row["intent"] for row in corpus.rows if row["intent"]}
    assert set(corpus.intents) == corpus.truth["wrong_intent"]
    assert all(right[own] != intent for own, intent in corpus.intents.items())
    right |= corpus.intents
    (flooded, most), (_, second) = Counter(right.values()).most_common(2)
    assert {o for o in corpus.truth["imbalance"]} <= {o for o, i in right.items() if i == flooded}
    assert most >= 1.5 * second
    assert len(corpus.truth["imbalance"]) >= 0.05 * 300


def test_test_items(corpus):
    items = [shingles(item, 13) for item in corpus.test_items]
    assert len(items) == 30
    assert all(len(item) > 10 for item in items)
    holding = {}
    for row in corpus.rows:
        grams = shingles(row["text"], 13)
        for number, item in enumerate(items):
            if grams & item:
                holding.setdefault(number, set()).add(row["id"])
                assert item <= grams
                assert corpus.test_items[number] in row["text"]
    assert holding == corpus.leaked
    assert set().union(*holding.values()) == corpus.truth["contamination"]


def test_same_arguments_same_rows_in_every_process():
    code = "from glassbox.telecom import planted; print(hash(0) or planted(5, 60, student='ann'))"
    there = subprocess.run([sys.executable, "-c", "from hashlib import sha256\n" + code.replace(
        "hash(0) or planted(5, 60, student='ann')",
        "sha256(repr(planted(5, 60, student='ann').rows).encode()).hexdigest()")],
        capture_output=True, text=True, check=True)  # fmt: skip
    from hashlib import sha256

    mine = planted(5, 60, student="ann")
    assert there.stdout.strip() == sha256(repr(mine.rows).encode()).hexdigest()
    assert mine.rows != planted(5, 60).rows != planted("5", 60).rows


def test_shares():
    sound = planted(1, 40, {})
    assert not any(sound.truth.values())
    assert not sound.clusters
    assert not sound.clean
    spam = planted(1, 40, {"spam": 0.5})
    assert len(spam.truth["spam"]) == 20
    assert not spam.truth["html"]
    for wrong in ({"sham": 0.1}, {"spam": 0.95}, {"spam": -0.1}):
        with pytest.raises(ValueError, match="shares"):
            planted(1, 40, wrong)


def test_stream():
    rows = list(planted_stream(7, 1500))
    assert rows[900:950] == list(planted_stream(7, 950, start=900))
    of = {}
    for number, row in enumerate(rows):
        defects = set(filter(None, row["defects"].split(",")))
        assert defects <= set(DEFECTS)
        assert row["cluster"] <= number
        assert (row["cluster"] < number) == bool(defects & {"exact_duplicate", "near_duplicate"})
        if row["cluster"] == number:
            of[number] = shingles(row["text"])
        else:
            near = closeness(shingles(row["text"]), of[row["cluster"]])
            assert near >= 0.75
            assert "exact_duplicate" not in defects or near == 1
    own = list(of.values())
    assert max(closeness(own[i], own[j]) for i in range(300) for j in range(i)) <= 0.5
    assert Counter(d for row in rows for d in row["defects"].split(",")).keys() >= set(DEFECTS)
