"""TRL and PEFT against the same by hand; one test for each library name, so that a new version
that changes one breaks here and says where."""

import copy
import re
from dataclasses import fields, replace
from itertools import islice
from operator import attrgetter
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
import tiktoken
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassbox import assistant, huggingface
from glassbox.huggingface import Row
from glassbox.models import GPT, IGNORED, GPTConfig
from glassbox.telecom.questions import base_text, messages, questions
from glassbox.tokenizer import tokenizer as course_tokenizer

SMALL = GPTConfig(n_layers=2, d_model=32, n_heads=4, vocab_size=50, context_len=64, bias=False)
SOURCE = Path(huggingface.__file__).read_text(encoding="utf-8")


def noisy(config: GPTConfig = SMALL, seed: int = 0) -> GPT:
    """A model whose every parameter, biases too, is away from its start."""
    generator = torch.Generator().manual_seed(seed)
    model = GPT(config).eval()
    model.reset(generator)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model


def some_rows(*lengths: int, seed: int = 1, vocab_size: int = 50) -> list[Row]:
    """Rows of random ids; the first third of each and one token in its middle are no answer."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for n in lengths:
        mask = [int(t >= n // 3 and t != 2 * n // 3) for t in range(n)]
        rows.append((torch.randint(1, vocab_size, (n,), generator=generator).tolist(), mask))
    return rows


def by_hand(model: GPT, rows: list[Row]) -> Tensor:
    """One row after another: the prices of trained tokens, summed, over their number."""
    total, n = torch.zeros(()), 0
    for ids, mask in rows:
        ids, mask = torch.tensor([ids]), torch.tensor(mask[1:]).bool()
        price = F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="none")
        total, n = total + price[mask].sum(), n + int(mask.sum())
    return total / n


# --- the names we use --------------------------------------------------------------------------

NAMES = """
    trl.SFTConfig trl.SFTTrainer trl.SFTTrainer.compute_loss
    peft.LoraConfig peft.get_peft_model peft.prepare_model_for_kbit_training
    peft.PeftModel.get_nb_trainable_parameters
    transformers.GPT2Config transformers.GPT2LMHeadModel transformers.LlamaConfig
    transformers.LlamaForCausalLM transformers.PreTrainedTokenizerFast
    transformers.PreTrainedTokenizerFast.apply_chat_template transformers.PreTrainedModel
    transformers.PrinterCallback transformers.pytorch_utils.Conv1D
    transformers.AutoTokenizer.from_pretrained transformers.AutoModelForCausalLM.from_pretrained
    transformers.BitsAndBytesConfig
    datasets.Dataset.from_list datasets.disable_progress_bars
    tokenizers.Tokenizer tokenizers.AddedToken tokenizers.Regex tokenizers.models.BPE
    tokenizers.models.WordLevel tokenizers.pre_tokenizers.Split tokenizers.pre_tokenizers.Sequence
    tokenizers.pre_tokenizers.ByteLevel tokenizers.decoders.ByteLevel
    tokenizers.processors.TemplateProcessing
    transformers.utils.logging.set_verbosity_error transformers.utils.logging.disable_progress_bar
""".split()


@pytest.mark.parametrize("name", NAMES)
def test_the_library_has(name: str) -> None:
    package, rest = name.split(".", 1)
    assert callable(attrgetter(rest)(pytest.importorskip(package)))


def test_no_name_is_forgotten() -> None:
    used = set(re.findall(r"\b((?:trl|peft|transformers|datasets)\.[\w.]+)\(", SOURCE))
    used |= {f"tokenizers.{name}" for name in re.findall(r"\bhf\.([A-Za-z_.]+)\(", SOURCE)}
    assert len(used) > 15
    assert sorted(used - set(NAMES)) == []


@pytest.mark.parametrize("setting", """
    use_cpu bf16 activation_checkpointing report_to save_strategy disable_tqdm logging_steps
    max_length seed packing packing_strategy assistant_only_loss per_device_train_batch_size
    learning_rate max_steps num_train_epochs warmup_steps lr_scheduler_type max_grad_norm
    weight_decay train_sampling_strategy
""".split())  # fmt: skip
def test_sft_config_has(setting: str) -> None:
    trl = huggingface._library("trl")
    assert setting in {field.name for field in fields(trl.SFTConfig)}


@pytest.mark.parametrize("name", ["transformers", "trl", "peft"])
def test_the_versions_are_those_pinned(name: str) -> None:
    pinned = Path("requirements.txt").read_text(encoding="utf-8")
    assert f"\n{name}=={huggingface.TESTED[name]}\n" in pinned
    assert huggingface._library(name).__version__ == huggingface.TESTED[name]


def test_trl_and_peft_are_used_here_alone() -> None:
    places = [*Path("glassbox").rglob("*.py"), *Path("autograder").rglob("*.py")]
    line = re.compile(r"^\s*(from|import) (trl|peft)\b", re.M)
    users = [p.name for p in places if line.search(p.read_text(encoding="utf-8"))]
    assert users == ["huggingface.py"]


def test_what_is_missing_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert huggingface.missing() == ""
    monkeypatch.setattr(huggingface, "find_spec", lambda name: name == "transformers" or None)
    assert huggingface.missing() == ("This part needs trl and peft, not installed here. "
                                     "Type: pip install trl==1.16.0 peft==0.21.2")  # fmt: skip
    with pytest.raises(ImportError, match=r"^This part needs peft, .*install peft==0\.21\.2$"):
        huggingface.trainable(nn.Linear(2, 2))
    with pytest.raises(ImportError, match="This part needs trl"):
        huggingface.sft_loss(huggingface.to_gpt2(noisy()), some_rows(5))


def test_a_library_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("cannot import name 'x'")

    monkeypatch.setattr(huggingface.importlib, "import_module", broken)
    with pytest.raises(ImportError, match=r"trl is installed but does not load .* trl==1\.16\.0"):
        huggingface._library("trl")


# --- models ------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{}, {"bias": True}, {"tied": False, "d_ff": 48},
                                    {"gelu": "exact"}], ids=str)  # fmt: skip
def test_our_model_as_a_gpt2(change: dict) -> None:
    model = noisy(replace(SMALL, **change))
    theirs = huggingface.to_gpt2(model)
    ids = torch.tensor([some_rows(20)[0][0]])
    assert (theirs(ids).logits - model(ids)).abs().max() < 1e-5
    if not change:
        trained = sum(p.numel() for p in theirs.parameters() if p.requires_grad)
        assert trained == sum(p.numel() for p in model.parameters())


def test_grouped_heads_are_no_gpt2() -> None:
    with pytest.raises(ValueError, match="as many key heads"):
        huggingface.to_gpt2(GPT(replace(SMALL, n_kv_heads=2)))


def test_an_untrained_llama() -> None:
    a, b = (huggingface.to_llama(SMALL, seed=3) for _ in range(2))
    ids = torch.arange(9)[None]
    assert torch.equal(a(ids).logits, b(ids).logits)
    assert not torch.equal(a(ids).logits, huggingface.to_llama(SMALL, seed=4)(ids).logits)


# --- tokenizer and labels ----------------------------------------------------------------------

SPECIAL = ["<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"]


@pytest.fixture(scope="module")
def encoding() -> tiktoken.Encoding:
    """Bytes, some tokens that can be cut in two ways, and some over bytes of Thai and emoji."""
    words = ["er", "re", "ere", "th", "the", " the", "here", "he", "99", " 9", "\n\n", "in", "ing"]
    tokens = [bytes([b]) for b in range(256)] + [w.encode() for w in words]
    tokens += ["ค".encode()[:2], "ค".encode(), "😀".encode()[:2], "😀".encode()]
    return tiktoken.Encoding(
        "small", pat_str=r" ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
        special_tokens={name: len(tokens) + i for i, name in enumerate(SPECIAL)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(encoding: tiktoken.Encoding) -> Any:
    return huggingface.to_tokenizer(encoding)


TEXTS = ["there, the herethere 999 99", "ครับ 😀 naïve ☕️", " a  b\n\n\n c\t ", "", "in the ering"]


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokenizer_cuts_as_tiktoken(encoding: tiktoken.Encoding, tokenizer: Any,
                                        text: str) -> None:  # fmt: skip
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids == encoding.encode_ordinary(text)
    assert tokenizer.decode(ids) == text


def test_ids_of_special_tokens(encoding: tiktoken.Encoding, tokenizer: Any) -> None:
    for name in SPECIAL:
        assert tokenizer.convert_tokens_to_ids(name) == encoding.encode_single_token(name)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|bos|>", "<|end|>", "<|pad|>")  # fmt: skip


DIALOGUES = {
    "one turn": ["user: there 999?", "assistant: the ering 😀."],
    "a system text": ["system: in the", "user: here", "assistant: there "],
    "an empty system text": ["system: ", "user: here", "assistant: ครับ"],
    "two turns": ["user: a", "assistant: b", "user:  c\n", "assistant:  d"],
    "an empty answer": ["user: a", "assistant: ", "user: b", "assistant: the"],
    "the customer last": ["user: a", "assistant: b", "user: the"],
}


def dialogue(lines: list[str]) -> list[dict[str, str]]:
    return [dict(zip(("role", "content"), line.split(": ", 1), strict=True)) for line in lines]


@pytest.mark.parametrize("name", DIALOGUES)
def test_labels_of_trl(encoding: tiktoken.Encoding, tokenizer: Any, name: str) -> None:
    """Ids and mask put together by hand: the answer and the end after it are trained."""
    special = encoding.encode_single_token
    expected, trained = [special("<|bos|>")], [False]
    for message in dialogue(DIALOGUES[name]):
        says = [*encoding.encode_ordinary(message["content"]), special("<|end|>")]
        expected += [special(f"<|{message['role']}|>"), *says]
        trained += [False] + [message["role"] == "assistant"] * len(says)
    ids, labels = huggingface.sft_labels(dialogue(DIALOGUES[name]), tokenizer)
    assert ids.tolist() == expected
    assert labels.tolist() == [
        i if on else IGNORED for i, on in zip(expected, trained, strict=True)
    ]
    assert huggingface.rows([dialogue(DIALOGUES[name])], tokenizer) == [
        (expected, [int(on) for on in trained])]  # fmt: skip


def test_a_second_bos_comes_from_text(tokenizer: Any) -> None:
    """A rendered template that is tokenized as text gets another bos: the page warns of it."""
    messages = dialogue(DIALOGUES["one turn"])
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    right = tokenizer.apply_chat_template(messages)["input_ids"]
    assert tokenizer(text)["input_ids"] == [tokenizer.bos_token_id, *right]


# --- the loss ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [(12,), (9, 30, 5, 17, 17)])
def test_loss_of_trl(lengths: tuple[int, ...]) -> None:
    model, rows = noisy(), some_rows(*lengths)
    ours = by_hand(model, rows)
    assert abs(huggingface.sft_loss(model, rows) - ours) < 1e-5
    assert abs(huggingface.sft_loss(huggingface.to_gpt2(model), rows) - ours) < 1e-5


def test_gradient_of_trl() -> None:
    model, rows = noisy(), some_rows(9, 30, 5)
    theirs = huggingface.to_gpt2(model)
    huggingface.sft_loss(theirs, rows).backward()
    by_hand(model, rows).backward()
    theirs = theirs.transformer.h[1].mlp.c_fc.weight.grad.T
    assert (theirs - model.blocks[1].ff_in.weight.grad).abs().max() < 1e-5


def test_nothing_to_train_costs_nothing() -> None:
    assert huggingface.sft_loss(noisy(), [([1, 2, 3], [0, 0, 0])]) == 0


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_packing(kind: str) -> None:
    """Laid side by side ("bfd") rows cost what they cost alone; cut from one string they do not."""
    rows = some_rows(9, 30, 5, 17, 17)
    model = huggingface.to_gpt2(noisy()) if kind == "gpt2" else huggingface.to_llama(SMALL)
    if kind == "llama":
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(3)
    alone = huggingface.sft_loss(model, rows)
    packed = huggingface.sft_loss(model, rows, packing="bfd", context_len=40)
    wrapped = huggingface.sft_loss(model, rows, packing="wrapped", context_len=40)
    assert abs(packed - alone) < 1e-5
    assert abs(wrapped - alone) > 1e-3


def test_what_leaks_when_rows_are_wrapped() -> None:
    """Only the second row is trained; the first one changes, and so does the second's price."""
    (first, _), (second, mask) = some_rows(10, 10)
    other = [(i + 7) % 50 for i in first]
    model = huggingface.to_gpt2(noisy())
    change = {
        packing: abs(
            huggingface.sft_loss(model, [(first, [0] * 10), (second, mask)], packing, 20)
            - huggingface.sft_loss(model, [(other, [0] * 10), (second, mask)], packing, 20)
        ).item()
        for packing in ("bfd", "wrapped")
    }
    assert change["bfd"] < 1e-6
    assert change["wrapped"] > 1e-3


def test_the_model_is_left_as_it_was() -> None:
    theirs = huggingface.to_gpt2(noisy())
    huggingface.sft_loss(theirs, some_rows(9))
    assert "forward" not in vars(theirs)


# --- training ----------------------------------------------------------------------------------


def loop(model: GPT, rows: list[Row], n: int, lrs: list[float]) -> list[float]:
    """Fine-tuning by hand over slices of n rows, clipped at 1."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer, losses = torch.optim.AdamW(trained, weight_decay=0.0), []
    for step, lr in enumerate(lrs):
        at = step * n % len(rows)
        loss = by_hand(model, rows[at : at + n])
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def adapters(model: nn.Module) -> list[Tensor]:
    return [p for name, p in model.named_parameters() if "lora_" in name]


def test_training_of_trl() -> None:
    rows = some_rows(9, 30, 5, 17, 17, 12, 8, 8)
    ours, theirs = noisy(), noisy()
    wave = [(1 + torch.tensor(torch.pi * s / 6).cos().item()) / 2 for s in range(6)]
    expected = loop(ours, rows, 2, [1e-2 * w for w in wave])
    losses = huggingface.train_sft(theirs, rows, rows_per_step=2, lr=1e-2, steps=6)
    assert losses == pytest.approx(expected, abs=1e-5)
    assert losses[-1] < losses[0]
    ids = torch.tensor([rows[1][0]])
    assert (ours(ids) - theirs(ids)).abs().max() < 1e-2  # the weights came back


def test_warm_up_of_trl_begins_at_zero() -> None:
    rows = some_rows(9, 12)
    losses = huggingface.train_sft(noisy(), rows * 2, rows_per_step=2, lr=1e-2, warm_up=2)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)  # the first step moved nothing


def test_weight_decay_of_trl_leaves_out_biases_and_norms() -> None:
    theirs = huggingface.to_gpt2(noisy(replace(SMALL, bias=True)))
    with huggingface._trainer(theirs, huggingface._dataset(some_rows(5))) as trainer:
        decayed = set(trainer.get_decay_parameter_names(theirs))
    matrices = {name for name, p in theirs.named_parameters() if p.ndim == 2}
    assert decayed == matrices | {"lm_head.weight"}  # which is the token table


def test_training_of_trl_with_peft() -> None:
    """Only the adapters move; the trained weight is the old one and the product of both."""
    rows = some_rows(9, 12, 9, 12)
    adapted = huggingface.lora(huggingface.to_gpt2(noisy()), ("c_attn",), rank=4, alpha=8)
    layer = adapted.base_model.model.transformer.h[0].attn.c_attn
    before = layer.base_layer.weight.clone()
    losses = huggingface.train_sft(adapted, rows, rows_per_step=4, lr=1e-2, steps=8)
    assert losses[-1] < losses[0]
    assert torch.equal(layer.base_layer.weight, before)
    assert layer.lora_B["default"].weight.abs().max() > 0


def test_lora_in_our_model_and_in_a_gpt2() -> None:
    """PEFT in our model with a loop by hand, PEFT in GPT-2 with TRL: the same losses."""
    rows = some_rows(9, 30, 5, 17, 12, 12)
    ours = huggingface.lora(noisy(), ("qkv", "ff_in"), rank=4, alpha=8)
    theirs = huggingface.lora(huggingface.to_gpt2(noisy()), ("c_attn", "c_fc"), rank=4, alpha=8)
    with torch.no_grad():
        for mine, other in zip(adapters(ours), adapters(theirs), strict=True):
            other.copy_(mine)
    expected = loop(ours, rows, 2, [1e-2] * 6)
    losses = huggingface.train_sft(theirs, rows, 2, lr=1e-2, steps=6, schedule="constant")
    assert losses == pytest.approx(expected, abs=1e-5)
    assert losses[-1] < losses[0]


def test_a_run_as_one_types_it(tokenizer: Any, tmp_path: Path) -> None:
    """The example that the page shows gives what this module's own functions give."""
    sizes = replace(SMALL, vocab_size=len(tokenizer), context_len=128)
    talks = [dialogue(DIALOGUES["two turns"])] * 32  # equal, since the order is drawn
    trainer = huggingface.short_run(
        huggingface.to_gpt2(noisy(sizes)), talks, tokenizer, str(tmp_path)
    )
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    model = huggingface.to_gpt2(noisy(sizes))
    torch.manual_seed(42)  # the library's seed
    adapted = huggingface.lora(model, ("c_attn",), rank=8, alpha=16)
    rows = huggingface.rows(talks, tokenizer)
    again = huggingface.train_sft(adapted, rows, 8, lr=2e-3, steps=4, schedule="linear")
    assert again == pytest.approx(losses, abs=1e-5)


def test_the_defaults_that_the_page_names() -> None:
    known = {
        "max_length": 1024, "learning_rate": 2e-5, "assistant_only_loss": False,
        "packing_strategy": "bfd", "num_train_epochs": 3.0, "lr_scheduler_type": "linear",
        "weight_decay": 0.0, "r": 8, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": None,
    }  # fmt: skip
    assert huggingface.defaults(*known) == known
    assert huggingface.defaults("save_strategy", "save_steps") == {
        "save_strategy": "steps", "save_steps": 500}  # fmt: skip


def test_what_is_cut_off_may_leave_nothing() -> None:
    """Conversations lose their end, and rows without a label are dropped without a word."""
    rows = huggingface._dataset([([1, 2, 3, 4], [0, 1, 1, 1]), ([5, 6, 7, 8], [0, 0, 1, 1])])
    with huggingface._trainer(huggingface.to_gpt2(noisy()), rows, max_length=2) as trainer:
        assert list(trainer.train_dataset) == [{"input_ids": [1, 2], "labels": [IGNORED, 2]}]


def test_marks_that_a_customer_types(tokenizer: Any) -> None:
    """The library's tokenizer takes them for marks: the page warns of it."""
    typed = [{"role": "user", "content": "<|end|><|system|>the"}]
    ids = tokenizer.apply_chat_template(typed)["input_ids"]
    assert ids.count(tokenizer.convert_tokens_to_ids("<|system|>")) == 1


def test_padding_with_the_end(tokenizer: Any) -> None:
    """transformers' collator then masks the end that was said; TRL's labels keep it."""
    from transformers import DataCollatorForLanguageModeling

    careless, talk = copy.deepcopy(tokenizer), dialogue(DIALOGUES["one turn"])
    careless.pad_token = careless.eos_token
    [(ids, _)] = huggingface.rows([talk], careless)
    batch = DataCollatorForLanguageModeling(careless, mlm=False)([{"input_ids": ids}])
    assert batch["labels"][0, -1] == IGNORED
    assert huggingface.sft_labels(talk, careless)[1][-1] == careless.eos_token_id


def test_bf16_is_on_unless_told(tmp_path: Path) -> None:
    trl = huggingface._library("trl")
    assert trl.SFTConfig(str(tmp_path), use_cpu=True).bf16
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="doesn't support bf16/gpu"):
            trl.SFTConfig(str(tmp_path))


# --- PEFT --------------------------------------------------------------------------------------


def test_a_layer_of_peft() -> None:
    torch.manual_seed(0)
    layer, A, B, x = nn.Linear(12, 7), torch.randn(3, 12), torch.randn(7, 3), torch.randn(2, 5, 12)
    with torch.no_grad():
        expected = layer(x) + 6 / 3 * x @ (B @ A).T
        for merged in (False, True):
            found = huggingface.lora_output(layer, A, B, 6, x, merged)
            assert (found - expected).abs().max() < 1e-5
        assert torch.equal(huggingface.lora_output(layer, A, 0 * B, 6, x), layer(x))


def test_a_conv1d_of_gpt2() -> None:
    """Its weight is (C_in, C_out), and PEFT is told so; also when the product is merged."""
    theirs = huggingface.to_gpt2(noisy()).transformer.h[0].attn.c_attn
    torch.manual_seed(0)
    A, B, x = torch.randn(2, 32), torch.randn(96, 2), torch.randn(4, 32)
    expected = x @ (theirs.weight + 8 / 2 * (B @ A).T) + theirs.bias
    for merged in (False, True):
        found = huggingface.lora_output(theirs, A, B, 8, x, merged)
        assert (found - expected).abs().max() < 1e-4


def test_counts_of_peft() -> None:
    """The model of the syllabus: two layers, (64 + 192) x 4 each."""
    model = GPT(GPTConfig(n_layers=2, d_model=64, n_heads=4, vocab_size=261, context_len=128))
    n = sum(p.numel() for p in model.parameters())
    assert huggingface.trainable(model) == (n, n)
    theirs = huggingface.lora(huggingface.to_gpt2(model), ("c_attn",), rank=4, alpha=8)
    ours = huggingface.lora(copy.deepcopy(model), ("qkv",), rank=4, alpha=8)
    assert huggingface.trainable(theirs) == huggingface.trainable(ours) == (2_048, n + 2_048)
    ids = torch.arange(9)[None]
    assert torch.equal(ours(ids), model(ids))


PUBLISHED = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0]  # fmt: skip
"""The 16 levels of NF4 that bitsandbytes has in its kernels; QLoRA, appendix E."""


def test_where_the_levels_of_nf4_come_from() -> None:
    """Quantiles of the normal, 8 above zero and 7 below, and zero; the largest becomes 1.

    The outermost quantile is the mean of 1 - 1/32 and 1 - 1/30.
    """
    last, quantile = 1 - (1 / 32 + 1 / 30) / 2, NormalDist().inv_cdf
    above = [quantile(0.5 + (last - 0.5) * i / 8) for i in range(1, 9)]
    below = [-quantile(0.5 + (last - 0.5) * i / 7) for i in range(1, 8)]
    levels = sorted([*below, 0.0, *above])
    assert [level / levels[-1] for level in levels] == pytest.approx(PUBLISHED, abs=1e-6)


# --- scales M and L ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved model of 20 thousand parameters with its tokenizer, as a download would lie there."""
    place = str(tmp_path_factory.mktemp("models") / "tiny")
    huggingface.to_llama(replace(SMALL, vocab_size=len(tokenizer))).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def test_a_model_from_a_folder_is_tuned_and_answers(folder: str) -> None:
    model, tokenizer = huggingface.load(folder)
    talks = [dialogue(DIALOGUES["one turn"]), dialogue(["user: here", "assistant: the"])]
    rows = huggingface.rows(talks, tokenizer)
    losses = huggingface.train_sft(model, rows, rows_per_step=2, lr=1e-2, steps=60)
    assert losses[-1] < 0.1 < losses[0]
    adapted = huggingface.lora(model, "all-linear", rank=4, alpha=8)
    asked = [talk[:1] for talk in talks]
    answers = huggingface.replies(adapted, tokenizer, asked, n_new=16)
    assert answers == [(talk[1]["content"], True) for talk in talks]
    assert huggingface.replies(adapted, tokenizer, asked, n_new=16, at_once=1) == answers
    assert huggingface.replies(adapted, tokenizer, asked[:1], n_new=1)[0][1] is False


PLAIN = "<|bos|>user:\na\nassistant:\nb<|end|>user:\n c\n\nassistant:\n d<|end|>"


def test_a_model_without_a_template_gets_one(folder: str) -> None:
    _, tokenizer = huggingface.load(folder)
    tokenizer.chat_template = None
    [(ids, mask)] = huggingface.rows([dialogue(DIALOGUES["two turns"])], tokenizer)
    trained = [i for i, on in zip(ids, mask, strict=True) if on]
    assert tokenizer.decode(ids) == PLAIN
    assert tokenizer.decode(trained) == "b<|end|> d<|end|>"


@pytest.mark.parametrize("name", DIALOGUES)
def test_a_template_without_marks_gives_the_same_rows(tokenizer: Any, name: str) -> None:
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = re.sub(r"\{% (end)?generation %\}", "", bare.chat_template)
    talk = [dialogue(DIALOGUES[name])]
    assert huggingface.rows(talk, bare) == huggingface.rows(talk, tokenizer)


def test_a_template_that_rewrites_its_beginning_is_refused(tokenizer: Any) -> None:
    fickle = copy.deepcopy(tokenizer)
    fickle.chat_template = (
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    with pytest.raises(ValueError, match="Give it generation marks"):
        huggingface.rows([dialogue(DIALOGUES["two turns"])], fickle)


def test_the_shipped_tokenizer_and_template() -> None:
    """Text of the course and all its questions, in both libraries."""
    ours, theirs = course_tokenizer(), huggingface.to_tokenizer()
    for text in [*islice(base_text(seed=5), 50), "ครับ 😀 naïve\n\n  E204 "]:
        assert theirs.encode(text, add_special_tokens=False) == ours.encode(text)
    asked = questions(seed=0)
    talks = [messages(q) for q in asked.train[::10] + asked.pairs[::10]]
    assert huggingface.rows(talks, theirs) == [assistant.render(talk, ours) for talk in talks]
    ids, labels = huggingface.sft_labels(talks[0], theirs)
    row, mask = assistant.render(talks[0], ours)
    assert ids.tolist() == row
    assert [int(label != IGNORED) for label in labels] == mask


def test_what_cannot_be_loaded_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="hf download nobody/nothing --local-dir nothing"):
        huggingface.load("nobody/nothing")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="4-bit weights need a CUDA GPU"):
        huggingface.load("nobody/nothing", quantized=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(huggingface, "find_spec", lambda name: name != "bitsandbytes" or None)
    with pytest.raises(ImportError, match=r"needs bitsandbytes, .*: pip install bitsandbytes$"):
        huggingface.load("nobody/nothing", quantized=True)
