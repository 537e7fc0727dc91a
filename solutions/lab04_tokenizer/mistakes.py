"""The mistake bank of lab 4: what learners get wrong, what they read, and other right versions.

Most wrong versions are the right one with one of its decisions exchanged; `_train` and `_encode` are
written with such switches.
"""

import functools
import itertools
import math
from collections import Counter, defaultdict

import regex

from autograder.bank import Bank, call
from glassbox.bank import made
from glassbox.parts import byte_chunks

bank = Bank("lab04_tokenizer")
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


# --- pre_tokenize ----------------------------------------------------------------------------

bank.probe(
    "pre_tokenize",
    call("The link is down"), call("error 404, again!"), call("The link's  down \n"),
    call("größer 10000 AB12 WE'LL"), call("''s it's\n\n x_y"), call(""),
)  # fmt: skip


@bank.wrong("pre_tokenize", "The white space is gone: joined, the pieces are not the text.")
def split_at_spaces(text):
    return text.split()


@bank.wrong("pre_tokenize", "The white space is gone: joined, the pieces are not the text.")
def stripped(text):
    return [p.strip() for p in regex.findall(PATTERN, text) if p.strip()]


@bank.wrong("pre_tokenize", "Spaces are pieces of their own; one belongs to the word that follows.")
def spaces_alone(text):
    return regex.findall(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}+|[^\s\p{L}\p{N}]+|\s+", text)


@bank.wrong("pre_tokenize", "The space belongs to the word that follows, not to the one before.")
def space_behind(text):
    return regex.findall(r"\p{L}+ ?|\p{N}+ ?|[^\s\p{L}\p{N}]+ ?|\s+", text)


@bank.wrong("pre_tokenize", "You split at spaces alone; punctuation and digits are other pieces.")
def words_with_their_signs(text):
    return regex.findall(r" ?\S+|\s+(?!\S)|\s+", text)


@bank.wrong("pre_tokenize", "The text is one piece; the pattern should cut it.")
def one_piece(text):
    return [text] if text else []


@bank.wrong("pre_tokenize", "The text comes out in lower case; decoding could not undo that.")
def lower_case(text):
    return regex.findall(PATTERN, text.lower())


@bank.wrong(
    "pre_tokenize", "Only a to z are letters for you; the pattern has letters of any script."
)
def ascii_letters(text):
    return regex.findall(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", text
    )


@bank.wrong("pre_tokenize", "You split digits into groups of three; GPT-2's pattern takes all.")
def digits_by_three(text):
    return regex.findall(PATTERN.replace(r"\p{N}+| ?[", r"\p{N}{1,3}| ?["), text)


@bank.wrong("pre_tokenize", "The last white space before a word is not left for the word.")
def no_lookahead(text):
    return regex.findall(PATTERN.replace(r"\s+(?!\S)|", ""), text)


@bank.right("pre_tokenize")
def by_finditer(text):
    return [match.group() for match in regex.finditer(PATTERN, text)]


@bank.right("pre_tokenize")
def match_by_match(text):
    pieces, at = [], 0
    while at < len(text):
        match = regex.compile(PATTERN).match(text, at)
        pieces.append(match[0])
        at = match.end()
    return pieces


# --- pair_counts -----------------------------------------------------------------------------

bank.probe(
    "pair_counts",
    call({(1, 2, 3): 1}), call({(1, 2, 3): 5, (2, 3): 2, (4,): 3}), call({(1, 2, 1, 2): 3}),
    call({(7, 7, 7): 1}), call({(300, 300, 300, 300): 2, (1, 2): 1}), call({}),
)  # fmt: skip


@bank.wrong("pair_counts", "Each word counts as often as it occurs.")
def frequency_ignored(words):
    return Counter(p for w in words for p in itertools.pairwise(w))


@bank.wrong("pair_counts", "A pair that stands twice in a word counts twice; you count it once.")
def once_per_word(words):
    counts = Counter()
    for word, n in words.items():
        for pair in set(itertools.pairwise(word)):
            counts[pair] += n
    return counts


@bank.wrong("pair_counts", "(7, 7, 7) holds (7, 7) at two places, even though they overlap.")
def without_overlap(words):
    counts = Counter()
    for word, n in words.items():
        i = 0
        while i < len(word) - 1:
            counts[word[i], word[i + 1]] += n
            same_again = i + 2 < len(word) and word[i] == word[i + 1] == word[i + 2]
            i += 2 if same_again else 1
    return counts


@bank.wrong("pair_counts", "You step over two ids at a time; every id but the last begins a pair.")
def steps_of_two(words):
    counts = Counter()
    for word, n in words.items():
        for i in range(0, len(word) - 1, 2):
            counts[word[i], word[i + 1]] += n
    return counts


@bank.wrong("pair_counts", "The last pair of each word is missing.")
def last_pair_missing(words):
    counts = Counter()
    for word, n in words.items():
        for i in range(len(word) - 2):
            counts[word[i], word[i + 1]] += n
    return counts


@bank.wrong(
    "pair_counts", "You count pairs across words: the end of one with the start of the next."
)
def across_words(words):
    row, counts = [], Counter()
    for word, n in words.items():
        row += [(i, n) for i in word]
    for (a, n), (b, _) in itertools.pairwise(row):
        counts[a, b] += n
    return counts


@bank.wrong("pair_counts", "A later word overwrites the count of an earlier one; counts add up.")
def overwritten(words):
    counts = {}
    for word, n in words.items():
        for pair, times in Counter(itertools.pairwise(word)).items():
            counts[pair] = times * n
    return counts


@bank.wrong("pair_counts", "(1, 2) and (2, 1) are two pairs; you count them as one.")
def without_order(words):
    counts = Counter()
    for word, n in words.items():
        for a, b in itertools.pairwise(word):
            counts[min(a, b), max(a, b)] += n
    return counts


@bank.wrong("pair_counts", "You count single ids, not pairs of neighbours.")
def singles(words):
    counts = Counter()
    for word, n in words.items():
        for i in word:
            counts[i] += n
    return counts


@bank.right("pair_counts")
def by_a_plain_dict(words):
    counts = {}
    for word in words:
        for i in range(1, len(word)):
            pair = (word[i - 1], word[i])
            counts[pair] = counts.get(pair, 0) + words[word]
    return counts


@bank.right("pair_counts")
def by_a_sum_of_counters(words):
    counts = defaultdict(int)
    for word, n in words.items():
        for pair, times in Counter(itertools.pairwise(word)).items():
            counts[pair] += times * n
    return counts


# --- merge_pair ------------------------------------------------------------------------------

bank.probe(
    "merge_pair",
    call([1, 2, 3, 1, 2], (1, 2), 9), call([3, 2, 1], (1, 2), 9), call([97, 97, 97], (97, 97), 256),
    call([5, 5, 5, 5], (5, 5), 5), call([1, 2, 2], (1, 2), 1), call([], (1, 2), 9),
)  # fmt: skip


@bank.wrong("merge_pair", "You replaced three letters by two tokens of two.")
def overlapping(ids, pair, new_id):
    merged, skip = [], False
    for i, x in enumerate(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
            skip = True
        elif skip:
            skip = False
        else:
            merged.append(x)
    return merged


@bank.wrong("merge_pair", "The pair's second id stays behind the new one.")
def second_stays(ids, pair, new_id):
    return [new_id if tuple(ids[i : i + 2]) == pair else x for i, x in enumerate(ids)]


@bank.wrong("merge_pair", "Only the first occurrence is merged.")
def first_only(ids, pair, new_id):
    for i in range(len(ids) - 1):
        if tuple(ids[i : i + 2]) == pair:
            return [*ids[:i], new_id, *ids[i + 2 :]]
    return list(ids)


@bank.wrong("merge_pair", "The last id is lost where no pair ends the list.")
def last_lost(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids) - 1:
        found = tuple(ids[i : i + 2]) == pair
        merged.append(new_id if found else ids[i])
        i += 2 if found else 1
    return merged


@bank.wrong("merge_pair", "You merge what the pass has written once more; it is one pass.")
def again_and_again(ids, pair, new_id):
    merged = []
    for x in ids:
        merged.append(x)
        for _ in range(len(ids)):
            if tuple(merged[-2:]) != pair:
                break
            merged[-2:] = [new_id]
    return merged


@bank.wrong("merge_pair", "You merge from right to left: [97, 97, 97] becomes [97, 256].")
def from_the_right(ids, pair, new_id):
    merged, i = [], len(ids)
    while i > 0:
        found = i > 1 and (ids[i - 2], ids[i - 1]) == pair
        merged.insert(0, new_id if found else ids[i - 1])
        i -= 2 if found else 1
    return merged


@bank.wrong("merge_pair", "The pair counts in either order for you; (2, 1) is another pair.")
def any_order(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        found = tuple(ids[i : i + 2]) in (pair, pair[::-1])
        merged.append(new_id if found else ids[i])
        i += 2 if found else 1
    return merged


@bank.wrong("merge_pair", "You change the caller's list; give a new one.")
def in_place(ids, pair, new_id):
    i = 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new_id]
        i += 1
    return ids


@bank.wrong("merge_pair", "Your loop skips the id behind an id that is not merged.")
def always_two_on(ids, pair, new_id):
    merged = []
    for i in range(0, len(ids), 2):
        two = ids[i : i + 2]
        merged += [new_id] if tuple(two) == pair else two
    return merged


@bank.right("merge_pair")
def by_an_iterator(ids, pair, new_id):
    merged, held = [], None
    for x in ids:
        if held is not None and (held, x) == tuple(pair):
            merged.append(new_id)
            held = None
            continue
        if held is not None:
            merged.append(held)
        held = x
    return merged if held is None else [*merged, held]


@bank.right("merge_pair")
def by_a_copy(ids, pair, new_id):
    ids, i = list(ids), 0
    while i + 1 < len(ids):
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            ids[i] = new_id
            del ids[i + 1]
        i += 1
    return ids


# --- train_bpe -------------------------------------------------------------------------------

bank.probe(
    "train_bpe",
    call("ab ab ab abc", 257), call("aaa", 258), call("ef.ef.ef.xyxy", 257),
    call("ab ab ab abc", 258), call("cd ab", 259), call("zy éx, zy wv", 264), call("a.b.a.b.", 260),
    call("ab ab ab abc", 262),
    call("ab<|end|>ab<|end|>abc", 258, ("<|end|>",)), call("ab", 256, ("<|end|>",)),
    call("ab<|end|>uvcd<|end|>ef(.)xy", 300, ("<|end|>", "<|end|>uv", "(.)")), call("ab\ud800", 257),
)  # fmt: skip


def _smallest(counts, vocab):
    return min(counts, key=lambda pair: (-counts[pair], pair))


def _at(special, longest_first=True, escape=True):
    if longest_first:
        special = sorted(special, key=len, reverse=True)
    return "|".join(map(regex.escape, special) if escape else special)


def _cut(text, special, **how):
    return regex.split(_at(special, **how), text) if special else [text]


def _pairs(words):
    counts = Counter()
    for word, n in words.items():
        for pair in itertools.pairwise(word):
            counts[pair] += n
    return counts


def _train(
    text, vocab_size, special=(), *, cut=_cut, pieces=None, to_ids=None, count=_pairs,
    choose=_smallest, merge=by_a_copy, least=1, refuse=True, reserve=None, first_special=None,
):  # fmt: skip
    if refuse and vocab_size < 256 + len(special):
        raise ValueError("too small")
    pieces = pieces or (lambda part: regex.findall(PATTERN, part))
    to_ids = to_ids or (lambda piece: tuple(piece.encode()))
    words = Counter(to_ids(piece) for part in cut(text, special) for piece in pieces(part))
    vocab, merges = {b: bytes([b]) for b in range(256)}, []
    room = vocab_size - 256 - (len(special) if reserve is None else reserve)
    while len(merges) < room:
        counts = count(words)
        if not counts or max(counts.values()) < least:
            break
        a, b = choose(counts, vocab)
        new = 256 + len(merges)
        vocab[new] = vocab[a] + vocab[b]
        merges.append((vocab[a], vocab[b]))
        merged = Counter()
        for word, n in words.items():
            merged[tuple(merge(list(word), (a, b), new))] += n
        words = merged
    start = len(vocab) if first_special is None else first_special
    for j, token in enumerate(special):
        vocab[start + j] = token.encode()
    return vocab, merges


@bank.wrong("train_bpe", "A token contains the end of one word and the start of the next.")
def across_pieces(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens, pieces=lambda part: [part])


@bank.wrong("train_bpe", "Each word counts as often as it occurs.")
def words_counted_once(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens, count=lambda w: _pairs(dict.fromkeys(w, 1)))


@bank.wrong(
    "train_bpe", "Your result depends on the order of the text; the rule is the smallest pair."
)
def ties_by_order(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens, choose=lambda c, _: max(c, key=c.get))


@bank.wrong("train_bpe", "Among equals you take the largest pair; the rule is the smallest.")
def ties_largest(text, vocab_size, special_tokens=()):
    return _train(
        text, vocab_size, special_tokens, choose=lambda c, _: max(c, key=lambda p: (c[p], p))
    )


@bank.wrong("train_bpe", "Among equals you compare bytes; the rule compares ids.")
def ties_by_bytes(text, vocab_size, special_tokens=()):
    def choose(counts, vocab):
        return min(counts, key=lambda p: (-counts[p], vocab[p[0]], vocab[p[1]]))

    return _train(text, vocab_size, special_tokens, choose=choose)


@bank.wrong("train_bpe", "Among equals you take the smaller second id before the smaller first id.")
def ties_by_second(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens,
                  choose=lambda c, _: min(c, key=lambda p: (-c[p], p[::-1])))  # fmt: skip


@bank.wrong("train_bpe", "You merge the rarest pair; the most frequent one comes first.")
def rarest_first(text, vocab_size, special_tokens=()):
    return _train(
        text, vocab_size, special_tokens, choose=lambda c, _: min(c, key=lambda p: (c[p], p))
    )


@bank.wrong("train_bpe", "You stop at pairs that occur once; merging goes on while a pair occurs.")
def stops_at_count_one(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens, least=2)


@bank.wrong("train_bpe", "Your vocabulary is larger than asked.")
def specials_not_counted(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens, reserve=0)


@bank.wrong("train_bpe", "vocab_size is the number of all entries; you make that many merges.")
def as_many_merges(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens, reserve=len(special_tokens) - 256)


@bank.wrong("train_bpe", "One merge too few: vocab_size entries are allowed.")
def one_too_few(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens, reserve=len(special_tokens) + 1)


@bank.wrong("train_bpe", "Special tokens are not cut out: their letters are counted as text.")
def specials_counted_as_text(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens, cut=lambda text, _: [text])


@bank.wrong("train_bpe", "What stands before and after a special token is glued together.")
def specials_removed(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens, cut=lambda *a: ["".join(_cut(*a))])


@bank.wrong(
    "train_bpe", "Where two special tokens fit, the longest should win; the first given does."
)
def first_given_wins(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens,
                  cut=functools.partial(_cut, longest_first=False))  # fmt: skip


@bank.wrong("train_bpe", "Special tokens have no entry in your vocabulary.")
def specials_forgotten(text, vocab_size, special_tokens=()):
    vocab, merges = _train(text, vocab_size, special_tokens)
    return {i: vocab[i] for i in range(256 + len(merges))}, merges


@bank.wrong(
    "train_bpe", "The special tokens stand at the end of vocab_size; they follow the merges."
)
def specials_at_the_end(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens,
                  first_special=vocab_size - len(special_tokens))  # fmt: skip


@bank.wrong("train_bpe", "No error where vocab_size has no room for the bytes and special tokens.")
def never_refuses(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens, refuse=False)


@bank.wrong("train_bpe", "A letter that is no ASCII is dropped or replaced; every byte counts.")
def ascii_only(text, vocab_size, special_tokens=()):
    return _train(text.encode("ascii", "ignore").decode(), vocab_size, special_tokens)


@bank.wrong("train_bpe", "You replaced three letters by two tokens of two.")
def merges_overlap(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens, merge=overlapping)


@bank.wrong("train_bpe", "Merges are pairs of bytes; you give pairs of ids.")
def merges_as_ids(text, vocab_size, special_tokens=()):
    vocab, merges = _train(text, vocab_size, special_tokens)
    ids = {token: i for i, token in reversed(vocab.items())}
    return vocab, [(ids[a], ids[b]) for a, b in merges]


@bank.right("train_bpe")
def by_counting_anew(text, vocab_size, special_tokens=()):
    return _train(text, vocab_size, special_tokens)


@bank.right("train_bpe")
def by_what_has_changed(text, vocab_size, special_tokens=()):
    """Only words that held the merged pair are counted again."""
    n_merges = vocab_size - 256 - len(special_tokens)
    if n_merges < 0:
        raise ValueError(vocab_size)
    pieces = Counter(p for part in _cut(text, special_tokens) for p in regex.findall(PATTERN, part))
    words, times = [list(p.encode()) for p in pieces], list(pieces.values())
    counts, where = Counter(), defaultdict(set)

    def enter(i, sign):
        for pair in itertools.pairwise(words[i]):
            counts[pair] += sign * times[i]
            where[pair].add(i)

    for i in range(len(words)):
        enter(i, 1)
    vocab, merges = [bytes([b]) for b in range(256)], []
    for _ in range(n_merges):
        counts = +counts
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append((vocab[best[0]], vocab[best[1]]))
        for i in where.pop(best):
            enter(i, -1)
            words[i] = by_a_copy(words[i], best, len(vocab))
            enter(i, 1)
        vocab.append(b"".join(merges[-1]))
    return dict(enumerate(vocab + [s.encode() for s in special_tokens])), merges


# --- encode ----------------------------------------------------------------------------------

_net = [(b"n", b"e"), (b"e", b"t"), (b"ne", b"t"), (b" ", b"net")]
_two = ("<|a|>", "<|b|>")
bank.probe(
    "encode",
    call("net", _net), call("net et", _net), call("et et et net", _net), call("enenet", _net),
    call("ooo", [(b"o", b"o")]), call("a t", [(b"a", b" "), (b" ", b"t")]), call("é📶", []),
    call("abc", [(b"b", b"c"), (b"a", b"b")]),
    call("abc", [(b"b", b"c"), (b"a", b"b"), (b"a", b"bc")]), call("", _net),
    call("net<|a|>net", _net, ("<|a|>",)), call("<|b|>x<|a|>", [], _two), call("<|b|>", [(b"b", b"|")]),
    call("<|a|>+(.)", [], ("<|a|>", "<|a|>+", "(.)")), call("ab\ud800", []),
)  # fmt: skip


def _replay(tokens, merges):
    for a, b in merges:
        i = 0
        while i < len(tokens) - 1:
            if (tokens[i], tokens[i + 1]) == (a, b):
                tokens[i : i + 2] = [a + b]
            i += 1
    return tokens


def _single(piece):
    return [bytes([b]) for b in piece.encode()]


def _encode(text, merges, special=(), *, pieces=None, tokens=None, known=None, split=None,
            first=256, after=None, order=None):  # fmt: skip
    tokens = tokens or (lambda piece: _replay(_single(piece), merges))
    pieces = pieces or (lambda part: regex.findall(PATTERN, part))
    ids = {bytes([b]): b for b in range(256)}
    ids |= {a + b: first + i for i, (a, b) in enumerate(merges)}
    start = 256 + len(merges) if after is None else after
    marks = {token: start + j for j, token in enumerate(order(special) if order else special)}
    split = split or (lambda text: regex.split(f"({_at(special)})", text) if special else [text])
    found = []
    for part in split(text):
        if part in marks:
            found.append(marks[part])
        else:
            found += [ids[t] for piece in pieces(part) for t in tokens(piece)]
    return found


@bank.wrong("encode", "A merge crosses pieces: pre_tokenize is missing.")
def encode_across_pieces(text, merges, special_tokens=()):
    return _encode(text, merges, special_tokens, pieces=lambda part: [part])


@bank.wrong("encode", "Encoding must replay the merges in the order they were learned.")
def most_frequent_in_the_text(text, merges, special_tokens=()):
    counts = Counter(p for piece in regex.findall(PATTERN, text)
                     for p in itertools.pairwise(_single(piece)))  # fmt: skip
    order = sorted(merges, key=lambda pair: -counts[pair])
    return _encode(
        text, merges, special_tokens, tokens=lambda piece: _replay(_single(piece), order)
    )


@bank.wrong(
    "encode", "You take the longest token that fits; the merges should be replayed in order."
)
def longest_match(text, merges, special_tokens=()):
    known = {a + b for a, b in merges}

    def tokens(piece):
        data, found = piece.encode(), []
        while data:
            n = max(n for n in range(1, len(data) + 1) if n == 1 or data[:n] in known)
            found.append(data[:n])
            data = data[n:]
        return found

    return _encode(text, merges, special_tokens, tokens=tokens)


@bank.wrong("encode", "You merge from left to right as pairs come; the lowest rank comes first.")
def leftmost_first(text, merges, special_tokens=()):
    known = set(merges)

    def tokens(piece):
        found, i = _single(piece), 0
        while i < len(found) - 1:
            if (found[i], found[i + 1]) in known:
                found[i : i + 2] = [found[i] + found[i + 1]]
                i = 0
            else:
                i += 1
        return found

    return _encode(text, merges, special_tokens, tokens=tokens)


@bank.wrong("encode", "You replay the merges backwards: the first one learned comes first.")
def last_learned_first(text, merges, special_tokens=()):
    def tokens(piece):
        found = _single(piece)
        for _ in found:
            found = _replay(found, merges[::-1])
        return found

    return _encode(text, merges, special_tokens, tokens=tokens)


@bank.wrong(
    "encode", "Each merge is done once in a piece; it should be done wherever the pair stands."
)
def one_of_each(text, merges, special_tokens=()):
    def tokens(piece):
        found = _single(piece)
        for pair in merges:
            for i in range(len(found) - 1):
                if (found[i], found[i + 1]) == pair:
                    found[i : i + 2] = [found[i] + found[i + 1]]
                    break
        return found

    return _encode(text, merges, special_tokens, tokens=tokens)


@bank.wrong("encode", "You merge from right to left where a pair overlaps itself.")
def rightmost_first(text, merges, special_tokens=()):
    def tokens(piece):
        found = _single(piece)
        for a, b in merges:
            i = len(found) - 1
            while i > 0:
                if i < len(found) and (found[i - 1], found[i]) == (a, b):
                    found[i - 1 : i + 1] = [a + b]
                i -= 1
        return found

    return _encode(text, merges, special_tokens, tokens=tokens)


@bank.wrong("encode", "The end-of-turn mark came out as five tokens.")
def specials_split(text, merges, special_tokens=()):
    return _encode(text, merges, split=lambda text: [text])


@bank.wrong("encode", "A letter never seen in training has no id.")
def characters(text, merges, special_tokens=()):
    return _encode(text, merges, special_tokens,
                   tokens=lambda piece: _replay([c.encode() for c in piece], merges))  # fmt: skip


@bank.wrong("encode", "You give code points; a letter beyond ASCII is two or more bytes.")
def code_points(text, merges, special_tokens=()):
    ids = {a + b: 256 + i for i, (a, b) in enumerate(merges)}
    ids |= {token.encode(): 256 + len(merges) + j for j, token in enumerate(special_tokens)}
    parts = regex.split(f"({_at(special_tokens)})", text) if special_tokens else [text]
    found = []
    for part in parts:
        pieces = [part] if part in special_tokens else regex.findall(PATTERN, part)
        for piece in pieces:
            tokens = [piece.encode()] if part in special_tokens else _replay(
                [c.encode(errors="surrogatepass") for c in piece], merges)  # fmt: skip
            found += [ids[t] if t in ids else ord(t.decode(errors="surrogatepass")) for t in tokens]
    return found


@bank.wrong("encode", "The ids of merges begin at 256; yours begin at 257.")
def from_257(text, merges, special_tokens=()):
    return _encode(text, merges, special_tokens, first=257)


@bank.wrong("encode", "Special tokens have their ids right after the bytes; the merges come first.")
def specials_before_merges(text, merges, special_tokens=()):
    return _encode(text, merges, special_tokens, first=256 + len(special_tokens), after=256)


@bank.wrong("encode", "Your special tokens have ids in another order than they are given in.")
def specials_in_order(text, merges, special_tokens=()):
    return _encode(
        text, merges, special_tokens, order=lambda s: sorted(s, key=lambda x: (-len(x), x))[::-1]
    )


@bank.wrong("encode", "Special tokens are dropped from the text; each is one id.")
def specials_dropped(text, merges, special_tokens=()):
    return _encode(text, merges, split=lambda text: _cut(text, special_tokens))


@bank.wrong("encode", "Where two special tokens fit, the longest should win; the first given does.")
def encode_first_given(text, merges, special_tokens=()):
    def split(text):
        at = _at(special_tokens, longest_first=False)
        return regex.split(f"({at})", text) if special_tokens else [text]

    return _encode(text, merges, special_tokens, split=split)


@bank.wrong("encode", "A lone surrogate passes or is replaced; str.encode would raise.")
def surrogates_pass(text, merges, special_tokens=()):
    return _encode(text.encode("utf-8", "replace").decode(), merges, special_tokens)


@bank.right("encode")
def by_replaying(text, merges, special_tokens=()):
    return _encode(text, merges, special_tokens)


@bank.right("encode")
def by_lowest_rank(text, merges, special_tokens=()):
    """Ids all the way, the text read from left to right."""
    ids = {bytes([b]): b for b in range(256)}
    table = {}
    for i, (a, b) in enumerate(merges):
        table[ids[a], ids[b]] = ids[a + b] = 256 + i
    longest = sorted(special_tokens, key=len, reverse=True)

    def plain(part):
        for piece in regex.findall(PATTERN, part):
            row = list(piece.encode())
            while True:
                ranked = [
                    (table.get(p, math.inf), i) for i, p in enumerate(itertools.pairwise(row))
                ]
                new, i = min(ranked, default=(math.inf, 0))
                if new == math.inf:
                    break
                row[i : i + 2] = [new]
            yield from row

    found, begin, at = [], 0, 0
    while at < len(text):
        token = next((t for t in longest if text.startswith(t, at)), None)
        if token is None:
            at += 1
            continue
        found += [*plain(text[begin:at]), 256 + len(merges) + list(special_tokens).index(token)]
        begin = at = at + len(token)
    return found + list(plain(text[begin:]))


for _exercise, _names in (("train_bpe", "special_tokens"), ("encode", "special")):
    bank.equivalent(
        _exercise,
        f"sorted({_names}, key=len, reverse=True)  =>  sorted({_names}, reverse=True)",
        "a text stands behind its beginning in both orders",
    )
bank.equivalent("encode", "1  =>  0", "one round more, in which nothing is left to merge")


# --- decode ----------------------------------------------------------------------------------

_words = {b: bytes([b]) for b in range(256)} | {256: b"net", 257: b"\x93\xb6", 258: b"<|end|>"}
bank.probe(
    "decode",
    call([256, 32, 256], _words), call([195, 169], _words), call([240, 159, 257, 33], _words),
    call([110, 195], _words), call([258, 110], _words), call([], _words), call([7], {0: b"a"}),
)  # fmt: skip


@bank.wrong("decode", "A character split over two tokens turns into two replacement marks.")
def token_by_token(ids, vocab):
    return "".join(vocab[i].decode("utf-8", "replace") for i in ids)


@bank.wrong("decode", "Half a character raises an exception; it should become U+FFFD.")
def strict(ids, vocab):
    return b"".join(vocab[i] for i in ids).decode()


@bank.wrong("decode", "Half a character is dropped without a trace; it should become U+FFFD.")
def ignoring(ids, vocab):
    return b"".join(vocab[i] for i in ids).decode("utf-8", "ignore")


@bank.wrong(
    "decode", "You read bytes as Latin-1: each byte beyond ASCII becomes a letter of its own."
)
def latin(ids, vocab):
    return b"".join(vocab[i] for i in ids).decode("latin-1")


@bank.wrong("decode", "You put spaces between tokens; a token holds its own space.")
def with_spaces(ids, vocab):
    return b" ".join(vocab[i] for i in ids).decode("utf-8", "replace")


@bank.wrong("decode", "The text keeps Python's backslashes where a character is cut.")
def backslashes(ids, vocab):
    return b"".join(vocab[i] for i in ids).decode("utf-8", "backslashreplace")


@bank.wrong("decode", "The result is bytes; it should be text.")
def no_text(ids, vocab):
    return b"".join(vocab[i] for i in ids)


@bank.wrong("decode", "An id without an entry is skipped; it should be a KeyError.")
def unknown_skipped(ids, vocab):
    return b"".join(vocab.get(i, b"") for i in ids).decode("utf-8", "replace")


@bank.right("decode")
def through_a_bytearray(ids, vocab):
    data = bytearray()
    for i in ids:
        data += vocab[i]
    return str(data, "utf-8", "replace")


@bank.right("decode")
def by_a_sum(ids, vocab):
    data = functools.reduce(lambda text, i: text + vocab[i], ids, b"")
    return data.decode(errors="replace")


# --- wordpiece_score -------------------------------------------------------------------------

bank.probe("wordpiece_score", call(20, 40, 50), call(5, 5, 7), call(3, 9, 4))


@bank.wrong("wordpiece_score", "You divide by the sum of the counts; it is their product.")
def by_the_sum(pair_count, first_count, second_count):
    return pair_count / (first_count + second_count)


@bank.wrong("wordpiece_score", "You give the count of the pair, which is BPE's choice.")
def count_alone(pair_count, first_count, second_count):
    return float(pair_count)


@bank.wrong(
    "wordpiece_score", "Parentheses: you divide by the first count and multiply by the second."
)
def no_parentheses(pair_count, first_count, second_count):
    return pair_count / first_count * second_count


@bank.wrong("wordpiece_score", "You divide by one count only; both parts lower the score.")
def first_only_counts(pair_count, first_count, second_count):
    return pair_count / first_count


@bank.wrong("wordpiece_score", "You give the logarithm of the score.")
def logarithm(pair_count, first_count, second_count):
    return math.log(pair_count / (first_count * second_count))


@bank.wrong("wordpiece_score", "You round to a whole number: // or int() is one step too much.")
def whole(pair_count, first_count, second_count):
    return float(pair_count // (first_count * second_count))


@bank.right("wordpiece_score")
def in_two_steps(pair_count, first_count, second_count):
    return pair_count / first_count / second_count


@bank.right("wordpiece_score")
def through_logarithms(pair_count, first_count, second_count):
    return math.exp(math.log(pair_count) - math.log(first_count) - math.log(second_count))


# --- unigram_best_split ----------------------------------------------------------------------

_lock = {"un": -1.0, "lock": -2.0, "unlock": -4.0, "u": -3.0, "n": -3.0}
bank.probe(
    "unigram_best_split",
    call("unlock", _lock), call("unlock", _lock | {"unlock": -2.5}),
    call("aaaa", {"a": -1.0, "aaaa": -9.0, "aa": -3.0}),
    call("abc", {"a": -4.0, "bc": -4.0, "ab": -1.0, "c": -6.5, "abc": -9.0, "b": -1.0}),
    call("aab", {"a": -5.0, "aa": -1.0, "ab": -2.0}), call("", _lock), call("lot", _lock),
)  # fmt: skip


def _splits(word, table):
    if not word:
        yield []
    for n in range(1, len(word) + 1):
        if word[:n] in table:
            for rest in _splits(word[n:], table):
                yield [word[:n], *rest]


def _chosen(word, table, score):
    """Of all splits of a short word the one of the best score; long ones are not tried."""
    if len(word) > 20:
        raise ValueError("too many splits")
    return max(_splits(word, table), key=score)


@bank.wrong(
    "unigram_best_split", "You take the longest token that fits; the best sum may cut earlier."
)
def longest_first(word, log_probs):
    tokens = []
    while word:
        n = max((n for n in range(1, len(word) + 1) if word[:n] in log_probs), default=0)
        if not n:
            raise ValueError(word)
        tokens.append(word[:n])
        word = word[n:]
    return tokens


@bank.wrong("unigram_best_split", "You take the likeliest token that fits next; the sum counts.")
def likeliest_next(word, log_probs):
    tokens = []
    while word:
        fits = [word[:n] for n in range(1, len(word) + 1) if word[:n] in log_probs]
        if not fits:
            raise ValueError(word)
        tokens.append(max(fits, key=log_probs.get))
        word = word[len(tokens[-1]) :]
    return tokens


@bank.wrong(
    "unigram_best_split",
    "You take the split of fewest tokens; the sum of log-probabilities counts.",
)
def fewest(word, log_probs):
    return _chosen(word, log_probs, lambda s: -len(s))


@bank.wrong("unigram_best_split", "You take the worst split: the largest sum is the one nearest 0.")
def worst(word, log_probs):
    return _chosen(word, log_probs, lambda s: -sum(log_probs[t] for t in s))


@bank.wrong("unigram_best_split", "You compare means; the sum of log-probabilities counts.")
def mean(word, log_probs):
    return _chosen(word, log_probs, lambda s: sum(log_probs[t] for t in s) / max(len(s), 1))


@bank.wrong(
    "unigram_best_split", "You multiply log-probabilities; their sum is the log of the product."
)
def product_of_logs(word, log_probs):
    return _chosen(word, log_probs, lambda s: math.prod(log_probs[t] for t in s))


@bank.wrong("unigram_best_split", "The tokens come out in reverse order.")
def backwards(word, log_probs):
    return by_all_ends(word, log_probs)[::-1]


@bank.wrong(
    "unigram_best_split", "Where no split exists you give something; it should be a ValueError."
)
def never_refused(word, log_probs):
    try:
        return by_all_ends(word, log_probs)
    except ValueError:
        return [word]


@bank.wrong("unigram_best_split", "You cut into two tokens at most; there may be more.")
def two_at_most(word, log_probs):
    splits = [[word]] if word in log_probs else []
    splits += [[word[:i], word[i:]] for i in range(1, len(word))
               if word[:i] in log_probs and word[i:] in log_probs]  # fmt: skip
    return max(splits, key=lambda s: sum(log_probs[t] for t in s)) if word else []


@bank.right("unigram_best_split")
def by_all_ends(word, log_probs):
    n = len(word)
    best, last = [0.0] + [-math.inf] * n, [0] * (n + 1)
    for j in range(1, n + 1):
        for i in range(j):
            total = best[i] + log_probs.get(word[i:j], -math.inf)
            if total > best[j]:
                best[j], last[j] = total, i
    if best[n] == -math.inf:
        raise ValueError(word)
    tokens = []
    while n:
        tokens.insert(0, word[last[n] : n])
        n = last[n]
    return tokens


@bank.right("unigram_best_split")
def by_recursion(word, log_probs):
    @functools.cache
    def best(i):
        if i == len(word):
            return 0.0, ()
        found = []
        for token, p in log_probs.items():
            if word.startswith(token, i):
                total, tokens = best(i + len(token))
                found.append((p + total, (token, *tokens)))
        return max(found, default=(-math.inf, ()))

    total, tokens = best(0)
    if total == -math.inf:
        raise ValueError("no split")
    return list(tokens)


bank.equivalent("unigram_best_split", "1  =>  0", "no token ends where the word begins")
bank.equivalent("unigram_best_split", "1  =>  2  (#3)", "one end more, which is not asked for")
for _start in ("1.0", "-1.0"):
    bank.equivalent("unigram_best_split", f"0.0  =>  {_start}", "the same is added to all sums")


# --- token_tax -------------------------------------------------------------------------------

_texts = {
    "th": ["สายหลุด", "ไม่มี สัญญาณ"],
    "en": ["the link is down", "no  signal"],
    "de": ["ja", "kein Netz, größer"],
}
bank.probe("token_tax", call({"en": ["the line"], "de": ["Leitung"]}, made(byte_chunks, 1)),
           call(_texts, made(byte_chunks, 3)), call(_texts, made(byte_chunks, 5)))  # fmt: skip


def _tax(texts, encode, *, size=lambda s: len(s.encode()), words=lambda s: len(s.split()),
         base=None, total=sum, cut=None, names=("tokens_per_word", "bytes_per_token", "ratio"),
         turn=lambda x: x):  # fmt: skip
    def tokens(rows):
        return cut(rows) if cut else total([len(encode(s)) for s in rows])

    english = base(texts, tokens) if base else tokens(texts["en"])
    return {
        name: dict(zip(names, (tokens(rows) / total([words(s) for s in rows]),
                               turn(total([size(s) for s in rows]) / tokens(rows)),
                               tokens(rows) / english), strict=True))
        for name, rows in texts.items()
    }  # fmt: skip


@bank.wrong("token_tax", "You count characters; a letter of Thai has three bytes.")
def characters_for_bytes(texts, encode):
    return _tax(texts, encode, size=len)


@bank.wrong("token_tax", "The ratio is the other way round: tokens over those of English.")
def ratio_turned(texts, encode):
    table = _tax(texts, encode)
    return {name: row | {"ratio": 1 / row["ratio"]} for name, row in table.items()}


@bank.wrong("token_tax", "You give tokens per byte; asked are bytes per token.")
def tokens_per_byte(texts, encode):
    return _tax(texts, encode, turn=lambda x: 1 / x)


@bank.wrong(
    "token_tax", "The ratio compares tokens per word; the same message is what is compared."
)
def ratio_per_word(texts, encode):
    table = _tax(texts, encode)
    english = table["en"]["tokens_per_word"]
    return {n: row | {"ratio": row["tokens_per_word"] / english} for n, row in table.items()}


@bank.wrong("token_tax", "You average the ratios of sentences; asked is the ratio of the sums.")
def mean_of_ratios(texts, encode):
    table = _tax(texts, encode)
    for name, rows in texts.items():
        each = [len(encode(a)) / len(encode(b)) for a, b in zip(rows, texts["en"], strict=True)]
        table[name]["ratio"] = sum(each) / len(each)
    return table


@bank.wrong(
    "token_tax", "You encode all sentences of a language as one text; each is encoded alone."
)
def joined(texts, encode):
    return _tax(texts, encode, cut=lambda rows: len(encode("".join(rows))))


@bank.wrong("token_tax", "The first language is your base; English is, wherever it stands.")
def first_is_the_base(texts, encode):
    return _tax(texts, encode, base=lambda texts, tokens: tokens(next(iter(texts.values()))))


@bank.wrong(
    "token_tax", "Words are counted by their spaces; split() counts runs of any white space as one."
)
def words_by_spaces(texts, encode):
    return _tax(texts, encode, words=lambda s: len(s.split(" ")))


@bank.wrong("token_tax", "The ratio compares bytes per token; asked are the tokens themselves.")
def ratio_of_bytes_per_token(texts, encode):
    table = _tax(texts, encode)
    english = table["en"]["bytes_per_token"]
    return {n: row | {"ratio": english / row["bytes_per_token"]} for n, row in table.items()}


@bank.right("token_tax")
def by_sums(texts, encode):
    return _tax(texts, encode)


@bank.right("token_tax")
def sentence_by_sentence(texts, encode):
    sums = {}
    for name in texts:
        sums[name] = [0, 0, 0]
        for sentence in texts[name]:
            sums[name][0] += len(encode(sentence))
            sums[name][1] += len(sentence.split())
            sums[name][2] += len(bytes(sentence, "utf-8"))
    table = {}
    for name, (n_tokens, n_words, n_bytes) in sums.items():
        table[name] = {
            "ratio": n_tokens / sums["en"][0],
            "bytes_per_token": n_bytes / n_tokens,
            "tokens_per_word": n_tokens / n_words,
        }
    return table
