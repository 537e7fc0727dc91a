"""The mistake bank of lab 10: what learners get wrong, what they read, and other right versions."""

import hashlib
import math
import random
import re
import zlib
from collections import Counter, defaultdict
from html import unescape
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import torch

from autograder.bank import Bank, call, drill
from glassbox import drills_dedup as drills

bank = Bank("lab10_dedup")
gen = torch.Generator().manual_seed(10)


def _words(text):
    return re.findall(r"\w+", text.lower())


# --- extract_text --------------------------------------------------------------------------------

LINES = ("address", "article", "aside", "blockquote", "body", "br", "dd", "div", "dl", "dt",
         "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html", "li",
         "main", "nav", "ol", "p", "pre", "section", "table", "tbody", "thead", "title", "tr",
         "ul")  # fmt: skip
CELLS = ("td", "th")
TAG = r"""</?([a-zA-Z][\w-]*)(?:[^>"']|"[^"]*"|'[^']*')*>"""
QUIET = r"<!--.*?-->|<(script|style)\b.*?</\1\s*>|<![^>]*>"

bank.probe(
    "extract_text",
    call("<p>Cell <b>41</b> is down.<br>Call us.</p>\n<p>Bye</p>"),
    call("two  words\n\n three "),
    call("R&amp;D has a&nbsp; plan: 5 &#8364; and caf&eacute;"),
    call("<P>one<BR>two</P>"),
    call("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>"),
    call("x<script>if (a) {b}</script>y<style>p {}</style>z"),
    call("sig<!-- <p> old -->nal"),
    call("a &lt;b&gt; c &amp;lt; d"),
    call("1 < 2 & 3 > 2"),
    call('<a title="x > y">link</a>'),
    call("<script>let s = '<b>bold</b>'</script>end"),
    call("<!DOCTYPE html><html><body>t</body></html>"),
)


def _extract(
    html,
    quiet=QUIET,
    tag=TAG,
    flags=re.S | re.I,
    lines=LINES,
    cells=CELLS,
    decode=1,
    first=False,
    inline="",
    tidy=True,
):
    text = unescape(html) if first else html
    text = re.sub(quiet, "", text, flags=flags) if quiet else text

    def becomes(match):
        name = match[1].lower() if flags & re.I else match[1]
        return "\n" if name in lines else " " if name in cells else inline

    text = re.sub(tag, becomes, text)
    for _ in range(0 if first else decode):
        text = unescape(text)
    if not tidy:
        return text.strip()
    rows = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(row for row in rows if row)


@bank.wrong(
    "extract_text",
    "Entities are decoded before the tags go: a text about a tag, &lt;b&gt;, becomes a tag and is "
    "lost.",
)
def decoded_first(html):
    return _extract(html, first=True)


@bank.wrong("extract_text", "Entities are decoded twice: &amp;lt; is the text &lt;, not <.")
def decoded_twice(html):
    return _extract(html, decode=2)


@bank.wrong("extract_text", "Entities stay as they are; &amp; is &.")
def not_decoded(html):
    return _extract(html, decode=0)


@bank.wrong(
    "extract_text",
    "The tags of script and style go, but what stands in them stays: no reader sees it.",
)
def scripts_stay(html):
    return _extract(html, quiet=r"<!--.*?-->|<![^>]*>")


@bank.wrong(
    "extract_text",
    "Every tag becomes a space: p, br and tr end a line, and later rules look at lines.",
)
def all_tags_are_spaces(html):
    return _extract(html, lines=(), cells=(), inline=" ")


@bank.wrong("extract_text", "Every tag becomes a line break: b, a and td do not end a line.")
def all_tags_are_breaks(html):
    return _extract(html, lines=(), cells=(), inline="\n")


@bank.wrong("extract_text", "Cells of a table run into each other: td and th become a space.")
def cells_run_together(html):
    return _extract(html, cells=())


@bank.wrong("extract_text", "White space is not tidied: fold it, strip lines, drop empty ones.")
def untidy(html):
    return _extract(html, tidy=False)


@bank.wrong(
    "extract_text",
    "All white space is folded, line breaks too: the text has become one line.",
)
def one_line(html):
    return " ".join(_extract(html).split())


@bank.wrong("extract_text", "A > inside a quoted attribute ends your tag: the rest is left over.")
def naive_tags(html):
    return _extract(html, tag=r"</?([a-zA-Z][\w-]*)[^>]*>")


@bank.wrong(
    "extract_text",
    "Text between < and > is lost though it is no tag: a tag begins with a letter or / at once.",
)
def anything_in_angles(html):
    return _extract(html, tag=r"""<([^>"']|"[^"]*"|'[^']*')*>""".replace("<(", "<(?:/?)(", 1))


@bank.wrong("extract_text", "Tags in capitals are not seen.")
def lower_case_only(html):
    return _extract(html, flags=re.S)


@bank.wrong("extract_text", "Comments stay; nobody sees them.")
def comments_stay(html):
    return _extract(html, quiet=r"<(script|style)\b.*?</\1\s*>|<!D[^>]*>")


@bank.right("extract_text")
def with_a_parser(html):
    class Reader(HTMLParser):
        def __init__(self):
            super().__init__(convert_charrefs=True)
            self.out, self.deaf = [], 0

        def handle_starttag(self, tag, attrs):
            self.deaf += tag in ("script", "style")
            self.out.append("\n" if tag in LINES else " " if tag in CELLS else "")

        def handle_endtag(self, tag):
            self.deaf -= tag in ("script", "style")
            self.out.append("\n" if tag in LINES else " " if tag in CELLS else "")

        def handle_data(self, data):
            if not self.deaf:
                self.out.append(data)

    reader = Reader()
    reader.feed(html)
    reader.close()
    lines = [re.sub(r"\s+", " ", line).strip() for line in "".join(reader.out).split("\n")]
    return "\n".join(filter(None, lines))


@bank.right("extract_text")
def in_one_pass(html):
    marks = re.compile(f"{QUIET}|{TAG.replace('(', '(', 1)}", re.S | re.I)
    out, end = [], 0
    for match in marks.finditer(html):
        out += [html[end : match.start()]]
        name = (match[2] or "").lower()
        out += ["\n"] if name in LINES else [" "] if name in CELLS else []
        end = match.end()
    text = unescape("".join([*out, html[end:]]))
    return "\n".join(" ".join(x.split()) for x in text.split("\n") if x.strip())


# --- language_scores -----------------------------------------------------------------------------

_ONE = {"X": {"a": 0.5, "b": 0.4, "c": 0.1}, "Y": {"a": 0.1, "b": 0.2, "d": 0.7}}
_TWO = {"X": {"ab": 0.5, "ba": 0.3, "b ": 0.2}, "Y": {"ab": 0.2, "bb": 0.2, "ba": 0.6}}
_THREE = {"X": {"abc": 0.6, "bca": 0.4}, "Y": {"abc": 0.3, "cab": 0.7}, "Z": {"xyz": 1.0}}
bank.probe(
    "language_scores",
    call("abcab", _THREE), call("abcabcab", _THREE), call("ABCA", _THREE), call("abb ab", _TWO),
    call("abcc", _ONE), call("", _ONE), call("a", _TWO), call("ab" * 600, _TWO),
)  # fmt: skip


def _length(profiles):
    return len(next(iter(next(iter(profiles.values())))))


def _runs(text, n):
    kept = "".join(c if c.isalpha() or "\u0e00" <= c <= "\u0e7f" else " " for c in text)
    kept = " ".join(kept.split())
    return [kept[i : i + n] for i in range(len(kept) - n + 1)]


def _sums(text, profiles, unseen=1e-5, n=None, runs=None):
    n = n or _length(profiles)
    runs = _runs(text.lower(), n) if runs is None else runs
    return {k: sum(math.log(p.get(g, unseen)) for g in runs) for k, p in profiles.items()}


def _softmax(sums):
    values = torch.tensor(list(sums.values()), dtype=torch.float64).softmax(0)
    return dict(zip(sums, values.tolist(), strict=True))


@bank.wrong(
    "language_scores",
    "The probabilities are multiplied: for a long text the product is 0 in every language. Add "
    "logarithms.",
)
def products_underflow(text, profiles):
    n = _length(profiles)
    runs = _runs(text.lower(), n)
    like = {k: math.prod(p.get(g, 1e-5) for g in runs) for k, p in profiles.items()}
    whole = sum(like.values())
    return {k: v / whole if whole else 0.0 for k, v in like.items()}


@bank.wrong(
    "language_scores",
    "exp of the sums alone is 0 for a long text: take off the largest sum first.",
)
def exp_underflows(text, profiles):
    like = {k: math.exp(v) for k, v in _sums(text, profiles).items()}
    return {k: v / sum(like.values()) for k, v in like.items()}


@bank.wrong("language_scores", "A repeated run is counted once; it counts each time.")
def runs_as_a_set(text, profiles):
    n = _length(profiles)
    return _softmax(_sums(text, profiles, runs=set(_runs(text.lower(), n))))


@bank.wrong(
    "language_scores",
    "A run that a profile does not have is skipped. Then the language that knows least scores best; "
    "such a run has the share UNSEEN.",
)
def unseen_skipped(text, profiles):
    return _softmax(_sums(text, profiles, unseen=1.0))


@bank.wrong("language_scores", "Upper and lower case are told apart; char_ngrams folds them.")
def case_kept(text, profiles):
    n = _length(profiles)
    return _softmax(_sums(text, profiles, runs=_runs(text, n)))


@bank.wrong("language_scores", "Runs always have 3 characters; read n off the profiles.")
def always_three(text, profiles):
    return _softmax(_sums(text, profiles, n=3))


@bank.wrong(
    "language_scores",
    "You return the sums of logarithms; they are no probabilities yet. Take exp and divide by the "
    "sum.",
)
def logs_returned(text, profiles):
    return _sums(text, profiles)


@bank.wrong(
    "language_scores",
    "The mean of the logarithms is taken in place of the sum: ten words are no surer than one.",
)
def mean_of_logs(text, profiles):
    n = _length(profiles)
    count = max(1, len(_runs(text, n)))
    return _softmax({k: v / count for k, v in _sums(text, profiles).items()})


@bank.wrong(
    "language_scores",
    "Shares are added, not their logarithms: that is no probability of a text.",
)
def shares_added(text, profiles):
    n = _length(profiles)
    sums = {k: sum(p.get(g, 1e-5) for g in _runs(text.lower(), n)) for k, p in profiles.items()}
    whole = sum(sums.values())
    return {k: v / whole if whole else 1 / len(sums) for k, v in sums.items()}


@bank.wrong("language_scores", "A text without runs tells nothing: every language the same, not 0.")
def empty_is_nothing(text, profiles):
    n = _length(profiles)
    if not _runs(text, n):
        return dict.fromkeys(profiles, 0.0)
    return _softmax(_sums(text, profiles))


@bank.right("language_scores")
def with_torch(text, profiles):
    return _softmax(_sums(text, profiles))


@bank.right("language_scores")
def by_odds(text, profiles):
    sums = _sums(text, profiles)

    def odds(a, b):
        return math.exp(min(700.0, a - b))

    return {k: 1 / sum(odds(other, v) for other in sums.values()) for k, v in sums.items()}


# --- gopher_rules --------------------------------------------------------------------------------

STOP = {"the", "be", "to", "of", "and", "that", "have", "with"}
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_sure = torch.Generator().manual_seed(11)
_edges = drills.edges(_sure, top=False)
_clean = "\n".join(" ".join(line) for line in drills.page(_sure))
_spoiled = list(drills.spoiled(_sure))
bank.probe(
    "gopher_rules",
    call(_clean),
    *(call(text) for _, a, b in _edges for text in (b, a)),
    *(call(text) for text, _ in _spoiled),
    drill(drills.at_the_top, 11),
)


def _gopher(text, words=None, lines=None, **other):
    words = text.split() if words is None else words
    lines = [x.strip() for x in text.split("\n") if x.strip()] if lines is None else lines
    n, m = max(1, len(words)), max(1, len(lines))
    bare = {w.lower().strip(PUNCTUATION) for w in words}
    found = {
        "length": 50 <= len(words) <= 100_000,
        "word_length": 3 <= sum(len(w) for w in words) / n <= 10,
        "hash": text.count("#") / n <= 0.1,
        "ellipsis": (text.count("...") + text.count("…")) / n <= 0.1,
        "bullet_lines": sum(x.startswith(("•", "-")) for x in lines) / m <= 0.9,
        "ellipsis_lines": sum(x.endswith(("...", "…")) for x in lines) / m <= 0.3,
        "letters": sum(any(c.isalpha() for c in w) for w in words) / n >= 0.8,
        "stop_words": len(STOP & bare) >= 2,
    }
    return {**found, **{name: rule(text, words, lines, n, m) for name, rule in other.items()}}


@bank.wrong(
    "gopher_rules",
    "This text fails two rules; you report one. All rules are judged, also of a text that is too "
    "short or too long.",
)
def behind_the_length_rule(text):
    found = _gopher(text)
    return found if found["length"] else {name: name != "length" for name in found}


@bank.wrong(
    "gopher_rules",
    "This text fails two rules; you report the first one alone. All rules are judged.",
)
def first_failure_only(text):
    found = _gopher(text)
    broken = [name for name, fine in found.items() if not fine]
    return {name: name not in broken[:1] for name in found}


@bank.wrong(
    "gopher_rules",
    "# and ellipses are divided by the number of characters. The rule speaks of words.",
)
def per_character(text):
    n = max(1, len(text))
    return _gopher(
        text, hash=lambda t, *_: t.count("#") / n <= 0.1,
        ellipsis=lambda t, *_: (t.count("...") + t.count("…")) / n <= 0.1,
    )  # fmt: skip


@bank.wrong(
    "gopher_rules",
    "A limit itself is judged wrongly: at most 0.1 holds at 0.1, and 50 words are enough.",
)
def strict_limits(text):
    def share(marks):
        return lambda t, w, x, n, m: sum(map(t.count, marks)) / n < 0.1

    return _gopher(
        text, length=lambda t, w, *_: 50 < len(w) < 100_000, hash=share("#"),
        word_length=lambda t, w, x, n, m: 3 < sum(map(len, w)) / n < 10,
        ellipsis=share(("...", "…")),
        bullet_lines=lambda t, w, x, n, m: sum(y.startswith(("•", "-")) for y in x) / m < 0.9,
        ellipsis_lines=lambda t, w, x, n, m: sum(y.endswith(("...", "…")) for y in x) / m < 0.3,
        letters=lambda t, w, x, n, m: sum(any(map(str.isalpha, y)) for y in w) / n > 0.8,
    )  # fmt: skip


@bank.wrong("gopher_rules", "Stop words are counted, not the different ones: 'the the' is one.")
def stop_words_not_distinct(text):
    return _gopher(text, stop_words=lambda t, w, *_: sum(
        x.lower().strip(PUNCTUATION) in STOP for x in w) >= 2)  # fmt: skip


@bank.wrong(
    "gopher_rules",
    "Stop words are looked for as parts of words: 'other' contains 'the', and is no stop word.",
)
def stop_words_as_parts(text):
    return _gopher(text, stop_words=lambda t, *_: sum(w in t.lower() for w in STOP) >= 2)


@bank.wrong("gopher_rules", "'With,' is a stop word: compare in lower case and without marks.")
def stop_words_as_they_stand(text):
    return _gopher(text, stop_words=lambda t, w, *_: len(STOP & set(w)) >= 2)


@bank.wrong("gopher_rules", "# and ellipses are added up; they are two rules with a limit each.")
def symbols_together(text):
    def both(t, w, x, n, m):
        return (t.count("#") + t.count("...") + t.count("…")) / n <= 0.1

    return _gopher(text, hash=both, ellipsis=both)


@bank.wrong("gopher_rules", "The sign … is an ellipsis as well as three points.")
def points_only(text):
    return _gopher(
        text, ellipsis=lambda t, w, x, n, m: t.count("...") / n <= 0.1,
        ellipsis_lines=lambda t, w, x, n, m: sum(y.endswith("...") for y in x) / m <= 0.3,
    )  # fmt: skip


@bank.wrong(
    "gopher_rules", "A word must have one letter, not only letters: '5G' and 'modem,' have one."
)
def letters_only(text):
    return _gopher(text, letters=lambda t, w, x, n, m: sum(map(str.isalpha, w)) / n >= 0.8)


@bank.wrong(
    "gopher_rules", "Blank lines count as lines, which makes the shares of lines too small."
)
def blank_lines_count(text):
    return _gopher(text, lines=[x.strip() for x in text.split("\n")])


@bank.wrong("gopher_rules", "A bullet counts after white space, too: strip the line first.")
def lines_not_stripped(text):
    return _gopher(text, lines=[x for x in text.split("\n") if x.strip()])


@bank.wrong(
    "gopher_rules",
    "The mean length of a word counts the white space between words: add up the words' lengths.",
)
def spaces_in_the_mean(text):
    return _gopher(text, word_length=lambda t, w, x, n, m: 3 <= len(t) / n <= 10)


@bank.wrong(
    "gopher_rules",
    "Words are cut at punctuation; here a word is what text.split() gives, '(5G),' being one.",
)
def words_by_letters(text):
    return _gopher(text, words=re.findall(r"\w+", text))


@bank.wrong("gopher_rules", "A text without words divides by zero; a share of nothing is 0.")
def no_words_fails(text):
    if not text.split():
        raise ZeroDivisionError
    return _gopher(text)


@bank.wrong("gopher_rules", "The upper limit of 100,000 words is missing.")
def no_upper_limit(text):
    return _gopher(text, length=lambda t, w, *_: len(w) >= 50)


@bank.wrong("gopher_rules", "You say which rules are broken; True means that a rule holds.")
def broken_is_true(text):
    return {name: not fine for name, fine in _gopher(text).items()}


@bank.right("gopher_rules")
def as_a_table(text):
    return _gopher(text)


@bank.right("gopher_rules")
def with_arrays(text):
    words = re.split(r"\s+", text.strip()) if text.strip() else []
    lines = [line for line in (x.strip() for x in text.split("\n")) if line]
    sizes = np.array([len(w) for w in words] or [0])
    alpha = np.array([bool(re.search(r"[^\W\d_]", w)) for w in words] or [False])
    dots = np.array([bool(re.search(r"(\.\.\.|…)$", x)) for x in lines] or [False])
    dashes = np.array([x[0] in "•-" for x in lines] or [False])
    n = max(len(words), 1)
    stop = [
        w
        for w in STOP
        if re.search(
            rf"(?<!\S)[{re.escape(PUNCTUATION)}]*{w}"
            rf"[{re.escape(PUNCTUATION)}]*(?!\S)",
            text.lower(),
        )
    ]
    return {
        "stop_words": len(stop) > 1, "letters": bool(alpha.mean() >= 0.8),
        "ellipsis_lines": bool(dots.mean() <= 0.3), "bullet_lines": bool(dashes.mean() <= 0.9),
        "ellipsis": len(re.findall(r"\.\.\.|…", text)) * 10 <= n,
        "hash": sum(c == "#" for c in text) * 10 <= n,
        "word_length": bool(3 <= sizes.mean() <= 10), "length": 49 < len(words) < 100_001,
    }  # fmt: skip


for _name in ("words", "lines"):
    bank.equivalent("gopher_rules", f"max(len({_name}), 1)  =>  max(1, len({_name}))",
                    "the larger of two numbers, in either order")  # fmt: skip


# --- c4_filter -----------------------------------------------------------------------------------

POLICY = ("javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies",
          "use of cookies", "use cookies")  # fmt: skip
ENDS = (".", "!", "?", '"', "”")
_body = "The mast was repaired on Monday. Service is back.\nIs your phone still without a signal?"


def _c4_case(text, listed=()):
    return drill(drills.with_set, text, list(listed))


bank.probe(
    "c4_filter",
    _c4_case(_body), _c4_case(f"{_body}\nAll plans of this year and help"), _c4_case(f"Home | Plans\n{_body}\nRead on"), _c4_case(f" {_body} \n\n"),
    _c4_case(f'{_body}\nHe said: "We are on it."'), _c4_case(f"{_body}\nMore about this and that..."),
    _c4_case(f"{_body}\nCall us if it is.\nCall us now then."),
    _c4_case(f"{_body}\nWrite us if ok."),
    _c4_case(f"Please switch JavaScript on for this.\n{_body}"),
    _c4_case(f"See our Privacy Policy for more about it.\n{_body}"),
    _c4_case(f"{_body}\nx {{ y"), _c4_case(f"LOREM ipsum\n{_body}"),
    _c4_case(_body, ("mas", "ignal")), _c4_case(f"{_body}\nDarn!", ("darn",)),
    _c4_case(f"{_body}\nYou are such a darn fool, sir.", ("darn",)), _c4_case(f"DARN it\n{_body}", ("darn",)),
    _c4_case("The mast was repaired on Monday. Service is back.\nNo. Yes. Maybe."),
    _c4_case("The mast was repaired on Monday. It is back.\nGood news. Yes."),
    _c4_case("The mast was repaired on Monday.\nIt is back in full service.\nThank you very much, all!"),
    _c4_case("menu\nhome"), _c4_case(""),
)  # fmt: skip


def _c4(
    text,
    bad,
    ends=ENDS,
    least=5,
    sentences=3,
    policy=POLICY,
    dots=True,
    brace=True,
    lorem=True,
    gone=None,
    whole=True,
    fold=str.lower,
    look=None,
    keep=str.strip,
    count=None,
):
    low = text.lower()
    seen = low if fold is str.lower else text
    found = bad & set(re.findall(r"\w+", seen)) if whole else any(w in low for w in bad)
    if (brace and "{" in text) or (lorem and "lorem ipsum" in low) or (look is None and found):
        return gone
    kept = [
        keep(x)
        for x in text.split("\n")
        if x.strip().endswith(ends)
        and not (dots and x.strip().endswith("..."))
        and len(x.split()) >= least
        and not any(p in fold(x) for p in policy)
    ]
    out = "\n".join(kept)
    if look is not None and bad & set(_words(out)):
        return gone
    measured = out if count is None else text
    n = len(re.findall(r"[.!?]+(?=[\"”\s]|$)", measured))
    return out if n >= sentences else gone


@bank.wrong(
    "c4_filter",
    "A listed word is found inside of another word: 'day' in 'today'. Compare whole words.",
)
def words_as_parts(text, bad_words):
    return _c4(text, bad_words, whole=False)


@bank.wrong(
    "c4_filter",
    "Listed words are looked for in the lines that stay; the text as given counts.",
)
def list_after_lines(text, bad_words):
    return _c4(text, bad_words, look="kept")


@bank.wrong("c4_filter", "Words and phrases are found in lower case only; any case counts.")
def case_matters(text, bad_words):
    return _c4(text, bad_words, fold=str)


@bank.wrong("c4_filter", "A page that goes is None, not an empty text.")
def empty_for_none(text, bad_words):
    return _c4(text, bad_words, gone="")


@bank.wrong(
    "c4_filter",
    "Sentences are counted in the text as given; count them in the lines that stay.",
)
def sentences_of_all(text, bad_words):
    return _c4(text, bad_words, count="all")


@bank.wrong("c4_filter", "You ask for more than 3 sentences; 3 are enough.")
def four_sentences(text, bad_words):
    return _c4(text, bad_words, sentences=4)


@bank.wrong("c4_filter", "You ask for more than 5 words in a line; 5 are enough.")
def six_words(text, bad_words):
    return _c4(text, bad_words, least=6)


@bank.wrong("c4_filter", "Lines of 3 or 4 words stay; here a line has at least 5 words.")
def three_words(text, bad_words):
    return _c4(text, bad_words, least=3)


@bank.wrong("c4_filter", "A line may end in a quotation mark, too.")
def no_quotes(text, bad_words):
    return _c4(text, bad_words, ends=(".", "!", "?"))


@bank.wrong("c4_filter", 'A line that ends in "..." has no end: it goes.')
def dots_stay(text, bad_words):
    return _c4(text, bad_words, dots=False)


@bank.wrong("c4_filter", "Lines with JavaScript and policy phrases stay.")
def policy_stays(text, bad_words):
    return _c4(text, bad_words, policy=())


@bank.wrong(
    "c4_filter",
    "A phrase like 'JavaScript' or 'privacy policy' drops the page; only its line goes.",
)
def policy_drops_the_page(text, bad_words):
    return None if any(p in text.lower() for p in POLICY) else _c4(text, bad_words)


@bank.wrong("c4_filter", "A { drops its line only; the whole page goes.")
def brace_drops_the_line(text, bad_words):
    return _c4("\n".join(x for x in text.split("\n") if "{" not in x), bad_words)


@bank.wrong("c4_filter", "Lines are kept with the white space around them; strip them.")
def unstripped(text, bad_words):
    return _c4(text, bad_words, keep=str)


@bank.wrong("c4_filter", "Lines that do not end in a mark of ENDS stay.")
def any_end(text, bad_words):
    return _c4(text, bad_words, ends=("",))


@bank.right("c4_filter")
def step_by_step(text, bad_words):
    if re.search(r"\{|lorem ipsum", text, re.I):
        return None
    if any(word in bad_words for word in _words(text)):
        return None
    kept = []
    for line in text.split("\n"):
        line = line.strip()
        if not line or line[-1] not in "".join(ENDS) or line[-3:] == "...":
            continue
        if len(line.split()) < 5 or re.search("|".join(POLICY), line, re.I):
            continue
        kept.append(line)
    page = "\n".join(kept)
    return None if len(re.findall(r"[.!?]+(?=[\"”\s]|$)", page)) < 3 else page


@bank.right("c4_filter")
def as_given(text, bad_words):
    return _c4(text, bad_words)


# --- drop_repeated_lines -------------------------------------------------------------------------

bank.probe(
    "drop_repeated_lines",
    call(["a\nfoot", "b\nfoot", "c\nfoot", "d\nfoot"], 2), call(["x\ny\nx", "x"], 2),
    call(["x", " x ", "X"], 1), call(["a\n\nb\n", "\n \nb"], 1), call(["a", "a", "b"], 1),
    call(["a\nb", "b"], 0),
)  # fmt: skip


def _dropped(
    documents,
    most,
    key=str.strip,
    blank=True,
    keep_empty=True,
    per_document=False,
    from_the_end=False,
    out=None,
):
    seen, found = Counter(), []
    for document in documents[::-1] if from_the_end else documents:
        lines, here = [], set()
        for line in document.split("\n")[:: -1 if from_the_end else 1]:
            name = key(line)
            if not (per_document and name in here):
                seen[name] += 1
            here.add(name)
            if (blank and not line.strip()) or seen[name] <= most:
                lines.append(out(line) if out else line)
        found.append("\n".join(lines[:: -1 if from_the_end else 1]))
    found = found[:: -1 if from_the_end else 1]
    return found if keep_empty else [text for text in found if text]


@bank.wrong(
    "drop_repeated_lines",
    "Each line is counted once in a document; repeats within a document count, too.",
)
def documents_counted(documents, max_count):
    return _dropped(documents, max_count, per_document=True)


@bank.wrong(
    "drop_repeated_lines",
    "All occurrences of a frequent line go; the first max_count of them stay.",
)
def all_or_nothing(documents, max_count):
    count = Counter(line.strip() for d in documents for line in d.split("\n"))
    return [
        "\n".join(x for x in d.split("\n") if not x.strip() or count[x.strip()] <= max_count)
        for d in documents
    ]


@bank.wrong("drop_repeated_lines", "One occurrence too few stays: max_count of them are allowed.")
def one_too_few(documents, max_count):
    return _dropped(documents, max_count - 1)


@bank.wrong("drop_repeated_lines", "One occurrence too many stays: count first, then decide.")
def one_too_many(documents, max_count):
    return _dropped(documents, max_count + 1)


@bank.wrong("drop_repeated_lines", "Blank lines go; they always stay.")
def blank_lines_go(documents, max_count):
    return _dropped(documents, max_count, blank=False)


@bank.wrong("drop_repeated_lines", "An emptied document is left out; it stays as an empty text.")
def emptied_left_out(documents, max_count):
    return _dropped(documents, max_count, keep_empty=False)


@bank.wrong(
    "drop_repeated_lines",
    "' x ' and 'x' are told apart; white space around a line does not matter.",
)
def lines_as_they_stand(documents, max_count):
    return _dropped(documents, max_count, key=str)


@bank.wrong("drop_repeated_lines", "Upper and lower case are taken for the same.")
def case_folded(documents, max_count):
    return _dropped(documents, max_count, key=lambda line: line.strip().lower())


@bank.wrong("drop_repeated_lines", "The last occurrences stay; it should be the first ones.")
def last_ones_stay(documents, max_count):
    return _dropped(documents, max_count, from_the_end=True)


@bank.wrong("drop_repeated_lines", "The count begins anew in each document; it is for all of them.")
def counted_anew(documents, max_count):
    return [_dropped([d], max_count)[0] for d in documents]


@bank.wrong("drop_repeated_lines", "Lines that stay are stripped; they stay as they are.")
def lines_stripped(documents, max_count):
    return _dropped(documents, max_count, out=str.strip)


@bank.right("drop_repeated_lines")
def with_a_counter(documents, max_count):
    return _dropped(documents, max_count)


@bank.right("drop_repeated_lines")
def with_budgets(documents, max_count):
    left = defaultdict(lambda: max_count)

    def stays(line):
        name = line.strip()
        left[name] -= 1
        return name == "" or left[name] >= 0

    return ["\n".join([x for x in d.split("\n") if stays(x)]) for d in documents]


# --- shingles ------------------------------------------------------------------------------------

bank.probe(
    "shingles",
    *(drill(drills.sorted_result, text, n) for text, n in (
        ("the mast is down today", 2), ("the mast is down today", 5), ("up down up down up", 2),
        ("The mast, is Down.", 2), ("the mast is", 5), ("", 3), ("mast", 1))),
)  # fmt: skip


def _shingled(words, n, last=None, step=1):
    last = len(words) - n if last is None else last
    return {" ".join(words[i : i + n]) for i in range(0, last + 1, step)}


@bank.wrong("shingles", "Shingles are runs of words; yours are runs of characters.")
def of_characters(text, n):
    low = " ".join(_words(text))
    return {low[i : i + n] for i in range(len(low) - n + 1)} or ({low} if low else set())


@bank.wrong("shingles", "A list repeats what stands twice; Jaccard counts each shingle once.")
def as_a_list(text, n):
    words = _words(text)
    return [" ".join(words[i : i + n]) for i in range(max(len(words) - n, 0) + 1)] if words else []


@bank.wrong("shingles", "The last run is missing: there are number of words - n + 1 runs.")
def last_missing(text, n):
    words = _words(text)
    return _shingled(words, n, len(words) - n - 1) if len(words) > n else {" ".join(words)} - {""}


@bank.wrong("shingles", "Runs at the end are shorter than n; they stop at the last full one.")
def short_ends(text, n):
    words = _words(text)
    return _shingled(words, n, len(words) - 1)


@bank.wrong("shingles", "A text of fewer than n words has no shingle; it is one of all its words.")
def short_is_empty(text, n):
    return _shingled(_words(text), n)


@bank.wrong("shingles", "The runs do not overlap: a run begins at every word.")
def without_overlap(text, n):
    words = _words(text)
    return _shingled(words, n, max(len(words) - n, 0), n) if words else set()


@bank.wrong("shingles", "Case and punctuation matter to you; take the words of words_of.")
def split_at_spaces(text, n):
    words = text.split()
    return _shingled(words, n, max(len(words) - n, 0)) if words else set()


@bank.wrong("shingles", "A text without words has one shingle, the empty text; it has none.")
def empty_shingle(text, n):
    words = _words(text)
    return _shingled(words, n, max(len(words) - n, 0))


@bank.wrong("shingles", "A shingle is a text with spaces between words, not a tuple.")
def tuples(text, n):
    words = _words(text)
    return {tuple(words[i : i + n]) for i in range(max(len(words) - n, 0) + 1)} if words else set()


@bank.right("shingles")
def with_zip(text, n):
    words = _words(text)
    if 0 < len(words) < n:
        return {" ".join(words)}
    return {" ".join(run) for run in zip(*(words[i:] for i in range(n)), strict=False)}


@bank.right("shingles")
def word_by_word(text, n):
    found, window = set(), []
    for word in _words(text):
        window = [*window, word][-n:]
        if len(window) == n:
            found.add(" ".join(window))
    return found or ({" ".join(window)} - {""})


bank.equivalent("shingles", "max(len(words) - n, 0)  =>  max(0, len(words) - n)",
                "the larger of two numbers, in either order")  # fmt: skip


# --- minhash -------------------------------------------------------------------------------------

NOTHING = 2**63 - 1
PRIME = 2**31 - 1
bank.probe("minhash", drill(drills.signature_facts), drill(drills.empty_signature, 5))


def _numbers(items, size=4):
    return [int.from_bytes(hashlib.sha1(x.encode()).digest()[:size], "big") for x in items]


def _signature(numbers, n_hashes, gen, prime=PRIME):
    a = torch.randint(1, prime, (n_hashes, 1), generator=gen)
    b = torch.randint(0, prime, (n_hashes, 1), generator=gen)
    x = torch.tensor([v % PRIME for v in numbers])
    return ((a * x + b) % prime).amin(1)


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def _or_nothing(function):
    def whole(shingle_set, n_hashes, seed):
        if not shingle_set:
            return torch.full((n_hashes,), NOTHING)
        return function(shingle_set, n_hashes, seed)

    whole.__name__ = function.__name__
    return whole


@bank.wrong(
    "minhash",
    "Your signatures change with every process: Python salts hash() of texts anew each time. Use "
    "hashlib or zlib.crc32.",
)
def with_pythons_hash(shingle_set, n_hashes, seed):
    if not shingle_set:
        return torch.full((n_hashes,), NOTHING)
    numbers = [hash(item) for item in shingle_set]
    return _signature(numbers, n_hashes, _seeded(seed))


@bank.wrong("minhash", "The same call gives another signature: the functions must come from seed.")
@_or_nothing
def unseeded(shingle_set, n_hashes, seed):
    return _signature(_numbers(shingle_set), n_hashes, None)


@bank.wrong("minhash", "The seed has no effect: another seed chooses other functions.")
@_or_nothing
def seed_ignored(shingle_set, n_hashes, seed):
    return _signature(_numbers(shingle_set), n_hashes, _seeded(0))


@bank.wrong(
    "minhash",
    "All places come from one order of the items (the n smallest values, or one hash and a shift): "
    "each place needs a hash function of its own.",
)
@_or_nothing
def smallest_of_one(shingle_set, n_hashes, seed):
    x = sorted((v * 2654435761 + seed) % PRIME for v in _numbers(shingle_set))
    return torch.tensor((x * n_hashes)[:n_hashes])


@bank.wrong(
    "minhash",
    "The estimate is too high: your hash values have a small range, so that different items often "
    "have the same value.",
)
@_or_nothing
def small_range(shingle_set, n_hashes, seed):
    return _signature(_numbers(shingle_set), n_hashes, _seeded(seed), prime=61)


@bank.wrong(
    "minhash",
    "Sets that share items have no place in common: take the smallest value, not the sum.",
)
@_or_nothing
def summed(shingle_set, n_hashes, seed):
    gen = _seeded(seed)
    a = torch.randint(1, PRIME, (n_hashes, 1), generator=gen)
    return ((a * torch.tensor([v % PRIME for v in _numbers(shingle_set)])) % PRIME).sum(1)


@bank.wrong(
    "minhash",
    "The signature depends on the order in which the set is read: a value must belong to an item, "
    "not to its place.",
)
@_or_nothing
def by_place(shingle_set, n_hashes, seed):
    x = torch.tensor([v % PRIME for v in _numbers(shingle_set)])
    x = x * (torch.arange(len(x)) + 1) % PRIME
    a = torch.randint(1, PRIME, (n_hashes, 1), generator=_seeded(seed))
    return (a * x % PRIME).amin(1)


@bank.wrong("minhash", "The signature is not int64.")
@_or_nothing
def as_floats(shingle_set, n_hashes, seed):
    return _signature(_numbers(shingle_set), n_hashes, _seeded(seed)).double()


@bank.wrong("minhash", "The empty set has no minimum: its signature is NOTHING at each place.")
def empty_fails(shingle_set, n_hashes, seed):
    return _signature(_numbers(shingle_set), n_hashes, _seeded(seed))


@bank.wrong("minhash", "The empty set has 0 at each place; it should be NOTHING.")
def empty_is_zero(shingle_set, n_hashes, seed):
    if not shingle_set:
        return torch.zeros(n_hashes, dtype=torch.int64)
    return _signature(_numbers(shingle_set), n_hashes, _seeded(seed))


@bank.wrong("minhash", "There is one place too many or too few: the signature has n_hashes places.")
@_or_nothing
def one_place_more(shingle_set, n_hashes, seed):
    return _signature(_numbers(shingle_set), n_hashes + 1, _seeded(seed))


@bank.right("minhash")
def one_digest_per_place(shingle_set, n_hashes, seed):
    def value(item, place):
        text = f"{seed}/{place}/{item}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")

    return torch.tensor(
        [min((value(item, i) for item in shingle_set), default=NOTHING) for i in range(n_hashes)]
    )


@bank.right("minhash")
def with_crc_and_numpy(shingle_set, n_hashes, seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(1, PRIME, n_hashes, dtype=np.uint64)
    b = rng.integers(0, PRIME, n_hashes, dtype=np.uint64)
    out = np.full(n_hashes, NOTHING, dtype=np.int64)
    for item in shingle_set:
        x = np.uint64(zlib.crc32(item.encode()) % PRIME)
        out = np.minimum(out, ((a * x + b) % np.uint64(PRIME)).astype(np.int64))
    return torch.from_numpy(out)


@bank.right("minhash")
def with_masks(shingle_set, n_hashes, seed):
    draw = random.Random(seed)
    masks = [draw.getrandbits(62) for _ in range(n_hashes)]
    x = [v >> 2 for v in _numbers(sorted(shingle_set), 8)]
    return torch.tensor([min((v ^ m for v in x), default=NOTHING) for m in masks])


for _mutant in (
    "2 ** 31 - 1  =>  2 ** 31 + 1", "1  =>  2", "1  =>  0", "1  =>  2  (#2)", "1  =>  0  (#2)",
    "2  =>  3", "31  =>  32", "31  =>  30", "1  =>  2  (#5)", "1  =>  0  (#5)",
    "(a * x + b) % prime  =>  (a * x + b) * prime", "a * x + b  =>  a * x - b",
    "a * x  =>  a + x", "4  =>  5", "4  =>  3",
):  # fmt: skip
    bank.equivalent("minhash", _mutant, "another family of hash functions, which is free")


# --- lsh_candidates ------------------------------------------------------------------------------

_two = torch.randint(2, (14, 12), generator=gen)
_wide = torch.randint(3, (12, 8), generator=gen)
_swap = torch.tensor([[1, 2, 3, 4], [3, 4, 1, 2], [5, 6, 7, 8]])
_again = torch.tensor([[5, 6], [7, 8], [5, 6], [5, 6], [5, 9]])
bank.probe(
    "lsh_candidates",
    *(drill(drills.sorted_result, table, bands) for table, bands in (
        (_wide, 4), (_two, 4), (_two, 3), (_again, 1), (_swap, 2), (_two, 5))),
)  # fmt: skip


def _meet(signatures, bands, check=True):
    if check and signatures.shape[1] % bands:
        raise ValueError("does not divide")
    rows = signatures.shape[1] // bands
    for k in range(bands):
        yield signatures[:, k * rows : (k + 1) * rows].tolist()


def _pairs(keys):
    buckets = defaultdict(list)
    for i, key in enumerate(keys):
        buckets[tuple(key)].append(i)
    return {pair for some in buckets.values() for pair in combinations(some, 2)}


@bank.wrong(
    "lsh_candidates",
    "Bands of different numbers meet: make fresh buckets for each band, or put its number into the "
    "key.",
)
def one_table_for_all(signatures, bands):
    buckets = defaultdict(list)
    for keys in _meet(signatures, bands):
        for i, key in enumerate(keys):
            buckets[tuple(key)].append(i)
    return {(i, j) for some in buckets.values() for i in some for j in some if i < j}


@bank.wrong(
    "lsh_candidates",
    "A band is a run of neighbouring places; yours takes every bands-th place.",
)
def every_other_place(signatures, bands):
    if signatures.shape[1] % bands:
        raise ValueError("does not divide")
    return set().union(*(_pairs(signatures[:, k::bands].tolist()) for k in range(bands)))


@bank.wrong(
    "lsh_candidates", "One equal place is enough for you; all places of a band must be equal."
)
def any_place(signatures, bands):
    if signatures.shape[1] % bands:
        raise ValueError("does not divide")
    return set().union(*(_pairs(column[:, None].tolist()) for column in signatures.T))


@bank.wrong("lsh_candidates", "All bands must be equal for you; one is enough.")
def all_bands(signatures, bands):
    return set.intersection(*(_pairs(keys) for keys in _meet(signatures, bands)))


@bank.wrong("lsh_candidates", "bands is how many bands there are, not how many places one has.")
def bands_are_rows(signatures, bands):
    if signatures.shape[1] % bands:
        raise ValueError("does not divide")
    return set().union(*(_pairs(k) for k in _meet(signatures, signatures.shape[1] // bands)))


@bank.wrong("lsh_candidates", "A pair stands twice, as (i, j) and (j, i); give i < j only.")
def both_ways(signatures, bands):
    found = set().union(*(_pairs(keys) for keys in _meet(signatures, bands)))
    return found | {(j, i) for i, j in found}


@bank.wrong("lsh_candidates", "A row is paired with itself; give i < j only.")
def with_itself(signatures, bands):
    found = set().union(*(_pairs(keys) for keys in _meet(signatures, bands)))
    return found | {(i, i) for i in range(len(signatures))}


@bank.wrong(
    "lsh_candidates",
    "Of three in a bucket one pair is missing: a bucket gives all its pairs, not only neighbours.",
)
def neighbours_only(signatures, bands):
    found = set()
    for keys in _meet(signatures, bands):
        last = {}
        for i, key in enumerate(keys):
            if tuple(key) in last:
                found.add((last[tuple(key)], i))
            last[tuple(key)] = i
    return found


@bank.wrong(
    "lsh_candidates",
    "Of three in a bucket one pair is missing: a bucket gives all its pairs, not only those with "
    "its first row.",
)
def first_only(signatures, bands):
    found = set()
    for keys in _meet(signatures, bands):
        first = {}
        for i, key in enumerate(keys):
            if first.setdefault(tuple(key), i) != i:
                found.add((first[tuple(key)], i))
    return found


@bank.wrong("lsh_candidates", "If bands does not divide n_hashes, raise ValueError.")
def rest_left_over(signatures, bands):
    return set().union(*(_pairs(keys) for keys in _meet(signatures, bands, check=False)))


@bank.wrong("lsh_candidates", "The pairs are a list, with repeats; a set is asked for.")
def pairs_as_a_list(signatures, bands):
    return [pair for keys in _meet(signatures, bands) for pair in sorted(_pairs(keys))]


@bank.right("lsh_candidates")
def with_buckets(signatures, bands):
    return set().union(*(_pairs(keys) for keys in _meet(signatures, bands)))


@bank.right("lsh_candidates")
def all_against_all(signatures, bands):
    if signatures.shape[1] % bands:
        raise ValueError("does not divide")
    N = len(signatures)
    same = (signatures[:, None] == signatures[None]).reshape(N, N, bands, -1)
    return {(i, j) for i, j in same.all(3).any(2).nonzero().tolist() if i < j}


# --- dedup ---------------------------------------------------------------------------------------

_chain = ["a b c d", "a b c e", "b c e f"]
_alone = ["one two three", "four five six", "seven eight nine"]
_near = ["a b c d e f", "a b c d e g", "p q r s t u"]
_fine = {"n": 1, "bands": 128}
bank.probe(
    "dedup",
    call(["x y", "a b", "y x", "q r", "b a"], 0.9, **_fine), call(_near, 0.5, **_fine),
    call(_near, 0.9, **_fine), call(_near, 0.8, **_fine), call(_near, 5 / 7, **_fine), call(_chain, 0.6, **_fine),
    call([_chain[2], _chain[0], _chain[1]], 0.6, **_fine), call(["x x y", "x y y", "x z z z"], 1.0, **_fine),
    call(["hello", "Hello.", "good day", " ", "?!"], 0.7),
    call(["a b c d e f g h", "a b c d e f g i", "a b c d e f g h"], 0.5, n=1, bands=1),
    call(["a b c d e f g h i", "i h g f e d c b a"], 0.5, n=2, bands=128), call([], 0.7),
)  # fmt: skip


def _shingle_set(text, n):
    words = _words(text)
    return (
        {" ".join(words[i : i + n]) for i in range(max(len(words) - n, 0) + 1)} if words else set()
    )


def _candidates(sets, n_hashes, bands, seed):
    signs = [_signature(_numbers(s), n_hashes, _seeded(seed)) if s else torch.full((n_hashes,), -1)
             for s in sets]  # fmt: skip
    return sorted(with_buckets(torch.stack(signs), bands)) if sets else []


def _similar(a, b):
    return len(a & b) / len(a | b) if a | b else 1.0


def _joined(n, pairs):
    group = list(range(n))
    for i, j in pairs:
        a, b = sorted((group[i], group[j]))
        group = [a if x == b else x for x in group]
    return group


def _dedup(
    documents,
    threshold,
    n,
    n_hashes,
    bands,
    seed,
    similar=_similar,
    cut=_shingle_set,
    join=_joined,
    pairs=None,
):
    sets = [cut(d, n) for d in documents]
    pairs = _candidates(sets, n_hashes, bands, seed) if pairs is None else pairs
    return join(len(sets), [(i, j) for i, j in pairs if similar(sets[i], sets[j]) >= threshold])


@bank.wrong(
    "dedup",
    "Candidates are taken for copies. LSH proposes; Jaccard decides.",
)
def not_verified(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    return _dedup(documents, threshold, n, n_hashes, bands, seed, similar=lambda a, b: 1.0)


@bank.wrong("dedup", "The threshold is ignored: 0.5 and 0.9 give the same groups.")
def threshold_ignored(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    return _dedup(documents, 0.7, n, n_hashes, bands, seed)


@bank.wrong("dedup", "A similarity of just the threshold is enough: at least, not above.")
def above_the_threshold(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    return _dedup(
        documents, threshold, n, n_hashes, bands, seed, similar=lambda a, b: _similar(a, b) - 1e-9
    )


@bank.wrong(
    "dedup",
    "a = b and b = c, but a and c are apart: what pairs connect is one group, in any order.",
)
def no_transitivity(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    def join(n, pairs):
        ids = list(range(n))
        for i, j in sorted(pairs, key=lambda pair: (pair[1], pair[0])):
            if ids[i] == i and ids[j] == j:
                ids[j] = i
        return ids

    return _dedup(documents, threshold, n, n_hashes, bands, seed, join=join)


@bank.wrong(
    "dedup",
    "Other order, other groups: each document is compared with those that were kept, so a chain "
    "holds or breaks by luck.",
)
def keep_first(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    sets = [_shingle_set(d, n) for d in documents]
    ids: list[int] = []
    proposed = set(_candidates(sets, n_hashes, bands, seed))
    for j in range(len(sets)):
        kept = [i for i in range(j) if ids[i] == i and (i, j) in proposed]
        near = [i for i in kept if _similar(sets[i], sets[j]) >= threshold]
        ids.append(near[-1] if near else j)
    return ids


@bank.wrong("dedup", "Groups are numbered 0, 1, 2; an id is the position of the first document.")
def numbered(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    ids = _dedup(documents, threshold, n, n_hashes, bands, seed)
    names = {first: k for k, first in enumerate(dict.fromkeys(ids))}
    return [names[i] for i in ids]


@bank.wrong("dedup", "An id is the position of the first document of a group, not of its last.")
def last_of_the_group(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    ids = _dedup(documents, threshold, n, n_hashes, bands, seed)
    last = {name: i for i, name in enumerate(ids)}
    return [last[name] for name in ids]


@bank.wrong(
    "dedup",
    "All pairs are compared; only those that LSH proposes should be, or a million documents take "
    "years.",
)
def all_pairs(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    pairs = list(combinations(range(len(documents)), 2))
    return _dedup(documents, threshold, n, n_hashes, bands, seed, pairs=pairs)


@bank.wrong(
    "dedup",
    "The similarity is measured on words, whatever n is: shingles of n words keep their order.",
)
def words_not_shingles(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    return _dedup(documents, threshold, 1, n_hashes, bands, seed)


@bank.wrong("dedup", "Texts are the same for you only if they are equal; near copies count, too.")
def exact_only(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    first: dict = {}
    return [first.setdefault(tuple(_words(d)), i) for i, d in enumerate(documents)]


@bank.wrong(
    "dedup",
    "Shared shingles are divided by the smaller set, or by one of them; Jaccard divides by the "
    "union.",
)
def by_the_smaller(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    return _dedup(
        documents,
        threshold,
        n,
        n_hashes,
        bands,
        seed,
        similar=lambda a, b: len(a & b) / min(len(a), len(b)) if a and b else float(a == b),
    )


@bank.wrong("dedup", "Documents without words fail or are apart; the empty set equals itself.")
def empty_ones_apart(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    return _dedup(
        documents,
        threshold,
        n,
        n_hashes,
        bands,
        seed,
        similar=lambda a, b: _similar(a, b) if a and b else 0.0,
    )


@bank.wrong("dedup", "No documents: the result is an empty list.")
def none_fails(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    if not documents:
        raise RuntimeError("stack of nothing")
    return _dedup(documents, threshold, n, n_hashes, bands, seed)


@bank.right("dedup")
def by_renaming(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    return _dedup(documents, threshold, n, n_hashes, bands, seed)


@bank.right("dedup")
def by_pointing(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    sets = [_shingle_set(d, n) for d in documents]
    above = list(range(len(sets)))

    def top(i):
        while above[i] != i:
            above[i] = above[above[i]]
            i = above[i]
        return i

    for i, j in _candidates(sets, n_hashes, bands, seed):
        if (
            len(sets[i] & sets[j]) / max(len(sets[i] | sets[j]), 1) >= threshold
            or sets[i] == sets[j]
        ):
            a, b = top(i), top(j)
            above[max(a, b)] = min(a, b)
    return [top(i) for i in range(len(sets))]


@bank.right("dedup")
def by_walking(documents, threshold, n=5, n_hashes=128, bands=16, seed=0):
    sets = [_shingle_set(d, n) for d in documents]
    near = defaultdict(set)
    for i, j in _candidates(sets, n_hashes, bands, seed):
        if len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j]) - 1e-12:
            near[i].add(j)
            near[j].add(i)
    ids = [-1] * len(sets)
    for start in range(len(sets)):
        todo = [start] if ids[start] < 0 else []
        while todo:
            i = todo.pop()
            if ids[i] < 0:
                ids[i] = start
                todo += near[i]
    return ids


bank.equivalent("dedup", "jaccard(sets[i], sets[j])  =>  jaccard(sets[j], sets[i])",
                "the similarity of two sets does not depend on their order")  # fmt: skip


# --- train_quality_classifier --------------------------------------------------------------------

_good, _bad, _held_good, _held_bad = drills.good_and_bad(torch.Generator().manual_seed(12))
bank.probe("train_quality_classifier", drill(
    drills.classifier_facts, _good, _bad, _held_good[:25], _held_bad[:25]))  # fmt: skip
for _mutant in (
    "1 / min(len(good), len(bad))  =>  1 * min(len(good), len(bad))",
    "1 / min(len(good), len(bad))  =>  min(len(good), len(bad)) / 1",
    "1  =>  2",
):
    bank.equivalent("train_quality_classifier", _mutant, "how much a share is smoothed is free")
bank.equivalent("train_quality_classifier",
                "min(len(good), len(bad))  =>  min(len(bad), len(good))",
                "the smaller of two numbers in either order")  # fmt: skip


def _sigmoid(x):
    return (
        1 / (1 + math.exp(-x))
        if x > 0
        else math.exp(max(x, -700.0)) / (1 + math.exp(max(x, -700.0)))
    )


def _weights(good, bad, little=None):
    seen = [Counter(w for text in texts for w in set(_words(text))) for texts in (good, bad)]
    e = 1 / min(len(good), len(bad)) if little is None else little
    return {
        w: math.log((seen[0][w] / len(good) + e) / (seen[1][w] / len(bad) + e))
        for w in seen[0] | seen[1]
    }


@bank.wrong("train_quality_classifier", "Your function gives the probability of bad.")
def of_bad(good, bad):
    weights = _weights(bad, good)
    return lambda text: _sigmoid(sum(weights.get(w, 0.0) for w in set(_words(text))))


@bank.wrong(
    "train_quality_classifier",
    "The numbers of examples decide: an empty text is as good as the share of good examples. Both "
    "kinds count alike.",
)
def with_prior(good, bad):
    weights, prior = _weights(good, bad), math.log((len(good) + 4) / (len(bad) + 1))
    return lambda text: _sigmoid(prior + sum(weights.get(w, 0.0) for w in set(_words(text))))


@bank.wrong(
    "train_quality_classifier",
    "The first classifier changes when a second one is trained: keep what is learned inside of the "
    "function.",
)
def shared_memory(good, bad):
    _MEMORY.clear()
    _MEMORY.update(_weights(good, bad))
    return lambda text: _sigmoid(sum(_MEMORY.get(w, 0.0) for w in set(_words(text))))


_MEMORY: dict = {}


@bank.wrong(
    "train_quality_classifier",
    "A verdict is no probability: a single word has a probability strictly between 0 and 1.",
)
def verdicts(good, bad):
    weights = _weights(good, bad)

    def judge(text):
        evidence = sum(weights.get(w, 0.0) for w in set(_words(text)))
        return 0.5 if evidence == 0 else float(evidence > 0)

    return judge


@bank.wrong(
    "train_quality_classifier",
    "A word that one kind never has settles the matter: add a little to both shares.",
)
def without_smoothing(good, bad):
    weights = _weights(good, bad, 1e-300)
    return lambda text: _sigmoid(sum(weights.get(w, 0.0) for w in set(_words(text))))


@bank.wrong(
    "train_quality_classifier",
    "The evidence is returned as it is; a probability is from 0 to 1.",
)
def evidence_itself(good, bad):
    weights = _weights(good, bad)
    return lambda text: float(sum(weights.get(w, 0.0) for w in set(_words(text))))


@bank.wrong(
    "train_quality_classifier",
    "Only texts that were examples are recognised; a text that is new tells you nothing.",
)
def learned_by_heart(good, bad):
    return lambda text: 0.9 if text in good else 0.1 if text in bad else 0.5


@bank.wrong(
    "train_quality_classifier",
    "A word that stood in no example raises an error or spoils the answer; skip it.",
)
def unknown_words_fail(good, bad):
    weights = _weights(good, bad)
    return lambda text: _sigmoid(sum(weights[w] for w in set(_words(text))))


@bank.wrong(
    "train_quality_classifier",
    "The shares of a text's words are multiplied: for long texts both products are 0. Add "
    "logarithms.",
)
def products(good, bad):
    weights = {w: math.exp(v) for w, v in _weights(good, bad).items()}

    def judge(text):
        words = _words(text)
        a = math.prod(weights.get(w, 1.0) * 1e-3 for w in words)
        b = math.prod(1e-3 for _ in words)
        return a / (a + b) if a + b > 0 else 0.0

    return judge


@bank.wrong("train_quality_classifier", "The length of a text alone does not tell good from bad.")
def by_length(good, bad):
    middle = (sum(map(len, good)) / len(good) + sum(map(len, bad)) / len(bad)) / 2
    return lambda text: _sigmoid((len(text) - middle) / 400) if _words(text) else 0.5


@bank.right("train_quality_classifier")
def bernoulli_bayes(good, bad):
    weights = _weights(good, bad)
    return lambda text: _sigmoid(sum(weights.get(w, 0.0) for w in set(_words(text))))


@bank.right("train_quality_classifier")
def logistic_regression(good, bad):
    names = {w: i for i, w in enumerate(sorted({w for t in [*good, *bad] for w in _words(t)}))}

    def row(text):
        x = torch.zeros(len(names))
        for w in _words(text):
            if w in names:
                x[names[w]] = 1.0
        return x / max(float(x.norm()), 1.0)

    with torch.enable_grad():
        x = torch.stack([row(t) for t in [*good, *bad]])
        y = torch.tensor([1.0] * len(good) + [0.0] * len(bad))
        share = torch.cat([torch.full((len(t),), 0.5 / len(t)) for t in (good, bad)])
        w = torch.zeros(len(names), requires_grad=True)
        optimizer = torch.optim.Adam([w], lr=0.1)
        for _ in range(80):
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ w, y, reduction="none")
            ((loss * share).sum() + 1e-4 * w.square().sum()).backward()
            optimizer.step()
    learned = w.detach()
    return lambda text: float((row(text) @ learned).sigmoid())


@bank.right("train_quality_classifier")
def multinomial_bayes(good, bad):
    seen = [Counter(w for text in texts for w in _words(text)) for texts in (good, bad)]
    total = [sum(c.values()) for c in seen]
    e = 0.5 / min(total)
    known = seen[0].keys() | seen[1].keys()

    def judge(text):
        words = [w for w in _words(text) if w in known]
        return _sigmoid(
            sum(math.log((seen[0][w] / total[0] + e) / (seen[1][w] / total[1] + e)) for w in words)
        )

    return judge


# --- mixture_weights -----------------------------------------------------------------------------

bank.probe(
    "mixture_weights",
    call({"web": 900, "books": 100}, 1.0), call({"web": 900, "books": 100}, 0.5),
    call({"web": 810, "books": 90, "code": 10}, 0.3), call({"web": 5, "books": 1}, 0.0),
    call({"web": 9, "none": 0}, 0.5), call({"web": 9, "books": 4, "none": 0}, 0.0),
    call({"web": 0, "books": 0}, 0.5),
)  # fmt: skip


def _mixed(counts, alpha, power=None, keep=True):
    if not any(counts.values()):
        raise ValueError("nothing there")
    p = {k: (power(v) if power else v**alpha) if v else 0.0 for k, v in counts.items()}
    return {k: v / sum(p.values()) for k, v in p.items() if keep or v}


@bank.wrong(
    "mixture_weights",
    "The power is taken twice, of the counts and of the shares: 0.5 became 0.25.",
)
def power_twice(counts, alpha):
    return _mixed(_mixed(counts, alpha), alpha)


@bank.wrong("mixture_weights", "The exponent is 1 / alpha; it is alpha.")
def inverse_power(counts, alpha):
    return _mixed(counts, 1 / alpha if alpha else 0.0)


@bank.wrong("mixture_weights", "The shares do not add up to 1: divide by the sum of the powers.")
def share_to_the_power(counts, alpha):
    return {k: v**alpha for k, v in _mixed(counts, 1.0).items()}


@bank.wrong("mixture_weights", "alpha has no effect.")
def alpha_ignored(counts, alpha):
    return _mixed(counts, 1.0)


@bank.wrong("mixture_weights", "0 to the power 0 is 1: a source of count 0 gets a share.")
def zero_to_the_zero(counts, alpha):
    if not any(counts.values()):
        raise ValueError("nothing there")
    return {k: v**alpha / sum(x**alpha for x in counts.values()) for k, v in counts.items()}


@bank.wrong("mixture_weights", "A source of count 0 is left out; it stays, with the share 0.")
def empty_left_out(counts, alpha):
    return _mixed(counts, alpha, keep=False)


@bank.wrong("mixture_weights", "If no source has anything, raise ValueError.")
def nothing_is_nothing(counts, alpha):
    return _mixed(counts, alpha) if any(counts.values()) else dict.fromkeys(counts, 0.0)


@bank.wrong(
    "mixture_weights", "alpha is no factor of a logarithm of sums: count to the power alpha."
)
def mixed_with_even(counts, alpha):
    even = 1 / sum(v > 0 for v in counts.values()) if any(counts.values()) else 0
    return {k: alpha * v + (1 - alpha) * even * (v > 0) for k, v in _mixed(counts, 1.0).items()}


@bank.right("mixture_weights")
def with_logarithms(counts, alpha):
    return _mixed(counts, alpha, power=lambda v: math.exp(alpha * math.log(v)))


@bank.right("mixture_weights")
def with_tensors(counts, alpha):
    n = torch.tensor(list(counts.values()), dtype=torch.float64)
    p = torch.where(n > 0, n.clamp(min=1) ** alpha, torch.zeros_like(n))
    if not p.any():
        raise ValueError("nothing there")
    return dict(zip(counts, (p / p.sum()).tolist(), strict=True))


# --- contamination -------------------------------------------------------------------------------

_item = "which mast serves cell 41 now"
bank.probe(
    "contamination",
    call(["our mast serves cell 41 well"], [_item, "nothing of it"], 3),
    call([_item, "x y z"], [_item], 3), call(["which mast", "serves cell 41 now"], [_item], 3),
    call(["up up"], ["up up up up down"], 2), call(["Mast serves: CELL 41!"], [_item], 3),
    call([_item], ["mast serves", ""], 3), call([_item + " and so on"], [_item], 6),
)  # fmt: skip


def _cut(text, n, words=_words):
    words = words(text)
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _shares(train, test, n, cut=_cut, count=set, short=0.0, over=None):
    known = {run for text in train for run in cut(text, n)}
    out = []
    for item in test:
        own = count(cut(item, n))
        hits = sum(run in known for run in own)
        out.append(hits / (over or len(own)) if own else short)
    return out


@bank.wrong("contamination", "Runs of characters: everything overlaps. Take runs of words.")
def characters(train, test, n=13):
    return _shares(
        train, test, n, cut=lambda text, n: _cut(text, n, lambda t: [*" ".join(_words(t))])
    )


@bank.wrong("contamination", "You tell whether an item is hit at all; the share is asked for.")
def any_hit(train, test, n=13):
    return [float(share > 0) for share in _shares(train, test, n)]


@bank.wrong("contamination", "A run that the item repeats counts each time; it counts once.")
def repeats_count(train, test, n=13):
    return _shares(train, test, n, count=list)


@bank.wrong("contamination", "An item of fewer than n words has the share 0: it has no run.")
def short_items_count(train, test, n=13):
    known = " ".join(" ".join(_words(text)) for text in train)
    return [
        share if len(_words(item)) >= n else float(" ".join(_words(item)) in known)
        for share, item in zip(_shares(train, test, n), test, strict=True)
    ]


@bank.wrong("contamination", "Case and punctuation matter to you; take the words of words_of.")
def as_they_stand(train, test, n=13):
    return _shares(train, test, n, cut=lambda text, n: _cut(text, n, str.split))


@bank.wrong("contamination", "Runs go from one training text into the next: keep texts apart.")
def texts_joined(train, test, n=13):
    return _shares([" ".join(train)], test, n)


@bank.wrong("contamination", "The share is of the training text's runs; it is of the item's.")
def share_of_train(train, test, n=13):
    known = {run for text in train for run in _cut(text, n)}
    return [len(known & set(_cut(item, n))) / max(1, len(known)) for item in test]


@bank.wrong("contamination", "The last run of a text is missing.")
def last_run_missing(train, test, n=13):
    return _shares(train, test, n, cut=lambda text, n: _cut(text, n)[:-1])


@bank.right("contamination")
def with_sets(train, test, n=13):
    return _shares(train, test, n)


@bank.right("contamination")
def with_texts(train, test, n=13):
    lines = [f" {' '.join(_words(text))} " for text in train]
    found = []
    for item in test:
        runs = {f" {' '.join(run)} " for run in _cut(item, n)}
        hits = [run for run in runs if any(run in line for line in lines)]
        found.append(len(hits) / len(runs) if runs else 0.0)
    return found
