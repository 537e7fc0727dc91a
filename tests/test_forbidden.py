"""Which uses of a forbidden name are found, and which mentions are none."""

import pytest

from autograder.forbidden import used

NAME = "softmax"


@pytest.mark.parametrize("text", [
    "softmax(x)", "F.softmax(x)", "torch.nn.functional.softmax(x, -1)", "f = x.softmax",
    "from torch import softmax as s\ns(x)", "getattr(F, 'softmax')(x)",
    "operator.methodcaller('softmax')(x)", "import torch.nn.functional.softmax",
    "def f(x):\n    return [lambda: F.softmax]", "F.ｓoftmax(x)",
    "%matplotlib inline\nF.softmax(x)", "!ls 'it\nF.softmax(x)", "x = (\nsoftmax(x)",
])  # fmt: skip
def test_uses(text: str) -> None:
    assert used(text, [], [NAME, "argmax"]) == [NAME]


@pytest.mark.parametrize("text", [
    "# no softmax(x) here", "'softmax'", '"""No softmax."""', "mode = {'softmax': 1}['softmax']",
    "def softmax(x):\n    return x\nsoftmax(1)", "my_softmax(x)", "log_softmax(x)",
    "%time 1\n# softmax", "lambda softmax: softmax + 1", "(" * 500 + "x",
])  # fmt: skip
def test_mentions(text: str) -> None:
    assert used(text, [], [NAME]) == []


def test_helpers_count_where_they_are_reached() -> None:
    helpers = ["def one(x):\n    return two(x)", "import torch\nsoft = torch.softmax",
               "two = lambda x: soft(x)", "broken ="]  # fmt: skip
    assert used("def f(x):\n    return one(x)", helpers, [NAME]) == [NAME]
    assert used("def f(x):\n    return three(x)", helpers, [NAME]) == []


def test_a_helper_that_calls_itself_ends() -> None:
    assert used("f()", ["def f():\n    return f() or g()", "def g():\n    f(), softmax"],
                [NAME]) == [NAME]  # fmt: skip


@pytest.mark.parametrize("text", ["-" * 50_000, "(" * 50_000, "a" + ".b" * 50_000,
                                  "if a:\n pass\n" + "elif a:\n pass\n" * 5_000])  # fmt: skip
def test_hostile_texts_do_no_harm(text: str) -> None:
    assert used(text + "\n# softmax", [text], [NAME]) == []
