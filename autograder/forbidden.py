"""Say which names that an exercise does not allow an answer uses, for the teacher to look at.

`used` looks at an answer and at those of the student's own functions that it reaches. It reads the
syntax tree, so that a comment which mentions a name is no use; what does not parse is read token by
token. `imports_ours` looks for our own packages. Nothing is executed, and nobody loses points here:
a name put together at run time is not found, and a person has to judge what is.
"""

import ast
import io
import re
import tokenize
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable

OURS = ("solutions", "autograder")  # packages in which an answer has nothing to look for
IMPORT = re.compile(r"[ \t]*+(?:from|import)[ \t]++(?:[\w., \t]*[, \t])?(solutions|autograder)\b"
                    r"|.*(?:__import__|import_module)\([ \t]*+[\"'](solutions|autograder)\b"
                    )  # fmt: skip
LOOKUPS = {"getattr", "attrgetter", "methodcaller", "__getattribute__"}
MAX_HELPERS = 1_000_000  # characters of a student's own cells that are parsed


def used(answer: str, helpers: Iterable[str], names: Collection[str]) -> list[str]:
    """Those of `names` that an answer uses itself or through definitions in `helpers`."""
    helpers = list(helpers)
    if not any(_may_hold(text, names) for text in (answer, *helpers)):
        return []
    tree = _parsed(answer)
    if tree is None:
        return [n for n in names if n in _tokens(answer)]
    defined = _definitions(helpers)
    todo, found = [tree], set()
    while todo:
        tree = todo.pop()
        found |= _mentioned(tree)
        for name in {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} & defined.keys():
            todo += defined.pop(name)
    return [n for n in names if n in found]


def imports_ours(source: str) -> str:
    """The first of our own packages that a cell imports, or nothing."""
    for line in source.split("\n") if _may_hold(source, OURS) else ():
        found = IMPORT.match(line) if _may_hold(line, OURS) else None
        if found:
            return found[1] or found[2]
    return ""


def _may_hold(source: str, names: Collection[str]) -> bool:
    """A quick no for nearly all cells. Python reads identifiers in the normal form NFKC."""
    text = source if source.isascii() else unicodedata.normalize("NFKC", source)
    return any(name in text for name in names)


def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _definitions(helpers: list[str]) -> dict[str, list[ast.stmt]]:
    """The top-level statements of a student's own cells by the names that they bind."""
    defined, read = defaultdict(list), 0
    for text in helpers:
        read += len(text)
        tree = _parsed(text) if read <= MAX_HELPERS else None
        for node in tree.body if tree else ():
            for name in _binds(node):
                defined[name].append(node)
    return defined


def _binds(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Import() | ast.ImportFrom():
            return {alias.asname or alias.name for alias in node.names}
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            return {n.id for n in ast.walk(node)
                    if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}  # fmt: skip
    return set()


def _mentioned(tree: ast.AST) -> set[str]:
    """Names that are looked up: bare ones unless defined right here, attributes, imports."""
    found, own = set(), set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                own.add(node.name)
            case ast.Name(id=name, ctx=ast.Load()):
                found.add(name)
            case ast.Name(id=name) | ast.arg(arg=name):
                own.add(name)
    found -= own
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name):
                found.add(name)
            case ast.alias(name=name):
                found.add(name.rpartition(".")[2])
            case ast.Call(func=ast.Name(id=how) | ast.Attribute(attr=how)) if how in LOOKUPS:
                found |= {a.value for a in node.args
                          if isinstance(a, ast.Constant) and isinstance(a.value, str)}  # fmt: skip
    return found


def _tokens(source: str) -> set[str]:
    """The names in a text that is no Python, such as a cell with magics."""
    found = set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NAME:
                found.add(token.string)
    except (tokenize.TokenError, SyntaxError, ValueError):  # read the rest as it stands
        bare = re.sub(r"#.*", "", source)
        found |= set(re.findall(r"\w+", bare))
    return found
