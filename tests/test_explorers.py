"""The explorers without a browser: their arithmetic against Python, options, directive, packaging.

node runs each module as the hosts do, as one text without imports, and answers the calls of the
golden table in tests/golden/NAME.json; integers must be equal, floats agree to 1e-9.
"""

import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bs4 import BeautifulSoup

from glassbox import counting, explore

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
NAMES = explore.names()
CALL = """
let text = "";
for await (const part of process.stdin) text += part;
const { source, calls } = JSON.parse(text);
const url = "data:text/javascript;base64," + Buffer.from(source).toString("base64");
const module = await import(url);
const answer = ({ call, args }) => module[call](...args.map((a) => (a?.call ? answer(a) : a)));
process.stdout.write(JSON.stringify(calls.map(answer)));
"""


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.stem}_under_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


write = load(GOLDEN / "write.py")
directive = load(ROOT / "book" / "_ext" / "explore.py")


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if not found and os.environ.get("CI") == "true":
        pytest.fail("the explorers must be tested in CI: node is not installed")
    if not found:
        pytest.skip("node is not installed")
    return found


def answers(node: str, name: str, calls: list[dict]) -> list[Any]:
    given = json.dumps({"source": explore.source(name), "calls": calls})
    command = [node, "--input-type=module", "--eval", CALL]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def differences(got: Any, expected: Any, where: str, rel: float = 1e-9) -> list[str]:
    """Where two values differ; of an object only the expected keys are compared."""
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return [f"{where}: {got!r} is no object"]
        pairs = [(got.get(key), value, f"{where}.{key}") for key, value in expected.items()]
    elif isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return [f"{where}: got {got!r}, expected {expected!r}"]
        pairs = [
            (a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(got, expected, strict=True))
        ]
    else:
        is_float = isinstance(expected, float) and isinstance(got, int | float)
        same = math.isclose(got, expected, rel_tol=rel, abs_tol=1e-12) if is_float else (
            got == expected and isinstance(got, bool) == isinstance(expected, bool)
        )  # fmt: skip
        return [] if same else [f"{where}: got {got!r}, expected {expected!r}"]
    return [line for a, b, place in pairs for line in differences(a, b, place, rel)]


def test_every_explorer_has_table_and_still_picture() -> None:
    assert NAMES
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(NAMES) == set(write.names())
    assert {path.stem for path in explore.FOLDER.glob("*.svg")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_javascript_agrees_with_python(node: str, name: str) -> None:
    calls = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert len(calls) >= 8
    got = answers(node, name, calls)
    wrong = [
        line
        for call, value in zip(calls, got, strict=True)
        for line in differences(value, call["value"], f"{call['call']}({call['args']})"[:200])
    ]
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_what_python_computes_now(name: str) -> None:
    stored = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    wrong = differences(stored, write.table(name), name, rel=1e-11)
    assert not wrong, "run python tests/golden/write.py:\n" + "\n".join(wrong[:20])


@pytest.mark.parametrize("name", NAMES)
def test_every_exported_function_has_golden_calls(name: str) -> None:
    text = (explore.FOLDER / f"{name}.js").read_text(encoding="utf-8")
    arithmetic = text.split("// --- what is shown")[0]
    exported = set(re.findall(r"^export (?:function (\w+)|const (\w+) = .*=>)", arithmetic, re.M))
    functions = {a or b for a, b in exported}
    called = {call["call"] for call in json.loads((GOLDEN / f"{name}.json").read_text())}
    assert functions
    assert functions - {"known", "allows"} == called & functions


def test_a_wrong_number_is_noticed() -> None:
    assert differences([1, 2.0], [1, 2.0 + 1e-8], "x")
    assert differences([1.0, 2], [1, 3], "x")
    assert differences(1, True, "x")
    assert differences(None, 1.0, "x")
    assert not differences([1.0, {"a": 2.0, "b": 1}], [1.0, {"a": 2.0 + 1e-12}], "x")


@pytest.mark.parametrize("name", NAMES)
def test_the_still_picture_is_the_default_state(node: str, name: str) -> None:
    fresh = directive.draw(name, explore.state(name, {}))
    assert directive.committed(name).read_text(encoding="utf-8") == fresh + "\n", (
        "run python book/_ext/explore.py"
    )


@pytest.mark.parametrize("name", NAMES)
def test_modules_are_small_and_look_at_nothing_outside(name: str) -> None:
    text = (explore.FOLDER / f"{name}.js").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert "import " not in explore.source(name).replace("neither", "")
    assert not re.search(r"fetch\(|https?://(?!www\.w3\.org)", text)


@pytest.mark.parametrize("name", NAMES)
def test_no_function_has_a_name_that_anywidget_calls(name: str) -> None:
    text = (explore.FOLDER / f"{name}.js").read_text(encoding="utf-8")
    assert not re.search(r"^export (const|function) (render|initialize)\b", text, re.M)


def test_every_preset_has_its_published_count() -> None:
    published = set(load(GOLDEN / "counting.py").PUBLISHED)
    option = explore.about("counting")["options"]["preset"]
    assert set(option["choices"]) - {"own"} == published


PRINTED = [  # preset, other options, what the explorer must print
    ("gpt2", {}, "124,439,808", "45.5 % of the model and 66.6 %"),
    ("gpt3", {}, "174,604,259,328", "66.4 % of the model"),
    ("llama2-7b", {}, "6,738,415,616", "64.2 % of the model and 66.8 %"),
    ("llama2-70b", {}, "68,976,648,192", "81.7 % of the model and 82.4 %"),
    ("llama3-8b", {}, "8,030,261,248", "70.2 % of the model and 80.8 %"),
    ("llama3.2-3b", {}, "3,212,749,824", "65.8 % of the model and 75.0 %"),
    ("mixtral", {}, "46,702,792,704", "12,879,925,248", "96.6 % of the model"),
    ("gpt2", {"guess": 124_439_808}, "count is <strong>right"),
    ("gpt2", {"guess": 85_054_464}, "count is <strong>the blocks, with biases and norms"),
    ("gpt2", {"guess": 163_037_184}, "38,597,376 too large", "which is the token table"),
    ("bert", {"guess": 109_480_704}, "One of 2 terms", "token-type rows", "after the embeddings"),
    ("llama3-8b", {"guess": 8_030_261_249}, "more than one is wrong"),
]
REMEMBERED = [
    ("llama2-7b", {"zero": "0"}, "107.81 GB", "(100.410 GiB)", "17.000 GiB"),
    ("llama2-7b", {"flash": False}, "97.000 GiB"),
    ("gpt2", {"batch": 8, "n_tokens": 1024, "checkpoint": True}, "0.141 GiB"),
    ("llama3-8b", {"n_gpus": 8, "zero": "1"}, "44.17 GB</strong> per GPU"),
    ("llama3-8b", {"n_gpus": 8, "zero": "2"}, "30.11 GB</strong> per GPU"),
    ("llama2-70b", {"n_gpus": 8, "zero": "3"}, "137.95 GB</strong> per GPU"),
    ("llama3-8b", {"train": "lora-all"}, "41,943,040", "0.522 % of the model", "= 0.67 GB"),
    ("llama2-7b", {"view": "serving"}, "13.48 GB; int8: 6.74 GB; 4.5 bit: 3.79 GB"),
    ("llama3-8b", {"view": "serving", "users": 32, "context": 8192}, "32.000 GiB", "50.42 GB"),
    ("llama3-8b", {"view": "serving", "users": 32, "context": 2000}, "7.30 ms, 4,385 tokens/s"),
    ("llama3.1-405b", {"view": "serving", "users": 1, "context": 131072}, "63.000 GiB"),
    (
        "llama3-70b",
        {"view": "serving", "gpu": "A100-80", "bits": "8"},
        "34.6 ms</strong> per token",
    ),
    ("bert", {"view": "serving"}, "An encoder keeps no cache", "0.22 GB"),
]


PAID = [
    ("gpt3", {}, "3.143e23 FLOPs", "MFU <strong>0.197", "add 2.77 %", "1.72 token"),
    ("gpt3", {"gpu": "A100", "mfu_low": 0.4, "mfu_high": 0.4}, "699,536 GPU-hours"),
    ("llama1-65b", {}, "5.484e23", "0.478", "$1.02 M to $2.04 M", "21.4 tokens per parameter"),
    ("llama1-7b", {}, "0.437", "$82.4 K to $165 K"),
    ("llama3.1-405b", {}, "0.346", "$30.8 M to $61.7 M", "38.4 tokens"),
    ("7b", {"mfu_low": 0.4, "mfu_high": 0.4}, "= 12,599 GPU-hours", "$12.6 K to $25.2 K"),
    ("telecom", {"gpu": "A100", "n_gpus": 1}, "7.227e18", "12.9 to 21.4 hours"),
    ("telecom", {"gpu": "H100", "n_gpus": 1, "mfu_high": 0.4, "mfu_low": 0.4, "train": "lora"},
     "4 · 8,030,261,248", "3.38 hours"),
]  # fmt: skip
PLANNED = [
    ({"compute": 1e18, "ratio": 20}, "91.3 M parameters", "1.83 B tokens"),
    ({"compute": 1e20, "ratio": 20}, "(6 · 20)) = 913 M parameters", "18.3 B tokens"),
    ({"compute": 5.76e23, "ratio": 20}, "69.3 B parameters", "1.39 T tokens", "beyond them"),
    ({"model": "llama3-8b"}, "1,868", "10.1 times smaller", "= 2.022", "18 % of this compute"),
    ({"model": "gpt3"}, "(6 · 1.72)) = 175 B parameters", "300 B tokens"),
]
LEARNED = [  # chapter 3
    ("bpe", {"text": "aaa aaaa"}, "(97, 97), seen <strong>5</strong> times", "id <strong>256"),
    ("bpe", {"step": 3}, "258 <code>·the</code>", "tokens per byte"),
    ("bpe", {"step": 900}, "No pair is left"),
    ("token_tax", {"language": "hi"}, "<strong>6.59</strong> times what English costs"),
    ("token_tax", {"language": "th"}, "Thai has no spaces", "about <strong>977</strong> words"),
    ("schedule", {}, "3e-4 · 0 / 100 = 0", "The first step changes nothing"),
    ("schedule", {"step": 550}, "(1 + cos(π · (550 − 100) / (1000 − 100))) / 2 = 1.65e-4"),
    ("schedule", {"step": 1100, "warmup": 5000}, "from n on: the floor = 3e-5"),
    ("schedule", {"kind": "constant", "step": 1100}, "the peak = 3e-4"),
    ("pipeline", {}, "3 / 7 = 42.9 %", "m = 9 · (p − 1) = 27", "all 4 micro-batches"),
    ("pipeline", {"kind": "naive"}, "3 / 4 = 75.0 %", "the work of <strong>1.00</strong>"),
    ("pipeline", {"kind": "1f1b", "n_micro": 27}, "3 / 30 = 10.0 %", "keeps 4 micro-batches"),
    ("doctor", {"curve": 2, "guess": "healthy"}, "<strong>No.</strong>", "Look again"),
    ("doctor", {"curve": 2, "guess": "overfitting"}, "<strong>Right.</strong>", "Sign:", "Cure:"),
    ("doctor", {"answers": '{"2": "overfitting", "3": "overfitting"}'}, "<strong>1</strong> of 2"),
    ("spans", {"sentence": "one two", "rate": 0.5}, "1 of 2 words hidden (50 %), in 1 span"),
    ("spans", {"sentence": ""}, "0 of 0 words"),
]
TUNED = [  # chapter 4
    ("mask", {"system": ""}, "<strong>12</strong> of 28 tokens", "12 padding places"),
    ("mask", {"system": "", "mistake": "pad"}, "<strong>10</strong> of 28", "Mask by position"),
    ("mask", {"mistake": "late"}, "should be: <code>E42</code> <code>Restart</code>"),
    ("mask", {"mistake": "last"}, "<strong>5</strong> of", "Nothing wrong is learnt"),
    ("mask", {"width": 8}, "all answers among them: the row trains nothing"),
    ("mask", {"system": "", "turns": 1, "user1": "<|end|>"}, "<strong>7</strong> of 16 tokens"),
    ("mask", {"view": "mark"}, "You marked 0: <strong>0</strong> right, 0 too many, 12 missing"),
    ("forgetting", {"rate": 4}, "Rate <strong>5e-3</strong>", "from 0.44 to", "forgets"),
    ("forgetting", {"rate": 4, "share": 3}, "Without replay it forgets", "takes back"),
    ("lora", {}, "8 · (288 + 96) = 3,072 of 27,648, 11 %", "65,536 of 16.8 M", "0.391 %"),
    ("lora", {"map": "ff_out", "rank": 96}, "46,080 of 36,864, 125 %", "as large at rank 77"),
    ("nf4", {}, "4 + 32 / 64 = 4.500 bits", "<strong>25 % more</strong>", "3.94 GB"),
    ("nf4", {"double": True}, "4 + 8 / 64 + 32 / (64 · 256) = 4.127 bits", "saves 0.373 bits"),
    ("nf4", {"weights": "outliers", "block": "65536"}, "13 of 16 levels get less than one"),
]
ALIGNED = [  # chapter 5
    ("ranking", {}, "together they put <strong>C</strong> first, the favourite of neither"),
    ("ranking", {"share": 0}, "Group 1 puts <strong>B</strong> first. First and last"),
    ("ranking", {"noise": 1, "votes": 200}, "(κ 0.00)"),
    ("dpo", {"pair": "start"}, "= 0.693", "whatever beta is", "−0.0500"),
    ("dpo", {}, "−ln σ(0.1 · 6) = 0.437", "while the chosen answer lost probability"),
    ("dpo", {"pair": "hoped"}, "−ln σ(0.1 · 6) = 0.437", "Moved both alike"),
    ("dpo", {"chosen": 1, "rejected": -1, "beta": 0.5}, "−ln σ(0.5 · 2) = 0.313"),
    ("dpo", {"kind": "smoothed"}, "It rests at margin <strong>22.0"),
    ("dpo", {"kind": "ipo"}, "(6 − 1 / (2 · 0.1))² = 1.000", "= <strong>5.000"),
    ("clip", {}, "min(1.40 · 1.0, 1.20 · 1.0) = 1.20", "enough for this batch"),
    ("clip", {"ratio": 1.5, "advantage": -1}, "· −1.0) = −1.50", "−1.50</strong>"),
    ("clip", {"ratio": 1.5, "advantage": -1, "rule": "clipped"}, "nothing calls it back"),
    ("clip", {"rule": "max"}, "without a limit", "PPO has it <strong>off"),
    ("gae", {}, "0.100 + 0.048 + 0.226 + 0.000 + 0.081 + 0.077 = 0.532"),
    ("gae", {"lam": 1}, "has <strong>Thank</strong>, 0.60", "no later value counts"),
    ("gae", {"lam": 0}, "largest advantage has <strong>Restart</strong>, 0.25", "= <strong>0.50"),
    ("gae", {"lam": 0, "off": 0.2}, "off by <strong>0.20</strong>", "varies by <strong>0.10"),
    ("hacking", {}, "KL weight <strong>0</strong>", "Gold was best in round", "is hacked"),
    ("hacking", {"weight": 2, "bias": 1}, "KL weight <strong>0.1</strong>, <strong>0</strong>"),
]
CLEANED = [  # chapter 6
    ("minhash", {"at": 0.7}, "(1 / 16)<sup>1/8</sup> = <strong>0.707", "= <strong>0.6133"),
    ("minhash", {"bands": 20, "rows": 5, "at": 0.3}, "<strong>0.549", "= <strong>0.0475"),
    ("minhash", {}, "share 12 of 16 shingles: Jaccard <strong>0.750", "“two then”", "“at three”"),
    ("minhash", {"one": "a b", "two": "A, b!"}, "share 1 of 1 shingle", "agree in 128 of 128"),
    ("minhash", {"one": "..."}, "no words, so there is nothing to compare"),
    ("mixture", {}, "60<sup>0.50</sup> / 402.2 = <strong>1.9", "385 M tokens", "<strong>0.587"),
    ("mixture", {"alpha": 0}, "At 0 all sources get the same share", "<strong>56\u00a0×"),
    ("mixture", {"alpha": 1}, "all are read equally often"),
    ("mixture", {"budget": 1_000_000}, "Even at alpha 1 something is read more than 4 times"),
    ("redaction", {}, "national id <code>121236-956J</code>", "28 of 31 values found", "0.90"),
    ("redaction", {"rules": "octets"}, "✗ False alarm: ip <code>999.999.999.999</code>"),
    ("redaction", {"rules": "edges", "sample": 5}, "✗ False alarm: ip <code>192.0.2.52</code>"),
    ("redaction", {"rules": "phones"}, "21 of 31 values", "precision <strong>1.00"),
    ("redaction", {"sample": 11}, "Missed: name <code>Alma Quist</code>, street", "No form tells"),
    ("redaction", {"text": "<b>"}, "Nothing is found", "This text is yours"),
    ("funnel", {}, "(for spam) drops", "are lost: 17 of the 18 that are not in English"),
    ("funnel", {"off": ["rules"]}, "<strong>rules</strong> is off", "<strong>2</strong> are lost"),
    ("funnel", {"at": "duplicates"}, "precision <strong>1.00</strong>, recall <strong>1.00"),
    ("funnel", {"ends": "mark", "at": "ends"}, "Dropped, but not for that: “"),
    ("before_after", {}, "Better in <strong>5 of 5</strong>", "is more than luck of the seed"),
    ("before_after", {"stage": 0}, "This is the stage it would be compared with"),
]
SAYS = (
    LEARNED
    + TUNED
    + ALIGNED
    + CLEANED
    + [("scaling", *row) for row in PLANNED]
    + [
        (name, {"preset": preset} | more, *texts)
        for name, rows in (("cost", PAID), ("counting", PRINTED), ("memory", REMEMBERED))
        for preset, more, *texts in rows
    ]
)


@pytest.mark.parametrize(("name", "given", "texts"), [(n, o, t) for n, o, *t in SAYS])
def test_explorers_print_what_the_course_says(
    node: str, name: str, given: dict, texts: list[str]
) -> None:
    state = explore.state(name, given)
    settled = {"call": "settle", "args": [state]}
    has_rules = re.search(r"^export (const|function) settle", explore.source(name), re.M)
    (shown,) = answers(node, name, [{"call": "view", "args": [settled if has_rules else state]}])
    for text in texts:
        assert text in shown["summary"]


def test_a_page_depends_on_the_data_of_its_explorer() -> None:
    assert {path.name for path in explore.files("memory")} == {
        "kit.css", "kit.js", "memory.js", "memory.svg", "models.json",
    }  # fmt: skip
    assert {path.name for path in explore.files("memri")} == {"kit.css", "kit.js"}


def test_a_whole_number_may_be_written_with_an_exponent() -> None:
    given = explore.state("memory", {"n_params": "7e9"})["n_params"]
    assert (given, type(given)) == (7_000_000_000, int)
    assert explore.state("cost", {"mfu_low": 0.25})["mfu_low"] == 0.25


def test_the_explorers_models_are_those_of_glassbox() -> None:
    models = json.loads((explore.FOLDER / "models.json").read_text(encoding="utf-8"))
    families = {"gpt2": "gpt", "mixtral": "llama"}
    same = ("n_layers", "d_model", "d_ff", "n_heads", "n_kv_heads", "d_head", "vocab_size",
            "context_len", "tied")  # fmt: skip
    assert {model["name"] for model in models.values()} == set(counting.MODELS)
    for key, model in models.items():
        known = counting.MODELS[model["name"]].filled()
        assert {name: getattr(known, name) for name in same}.items() <= model.items(), key
        assert model["family"] == families.get(known.family, known.family)
        assert model["total"] == counting.count(known)["total"]
        assert model["active"] == counting.active(known)


# --- options ---------------------------------------------------------------------------------


def test_options_are_checked_and_completed() -> None:
    state = explore.state("attention", {"layer": 1, "query": "3", "painted": '["0,0"]'})
    assert state["layer"] == "1"
    assert state["query"] == 3
    assert state["painted"] == ["0,0"]
    assert state["mask"] == "causal"


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("atention", {}, r"no explorer 'atention'.*There are: .*attention"),
        ("kit", {}, "no explorer 'kit'"),
        ("attention", {"layr": 1}, r"no option 'layr'. It has: sentence, .*layer"),
        ("attention", {"layer": 7}, "layer must be one of 0, 1, not 7"),
        ("attention", {"query": 99}, "query must be from 0 to 13, not 99"),
        ("attention", {"query": True}, "query must be from 0 to 13, not True"),
        ("attention", {"painted": "3"}, r"painted must look like \[\]"),
    ],
)
def test_a_wrong_option_names_the_right_ones(name: str, given: dict, message: str) -> None:
    with pytest.raises(explore.ExploreError, match=message):
        explore.state(name, given)


def test_a_preset_and_its_own_numbers_exclude_each_other() -> None:
    assert explore.state("counting", {"n_layers": 24})["preset"] == "own"
    assert explore.state("counting", {"preset": "own", "n_layers": 24})["n_layers"] == 24
    with pytest.raises(explore.ExploreError, match="give preset or n_layers, not both"):
        explore.state("counting", {"preset": "gpt3", "n_layers": 24})


def test_notebook_widgets_have_a_trait_per_option() -> None:
    pytest.importorskip("anywidget")
    import anywidget

    for name in NAMES:
        options = explore.about(name)["options"]
        taken = set(options) & set(dir(anywidget.AnyWidget))
        assert not taken, f"{name}: {taken} would hide parts of the widget"
        widget = getattr(explore, name)()
        assert {key: getattr(widget, key) for key in options} == explore.state(name, {})
    assert explore.attention(layer=1).layer == "1"
    warm = explore.sampling()
    warm.temperature = 1.05  # as a slider will
    assert warm.temperature == 1.05
    with pytest.raises(AttributeError, match="There are: "):
        explore.atention  # noqa: B018
    assert set(NAMES) <= set(dir(explore))


# --- directive -------------------------------------------------------------------------------


CONF = """
import sys
sys.path.insert(0, {ext!r})
extensions = ["myst_parser", "explore"]
html_static_path = ["_static"]
numfig = True
"""


def build(folder: Path, text: str, other: str = "# Other") -> tuple[str, str]:
    """Build a page and one beside it -> the HTML of both; a warning is an error."""
    (folder / "conf.py").write_text(CONF.format(ext=str(ROOT / "book" / "_ext")))
    (folder / "index.md").write_text(f"# Page\n\n{text}\n\n```{{toctree}}\nother\n```\n")
    (folder / "other.md").write_text(f"{other}\n")
    (folder / "_static").mkdir()
    shutil.copy(ROOT / "book" / "_static" / "explore.js", folder / "_static")
    out = folder / "out"
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(folder), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return (out / "index.html").read_text(), (out / "other.html").read_text()


def test_the_directive_puts_an_explorer_on_the_page(tmp_path: Path) -> None:
    once = "```{explore} attention\n```"
    again = "```{explore} attention\n:mask: sliding\n:window: 2\nWhat does *it* read?\n```"
    page, other = build(tmp_path, f"{once}\n\n{again}")
    soup = BeautifulSoup(page, "html.parser")
    first, second = soup.select("figure > .ex-box")
    assert json.loads(first["data-state"]) == explore.state("attention", {})
    assert json.loads(second["data-state"])["window"] == 2
    scripts = soup.select("script[data-module]")
    assert [script["data-module"] for script in scripts] == ["attention"]
    assert json.loads(scripts[0].string) == explore.source("attention")
    captions = [" ".join(c.get_text().split()) for c in soup.select("figure > figcaption")]
    assert "Predict first. Which word" in captions[0]
    assert "Predict first. What does it read?" in captions[1]
    for box in (first, second):
        picture = box.select_one(".ex-still svg")
        assert picture["role"] == "img"
        assert len(picture["aria-label"]) > 40
        assert not picture.select("[tabindex], [role], [data-press]")
    assert str(first.select_one("svg")) != str(second.select_one("svg"))
    assert soup.select('script[src*="explore.js"]')
    assert "explore.js" not in other
    assert "explore.css" not in other


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```{explore} atention\n```", "no explorer 'atention'. There are: .*attention"),
        ("```{explore} attention\n:layr: 1\n```", "no option 'layr'. It has: sentence"),
        ("```{explore} attention\n:mask: diagonal\n```", "must be one of causal, sliding"),
    ],
)
def test_a_wrong_directive_stops_the_build_with_the_valid_names(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(RuntimeError, match=rf"index.md:3:.*{message}"):
        build(tmp_path, text)


def test_the_still_picture_is_that_of_the_chosen_preset(node: str) -> None:
    drawn = directive.draw("counting", explore.state("counting", {"preset": "llama3-8b"}))
    assert "8,030,261,248 parameters" in drawn


def test_without_node_the_default_picture_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directive.shutil, "which", lambda name: None)
    state = explore.state("attention", {"mask": "full"})
    drawn = directive.Explore.picture(None, "attention", state)
    assert drawn == directive.committed("attention").read_text(encoding="utf-8")


def test_the_example_of_contributing_is_an_explorer(
    node: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    module = re.search(r"```js\n(.*?)```", text, re.S)[1]
    table = re.search(r"```py\n(.*?)```", text, re.S)[1]
    page = re.search(r"````markdown\n(.*?)````", text, re.S)[1]
    folder = tmp_path / "explorers"
    shutil.copytree(explore.FOLDER, folder)
    (folder / "half.js").write_text(module, encoding="utf-8")
    monkeypatch.setattr(explore, "FOLDER", folder)
    given = {}
    exec(table, given)
    calls = [{"call": call, "args": args, "value": value} for call, args, value in given["cases"]()]
    assert answers(node, "half", calls) == [call["value"] for call in calls]
    assert ":n: 3" in page
    assert "0.125 is left" in directive.draw("half", explore.state("half", {"n": "3"}))
