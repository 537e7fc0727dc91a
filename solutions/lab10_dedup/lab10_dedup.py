# %% [markdown]
# # Lab 10: filtering and deduplication
#
# Six hundred documents of an operator lie before you: dialogues, tickets, web pages, logs. Some are
# copies of others, some are machine-made, some are half menu and half text, and some hold the
# questions of the test. In this lab you write the pipeline that finds out which, measure it on
# defects whose place is known, and then train two small models, one on the raw and one on your
# cleaned text, to see whether it was worth it.
#
# **{points}, about 3 hours.** The chapter behind it is
# [Data quality](../../book/ch06_data.md).
#
# What you will do, as one picture.
#
# ```text
#   a page of the web
#        │  1 extract_text           markup out, text in
#        │  2 language_scores        which language is it?
#        │  3 gopher_rules           does it look like prose?
#        │  4 c4_filter              line by line, and a list of words
#        │  5 drop_repeated_lines    menus and footers
#        │  6 shingles  7 minhash  8 lsh_candidates  9 dedup     what have we seen before?
#        │  10 train_quality_classifier                          what does it resemble?
#        │  12 contamination                                     is the test in it?
#        ▼
#   11 mixture_weights               how much of each source
#        ▼
#   two models: raw and clean
# ```
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# If your function makes a mistake that we know, the line names it. Hidden checks run when the lab
# is graded; the comment in their cell says what kind of input they try.
#
# Four rules hold for every function here.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - Arguments are never changed. Where the signature says `float` or `int`, it is a plain Python
#   number.
# - A limit itself passes: "at most 0.1" holds at 0.1.
# - Later functions may use your earlier ones.

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import hashlib
import importlib.util
import math
import re
import string
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from html import unescape
from itertools import combinations
from pathlib import Path

if importlib.util.find_spec("glassbox") is None:
    here = Path.cwd().resolve()
    local = [str(p) for p in (here, *here.parents) if (p / "glassbox" / "check.py").exists()]
    source = local[0] if local else "git+https://github.com/glassbox-course/glassbox"
    print(f"Installing the course package from {source} …")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

import torch
from torch import Tensor

import glassbox
from glassbox import check, drills_dedup
from glassbox.cleaning.text import PROFILES
from glassbox.telecom.defects import Planted, planted

scale = glassbox.pick_scale(needs_gpu=False)  # S: what is graded; M and L: many documents
check.start("lab10_dedup")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## What is given
#
# Five small helpers. What a word is decides every number below, so it is decided once: a run of
# letters, digits and underscores, in lower case. Only Gopher's rules (exercise 3) count otherwise,
# because their authors did, and say so.

# %% nbgrader={"locked": "helpers"}
def words_of(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters, digits and underscores."""
    return re.findall(r"\w+", text.lower())


def n_sentences(text: str) -> int:
    """How many times . ! or ? (or a run of them) stands before white space, a quote or the end."""
    return len(re.findall(r"[.!?]+(?=[\"”\s]|$)", text))


def char_ngrams(text: str, n: int) -> list[str]:
    """All runs of n characters, in lower case; what is no letter counts as white space.

    White space is folded to one space. Thai vowels and tones count as letters.
    """
    text = " ".join(re.sub(r"[^\w\u0e00-\u0e7f]|[\d_]", " ", text.lower()).split())
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def jaccard(a: set[str], b: set[str]) -> float:
    """What two sets share, divided by what they have together; 1 for two empty sets."""
    return len(a & b) / len(a | b) if a or b else 1.0


TAG = re.compile(r"""</?([a-zA-Z][\w-]*)(?:[^>"']|"[^"]*"|'[^']*')*>""")  # group 1: its name

# %% [markdown]
# And a corpus with planted defects, so that we know what a filter should find. `rows` are the
# documents; `truth` says which ids have which defect; `clusters` groups copies; `test_items` are
# questions of a test that has leaked into some documents. Look at a few before you filter them.

# %% nbgrader={"locked": "corpus"}
CLASS: Planted = planted(0)


def show(defect: str, n: int = 1, width: int = 300) -> None:
    """Print some documents of the class corpus that have this defect."""
    rows = [row for row in CLASS.rows if row["id"] in CLASS.truth[defect]]
    print(f"{defect}: {len(rows)} of {len(CLASS.rows)} documents")
    for row in rows[:n]:
        print(f"  [{row['kind']}, {row['language']}] {row['text'][:width]!r}")


# %% tags=["demo"]
for defect in ("html", "boilerplate", "spam", "near_duplicate", "toxic"):
    show(defect)

# %% [markdown]
# Last, the names of tags that end a line, those that are cells of a table, and a number that you
# will need in exercise 7.

# %% nbgrader={"locked": "tags"}
LINES = ("address", "article", "aside", "blockquote", "body", "br", "dd", "div", "dl", "dt",
         "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html", "li",
         "main", "nav", "ol", "p", "pre", "section", "table", "tbody", "thead", "title", "tr",
         "ul")  # fmt: skip
CELLS = ("td", "th")
NOTHING = 2**63 - 1  # what stands at each place of the signature of the empty set

# %% [markdown]
# ## 1. From a page to its text ({points:extract_text}, 12 min)
#
# A crawl stores pages, and a page is mostly not text. What a reader sees has to be taken out of it:
# scripts and styles go with their content, tags go and leave their content, and `&lt;` becomes the
# character it stands for.
#
# By hand: `<p>Cell <b>41</b> is down.<br>R&D &amp; field team</p><script>track()</script>` has two
# lines, `Cell 41 is down.` and `R&D & field team`.
#
# Two things decide whether later stages work. Some tags end a line (`p`, `li`, `tr`) and others do
# not (`b`, `a`), and line rules need the difference. And a text that never was a page must come out
# as it went in, since the pipeline sees both.
#
# **Common mistake:** decoding entities first. Then `&lt;b&gt;`, a *text about* a tag, becomes a tag
# and disappears.
#
# <details><summary>Hint 1</summary>
#
# Four steps in this order: remove what goes with its content; replace tags; decode; tidy the lines.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `TAG.sub(function, text)` calls the function with each match; `match[1]` is the tag's name. A dict
# from names to what replaces them, with `""` for all others, is enough. Python's
# `html.parser.HTMLParser` is another way.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `re.sub(r"(?is)<(script|style)\b.*?</\1\s*>", ...)`: `(?is)` ignores case and lets the point match
# line breaks; `.*?` stops at the first end. `" ".join(line.split())` folds white space.
#
# </details>

# %% nbgrader={"solution": "extract_text"}
def extract_text(html: str) -> str:
    """What a reader of the page sees, as lines.

    Elements `script` and `style` go with their content; comments and the doctype go. Then a tag,
    opening or closing, in any case and with any attributes, becomes a line break if its name is in
    LINES, a space if it is in CELLS, else nothing. A > inside a quoted attribute does not end the
    tag. Entities are decoded, once, and after that; an & that begins no entity stays, and so does
    a < that is followed by a space or a digit. Last, white space inside a line (no-break spaces
    too) becomes one space, lines are stripped, and empty lines go. Line breaks of the source stay
    line breaks, so a tidy text without markup is returned unchanged.
    """
    ### BEGIN SOLUTION
    text = re.sub(r"(?is)<!--.*?-->|<(script|style)\b.*?</\1\s*>|<![^>]*>", "", html)
    becomes = {**dict.fromkeys(LINES, "\n"), **dict.fromkeys(CELLS, " ")}
    text = TAG.sub(lambda tag: becomes.get(tag[1].lower(), ""), text)
    lines = [" ".join(line.split()) for line in unescape(text).split("\n")]
    return "\n".join(line for line in lines if line)
    ### END SOLUTION


# %% nbgrader={"test": "extract_text_visible", "points": 3}
with check.question("extract_text_visible", extract_text) as f:
    check.equal("the page above", f("<p>Cell <b>41</b> is down.<br>R&D &amp; field team</p>"
                                    "<script>track()</script>"),
                "Cell 41 is down.\nR&D & field team")
    plain = "Customer: my signal is < 3 bars & slow.\nAgent: 2 > 1, we know."
    check.equal("plain text", f(plain), plain, why="no markup, nothing to do.")
    check.equal("a script with tags in it", f("a<SCRIPT type='x'>if (a < b) {'<p>'}</SCRIPT >b"),
                "ab", why="script and style go with their content, and tags have any case.")
    check.equal("a text about a tag", f("write &lt;b&gt; and &amp;lt;"), "write <b> and &lt;",
                why="entities are decoded once, after the tags.")
    check.equal("a table", f("<table><tr><td>E413</td><td>no  signal</td></tr><TR><td>E7</table>"),
                "E413 no signal\nE7", why="cells become spaces, rows lines.")
    check.equal("a comment", f("sig<!-- <p>\nold -->nal"), "signal")

# %% nbgrader={"test": "extract_text_hidden", "points": 2}
# Hidden checks: nested tables, attributes with >, numeric entities, styles, tidy and untidy text.
### BEGIN HIDDEN TESTS
with check.question("extract_text_hidden", extract_text) as f:
    check.equal("a table in a table",
                f("<table><tr><td>north<table><tr><td>1</td><td>2</td></tr></table></td><td>up</td>"
                  "</tr></table>"), "north\n1 2\nup")
    check.equal("attributes", f("<a title=\"a > b\" href='/x?a=1>2'>the link</a> ends"),
                "the link ends", why="a > within quotes does not end the tag.")
    check.equal("entities", f("<LI>5&nbsp;&#8364; &#x2013; caf&eacute; &amp;amp;<Li>AT&T &  co"),
                "5 € – café &amp;\nAT&T & co")
    check.equal("a document", f("<!DOCTYPE html>\n<html><head><title>Plans</title><style>p > b {}\n"
                                "</style></head><body>\n <h1>Two\tplans</h1>\n\n<hr/><ul><li>one"
                                "<li>t<i>w</i>o</ul><script>1</script> end<script>2</script>.\n"
                                "</body></html>\n"), "Plans\nTwo plans\none\ntwo\nend.")
    check.equal("nothing", f(" \n<br>\n"), "")
    gen = check.generator()
    for case in range(4):
        words = drills_dedup.page(gen, 60)
        tidy = "\n".join(" ".join(line) for line in words)
        check.equal(f"tidy text {case}", f(tidy), tidy)
        tagged = "".join(f"<p class='c{i}'>{' '.join(line[:4])} <b>{line[4]}</b>\u00a0 "
                         f"{' '.join(line[5:])}</p>" for i, line in enumerate(words))
        check.equal(f"tagged text {case}", f(tagged), tidy)
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Which language? ({points:language_scores}, 15 min)
#
# Short runs of letters tell languages apart: `the` is English, `sch` German, `ção` Portuguese. A
# **profile** says how frequent each run of three characters is in a language. Under the crudest
# model, in which the runs of a text are drawn one by one from the profile, the text $x$ has
#
# $$\log P(x \mid \ell) = \sum_{g \in x} \log p_\ell(g)$$
#
# and if all languages are equally likely beforehand, Bayes gives $P(\ell \mid x) = P(x \mid \ell) /
# \sum_m P(x \mid m)$: a softmax of these sums.
#
# By hand, with runs of one character: language X says a and b half of the time each, Y says a in
# one case of four. The text `aab` has 1/8 under X. Under Y it has 1/16 · p(b), and b is not in Y's
# profile. A run that is not in a profile is rare, not impossible: it gets `UNSEEN`, so that one
# foreign name does not rule out a language.
#
# **Common mistake:** multiplying the probabilities. After 200 characters the product is 0 in every
# language, and 0/0 is no answer. Add logarithms, and take off the largest before `exp`.
#
# <details><summary>Hint 1</summary>
#
# `char_ngrams(text, n)` gives the runs, repeated ones as often as they stand there. `n` is the
# length of a key of a profile.
#
# </details>
# <details><summary>Hint 2</summary>
#
# First a dict of sums, one for each language, with `profile.get(g, UNSEEN)`. Then the softmax.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Without any run all sums are 0, and the softmax gives equal scores by itself.
#
# </details>

# %% nbgrader={"solution": "language_scores"}
UNSEEN = 1e-5


def language_scores(text: str, profiles: dict[str, dict[str, float]]) -> dict[str, float]:
    """The probability of each language: naive Bayes on runs of characters, equal priors.

    profiles maps a language to its runs of n characters and their shares; n is the same for all
    runs of all profiles (3 in PROFILES) and is read off them. The runs of the text are those of
    char_ngrams, a repeated one as often as it stands there. A run that a profile does not have has
    the share UNSEEN. The scores are from 0 to 1, add up to 1, and are finite for texts of any
    length; a text without runs (empty, or shorter than n) gives every language the same score.
    """
    ### BEGIN SOLUTION
    n = len(next(iter(next(iter(profiles.values())))))
    runs = char_ngrams(text, n)
    logs = {name: sum(math.log(shares.get(run, UNSEEN)) for run in runs)
            for name, shares in profiles.items()}
    most = max(logs.values())
    likely = {name: math.exp(value - most) for name, value in logs.items()}
    return {name: value / sum(likely.values()) for name, value in likely.items()}
    ### END SOLUTION


# %% nbgrader={"test": "language_scores_visible", "points": 6}
with check.question("language_scores_visible", language_scores) as f:
    two = {"X": {"a": 0.5, "b": 0.5}, "Y": {"a": 0.25, "c": 0.75}}
    check.close("'a'", f("a", two)["X"], 2 / 3, why="1/2 against 1/4, made to add up to 1.")
    check.close("'aaa'", f("aaa", two)["X"], 8 / 9, why="a repeated run counts each time: 8 to 1.")
    check.close("'ABBA'", f("ABBA", two)["Y"], 1 / 16 * 1e-10 / (1 / 16 * 1e-10 + 1 / 16),
                why="lower case; b is not in Y's profile and has the share UNSEEN, twice.")
    check.close("'bc'", f("bc", two)["Y"], 0.6, why="1/2 · UNSEEN against UNSEEN · 3/4.")
    for text in ("", " "):
        check.close(f"{text!r}", f(text, {"X": {"ab": 1.0}, "Y": {"cd": 1.0}})["X"], 0.5,
                    why="no run of two characters: nothing is known.")
    scores = f("Bitte starten Sie das Modem neu. " * 300, PROFILES)
    check.equal("languages", sorted(scores), sorted(PROFILES))
    check.close("a long text, sum", sum(scores.values()), 1.0, why="finite at any length.")
    check.close("a long text, German", scores["de"], 1.0)

# %% nbgrader={"test": "language_scores_hidden", "points": 4}
# Hidden checks: random profiles of runs of 1 to 4 characters, long and short texts, and accuracy on
# documents of five languages.
### BEGIN HIDDEN TESTS
with check.question("language_scores_hidden", language_scores) as f:
    gen = check.generator()
    with check.part("random profiles", 2):
        for n, size in ((1, 5), (2, 40), (3, 2000), (4, 9)):
            letters = torch.randint(4, (size,), generator=gen).tolist()
            text = "".join("aB c"[i] for i in letters)
            squeezed = " ".join(text.lower().split())
            seen = sorted({squeezed[i : i + n] for i in range(len(squeezed) - n + 1)})
            some = {}
            for name in ("one", "two", "three"):
                p = torch.rand(len(seen) + 1, generator=gen, dtype=torch.float64) + 0.5
                keep = (torch.rand(len(seen), generator=gen) < 0.9).tolist()
                some[name] = {g: x for g, x, k in zip(seen, (p / p.sum()).tolist(), keep) if k}
                some[name]["z" * n] = 0.01
            sums = torch.tensor([[math.log(profile.get(squeezed[i : i + n], 1e-5))
                                  for i in range(len(squeezed) - n + 1)] or [0.0]
                                 for profile in some.values()], dtype=torch.float64).sum(1)
            want, got = torch.softmax(sums, 0), f(text, some)
            drills_dedup.same_shares(f"n {n}, {size} characters", got,
                                     dict(zip(some, want.tolist())))
        check.close("shorter than n", f("abc", {"A": {"abcd": 0.1}, "B": {"bcde": 0.9}})["A"], 0.5)
    with check.part("documents", 2):
        rows, right = drills_dedup.languages(gen, 12), 0
        for language, text in rows:
            scores = f(text, PROFILES)
            right += max(scores, key=scores.get) == language
            check.close("sum", sum(scores.values()), 1.0)
        check.that(right >= 0.9 * len(rows), f"{right} of {len(rows)} documents of five languages "
                   "are right; at least 90 % are expected.")
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Does it look like prose? ({points:gopher_rules}, 25 min)
#
# DeepMind filtered the web text for **Gopher** (Rae et al. 2021) by eight rules that no model was
# trained for. Each is one number and a limit, and each is cheap: a list of links has no stop words,
# a price table has words without letters, a menu has lines that begin with bullets.
#
# | rule | what is counted | holds if |
# |--|--|--|
# | `length` | words | 50 to 100,000 |
# | `word_length` | mean length of a word | 3 to 10 characters |
# | `hash` | `#` per word | at most 0.1 |
# | `ellipsis` | `...` and `…` together, per word | at most 0.1 |
# | `bullet_lines` | share of lines that begin with `•` or `-` | at most 0.9 |
# | `ellipsis_lines` | share of lines that end in `...` or `…` | at most 0.3 |
# | `letters` | share of words with at least one letter | at least 0.8 |
# | `stop_words` | *different* ones of the, be, to, of, and, that, have, with | at least 2 |
#
# By hand: `# 12 of the #` has five words, of which two have letters (0.4), `#` per word is 2/5, and
# two stop words. It breaks `length`, `word_length` (mean 9/5), `hash` and `letters`.
#
# All rules are judged on every text. To know which rule costs what, you must see each alone: that
# is what the funnel of the chapter shows.
#
# **Common mistake:** returning after the first broken rule. A text that fails two rules would be
# counted for one of them, and switching that one off would seem to bring it back.
#
# <details><summary>Hint 1</summary>
#
# Two lists first: words and lines. Each rule is then one expression over one of them.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `line.endswith(("...", "…"))` takes several endings. A share is a sum of truth values divided by
# `max(len(words), 1)`: then a text without words needs no special case.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Different stop words: `STOP_WORDS & {word.lower().strip(MARKS) for word in words}` is a set.
#
# </details>

# %% nbgrader={"solution": "gopher_rules"}
STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
BULLETS = ("•", "-")
MARKS = string.punctuation


def gopher_rules(text: str) -> dict[str, bool]:
    """Gopher's eight rules: name -> whether it holds. All are judged, whatever the others say.

    Names and limits are those of the table above; a limit itself holds. A word is what
    text.split() gives, with its punctuation: "(5G)," is one word of 5 characters. A line is a part
    between line breaks that is not blank; it begins and ends with its first and last character
    that is no white space. "..." is counted as str.count does. A letter is what str.isalpha
    accepts. For stop words, and only there, a word is compared in lower case and without the MARKS
    at its ends. A share or mean of nothing is 0: without words the four rules of the form "at
    most" hold and the other four do not.
    """
    ### BEGIN SOLUTION
    words, dots = text.split(), ("...", "…")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    n, m = max(len(words), 1), max(len(lines), 1)
    known = STOP_WORDS & {word.lower().strip(MARKS) for word in words}
    return {"length": 50 <= len(words) <= 100_000,
            "word_length": 3 <= sum(map(len, words)) / n <= 10,
            "hash": text.count("#") / n <= 0.1,
            "ellipsis": sum(map(text.count, dots)) / n <= 0.1,
            "bullet_lines": sum(line.startswith(BULLETS) for line in lines) / m <= 0.9,
            "ellipsis_lines": sum(line.endswith(dots) for line in lines) / m <= 0.3,
            "letters": sum(any(map(str.isalpha, word)) for word in words) / n >= 0.8,
            "stop_words": len(known) >= 2}
    ### END SOLUTION


# %% nbgrader={"test": "gopher_rules_visible", "points": 9}
with check.question("gopher_rules_visible", gopher_rules) as f:
    same = drills_dedup.same_rules  # compares a dict with the rules that should be broken
    with check.part("texts by hand", 4):
        same("'# 12 of the #'", f("# 12 of the #"), ("length", "word_length", "hash", "letters"),
             "5 words of mean 9/5, 2 of them with letters, 2/5 '#' per word.")
        same("no words", f(" \n"), ("length", "word_length", "letters", "stop_words"),
             "a share of nothing is 0.")
        menu = "- signal bars, tower and mast\n• the roaming prices\n" * 8
        same("a menu", f(menu), ("bullet_lines",), "all 16 lines begin with a bullet.")
        same("prices", f("the price list 19 29 39\n" * 10), ("letters", "stop_words"),
             "3 of 6 words have a letter; 'the' ten times is one stop word.")
    with check.part("each rule alone, at its limit", 5):
        gen = torch.Generator().manual_seed(10)
        for rule, inside, outside in drills_dedup.edges(gen, top=False):
            same(f"{rule}, just inside", f(inside), (), "a limit itself holds.")
            same(f"{rule}, just outside", f(outside), (rule,), "this text breaks one rule alone.")

# %% nbgrader={"test": "gopher_rules_hidden", "points": 6}
# Hidden checks: other texts at each limit, several broken rules at once, no words, blank lines.
### BEGIN HIDDEN TESTS
with check.question("gopher_rules_hidden", gopher_rules) as f:
    gen = check.generator()
    with check.part("each rule alone", 3):
        for rule, inside, outside in drills_dedup.edges(gen):
            drills_dedup.same_rules(f"{rule}, just inside", f(inside))
            drills_dedup.same_rules(f"{rule}, just outside", f(outside), (rule,))
    with check.part("several at once", 3):
        for text, broken in drills_dedup.spoiled(gen):
            drills_dedup.same_rules(f"{len(text.split())} words", f(text), broken)
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Line by line ({points:c4_filter}, 15 min)
#
# **C4** (Raffel et al. 2020) came from one crawl of the web, and its rules look at lines. A line of
# prose ends with a mark; a menu entry does not. What is left of a page is kept if it is still a
# text of three sentences. And a page with a word from a list of bad words goes altogether.
#
# The list is the part that did harm. It removed text from and about minorities, and text in some
# dialects of English, more often than other text (Dodge et al. 2021). You will pass the list as an
# argument, so that what it costs can be measured.
#
# By hand: of the five lines `Home | Plans | Help`, `The mast was repaired on Monday. Service is
# back.`, `See our privacy policy for more about cookies.`, `Read more...` and `Is your phone still
# without a signal today?`, the second and the last are kept. They hold three sentences, so the page
# stays.
#
# The numbers are those of the code that made C4: five words a line, three sentences a page. The
# first version of the paper names three and five; both are in use, so say which you mean.
#
# **Common mistake:** looking for a bad word as a part of the text. Then a place like Scunthorpe, or
# a modem of class A, is thrown out for a word inside of a word.
#
# <details><summary>Hint 1</summary>
#
# First the three reasons against the whole page, then a list of the lines that stay, then the
# number of sentences in what stays.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `bad_words & set(words_of(text))` is empty, and so false, if no listed word stands there.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `any(phrase in line.lower() for phrase in POLICY)`. `n_sentences` counts in the joined lines.
#
# </details>

# %% nbgrader={"solution": "c4_filter"}
ENDS = (".", "!", "?", '"', "”")
POLICY = ("javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies",
          "use of cookies", "use cookies")  # fmt: skip


def c4_filter(text: str, bad_words: set[str]) -> str | None:
    """The lines of a page that C4's rules keep, joined by line breaks; None if the page goes.

    The page goes if the text as given, in any case, holds "lorem ipsum" or a "{" anywhere, or a
    word of bad_words as a whole word: one of words_of(text). (bad_words are single words in lower
    case.) Of its lines, without the white space around them, those are kept that end in one of ENDS
    but not in "...", have at least 5 words (as line.split() gives them) and hold no phrase of
    POLICY in any case. The page goes if the kept lines together have fewer than 3 sentences by
    n_sentences.
    """
    ### BEGIN SOLUTION
    low = text.lower()
    if "{" in low or "lorem ipsum" in low or bad_words & set(words_of(low)):
        return None
    kept = [line for line in map(str.strip, text.split("\n"))
            if line.endswith(ENDS) and not line.endswith("...") and len(line.split()) >= 5
            and not any(phrase in line.lower() for phrase in POLICY)]
    return "\n".join(kept) if n_sentences("\n".join(kept)) >= 3 else None
    ### END SOLUTION


# %% nbgrader={"test": "c4_filter_visible", "points": 6}
with check.question("c4_filter_visible", c4_filter) as f:
    rest = ("The mast was repaired on Monday. Service is back.\n"
            "Is your phone still without a signal today?")
    with check.part("lines", 3):
        check.equal("the page above", f("Home | Plans | Help\n The mast was repaired on Monday. "
                    "Service is back. \n\nSee our Privacy Policy for more about cookies.\n"
                    "Read more about this and that...\n"
                    "Is your phone still without a signal today?", set()), rest)
        check.equal("five words", f(f"{rest}\nCall us if it is.\nWrite to us now.", set()),
                    f"{rest}\nCall us if it is.", why="a line of 5 words stays, one of 4 goes.")
        quote = 'He said: "We are on it."'
        check.equal("a quotation mark", f(f"{rest}\n{quote}", set()), f"{rest}\n{quote}")
        check.equal("two sentences", f("The mast was repaired on Monday. Service is back.\n"
                                       "No. Yes. Maybe.", set()), None,
                    why="sentences are counted in the lines that stay.")
    with check.part("pages", 3):
        check.equal("a listed word", f(f"{rest}\nDarn", {"darn"}), None,
                    why="in any case and in the whole text, also in a line that would go.")
        check.equal("inside of a word", f(rest, {"mas", "ignal", "till", "day"}), rest,
                    why="'day' in 'today' is another word: whole words only.")
        for mark in ("{", "LOREM Ipsum"):
            check.equal(f"a page with {mark!r}", f(f"{rest}\n{mark}", set()), None)
        check.equal("a line with JavaScript", f(f"Please switch JavaScript on for this.\n{rest}",
                                                set()), rest, why="that line goes, not the page.")

# %% nbgrader={"test": "c4_filter_hidden", "points": 4}
# Hidden checks: pages put together from lines that stay and lines that go, one reason at a time;
# listed words beside punctuation and inside of others; pages at the limits.
### BEGIN HIDDEN TESTS
with check.question("c4_filter_hidden", c4_filter) as f:
    gen = check.generator()
    with check.part("lines", 2):
        for case in range(6):
            stay, page_of = [], []
            for line, stays in drills_dedup.web_lines(gen):
                page_of.append(line)
                stay += [line.strip()] * stays
            check.equal(f"page {case}", f("\n".join(page_of), {"zounds"}), "\n".join(stay))
        few = " ".join(drills_dedup.page(gen, 50)[1][:6])
        check.equal("three sentences", f(f"{few}!\n{few}?\n{few}.", set()),
                    f"{few}!\n{few}?\n{few}.")
        check.equal("two sentences and a short third", f(f"{few}!\n{few}?\nend.", set()), None)
    with check.part("pages", 2):
        body = "\n".join(stay)
        for text, listed, stays in ((f"{body}\n(ZOUNDS)", {"zounds"}, False),
                                    (f"zounds-like\n{body}", {"zounds"}, False),
                                    (f"{body}\nzoundsy azounds zounds_x", {"zounds"}, True),
                                    (body, {"sign", "rout", "tow", "er"}, True),
                                    (f"{body}\nLorem\nipsum", set(), True),
                                    (f"{body}\n}}", set(), True),
                                    (f"{body}\nx{{y", set(), False),
                                    (f"lOREM IPSUM\n{body}", set(), False)):
            check.equal(f"a page with {text.replace(body, '').strip()!r}, list {sorted(listed)}",
                        f(text, listed), body if stays else None)
        check.equal("an empty page", f("", {"zounds"}), None)
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Lines that come back ({points:drop_repeated_lines}, 8 min)
#
# A menu, a footer, a legal notice: the same line stands on every page of a site. No rule for one
# page can see that; a count over all pages can. RefinedWeb and others remove such lines, and keep
# the pages.
#
# By hand, with at most two: documents `["a\nfoot", "b\nfoot", "c\nfoot"]` become `["a\nfoot",
# "b\nfoot", "c"]`. The third `foot` is one too many.
#
# **Common mistake:** counting in how many documents a line stands. Then a line that one document
# repeats a hundred times is seen once.
#
# <details><summary>Hint 1</summary>
#
# One `Counter` for all documents, begun before the loop.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Two loops: documents, and the lines of `document.split("\n")`. Count first, then decide.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A blank line stays whatever its count is. A document whose lines all go is `""`.
#
# </details>

# %% nbgrader={"solution": "drop_repeated_lines"}
def drop_repeated_lines(documents: list[str], max_count: int) -> list[str]:
    """The documents without the lines that stand in them too often.

    Documents are read in their order, and of each line the first max_count (0 or more) occurrences
    in all of them together stay; later ones go, also within one document. Lines are the parts
    between line breaks; two lines are the same if they are so without white space around them.
    Blank lines always stay. What stays is unchanged, in its order, joined by line breaks. A
    document of which nothing is left stays as "", so that the result is as long as the input.
    """
    ### BEGIN SOLUTION
    seen, kept = Counter(), []
    for document in documents:
        lines = []
        for line in document.split("\n"):
            seen[line.strip()] += 1
            if not line.strip() or seen[line.strip()] <= max_count:
                lines.append(line)
        kept.append("\n".join(lines))
    return kept
    ### END SOLUTION


# %% nbgrader={"test": "drop_repeated_lines_visible", "points": 3}
with check.question("drop_repeated_lines_visible", drop_repeated_lines) as f:
    check.equal("the example, at most 2", f(["a\nfoot", "b\nfoot", "c\nfoot"], 2),
                ["a\nfoot", "b\nfoot", "c"], why="the first two stay, the third goes.")
    check.equal("within one document", f(["x\nx\ny\nx"], 1), ["x\ny"], why="lines are counted.")
    check.equal("white space around it", f(["x", " x \ny "], 1), ["x", "y "],
                why="the same line; and what stays is unchanged.")
    check.equal("blank lines", f(["a\n\nb\n", "\n \nb"], 1), ["a\n\nb\n", "\n "],
                why="they always stay.")
    check.equal("nothing left", f(["a", "a", "b"], 1), ["a", "", "b"], why="as long as the input.")

# %% nbgrader={"test": "drop_repeated_lines_hidden", "points": 2}
# Hidden checks: random documents of few different lines, limits from 0 on, arguments unchanged.
### BEGIN HIDDEN TESTS
with check.question("drop_repeated_lines_hidden", drop_repeated_lines) as f:
    gen = check.generator()
    for case in range(6):
        most = case % 4
        picked = torch.randint(7, (12, 5), generator=gen).tolist()
        pool = ["menu", " menu", "Menu", "", "\t", "foot er", "foot  er"]
        documents = ["\n".join(pool[i] for i in row) for row in picked]
        left = {"menu": most, "Menu": most, "foot er": most, "foot  er": most}
        want = []
        for row in picked:
            text = []
            for entry in (pool[i] for i in row):
                key = entry.strip()
                if key in left:
                    left[key] -= 1
                if not key or left[key] >= 0:
                    text.append(entry)
            want.append("\n".join(text))
        check.equal(f"documents {case}, at most {most}", f(documents, most), want)
    check.equal("no documents", f([], 3), [])
    check.unchanged("documents", f, documents, 2)
### END HIDDEN TESTS

# %% [markdown]
# ## 6. Shingles ({points:shingles}, 8 min)
#
# Two documents that differ in one date are copies, though no comparison for equality says so. To
# compare them, cut each into **shingles**: all runs of $n$ words. A copy shares most of them. How
# alike two documents are is the Jaccard similarity of their sets of shingles,
#
# $$J(A, B) = \frac{|A \cap B|}{|A \cup B|}$$
#
# By hand, with $n$ = 2: `the mast is down` has {the mast, mast is, is down} and `the mast is up`
# has {the mast, mast is, is up}. They share two of four: $J$ = 0.5.
#
# **Common mistake:** a list in place of a set. A footer that stands five times would weigh five
# times; Jaccard counts each shingle once.
#
# <details><summary>Hint 1</summary>
#
# `words_of` gives the words. A run begins at each of the places 0 to number of words minus n.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `" ".join(words[i : i + n])` is a shingle; a set comprehension collects them.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A slice that goes beyond the end is shorter, not an error: with `max(len(words) - n, 0)` as the
# last place the short text needs no case of its own. The text without words does.
#
# </details>

# %% nbgrader={"solution": "shingles"}
def shingles(text: str, n: int) -> set[str]:
    """All runs of n words of a text, each a string with one space between words.

    Words are those of words_of, so case and punctuation do not matter. A text of fewer than n
    words, but at least one, is one shingle of all its words. A text without words has none.
    """
    ### BEGIN SOLUTION
    words = words_of(text)
    last = max(len(words) - n, 0)
    return {" ".join(words[i : i + n]) for i in range(last + 1)} if words else set()
    ### END SOLUTION


# %% nbgrader={"test": "shingles_visible", "points": 3}
with check.question("shingles_visible", shingles) as f:
    same = drills_dedup.same_set
    same("n 2", f("The mast is down.", 2), {"the mast", "mast is", "is down"})
    same("n 4", f("The mast is down.", 4), {"the mast is down"}, why="4 words: one run.")
    same("n 5", f("The mast  is down.", 5), {"the mast is down"}, why="shorter: one shingle.")
    same("a repeated run", f("up, down - up, DOWN!", 2), {"up down", "down up"}, why="each once.")
    same("no words", f(" ?\n", 3), set())

# %% nbgrader={"test": "shingles_hidden", "points": 2}
# Hidden checks: random texts with punctuation, n from 1 to more than there are words.
### BEGIN HIDDEN TESTS
with check.question("shingles_hidden", shingles) as f:
    gen = check.generator()
    for n in (1, 2, 3, 5, 8, 13):
        size = int(torch.randint(5, 30, (), generator=gen))
        plain = [("mast", "cell", "5g", "up_1", "naïve")[i]
                 for i in torch.randint(5, (size,), generator=gen).tolist()]
        runs = list(zip(*(plain[i:] for i in range(n)))) or [tuple(plain)]
        marked = "".join(w.upper() + (", ", "\n", "-", " … ")[i % 4] for i, w in enumerate(plain))
        drills_dedup.same_set(f"{size} words, n {n}", f(marked, n), {" ".join(r) for r in runs})
### END HIDDEN TESTS

# %% [markdown]
# ## 7. MinHash ({points:minhash}, 20 min)
#
# A million documents make $5 \cdot 10^{11}$ pairs, and each needs two sets of hundreds of strings.
# **MinHash** (Broder 1997) keeps a few numbers of each set. Take a hash function, apply it to all
# shingles of a set, and keep the smallest value. For which two sets is it the same? The smallest
# value over both sets together belongs to a shingle that is as likely to be any of the union. It is
# the smallest of *both* exactly if that shingle is in both:
#
# $$P(\min h(A) = \min h(B)) = J(A, B)$$
#
# One hash function answers yes or no. With $k$ functions the share of equal places estimates $J$,
# with a standard deviation of at most $1/(2\sqrt{k})$: 0.044 for 128.
#
# By hand, for the texts above, with two functions that happen to order the five shingles as
# (the mast, is up, mast is, is down) and (is down, the mast, is up, mast is): the first one's
# minimum is `the mast` in both sets, equal; the second one's are `is down` and `the mast`, unequal.
# The estimate is 1/2, and so is $J$.
#
# How to get many functions: hash each shingle **once** to a whole number $x$, and let function $i$
# be $(a_i x + b_i) \bmod p$, with $p$ a prime and $a_i$, $b_i$ drawn from the seed. Any other way
# that has the property above is as good; the checks look at the property alone.
#
# **Common mistake:** Python's `hash`. For strings it is salted anew in each process, on purpose, so
# signatures that are computed on two machines have nothing in common.
#
# <details><summary>Hint 1</summary>
#
# A hash that is the same everywhere: `hashlib.sha1(text.encode()).digest()` gives 20 bytes;
# `int.from_bytes(some_bytes[:4], "big")` makes a number of them.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.randint(1, p, (n_hashes, 1), generator=torch.Generator().manual_seed(seed))` draws the
# factors. With numbers below 2³¹ and `p = 2**31 - 1` no product leaves int64.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `a * x + b` with `a`, `b` of shape (n_hashes, 1) and `x` of shape (n,) has all values; `% p`, then
# `.min(1).values`. The empty set has no minimum: look for it first.
#
# </details>

# %% nbgrader={"solution": "minhash"}
def minhash(shingle_set: set[str], n_hashes: int, seed: int) -> Tensor:
    """The signature of a set: at place i the smallest value of hash function i over its items.

    -> (n_hashes,) int64. The seed (0 or more) chooses the n_hashes functions and another seed
    chooses others; the set does not. How they are made is free, as long as this holds: for two sets
    with Jaccard similarity J, each place is equal with probability J, so that the share of equal
    places estimates J. The same set, n_hashes and seed give the same signature in every process, in
    whatever order the set is read and whatever was drawn from other generators before. The empty
    set has NOTHING at each place; no other set has.
    """
    ### BEGIN SOLUTION
    if not shingle_set:
        return torch.full((n_hashes,), NOTHING)
    digests = [hashlib.sha1(item.encode()).digest() for item in shingle_set]
    x = torch.tensor([int.from_bytes(digest[:4], "big") >> 1 for digest in digests])
    prime = 2**31 - 1
    coins = torch.Generator().manual_seed(seed)
    a, b = torch.randint(1, prime, (2, n_hashes, 1), generator=coins)
    return ((a * x + b) % prime).min(1).values
    ### END SOLUTION


# %% nbgrader={"test": "minhash_visible", "points": 6}
with check.question("minhash_visible", minhash) as f:
    a, b = ({"the mast", "mast is", "is down"}, {"the mast", "mast is", "is up"})
    with check.part("form", 2):
        check.close("form", f(a, 7, 1) * 0, torch.zeros(7, dtype=torch.int64), scale=1.0)
        check.close("a set and itself", f(a, 64, 1), f({"is down", *sorted(a)}, 64, 1))
        check.that(f(a, 64, 1).unique().numel() > 1, "all places are equal: one function only.")
    with check.part("estimate", 2):
        for x, y, true in ((a, b, 0.5), (a, {"quite", "other", "words"}, 0.0)):
            share = (f(x, 1024, 1) == f(y, 1024, 1)).double().mean().item()
            check.that(abs(share - true) < 4 / 32, f"{share:.3f} of 1024 places are equal for two "
                       f"sets with Jaccard similarity {true}.")
    with check.part("always the same", 2):
        once, elsewhere, *others = check.there(drills_dedup.signatures_again, minhash, sorted(a),
                                               64, 1)
        for other, how in zip(others, ("read backwards", "read in order", "after other draws")):
            check.close(how, other, once)
        check.close("in another process", elsewhere, once, why="Python's hash of a text is "
                    "salted anew in each process; use hashlib.")
        check.that((f(a, 64, 2) != once).any(), "another seed gives the same signature.")
        check.close("the empty set", f(set(), 3, 1), torch.full((3,), NOTHING))

# %% nbgrader={"test": "minhash_hidden", "points": 4}
# Hidden checks: the estimate for sets of many sizes and overlaps and several seeds, its spread,
# sets of one item, other processes and orders.
### BEGIN HIDDEN TESTS
with check.question("minhash_hidden", minhash) as f:
    gen = check.generator()
    with check.part("estimate", 2):
        for n, share in ((2, 0.5), (30, 0.1), (80, 0.4), (200, 0.7), (60, 0.9)):
            errors = []
            for k in (128, 128, 512, 100):
                seed, tag = torch.randint(2**31, (2,), generator=gen).tolist()
                one, two = drills_dedup.overlapping(n, share, f"{tag} ")
                both = len(set(one) & set(two)) / len(set(one) | set(two))
                near = (f(set(one), k, seed) == f(set(two), k, seed)).double().mean().item() - both
                check.that(abs(near) < 4 / k**0.5, f"{n} items, Jaccard {both:.3f}: the estimate "
                           f"from {k} places is off by {near:+.3f}.")
                errors.append(near * k)
            check.that(abs(sum(errors)) / 868 < 0.09, f"{n} items, share {share}: over 868 places "
                       f"the estimate is off by {sum(errors) / 868:+.3f}; 0.085 is 5 sigma.")
    with check.part("always the same", 2):
        items = [f"{i} tower {tag}" for i in range(25)]
        once, *others = check.there(drills_dedup.signatures_again, minhash, items, 50, seed)
        for other in others:
            check.close("again", other, once)
        check.close("one item", f({"a b c"}, 20, seed), f({"a b c"}, 20, seed))
        firsts = torch.stack([f({"a b c"}, 20, s) for s in range(8)])
        check.that((firsts.double().std(0) > 0).all(), "some places do not depend on the seed.")
        check.that((f({""}, 20, seed) != NOTHING).any(), "a set of one empty text is not empty.")
### END HIDDEN TESTS

# %% [markdown]
# ## 8. Who might be alike ({points:lsh_candidates}, 15 min)
#
# Signatures are short, but there are still as many pairs. **Locality-sensitive hashing** avoids
# most of them: cut the signature into $b$ bands of $r$ places, and sort documents into buckets by
# each band. Only those that meet in a bucket are compared. For a similarity $j$ a band is equal
# with probability $j^r$, so a pair meets at least once with
#
# $$P(\text{candidate}) = 1 - (1 - j^r)^b$$
#
# That is an S-curve with its steepest part near $(1/b)^{1/r}$. With 16 bands of 8 it is at 0.71:
# pairs at 0.5 are proposed in 6 % of the cases, pairs at 0.9 in 99.99 %.
#
# By hand, four places and two bands: `[1, 2, 3, 4]`, `[1, 2, 9, 9]`, `[3, 4, 1, 2]`. The first two
# meet in band 0. The third one has the same numbers, in other bands, and meets nobody.
#
# **Common mistake:** one table of buckets for all bands. Then the third document would meet both.
#
# <details><summary>Hint 1</summary>
#
# For each band a fresh `defaultdict(list)`; its keys are tuples of the band's numbers.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `signatures[:, start : start + rows].tolist()` gives the band of every document as lists; a list
# cannot be a key, a tuple can.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `itertools.combinations(bucket, 2)` gives all pairs of a bucket, the smaller number first if the
# bucket was filled in order.
#
# </details>

# %% nbgrader={"solution": "lsh_candidates"}
def lsh_candidates(signatures: Tensor, bands: int) -> set[tuple[int, int]]:
    """The pairs of rows that are equal in all places of at least one band.

    signatures (N, n_hashes) int64 -> pairs (i, j) of plain ints with i < j. Band k holds the places
    k * rows up to (k + 1) * rows, with rows = n_hashes / bands; ValueError if bands does not divide
    n_hashes. Only equal bands of the same number meet.
    """
    ### BEGIN SOLUTION
    if signatures.shape[1] % bands:
        raise ValueError(f"{bands} bands do not divide the places of a signature.")
    pairs = set()
    for band in signatures.chunk(bands, 1):
        buckets = defaultdict(list)
        for number, places in enumerate(band.tolist()):
            buckets[tuple(places)].append(number)
        for bucket in buckets.values():
            pairs.update(combinations(bucket, 2))
    return pairs
    ### END SOLUTION


# %% nbgrader={"test": "lsh_candidates_visible", "points": 6}
with check.question("lsh_candidates_visible", lsh_candidates) as f:
    same = drills_dedup.same_set
    three = torch.tensor([[1, 2, 3, 4], [1, 2, 9, 9], [3, 4, 1, 2]])
    same("the example", f(three, 2), {(0, 1)}, why="only bands of the same number meet.")
    same("four bands of one", f(three, 4), {(0, 1)}, why="places 0 and 1 are equal.")
    same("one band", f(three, 1), set(), why="all four places would have to be equal.")
    alike = torch.tensor([[5, 6], [7, 8], [5, 6], [5, 6], [5, 9]])
    same("three equal rows", f(alike, 1), {(0, 2), (0, 3), (2, 3)}, why="all pairs of a bucket.")
    same("neighbours", f(torch.tensor([[1, 2, 3, 4], [0, 2, 3, 0]]), 2), set(),
         why="places 1 and 2 are equal, but lie in two bands.")
    check.raises("3 bands for 4 places", ValueError, f, three, 3)

# %% nbgrader={"test": "lsh_candidates_hidden", "points": 4}
# Hidden checks: random signatures with many equal places against all pairs one by one; the S-curve;
# one row; large numbers.
### BEGIN HIDDEN TESTS
with check.question("lsh_candidates_hidden", lsh_candidates) as f:
    gen = check.generator()
    with check.part("all pairs", 2):
        for N, places, bands, high in ((40, 12, 3, 2), (60, 12, 6, 4), (25, 8, 8, 30), (1, 4, 2, 3),
                                       (90, 20, 4, 2), (30, 6, 1, 2)):
            table = torch.randint(high, (N, places), generator=gen) + 2**62
            equal = (table[:, None] == table).view(N, N, bands, -1).all(-1).any(-1)
            want = {(i, j) for i, j in equal.triu(1).nonzero().tolist()}
            drills_dedup.same_set(f"{N} rows, {bands} bands of {places // bands}",
                                  f(table, bands), want)
        check.raises("a rest", ValueError, f, table, 4)
        check.raises("more bands than places", ValueError, f, table, 12)
    with check.part("S-curve", 2):
        for j, bands, rows in ((0.5, 8, 4), (0.8, 16, 8), (0.7, 20, 5)):
            first = torch.randint(2**40, (400, bands * rows), generator=gen)
            keep = torch.rand(first.shape, generator=gen) < j
            second = torch.where(keep, first, first + 1 + torch.arange(400)[:, None])
            met = sum(b == a + 400 for a, b in f(torch.cat([first, second]), bands))
            p = 1 - (1 - j**rows) ** bands
            check.that(abs(met - 400 * p) <= 5 * (400 * p * (1 - p)) ** 0.5 + 1,
                       f"{met} of 400 pairs with similarity {j} meet in {bands} bands of {rows}; "
                       f"about {400 * p:.0f} are expected.")
### END HIDDEN TESTS

# %% [markdown]
# ## 9. Groups of copies ({points:dedup}, 20 min)
#
# Now put the four together: shingles, signatures, candidates, and then the true Jaccard similarity
# of each candidate. LSH proposes; Jaccard decides. What is left are pairs of copies, and copies of
# copies belong together: if a ~ b and b ~ c, all three are one group, even if a and c share little.
#
# A group is named by the position of its first document. So `[0, 1, 0, 3, 1]` says: document 2 is a
# copy of 0, and 4 of 1. Keep document i if its id is i.
#
# By hand, with $n$ = 1: `a b c d`, `a b c e`, `b c e f`. Neighbours share three of five words, 0.6;
# the outer two share two of six. At a threshold of 0.6 all three are one group, `[0, 0, 0]`; at
# 0.61 nobody is a copy, `[0, 1, 2]`.
#
# **Common mistake:** taking candidates for copies. At similarity 0.5 one pair in 16 is proposed; in
# a large corpus that is an army of false copies.
#
# <details><summary>Hint 1</summary>
#
# `torch.stack` makes one table of all signatures; it needs at least one.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Groups: a list of ids, at first each document's own position. A pair joins two groups: everybody
# with the later id gets the earlier one, so that an id is always the position of the first.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Not good enough: `ids[j] = ids[i]` for each pair in any order. The third pair of a chain may come
# before the first.
#
# </details>

# %% nbgrader={"solution": "dedup"}
def dedup(
    documents: list[str], threshold: float, n: int = 5, n_hashes: int = 128, bands: int = 16,
    seed: int = 0,
) -> list[int]:
    """For each document the position of the first document of its group of copies.

    Two documents are a pair of copies if lsh_candidates proposes them, from signatures of their
    shingles of n words, and the Jaccard similarity of these sets of shingles is at least threshold
    (above 0). A pair that is not proposed is not compared. Groups are what pairs connect, directly
    or through others, so a document without copies is a group of its own, and other orders of the
    documents give the same groups. Documents shorter than n words have one shingle; those without
    words have the empty set, and are copies of each other. No documents: an empty list.
    """
    ### BEGIN SOLUTION
    if not documents:
        return []
    sets = [shingles(document, n) for document in documents]
    signatures = torch.stack([minhash(some, n_hashes, seed) for some in sets])
    ids = list(range(len(documents)))
    for i, j in lsh_candidates(signatures, bands):
        if jaccard(sets[i], sets[j]) >= threshold:
            first, later = sorted((ids[i], ids[j]))
            ids = [first if name == later else name for name in ids]
    return ids
    ### END SOLUTION


# %% nbgrader={"test": "dedup_visible", "points": 6}
with check.question("dedup_visible", dedup) as f:
    same, fine = drills_dedup.same_groups, {"n": 1, "bands": 128}  # 128 bands of one place
    chain = ["a b c d", "a b c e", "b c e f"]
    same("a chain at 0.6", f(chain, 0.6, **fine), [0, 0, 0],
         why="0 and 1 share 3 of 5 words, 1 and 2 as well: what pairs connect is one group.")
    same("the chain at 0.61", f(chain, 0.61, **fine), [0, 1, 2], why="3 of 5 is less than 0.61.")
    same("the outer two first", f([chain[2], chain[0], chain[1]], 0.6, **fine), [0, 0, 0],
         why="other orders give the same groups.")
    same("two groups", f(["x y", "a b", "Y, x", "q r", "B a!"], 0.9, **fine), [0, 1, 0, 3, 1],
         why="an id is the position of the first.")
    three = ["a b c d e f g h i j", "a b c d e f g h i k", "A b c d e f g h i j"]
    same("one band of 128 places", f(three, 0.5, n=1, bands=1), [0, 1, 0],
         why="only equal sets meet there; a similar pair is not proposed.")
    same("short ones", f(["hello", "Hello.", "good day", " ", "?!"], 0.7), [0, 0, 2, 3, 3],
         why="fewer than 5 words are one shingle; no words, the empty set.")
    same("no documents", f([], 0.7), [])

# %% nbgrader={"test": "dedup_hidden", "points": 4}
# Hidden checks: planted copies among hundreds of documents, other orders, thresholds on both sides
# of a known similarity, long chains.
### BEGIN HIDDEN TESTS
with check.question("dedup_hidden", dedup) as f:
    gen = check.generator(per_student=True)
    with check.part("planted copies", 2):
        texts, groups = drills_dedup.copies(gen)
        ids = f(texts, 0.65, bands=32)
        precision, recall, f1 = drills_dedup.pair_scores(ids, groups)
        check.that(f1 >= 0.9, f"{len(texts)} documents: F1 of the pairs is {f1:.3f} (precision "
                   f"{precision:.3f}, recall {recall:.3f}); at least 0.9 is expected.")
        order = torch.randperm(len(texts), generator=gen).tolist()
        moved = f([texts[i] for i in order], 0.65, bands=32)
        back = [0] * len(order)
        for place, i in enumerate(order):
            back[i] = order[moved[place]]
        firsts = {}
        for i, name in enumerate(back):
            firsts.setdefault(name, i)
        drills_dedup.same_groups("another order", [firsts[name] for name in back], ids)
    with check.part("thresholds and chains", 2):
        words = [f"w{i}" for i in torch.randperm(900, generator=gen).tolist()]
        for shared in (2, 5, 8):
            two = [" ".join(words[:10]), " ".join(words[10 - shared : 20 - shared])]
            j = shared / (20 - shared)
            for threshold in (j, j + 1e-3, max(j - 0.1, 0.05), 0.99):
                got = f([*two, two[0]], threshold, 1, 128, 128)
                drills_dedup.same_groups(f"similarity {j:.3f}, threshold {threshold:.3f}", got,
                                         [0, 0 if j >= threshold else 1, 0])
        steps_of = [" ".join(words[2 * i : 2 * i + 10]) for i in range(12)]
        mixed = torch.randperm(12, generator=gen).tolist()
        drills_dedup.same_groups("a chain of 12", f([steps_of[i] for i in mixed], 0.6, n=1,
                                                    bands=64), [0] * 12)
        drills_dedup.same_groups("the same words backwards", f(
            [" ".join(words[:30]), " ".join(words[29::-1])], 0.3, n=2), [0, 1],
            why="no two words stand side by side in both.")
        check.unchanged("documents", f, texts[:5], 0.5)
### END HIDDEN TESTS

# %% [markdown]
# ## 10. What does it resemble? ({points:train_quality_classifier}, 20 min)
#
# Rules catch what somebody has thought of. A **quality classifier** is shown examples: good texts
# (GPT-3 took books and Wikipedia) and bad ones (raw web), and learns which words speak for which.
# It needs no rule for spam, and it needs care: whatever the good examples have in common it will
# ask of everybody.
#
# A bag of words is enough. In naive Bayes each word has a weight, the logarithm of how much more
# often good texts have it than bad ones; a text's evidence is the sum over its words, and
#
# $$P(\text{good}) = \sigma\Big(\sum_w \log \frac{P(w \mid \text{good})}
# {P(w \mid \text{bad})}\Big)$$
#
# By hand: of 8 good texts 5 have `mast`, of 8 bad ones none. Add a little to both shares, here one
# text's worth, 1/8: that is 6/8 against 1/8, a weight of ln 6. A text with this word alone is good
# with a probability of 6/7. Without the little it would be infinitely good. Add the *same* to both
# shares: then a word that is rare in both kinds speaks for neither, whichever list is longer.
#
# Logistic regression on the same counts does as well; the checks ask for what is promised only.
#
# **Common mistake:** letting the numbers of examples decide. With ten times as many bad examples an
# empty text would be bad with 91 %.
#
# <details><summary>Hint 1</summary>
#
# Count for each kind in how many texts a word stands: `Counter` over `set(words_of(text))`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The function that you return is defined inside and sees the counts. Skip words that neither kind
# has: then a text without known words has evidence 0, and a probability of 0.5.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.tensor(evidence).sigmoid().item()` is right for evidence of any size; `1 / (1 +
# math.exp(-evidence))` fails below about -709.
#
# </details>

# %% nbgrader={"solution": "train_quality_classifier"}
def train_quality_classifier(good: list[str], bad: list[str]) -> Callable[[str], float]:
    """Learn from examples; the result is a function from a text to the probability that it is good.

    There is at least one example of each kind. How it is made is free; words (words_of) are
    enough. The probability is a plain number from 0 to 1, also for texts of thousands of words.
    Both kinds count alike, however many examples each has, so 0.5 is the border: most good texts
    like the examples are above it and most bad ones below. A text of whose words none stands in an
    example gets 0.5, and so does one without words. One word does not settle a matter: a text of a
    single word has a probability strictly between 0 and 1, above 0.5 if only good examples have
    it. Functions of several trainings do not disturb each other.
    """
    ### BEGIN SOLUTION
    seen = [Counter(word for text in texts for word in set(words_of(text)))
            for texts in (good, bad)]
    little = 1 / min(len(good), len(bad))
    weights = {word: math.log((seen[0][word] / len(good) + little)
                              / (seen[1][word] / len(bad) + little))
               for word in seen[0] | seen[1]}

    def p_good(text: str) -> float:
        evidence = sum(weights.get(word, 0.0) for word in set(words_of(text)))
        return torch.tensor(evidence).sigmoid().item()

    return p_good
    ### END SOLUTION


# %% nbgrader={"test": "train_quality_classifier_visible", "points": 6}
with check.question("train_quality_classifier_visible", train_quality_classifier):
    ask = drills_dedup.probabilities  # trains with your function, then asks for each text
    train = train_quality_classifier
    good = ["the mast is down", "the mast is up again", "is the cell of the mast down"]
    bad = ["win a phone now", "win win win", "click now to win a voucher"]
    with check.part("promises", 3):
        p = check.there(ask, train, good, bad, ["mast", "win", "", " ?", "zebra", "mast win"])
        drills_dedup.plain_numbers(p)
        check.that(0.5 < p[0] < 1, f"'mast', in good texts only, gives {p[0]!r:.20}; above 0.5 and "
                   "below 1 is expected.")
        check.that(0 < p[1] < 0.5, f"'win', in bad texts only, gives {p[1]!r:.20}; below 0.5 and "
                   "above 0 is expected.")
        for case, i in (("the empty text", 2), ("no words", 3), ("an unknown word", 4)):
            check.close(case, p[i], 0.5, why="nothing is known, and both kinds count alike.")
        p = check.there(ask, train, good, bad * 9, ["", "the mast is down", "win now"])
        check.close("27 bad examples, the empty text", p[0], 0.5, why="numbers do not decide.")
        check.that(p[1] > 0.5 > p[2], f"with 27 bad examples a good text has {p[1]:.3g} and a bad "
                   f"one {p[2]:.3g}; above and below 0.5 are expected.")
    with check.part("texts of the class corpus", 3):
        gen = torch.Generator().manual_seed(100)
        kept, thrown, held_good, held_bad = drills_dedup.good_and_bad(gen)
        p = check.there(ask, train, kept, thrown, [*held_good, *held_bad])
        check.that(all(0 <= x <= 1 for x in p), "some probabilities are not from 0 to 1.")
        found = drills_dedup.auc(p[: len(held_good)], p[len(held_good) :])
        check.that(found >= 0.9, f"On texts that were no examples the AUC is {found:.3f}; "
                   "at least 0.9 is expected.")

# %% nbgrader={"test": "train_quality_classifier_hidden", "points": 4}
# Hidden checks: other texts, held out; five times as many examples of one kind; long texts; two
# trainings one after the other.
### BEGIN HIDDEN TESTS
with check.question("train_quality_classifier_hidden", train_quality_classifier):
    gen = check.generator()
    kept, thrown, held_good, held_bad = drills_dedup.good_and_bad(gen, 420)
    with check.part("held-out texts", 2):
        p = check.there(drills_dedup.probabilities, train_quality_classifier, kept, thrown,
                        [*held_good, *held_bad])
        found = drills_dedup.auc(p[: len(held_good)], p[len(held_good) :])
        check.that(found >= 0.9, f"the AUC on held-out texts is {found:.3f}.")
        for some, others in ((kept[: len(thrown) // 5], thrown), (kept, thrown[: len(kept) // 5])):
            p = check.there(drills_dedup.probabilities, train_quality_classifier, some, others,
                            [*held_good, *held_bad, ""])
            above = sum(x > 0.5 for x in p[: len(held_good)]) / len(held_good)
            below = sum(x < 0.5 for x in p[len(held_good) : -1]) / len(held_bad)
            check.that(min(above, below) > 0.5, f"{len(some)} good and {len(others)} bad "
                       f"examples: {above:.2f} of good texts are above 0.5, {below:.2f} of bad ones"
                       " below.")
            check.close("the empty text", p[-1], 0.5)
    with check.part("long texts and two trainings", 2):
        long = [" ".join(held_good * 8), " ".join(held_bad * 8), "qqx zzv"]
        before, after = check.there(drills_dedup.trained_twice, train_quality_classifier, kept,
                                    thrown, [*held_good[:9], *held_bad[:9], *long])
        check.equal("after another training", after, before)
        check.that(all(0 <= x <= 1 for x in before), "some probabilities are not from 0 to 1.")
        check.that(before[-3] > 0.5 > before[-2], "thousands of good words give "
                   f"{before[-3]:.3g}, of bad ones {before[-2]:.3g}.")
        p = check.there(drills_dedup.probabilities, train_quality_classifier, ["up"], ["off"],
                        ["up", "off", "up off up"])
        check.that(1 > p[0] > 0.5 > p[1] > 0, f"one word gives {p[0]:.3g} and {p[1]:.3g}.")
### END HIDDEN TESTS

# %% [markdown]
# ## 11. How much of each ({points:mixture_weights}, 8 min)
#
# What passes the filters comes from several sources, and the largest is seldom the best. A model
# for many languages that draws by size would see English and little else. So the sizes are
# flattened by an exponent:
#
# $$p_i = \frac{n_i^{\alpha}}{\sum_j n_j^{\alpha}}$$
#
# At $\alpha$ = 1 shares are those of the sizes, at 0 all sources are equal. XLM-R took 0.3 for its
# hundred languages (Conneau et al. 2020). The price is repetition: a small source that is drawn
# more often than it has text is read several times.
#
# By hand: 900 and 100 documents at $\alpha$ = 0.5 are 30 to 10, so 0.75 and 0.25.
#
# **Common mistake:** taking the power twice, once of the counts and once of the shares that came
# out. An exponent of 0.5 has become 0.25.
#
# <details><summary>Hint 1</summary>
#
# A dict of powers, then each divided by their sum.
#
# </details>
# <details><summary>Hint 2</summary>
#
# In Python `0 ** 0` is 1. A source without documents cannot be drawn from.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `count**alpha if count else 0.0`. `any(counts.values())` tells whether there is anything.
#
# </details>

# %% nbgrader={"solution": "mixture_weights"}
def mixture_weights(counts: dict[str, int], alpha: float) -> dict[str, float]:
    """The share of each source: its count to the power alpha, divided by the sum of these powers.

    alpha is from 0 to 1. A source of count 0 has the share 0 for every alpha, also 0, and stays in
    the result. The shares add up to 1. If no source has anything, ValueError.
    """
    ### BEGIN SOLUTION
    if not any(counts.values()):
        raise ValueError("No source has any text.")
    powers = {name: count**alpha if count else 0.0 for name, count in counts.items()}
    return {name: power / sum(powers.values()) for name, power in powers.items()}
    ### END SOLUTION


# %% nbgrader={"test": "mixture_weights_visible", "points": 3}
with check.question("mixture_weights_visible", mixture_weights) as f:
    two, same = {"web": 900, "books": 100}, drills_dedup.same_shares
    for alpha, share in ((1.0, 0.9), (0.5, 0.75), (0.0, 0.5)):
        same(f"alpha {alpha}", f(two, alpha), {"web": share, "books": 1 - share})
    same("no logs, alpha 0", f(two | {"logs": 0}, 0.0), {"web": 0.5, "books": 0.5, "logs": 0.0},
         "a source without documents cannot be drawn from, and stays in the result.")
    check.raises("nothing at all", ValueError, f, {"web": 0, "books": 0}, 1.0)

# %% nbgrader={"test": "mixture_weights_hidden", "points": 2}
# Hidden checks: random counts up to trillions, several exponents, empty sources, one source.
### BEGIN HIDDEN TESTS
with check.question("mixture_weights_hidden", mixture_weights) as f:
    gen = check.generator()
    for alpha in (0.0, 0.3, 0.5, 0.75, 1.0):
        sizes = torch.randint(1, 10**6, (6,), generator=gen)
        sizes[0] *= 10**6
        sizes[3] = 0
        names = [f"source {i}" for i in range(6)]
        powers = torch.where(sizes > 0, (sizes.double().log() * alpha).exp(), 0.0)
        drills_dedup.same_shares(f"alpha {alpha}", f(dict(zip(names, sizes.tolist())), alpha),
                                 dict(zip(names, (powers / powers.sum()).tolist())))
        drills_dedup.same_shares(f"one source, alpha {alpha}", f({"a": 7, "b": 0}, alpha),
                                 {"a": 1.0, "b": 0.0})
    check.raises("no sources", ValueError, f, {}, 0.5)
### END HIDDEN TESTS

# %% [markdown]
# ## 12. Is the test in it? ({points:contamination}, 10 min)
#
# A test measures what a model can do with questions that it has not seen. The web is full of
# questions from published tests. GPT-3 looked for runs of 13 words that a test item shares with the
# training text (Brown et al. 2020), and reported its scores with and without the items that were
# found.
#
# We report a share: how many of an item's runs of $n$ words stand in the training text. A share of
# 1 is a copy; a few runs may be a saying, or a name.
#
# By hand, with $n$ = 3: the item `which mast serves cell 41` has three runs. A document with `our
# mast serves cell 41 well` holds two of them: 2/3.
#
# **Common mistake:** runs of characters. Thirteen letters in a row are shared by any two texts
# about the same thing.
#
# <details><summary>Hint 1</summary>
#
# One set of all runs of all training documents first; then each item is quick.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `shingles` is almost right: it makes one shingle of a short text, and here a short text has none.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `len(own & known) / len(own) if own else 0.0`.
#
# </details>

# %% nbgrader={"solution": "contamination"}
def contamination(train: list[str], test: list[str], n: int = 13) -> list[float]:
    """For each test item the share of its different runs of n words that stand in a training text.

    Words are those of words_of, so case and punctuation do not matter. A run counts once however
    often the item has it, and stands in a training text if it does so within one document; which
    one, and how often, does not matter. An item of fewer than n words has no run, and the share 0.
    """
    ### BEGIN SOLUTION
    def runs(text: str) -> set[tuple[str, ...]]:
        words = words_of(text)
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    known = {run for document in train for run in runs(document)}
    items = [runs(item) for item in test]
    return [len(own & known) / len(own) if own else 0.0 for own in items]
    ### END SOLUTION


# %% nbgrader={"test": "contamination_visible", "points": 3}
with check.question("contamination_visible", contamination) as f:
    item, same = "Which mast serves cell 41?", drills_dedup.same_numbers
    same("the example", f(["Our mast serves cell 41 well."], [item], 3), [2 / 3],
         why="two of three runs.")
    same("a copy, others, short ones", f([item, "x"], [item, "a b c d", "mast serves"], 3),
                [1.0, 0.0, 0.0], why="an item of fewer than n words has no run.")
    same("across two documents", f(["which mast", "serves cell 41"], [item], 3), [1 / 3],
         why="a run stands within one document.")
    same("a repeated run", f(["up up"], ["up up up up down"], 2), [0.5],
         why="'up up' counts once, beside 'up down'.")
    same("13 words", f(["a b c d e f g h i j k l m"], ["z a b c d e f g h i j k l m"]), [0.5])

# %% nbgrader={"test": "contamination_hidden", "points": 2}
# Hidden checks: planted overlaps of known size in random documents, several n, short items, and the
# planted corpus.
### BEGIN HIDDEN TESTS
with check.question("contamination_hidden", contamination) as f:
    gen = check.generator(per_student=True)
    for n in (1, 4, 8, 13):
        numbers = torch.randperm(4000, generator=gen).tolist()
        item = [f"x{i}" for i in numbers[:30]]
        start, size = torch.randint(0, 10, (), generator=gen).item(), 13 + n % 7
        around = [f"y{i}" for i in numbers[30:60]]
        document = " ".join(around[:9] + item[start : start + size] + around[9:])
        others = [" ".join(f"y{i}" for i in numbers[k : k + 40]) for k in range(60, 400, 40)]
        want = max(size - n + 1, 0) / (30 - n + 1)
        got = f([*others, document.upper(), document], [", ".join(item), " ".join(item[: n - 1]),
                                                        " ".join(around[:n])], n)
        drills_dedup.same_numbers(f"{size} of 30 words planted, n {n}", got,
                                  [want, 0.0, 1.0 if n <= 9 else 0.0])
    documents, leaked, fresh = drills_dedup.leaks(gen)
    check.that(min(f(documents, leaked)) >= 0.9, "a planted item is not found.")
    check.that(max(f(documents, fresh)) <= 0.1, "an item that was not planted is found.")
    check.equal("nothing to test", f(documents[:3], []), [])
### END HIDDEN TESTS

# %% [markdown]
# ## The pipeline, and what it finds
#
# Your functions in a row. A stage either changes texts or lets go of documents, and each is meant
# for certain defects. Because the defects were planted, we can say of each stage which share of
# what it touched was spoiled (**precision**) and which share of the spoiled it touched
# (**recall**).
#
# Three decisions are in this cell that no function makes for you. The stop words are English, so
# only English documents are judged by Gopher's rules, and logs are not asked. Our dialogues are
# short, so the rule `length` is left out. And C4's word list looks at every document, but C4's rule
# for lines at none: a ticket has lines without a full stop. Before you run it: which of these
# would cost most, had we decided otherwise?

# %% tags=["demo"]
from glassbox.cleaning.text import repaired
from glassbox.telecom.strays import ABUSE

EXAMPLES = drills_dedup.good_and_bad(torch.Generator().manual_seed(1), 600)[:2]


def language_of(text: str) -> str:
    """The likeliest language."""
    scores = language_scores(text, PROFILES)
    return max(scores, key=scores.get)


def listed(text: str) -> bool:
    """Whether C4's list, here the corpus's words of abuse, throws a text out."""
    prose = "This line is long enough to stay. " * 3
    return c4_filter(f"{prose}\n{text}".replace("{", "("), set(ABUSE)) is None


def pipeline(corpus: Planted) -> tuple[dict[str, str], dict[str, set[str]]]:
    """The texts that are left, by id, and for each stage the ids that it changed or let go."""
    kinds = {row["id"]: row["kind"] for row in corpus.rows}
    texts = {row["id"]: row["text"] for row in corpus.rows}
    touched: dict[str, set[str]] = {}

    def change(stage: str, new: dict[str, str]) -> None:
        touched[stage] = {i for i, text in new.items() if text != texts[i]}
        texts.update(new)

    def let_go(stage: str, ids: set[str]) -> None:
        touched[stage] = ids
        for gone in ids:
            del texts[gone]

    change("markup", {i: extract_text(text) for i, text in texts.items()})
    change("encoding", {i: repaired(text) for i, text in texts.items()})  # given
    asked = [i for i in texts if kinds[i] != "syslog" and language_of(texts[i]) == "en"]
    rules = {i: gopher_rules(texts[i]) | {"length": True} for i in asked}
    let_go("rules", {i for i in asked if not all(rules[i].values())})
    p_good = train_quality_classifier(*EXAMPLES)
    let_go("classifier", {i for i, text in texts.items() if p_good(text) < 0.5})
    let_go("word list", {i for i, text in texts.items() if listed(text)})
    ids, names = dedup(list(texts.values()), 0.65, bands=32), list(texts)
    let_go("duplicates", {names[i] for i, first in enumerate(ids) if first != i})
    held = contamination(corpus.test_items, list(texts.values()))  # the items are the "training"
    let_go("test items", {i for i, share in zip(list(texts), held) if share > 0})
    pages = [i for i in texts if kinds[i] != "dialogue"]
    change("menus", dict(zip(pages, drop_repeated_lines([texts[i] for i in pages], 3))))
    return {i: text for i, text in texts.items() if text}, touched


MEANT = {"html": ("markup",), "mojibake": ("encoding",), "spam": ("rules", "classifier"),
         "toxic": ("word list",), "exact_duplicate": ("duplicates",),
         "near_duplicate": ("duplicates",), "contamination": ("test items",),
         "boilerplate": ("menus",)}


def report(corpus: Planted, touched: dict[str, set[str]]) -> dict[str, tuple[float, float]]:
    """Precision and recall for each defect, of the stages that are meant for it."""
    found = {}
    for defect, stages in MEANT.items():
        ids = set().union(*(touched[stage] for stage in stages))
        others = [d for d in MEANT if MEANT[d] == stages]  # what the same stages also look for
        meant = set().union(*(corpus.truth[d] for d in others))
        recall = len(ids & corpus.truth[defect]) / max(len(corpus.truth[defect]), 1)
        found[defect] = len(ids & meant) / max(len(ids), 1), recall
    return found


try:
    cleaned, touched = pipeline(CLASS)
    print(f"{len(CLASS.rows)} documents, {len(cleaned)} are left.")
    print(f"{'defect':<16} {'documents':>9} {'precision':>9} {'recall':>7}")
    for defect, (precision, recall) in report(CLASS, touched).items():
        print(f"{defect:<16} {len(CLASS.truth[defect]):>9} {precision:>9.2f} {recall:>7.2f}")
    print("not looked for:", ", ".join(d for d in CLASS.truth if d not in MEANT))
except NotImplementedError:
    cleaned = {}
    print("Write all functions but mixture_weights first; then run this cell again.")

# %% [markdown]
# Every stage for whole documents does well, the one for lines does not: of the documents that it
# changes most were sound. A price or a greeting stands in many documents, and is no menu. What
# would you look at to tell the two apart? (The course's own pipeline looks at the first and last
# lines of documents only; see `glassbox.cleaning.pipeline`.)
#
# The defects in the last line were not looked for. A wrong fact reads like a right one; it takes a
# table to find it, or lab 11 for personal data.
#
# ## Before and after
#
# Was it worth it? Train two models that differ in their text alone: the same size, the same start,
# the same number of steps and so of bytes. One reads the raw documents and one what your pipeline
# left. Then measure both on clean text that neither has seen, in **bits per byte**: how many bits
# the model needs for a byte of it. Less is better.
#
# The corpus is worse than the one above, as crawls are: nearly nine of ten documents have a defect.
# (RefinedWeb kept about one document in ten of Common Crawl, though much of what went was in other
# languages; Penedo et al. 2023.) Before you run it: the clean side has less text, and reads it more
# often. Will that hurt at this size?

# %% tags=["demo"]
from glassbox.cleaning.effect import CRAWL, train_and_measure

print("shares of the defects:", CRAWL)
SEEDS = scale.choose([0], range(5), range(5))


def before_and_after(seed: int) -> dict[str, float]:
    """Documents and bits per byte of two models, trained on raw and on cleaned text."""
    crawl = planted(f"crawl {seed}", 600, CRAWL)
    raw = [row["text"] for row in crawl.rows]
    clean = list(pipeline(crawl)[0].values())
    held_out = [row["text"] for row in planted(f"held out {seed}", 120, {}).rows]
    bits = [train_and_measure(texts, held_out, steps=150, seed=seed) for texts in (raw, clean)]
    return {"documents": len(raw), "left": len(clean), "raw": bits[0], "clean": bits[1]}


runs = []
try:
    for seed in SEEDS:
        runs.append(before_and_after(seed))
        print(f"seed {seed}: {runs[-1]['documents']} documents, {runs[-1]['raw']:.3f} bits per "
              f"byte; {runs[-1]['left']} cleaned ones, {runs[-1]['clean']:.3f}")
except NotImplementedError:
    print("Write the functions of the pipeline first; then run this cell again.")

# %% [markdown]
# One run is one draw of luck. Here are five seeds, recorded with the cells of this lab and the
# course's functions; a seed draws the crawl, the held-out text, and the start of both models. The
# interval is that of the mean gap.
#
# In each of the five the clean side won. The models are tiny and have read 150,000 bytes, so all
# numbers are far from good; what is measured is that the same effort buys more from clean text.
# That it does so for large models is not measured here; RefinedWeb, FineWeb and others report it.

# %% tags=["demo"]
from glassbox import preference

RECORDED = {"raw": [3.761, 3.777, 3.602, 3.705, 3.724],
            "clean": [3.697, 3.642, 3.436, 3.531, 3.588]}


def gap_of(name: str, table: dict[str, list[float]]) -> None:
    """Print the mean gap of a few runs and its 95 % interval (Student's t)."""
    gaps = [raw - clean for raw, clean in zip(table["raw"], table["clean"])]
    mean, low, high = preference.mean_interval(gaps)
    print(f"{name}: raw minus clean {mean:.3f} bits per byte, 95 % interval {low:.3f} to "
          f"{high:.3f}; clean won {sum(gap > 0 for gap in gaps)} of {len(gaps)} times")


gap_of("five seeds, recorded", RECORDED)
if len(runs) > 1:
    gap_of("yours", {key: [run[key] for run in runs] for key in RECORDED})

# %% [markdown]
# ## How far you are
#
# The table lists your visible checks. Run it whenever you like.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## The same in libraries
#
# Nobody writes MinHash for a living. Here are your functions beside what people use: `datasketch`
# for near duplicates, `py3langid` for languages, `datatrove` for Gopher's rules, `BeautifulSoup`
# for pages. None of them is needed for anything that is graded; where one is missing, the line says
# what to install. Agreement is not truth: where the two differ, look who is right.

# %% tags=["demo"]
from glassbox.cleaning import libraries


def beside(name: str, compare: Callable[[], str]) -> None:
    """Print a comparison, or what is missing."""
    try:
        print(f"{name:<14} {compare()}")
    except ImportError as error:
        print(f"{name:<14} {error}")


def same_share(ours: list, theirs: list) -> str:
    """How many of two lists of verdicts are equal."""
    return f"{sum(a == b for a, b in zip(ours, theirs))} of {len(ours)} verdicts are equal"


def duplicates_beside() -> str:
    """Pairs of copies, yours against datasketch's, and both against the truth."""
    texts = [row["text"] for row in CLASS.rows]
    place = {row["id"]: i for i, row in enumerate(CLASS.rows)}
    groups = [{place[i] for i in cluster} for cluster in CLASS.clusters]
    theirs = libraries.datasketch_groups(texts, 0.65, params=(32, 4), verify=True)
    f1 = [drills_dedup.pair_scores(ids, groups)[2]
          for ids in (dedup(texts, 0.65, bands=32), theirs)]
    return f"F1 of the pairs on the truth: yours {f1[0]:.3f}, theirs {f1[1]:.3f}"


def languages_beside() -> str:
    """Languages of sound documents."""
    rows = [row for row in drills_dedup.sound(CLASS) if len(row["language"]) == 2]
    theirs = libraries.py3langid_languages([row["text"] for row in rows])
    truth = [row["language"] for row in rows]
    ours = [language_of(row["text"]) for row in rows]
    return f"right: yours {sum(a == b for a, b in zip(ours, truth))} of {len(rows)}, theirs " + str(
        sum(a == b for a, b in zip(theirs, truth)))


def rules_beside() -> str:
    """Whether all of Gopher's rules hold; datatrove also has rules for repetition."""
    texts = [row["text"] for row in CLASS.rows]
    return same_share([all(gopher_rules(text).values()) for text in texts],
                      [passed for passed, _ in libraries.datatrove_gopher(texts)])


def pages_beside() -> str:
    """The words of pages."""
    pages = [row["text"] for row in CLASS.rows if row["id"] in CLASS.truth["html"]]
    return same_share([words_of(extract_text(page)) for page in pages],
                      [words_of(libraries.soup_text(page)) for page in pages])


try:
    for name, compare in (("datasketch", duplicates_beside), ("py3langid", languages_beside),
                          ("datatrove", rules_beside), ("BeautifulSoup", pages_beside)):
        beside(name, compare)
except NotImplementedError:
    print("Write the functions first; then run this cell again.")

# %% [markdown]
# ## Scale: many documents
#
# S has 600 documents, a pipeline for real has billions, and cannot hold them. `stream.run` sends
# any iterable of rows through *your* functions, a chunk at a time and several chunks side by side.
# It writes each finished chunk, so after Ctrl-C the same call goes on where it stopped, and it
# keeps its counts in `run_record.json`. Near duplicates are found at the end from your signatures
# of 4 bytes a place; only band keys stay in memory. (There it compares estimates, not true
# similarities: texts are no longer at hand.)
#
# M cleans 50,000 documents of the generator, L a million; neither has use for a GPU. Start the
# notebook with the environment variable `GLASSBOX_SCALE` set to M or L. `GLASSBOX_ROWS` names a
# file of lines of JSON with a key `text`, or a dataset of the Hugging Face Hub, to be streamed in
# place of them. The cell first says how much memory and time it will take; the time is measured on
# 200 documents.
#
# Before you run it: which of the stages takes longest, and what would you write in C?

# %% tags=["demo"]
import os
import time
from collections.abc import Iterable, Iterator

from glassbox.cleaning import stream
from glassbox.telecom.defects import planted_stream

N_HASHES, BANDS = 128, 32
n_documents = scale.choose(200, 50_000, 1_000_000)
folder = Path("lab10_cleaned") / f"{scale.name}-{n_documents}"


def source_rows(n: int) -> Callable[[int], Iterable[dict]]:
    """A function from a place to the rows from there on: your file or dataset, else ours."""
    wish = os.environ.get("GLASSBOX_ROWS")
    if not wish:
        return lambda start: planted_stream(0, n, start)
    from datasets import load_dataset  # pip install datasets

    files = {"data_files": wish} if Path(wish).exists() else {}
    rows = load_dataset("json" if files else wish, split="train", streaming=True, **files)
    return lambda start: rows.skip(start).take(max(n - start, 0))


def english(text: str) -> bool:
    """Whether Gopher's rules are asked: only of texts whose likeliest language is English."""
    return language_of(text[:500]) == "en"


def rules_for_prose(text: str) -> bool:
    """Gopher's rules for English texts, without the length."""
    return not english(text) or all((gopher_rules(text) | {"length": True}).values())


def stages() -> list[tuple[str, Callable]]:
    """Your functions as stages of a stream: text in, text or verdict out."""
    p_good = train_quality_classifier(*EXAMPLES)
    return [("markup", extract_text), ("encoding", repaired), ("rules", rules_for_prose),
            ("classifier", lambda text: p_good(text) >= 0.5),
            ("word list", lambda text: not listed(text))]


def signature(text: str) -> Tensor:
    """Your MinHash of a text's shingles, in 4 bytes a place where it fits."""
    return minhash(shingles(text, 5), N_HASHES, 0)


def seconds_per_document(some: list[tuple[str, Callable]], rows: Iterator[dict]) -> float:
    """Measured on 200 rows: all stages, and the signature."""
    texts = [row["text"] for _, row in zip(range(200), rows)]
    begun = time.perf_counter()
    for text in texts:
        for _, function in some:
            function(text)
        signature(text)
    return (time.perf_counter() - begun) / len(texts)


try:
    rows, some = source_rows(n_documents), stages()
    each, workers = seconds_per_document(some, iter(rows(0))), max(1, (os.cpu_count() or 1) - 1)
    minutes = each * n_documents / workers / 60
    print(f"{1e3 * each:.1f} ms a document: {n_documents:,} take about {minutes:.3g} minutes with "
          f"{workers} processes, and {4e-6 * N_HASHES * n_documents:,.1f} MB of disk for "
          "signatures.")
    if scale.name != "S":
        scale.announce(f"band keys and groups of {n_documents:,} documents",
                       n_documents * (4 * BANDS + 64) + 2e9)
        record = stream.run(rows, some, folder, workers=workers, signature=signature, bands=BANDS,
                            threshold=0.65, total=n_documents)
        for line in record["stages"]:
            print(f"{line['stage']:<12} {line['documents']:>9,} documents left, "
                  f"{line['dropped']:>8,} dropped, {line['changed']:>8,} changed")
        print("Written to", scale.record("lab10_dedup", record))
except NotImplementedError:
    print("Write the functions first; then run this cell again.")
except ImportError as error:
    print(error)
