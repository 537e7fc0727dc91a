"""TRL and PEFT against the same by hand; one test for each library name, so that a new version
that changes one breaks here and says where."""

import copy
import json
import math
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

from glassbox import assistant, huggingface, reinforce
from glassbox import preference as ours
from glassbox.huggingface import Row, libraries, online, sft
from glassbox.huggingface.libraries import library, trainer_of
from glassbox.models import GPT, IGNORED, GPTConfig
from glassbox.telecom.questions import Question, base_text, grade, messages, questions
from glassbox.tokenizer import tokenizer as course_tokenizer

SMALL = GPTConfig(n_layers=2, d_model=32, n_heads=4, vocab_size=50, context_len=64, bias=False)
FILES = sorted(Path(huggingface.__file__).parent.glob("*.py"))
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in FILES)


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
    trl.DPOConfig trl.DPOTrainer trl.DPOTrainer._compute_loss
    trl.RewardConfig trl.RewardTrainer trl.RewardTrainer.compute_loss
    trl.GRPOConfig trl.GRPOTrainer trl.GRPOTrainer._compute_loss
    peft.LoraConfig peft.get_peft_model peft.prepare_model_for_kbit_training
    peft.PeftModel.get_nb_trainable_parameters peft.PeftModel.delete_adapter
    transformers.GPT2Config transformers.GPT2LMHeadModel transformers.LlamaConfig
    transformers.LlamaForCausalLM transformers.LlamaForSequenceClassification
    transformers.PreTrainedTokenizerFast
    transformers.PreTrainedTokenizerFast.apply_chat_template transformers.PreTrainedModel
    transformers.PrinterCallback transformers.pytorch_utils.Conv1D
    transformers.AutoTokenizer.from_pretrained transformers.AutoModelForCausalLM.from_pretrained
    transformers.BitsAndBytesConfig
    datasets.Dataset.from_list datasets.disable_progress_bars datasets.load_dataset
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
    trl = library("trl")
    assert setting in {field.name for field in fields(trl.SFTConfig)}


@pytest.mark.parametrize(("kind", "settings"), [
    ("DPO", "beta loss_type label_smoothing max_length train_sampling_strategy"),
    ("Reward", "max_length"),
    ("GRPO", """beta epsilon loss_type num_generations num_iterations temperature
                max_completion_length shuffle_dataset use_bias_correction_kl"""),
])  # fmt: skip
def test_other_configs_have(kind: str, settings: str) -> None:
    known = {field.name for field in fields(getattr(library("trl"), f"{kind}Config"))}
    common = "use_cpu bf16 activation_checkpointing report_to save_strategy disable_tqdm seed"
    assert {*settings.split(), *common.split(), "logging_steps", "max_grad_norm"} <= known


@pytest.mark.parametrize("name", ["transformers", "trl", "peft"])
def test_the_versions_are_those_pinned(name: str) -> None:
    pinned = Path("requirements.txt").read_text(encoding="utf-8")
    assert f"\n{name}=={huggingface.TESTED[name]}\n" in pinned
    assert library(name).__version__ == huggingface.TESTED[name]


def test_trl_and_peft_are_used_here_alone() -> None:
    places = [*Path("glassbox").rglob("*.py"), *Path("autograder").rglob("*.py")]
    line = re.compile(r"^\s*(from|import) (trl|peft)\b", re.M)
    users = {p.parent.name for p in places if line.search(p.read_text(encoding="utf-8"))}
    assert users == {"huggingface"}


def test_what_is_missing_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert huggingface.missing() == ""
    monkeypatch.setattr(libraries, "find_spec", lambda name: name == "transformers" or None)
    assert huggingface.missing() == ("This part needs trl and peft, not installed here. "
                                     "Type: pip install trl==1.16.0 peft==0.21.2")  # fmt: skip
    with pytest.raises(ImportError, match=r"^This part needs peft, .*install peft==0\.21\.2$"):
        huggingface.trainable(nn.Linear(2, 2))
    with pytest.raises(ImportError, match="This part needs trl"):
        huggingface.sft_loss(huggingface.to_gpt2(noisy()), some_rows(5))


def test_a_library_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("cannot import name 'x'")

    monkeypatch.setattr(libraries.importlib, "import_module", broken)
    with pytest.raises(ImportError, match=r"trl is installed but does not load .* trl==1\.16\.0"):
        library("trl")


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
    with trainer_of("SFT", theirs, sft._dataset(some_rows(5))) as trainer:
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
    rows = sft._dataset([([1, 2, 3, 4], [0, 1, 1, 1]), ([5, 6, 7, 8], [0, 0, 1, 1])])
    with trainer_of("SFT", huggingface.to_gpt2(noisy()), rows, max_length=2) as trainer:
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
    trl = library("trl")
    assert trl.SFTConfig(str(tmp_path), use_cpu=True).bf16
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="doesn't support bf16/gpu"):
            trl.SFTConfig(str(tmp_path))


# --- preference: losses ------------------------------------------------------------------------


def numbers(n: int = 6, seed: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Summed log-probabilities: chosen, rejected, and the reference's of both."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(3 * torch.randn(4, n, generator=generator).double() - 20)


@pytest.mark.parametrize("beta", [0.02, 0.1, 0.5])
def test_dpo_loss_of_trl(beta: float) -> None:
    chosen, rejected, ref_chosen, ref_rejected = numbers()
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    loss = huggingface.dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta)
    assert loss.dtype == torch.float64
    assert abs(loss + F.logsigmoid(beta * margin).mean()) < 1e-12
    assert abs(loss - sum(math.log1p(math.exp(-beta * m)) for m in margin.tolist()) / 6) < 1e-12


def test_numbers_of_dpo() -> None:
    """ln 2 at the start; 0.3133 at margin 2 and beta 0.5; a hopeless pair costs beta * margin."""
    a, b = torch.tensor([-4.0, -6.0]).double(), torch.tensor([-5.0, -9.0]).double()
    assert huggingface.dpo_loss(a, b, a, b, 0.3) == pytest.approx(math.log(2))
    assert huggingface.dpo_loss(a[:1] + 2, b[:1], a[:1], b[:1], 0.5) == pytest.approx(
        0.3133, abs=5e-5)  # fmt: skip
    assert huggingface.dpo_loss(a - 4000, b, a, b, 0.1) == pytest.approx(400)


def test_gradient_of_dpo() -> None:
    """-beta * sigmoid(-beta * margin) for the chosen, its opposite, and none for the reference."""
    chosen, rejected, ref_chosen, ref_rejected = (x.requires_grad_() for x in numbers())
    huggingface.dpo_loss(chosen, rejected, ref_chosen, ref_rejected, 0.2).backward()
    with torch.no_grad():
        expected = -0.2 * (-0.2 * (chosen - ref_chosen - rejected + ref_rejected)).sigmoid() / 6
    assert (chosen.grad - expected).abs().max() < 1e-12
    assert (rejected.grad + expected).abs().max() < 1e-12
    assert ref_chosen.grad is ref_rejected.grad is None


def test_smoothing_is_not_heeded_by_dpo_and_inverted_by_robust() -> None:
    """The formula of lab 8, (1 - e) * loss(m) + e * loss(-m), is neither."""
    given = numbers()
    margin = 0.1 * (given[0] - given[2] - given[1] + given[3])
    right, wrong = -F.logsigmoid(margin), -F.logsigmoid(-margin)
    plain = huggingface.dpo_loss(*given)
    assert huggingface.dpo_loss(*given, label_smoothing=0.2) == plain
    robust = huggingface.dpo_loss(*given, kind="robust", label_smoothing=0.2)
    assert abs(robust - ((0.8 * right - 0.2 * wrong) / 0.6).mean()) < 1e-12
    assert abs(plain - (0.8 * right + 0.2 * wrong).mean()) > 1e-2


def test_ipo_loss_of_trl() -> None:
    """On sums without lengths, on means per token with them."""
    chosen, rejected, ref_chosen, ref_rejected = numbers()
    n, k = torch.tensor([3, 9, 1, 4, 7, 30]), torch.tensor([5, 2, 8, 4, 11, 6])
    up, down = chosen - ref_chosen, rejected - ref_rejected
    given = chosen, rejected, ref_chosen, ref_rejected
    assert abs(huggingface.ipo_loss(*given, 0.1) - ((up - down - 5) ** 2).mean()) < 1e-12
    apart = huggingface.ipo_loss(*given, 0.1, lengths=(n, k))
    assert abs(apart - ((up / n - down / k - 5) ** 2).mean()) < 1e-12
    same = ref_chosen + rejected - ref_rejected
    assert huggingface.ipo_loss(same[:1] + 5, *(x[:1] for x in given[1:]), 0.1) < 1e-12


def test_dpo_with_a_term_for_the_chosen_answer() -> None:
    """The second loss is the mean price of all chosen tokens of the batch."""
    given, n, k = numbers(), torch.tensor([3, 9, 1, 4, 7, 30]), torch.tensor([5, 2, 8, 4, 11, 6])
    both = huggingface.dpo_loss(*given, kind=["sigmoid", "sft"], lengths=(n, k),
                                loss_weights=[1.0, 0.3])  # fmt: skip
    assert abs(both - huggingface.dpo_loss(*given) + 0.3 * given[0].sum() / n.sum()) < 1e-12


@pytest.mark.parametrize("margin", [0.0, 0.7])
def test_reward_loss_of_trl(margin: float) -> None:
    chosen, rejected, *_ = numbers()
    expected = -F.logsigmoid(chosen - rejected - margin).mean()
    assert abs(huggingface.reward_loss(chosen, rejected, margin) - expected) < 1e-12
    tie = huggingface.reward_loss(chosen, chosen, margin)
    assert tie == pytest.approx(math.log1p(math.exp(margin)))
    assert huggingface.reward_loss(chosen - 1000, chosen, margin) == pytest.approx(1000 + margin)


def pair_batch(seed: int = 5) -> dict[str, Tensor]:
    """Three pairs of random ids; prompts and answers of unlike length, padded on the right."""
    generator = torch.Generator().manual_seed(seed)
    batch = {}
    for side, lengths in (("chosen", (4, 9, 6)), ("rejected", (7, 2, 5))):
        ids, mask = torch.zeros(3, 16).long(), torch.zeros(3, 16).bool()
        for row, (start, n) in enumerate(zip((3, 5, 6), lengths, strict=True)):
            ids[row, : start + n] = torch.randint(1, 50, (start + n,), generator=generator)
            mask[row, start : start + n] = True
        batch |= {f"{side}_ids": ids, f"{side}_mask": mask}
    return batch


def prices(model: Any, ids: Tensor, mask: Tensor, shift: int = 1) -> list[Tensor]:
    """Log-probabilities of the masked tokens of each row, each from what stands before it."""
    found = []
    for row, on in zip(ids, mask, strict=True):
        at = [t for t in range(len(row)) if on[t]]
        found.append(torch.stack([
            model(row[None, : t + 1])[0, t - shift].log_softmax(0)[row[t]] for t in at
        ]))  # fmt: skip
    return found


def test_dpo_loss_of_two_models() -> None:
    """A token at a time, from nothing but the tokens before it; and with our own function."""
    policy, reference, batch = noisy(seed=1), noisy(seed=2), pair_batch()
    margin = torch.zeros(3)
    for sign, side in ((1, "chosen"), (-1, "rejected")):
        row = batch[f"{side}_ids"], batch[f"{side}_mask"]
        gained = zip(prices(policy, *row), prices(reference, *row), strict=True)
        margin = margin + sign * torch.stack([(a - b).sum() for a, b in gained])
        with torch.no_grad():
            summed = torch.stack([p.sum() for p in prices(policy, *row)])
            assert (ours.answer_logp(policy, *row) - summed).abs().max() < 1e-4
    expected = -F.logsigmoid(0.1 * margin).mean()
    assert margin.abs().min() > 0.1
    loss = huggingface.dpo_model_loss(policy, reference, batch)
    assert abs(loss - expected) < 1e-6
    theirs = huggingface.to_gpt2(policy)
    huggingface.dpo_model_loss(theirs, reference, batch).backward()
    expected.backward()
    found = theirs.transformer.h[1].mlp.c_fc.weight.grad.T
    assert (found - policy.blocks[1].ff_in.weight.grad).abs().max() < 1e-5


def test_the_prompt_and_the_padding_do_not_count() -> None:
    policy, reference, batch = noisy(seed=1), noisy(seed=2), pair_batch()
    loss = huggingface.dpo_model_loss(policy, reference, batch)
    for side in ("chosen", "rejected"):
        ids, mask = batch[f"{side}_ids"], batch[f"{side}_mask"]
        padding = mask.flip(1).cumsum(1).flip(1) == 0
        batch[f"{side}_ids"] = torch.where(padding, 7, ids)
    assert abs(huggingface.dpo_model_loss(policy, reference, batch) - loss) < 1e-6
    wide = {name: F.pad(x, (0, 3)) if "rejected" in name else x for name, x in batch.items()}
    assert abs(huggingface.dpo_model_loss(policy, reference, wide) - loss) < 1e-6


@pytest.mark.parametrize("reading", ["chosen", "rejected"])
def test_a_reward_model_reads_the_last_token(reading: str) -> None:
    """transformers finds it by the padding's id, our Scorer by a mask: the same scores."""
    scorer, batch = ours.Scorer(noisy()).eval(), pair_batch()
    nn.init.normal_(scorer.number.weight)
    body = huggingface.to_gpt2(scorer.body)
    transformers = library("transformers")
    theirs = transformers.GPT2ForSequenceClassification(body.config).eval()
    theirs.transformer, theirs.score.weight = body.transformer, scorer.number.weight
    theirs.config.pad_token_id = 0
    ids, mask = batch[f"{reading}_ids"], batch[f"{reading}_mask"]
    with torch.no_grad():
        expected, found = scorer(ids, mask), theirs(ids).logits[:, 0]
        assert (found - expected).abs().max() < 1e-4
        cut = ids.clone()  # as if an end were the padding
        cut[torch.arange(3), (mask * torch.arange(16)).amax(1)] = 0
        assert (theirs(cut).logits[:, 0] - expected).abs().min() > 1e-3  # reads one too early


# --- preference: what is not the same ----------------------------------------------------------


def both_sides(model: GPT, batch: dict[str, Tensor], shift: int = 1) -> list[list[Tensor]]:
    with torch.no_grad():
        return [prices(model, batch[f"{side}_ids"], batch[f"{side}_mask"], shift)
                for side in ("chosen", "rejected")]  # fmt: skip


def dpo_from(chosen: list[Tensor], rejected: list[Tensor], ref_chosen: list[Tensor],
             ref_rejected: list[Tensor], take: str = "sum",
             beta: float = 0.1) -> Tensor:  # fmt: skip
    a, b, c, d = (torch.stack([getattr(row, take)() for row in side])
                  for side in (chosen, rejected, ref_chosen, ref_rejected))  # fmt: skip
    return -F.logsigmoid(beta * ((a - c) - (b - d))).mean()


def test_mistakes_of_lab_8_are_not_what_trl_computes() -> None:
    """Each wrong form differs from TRL by far more than its rounding, on any random models."""
    for seed in range(3):
        policy, reference = noisy(seed=seed), noisy(seed=seed + 50)
        batch = pair_batch(seed)
        loss = huggingface.dpo_model_loss(policy, reference, batch).item()
        (a, b), (c, d) = both_sides(policy, batch), both_sides(reference, batch)
        none = [torch.zeros(1)] * 3
        inverted = batch | {
            f"{side}_mask": ~batch[f"{side}_mask"] & (torch.arange(16) > 0)
            for side in ("chosen", "rejected")
        }
        borrowed = batch | {"rejected_mask": batch["chosen_mask"]}
        wrong = {
            "no reference": dpo_from(a, b, none, none),
            "mean over tokens": dpo_from(a, b, c, d, "mean"),
            "reference swapped": dpo_from(a, b, d, c),
            "chosen and rejected swapped": dpo_from(b, a, d, c),
            "prompt scored": dpo_from(*both_sides(policy, inverted),
                                      *both_sides(reference, inverted)),
            "mask borrowed": dpo_from(*both_sides(policy, borrowed),
                                      *both_sides(reference, borrowed)),
            "no shift": dpo_from(*both_sides(policy, batch, 0), *both_sides(reference, batch, 0)),
            "sum over pairs": 3 * dpo_from(a, b, c, d),
            "beta on one side": dpo_from(a, [x / 0.1 for x in b], c, [x / 0.1 for x in d]),
            "no beta": dpo_from(a, b, c, d, beta=1.0),
        }  # fmt: skip
        assert abs(dpo_from(a, b, c, d) - loss) < 1e-6
        for name, value in wrong.items():
            assert abs(value - loss) > 1e-3, (name, seed)


def test_a_reference_that_is_not_fixed_changes_the_gradient() -> None:
    """The same number, another gradient: why the loss alone does not show the mistake."""
    chosen, rejected, ref_chosen, ref_rejected = (x.requires_grad_() for x in numbers())
    loss = -F.logsigmoid(0.1 * (chosen - ref_chosen - rejected + ref_rejected)).mean()
    assert abs(loss - huggingface.dpo_loss(chosen, rejected, ref_chosen, ref_rejected)) < 1e-12
    loss.backward()
    assert ref_chosen.grad.abs().max() > 1e-3  # TRL's is None: see test_gradient_of_dpo


# --- preference: training ----------------------------------------------------------------------

SAID = ["there", "the ering", "here 99", "in the", "ere", "ering here", "9", "there there"]


def some_pairs() -> list[dict[str, list[dict[str, str]]]]:
    """Eight pairs of the small encoding, prompts and answers of unlike length."""
    return [
        {"prompt": [{"role": "user", "content": f"the {n * 'er'}"}],
         "chosen": [{"role": "assistant", "content": chosen}],
         "rejected": [{"role": "assistant", "content": SAID[(3 * n + 1) % 8]}]}
        for n, chosen in enumerate(SAID)
    ]  # fmt: skip


def as_batch(pairs: list[dict], tokenizer: Any) -> dict[str, Tensor]:
    """Pairs by the template, padded; the answer and its end are what the template marks."""
    batch = {}
    for side in ("chosen", "rejected"):
        rows = huggingface.rows([p["prompt"] + p[side] for p in pairs], tokenizer)
        ids, mask = torch.zeros(len(pairs), 32).long(), torch.zeros(len(pairs), 32).bool()
        for at, (row, on) in enumerate(rows):
            ids[at, : len(row)], mask[at, : len(on)] = torch.tensor(row), torch.tensor(on) == 1
        batch |= {f"{side}_ids": ids, f"{side}_mask": mask}
    return batch


def dpo_loop(policy: nn.Module, reference: nn.Module, pairs: list[dict], n: int, lrs: list[float],
             tokenizer: Any) -> list[dict[str, float]]:  # fmt: skip
    """DPO by hand over slices of n pairs, with the course's own step."""
    trained = [p for p in policy.parameters() if p.requires_grad]
    optimizer, found = torch.optim.AdamW(trained, weight_decay=0.0), []
    for step, lr in enumerate(lrs):
        at = step * n % len(pairs)
        optimizer.param_groups[0]["lr"] = lr
        batch = as_batch(pairs[at : at + n], tokenizer)
        found.append(ours._update(policy, reference, batch, optimizer, 0.1))
    return found


def same_run(theirs: list[dict[str, float]], own: list[dict[str, float]]) -> None:
    """Loss and margin agree; our log-ratios are without beta. To TRL a tie is wrong."""
    for name, factor in {"loss": 1, "margin": 1, "chosen": 0.1, "rejected": 0.1}.items():
        assert [row[name] for row in theirs] == pytest.approx(
            [factor * row[name] for row in own], abs=2e-5), name  # fmt: skip
    assert theirs[0]["accuracy"] == 0
    assert [row["accuracy"] for row in theirs[1:]] == [row["accuracy"] for row in own[1:]]


@pytest.fixture
def small(tokenizer: Any) -> GPTConfig:
    return replace(SMALL, vocab_size=len(tokenizer))


def test_dpo_training_of_trl(tokenizer: Any, small: GPTConfig) -> None:
    own, policy, reference = noisy(small), noisy(small), noisy(small)
    expected = dpo_loop(own, reference, some_pairs(), 4, [2e-3] * 6, tokenizer)
    told = huggingface.train_dpo(policy, some_pairs(), tokenizer, rows_per_step=4, lr=2e-3,
                                 steps=6, clip=1e9)  # fmt: skip
    same_run(told, expected)
    assert told[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert told[-1]["loss"] < 0.6
    ids = torch.arange(9)[None]
    assert (own(ids) - policy(ids)).abs().max() < 1e-2  # the weights came back
    assert (own(ids) - reference(ids)).abs().max() > 0.1


def test_another_reference(tokenizer: Any, small: GPTConfig) -> None:
    policy, reference = noisy(small), noisy(small, seed=1)
    [first] = huggingface.train_dpo(policy, some_pairs(), tokenizer, reference, 8, steps=1)
    batch = as_batch(some_pairs(), tokenizer)
    expected = huggingface.dpo_model_loss(noisy(small), reference, batch)
    assert first["loss"] == pytest.approx(expected.item(), abs=1e-5)
    assert abs(first["loss"] - math.log(2)) > 1e-3


def test_warm_up_of_dpo_begins_at_zero(tokenizer: Any, small: GPTConfig) -> None:
    told = huggingface.train_dpo(noisy(small), some_pairs(), tokenizer, rows_per_step=8, lr=1e-3,
                                 steps=3, warm_up=2)  # fmt: skip
    assert told[1]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert told[2]["loss"] < 0.69


def test_dpo_of_an_adapter(tokenizer: Any, small: GPTConfig) -> None:
    """The reference is the model without it; nothing of TRL's stays in the model."""
    mine = huggingface.lora(noisy(small), ("qkv", "ff_in"), rank=4, alpha=8)
    theirs = huggingface.lora(huggingface.to_gpt2(noisy(small)), ("c_attn", "c_fc"), 4, 8,
                              dropout=0.0)  # fmt: skip
    with torch.no_grad():
        for one, other in zip(adapters(mine), adapters(theirs), strict=True):
            other.copy_(one)
    expected = dpo_loop(mine, noisy(small), some_pairs(), 4, [1e-2] * 4, tokenizer)
    theirs.eval()
    told = huggingface.train_dpo(theirs, some_pairs(), tokenizer, rows_per_step=4, lr=1e-2,
                                 steps=4, clip=1e9)  # fmt: skip
    same_run(told, expected)
    assert list(theirs.peft_config) == ["default"]
    assert not any(".ref." in name for name, _ in theirs.named_parameters())
    assert "forward" not in vars(theirs.get_base_model())
    assert not theirs.training
    assert huggingface.trainable(theirs)[0] == huggingface.trainable(mine)[0]


def test_dropout_is_put_back(tokenizer: Any, small: GPTConfig) -> None:
    """TRL switches it off for DPO, and would leave it so."""
    theirs = huggingface.to_gpt2(noisy(replace(small, dropout=0.1)))
    first, second = (
        huggingface.train_dpo(theirs, some_pairs(), tokenizer, rows_per_step=8, lr=0.0, steps=1)
        for _ in range(2)
    )
    assert first == second
    assert {part.p for part in theirs.modules() if isinstance(part, nn.Dropout)} == {0.1}


def test_dpo_as_one_types_it(tokenizer: Any, small: GPTConfig, tmp_path: Path) -> None:
    """The example that the page shows gives what this module's own functions give."""
    sizes, pairs = replace(small, context_len=128), some_pairs()[1:2] * 64  # the order is drawn
    trainer = huggingface.short_dpo(
        huggingface.to_gpt2(noisy(sizes)), pairs, tokenizer, str(tmp_path)
    )
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    model = huggingface.to_gpt2(noisy(sizes))
    torch.manual_seed(42)  # the library's seed
    adapted = huggingface.lora(model, ("c_attn",), rank=8, alpha=16)
    again = huggingface.train_dpo(adapted, pairs, tokenizer, lr=2e-3, steps=4, schedule="linear")
    assert [row["loss"] for row in again] == pytest.approx(losses, abs=1e-5)
    assert losses[-1] < losses[0] == pytest.approx(math.log(2), abs=1e-6)


def test_pairs_of_the_course_in_trl() -> None:
    """Our pairs, template and tokenizer: TRL sees the same answers as `pair_batch`."""
    pairs, theirs = ours.pairs(0)[:6], huggingface.to_tokenizer()
    policy = GPT(replace(SMALL, vocab_size=len(theirs), context_len=128)).eval()
    policy.reset(torch.Generator().manual_seed(0))
    reference = copy.deepcopy(policy)
    with torch.no_grad():
        policy.token.weight.mul_(1.5)
    batch = ours.pair_batch(pairs)
    expected = huggingface.dpo_model_loss(policy, reference, batch).item()
    [first] = huggingface.train_dpo(policy, pairs, theirs, reference, 6, steps=1)
    assert first["loss"] == pytest.approx(expected, abs=1e-5)
    assert abs(expected - math.log(2)) > 1e-3


def test_the_defaults_of_preference_trainers() -> None:
    assert huggingface.defaults("beta", "learning_rate", "loss_type", "max_length",
                                "disable_dropout", kind="DPO") == {
        "beta": 0.1, "learning_rate": 1e-6, "loss_type": ["sigmoid"], "max_length": 1024,
        "disable_dropout": True}  # fmt: skip
    assert huggingface.defaults("beta", "epsilon", "loss_type", "scale_rewards", "num_iterations",
                                "use_bias_correction_kl", "num_generations", kind="GRPO") == {
        "beta": 0.0, "epsilon": 0.2, "loss_type": "dapo", "scale_rewards": "group",
        "num_iterations": 1, "use_bias_correction_kl": True, "num_generations": 8}  # fmt: skip
    assert huggingface.defaults("learning_rate", "center_rewards_coefficient", kind="Reward") == {
        "learning_rate": 1e-4, "center_rewards_coefficient": None}  # fmt: skip


# --- preference: public sets -------------------------------------------------------------------


def talk(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]


ASKED, GOOD, BAD = "What is E204?", "The SIM is locked.", "No idea."
EXPECTED = {"prompt": talk(ASKED), "chosen": talk("", GOOD)[1:], "rejected": talk("", BAD)[1:]}
LONGER = {"prompt": talk("Hi", "Hello", ASKED), "chosen": talk("", GOOD)[1:],
          "rejected": talk("", BAD)[1:]}  # fmt: skip
FORMS = {
    "ultrafeedback": {"prompt": ASKED, "chosen": talk(ASKED, GOOD), "rejected": talk(ASKED, BAD),
                      "score_chosen": 8.5, "score_rejected": 3.0},
    "whole dialogues": {"chosen": talk(ASKED, GOOD), "rejected": talk(ASKED, BAD)},
    "as TRL wants them": EXPECTED,
    "texts": {"prompt": ASKED, "chosen": GOOD, "rejected": BAD},
    "two turns": {"chosen": talk("Hi", "Hello", ASKED, GOOD),
                  "rejected": talk("Hi", "Hello", ASKED, BAD)},
    "a prompt of two turns": LONGER,
    "texts with speakers": {
        side: f"\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: {ASKED}\n\nAssistant: {said}"
        for side, said in (("chosen", GOOD), ("rejected", BAD))},
}  # fmt: skip
"""Rows of public sets: the H4 form, TRL's forms, hh-rlhf's."""


def written(rows: list[dict], folder: Path) -> str:
    path = folder / "pairs.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_public_sets(form: str, tmp_path: Path) -> None:
    expected = LONGER if "two turns" in form or "speakers" in form else EXPECTED
    found = huggingface.preference_pairs(written([FORMS[form]] * 3, tmp_path), n=2)
    assert found == [expected] * 2


def test_rows_without_a_preference_are_left_out(tmp_path: Path) -> None:
    right = FORMS["ultrafeedback"]
    rows = [
        right | {"score_rejected": 8.5},
        right | {"rejected": talk(ASKED, GOOD)},
        right | {"rejected": talk(ASKED, " ")},
        right | {"chosen": talk("Another question", GOOD)},
        right | {"chosen": talk(ASKED, GOOD, "Thanks")},
        right,
    ]
    assert huggingface.preference_pairs(written(rows, tmp_path)) == [EXPECTED]
    with pytest.raises(ValueError, match="no row holds a prompt and a preference"):
        huggingface.preference_pairs(written(rows[:2], tmp_path))


def test_a_set_that_was_downloaded(tmp_path: Path, tokenizer: Any) -> None:
    """A folder as the Hub has it, in shards with two splits; its pairs go into training."""
    datasets = pytest.importorskip("datasets")
    (tmp_path / "data").mkdir()
    for split, said in (("train_prefs", GOOD), ("test_prefs", BAD)):
        row = FORMS["ultrafeedback"] | {"chosen": talk(ASKED, f"{said} Indeed.")}
        file = tmp_path / "data" / f"{split}-00000-of-00001.parquet"
        datasets.Dataset.from_list([row] * 2).to_parquet(str(file))
    pairs = huggingface.preference_pairs(str(tmp_path), "train_prefs")
    assert [pair["chosen"][0]["content"] for pair in pairs] == [f"{GOOD} Indeed."] * 2
    [pair] = huggingface.preference_pairs(str(tmp_path), "test_prefs", n=1)
    assert pair["chosen"][0]["content"] == f"{BAD} Indeed."
    model = huggingface.to_llama(replace(SMALL, vocab_size=len(tokenizer), context_len=128))
    told = huggingface.train_dpo(model, pairs, tokenizer, rows_per_step=2, lr=1e-2, steps=4)
    assert told[-1]["margin"] > 0.1


def test_sets_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="hf download nobody/nothing --repo-type dataset"):
        huggingface.preference_pairs("nobody/nothing")
    with pytest.raises(ValueError, match="a row has text, label, and needs chosen and rejected"):
        huggingface.preference_pairs(written([{"text": "a", "label": 1}], tmp_path))


# --- online: GRPO ------------------------------------------------------------------------------


def answers(seed: int = 4) -> dict[str, Tensor]:
    """Four answers of unlike length, one of which starts late; two groups of two."""
    generator = torch.Generator().manual_seed(seed)
    shape, columns = (4, 9), torch.arange(9)
    old = -3 * torch.rand(shape, generator=generator).double()
    first, last = torch.tensor([0, 0, 3, 0]), torch.tensor([9, 2, 8, 5])
    mask = (columns >= first[:, None]) & (columns < last[:, None])
    return {
        "logp": (old + 0.4 * torch.randn(shape, generator=generator)) * mask,
        "old_logp": old * mask,
        "ref_logp": (old + 0.5 * torch.randn(shape, generator=generator)) * mask,
        "advantages": torch.tensor([1.0, -1.0, 0.4, -0.4]).double(), "mask": mask,
    }  # fmt: skip


def grpo_by_hand(logp: Tensor, old_logp: Tensor, ref_logp: Tensor, advantages: Tensor,
                 mask: Tensor, clip: float, beta: float, reduce: str) -> float:  # fmt: skip
    """Token by token, in plain numbers."""
    sums = []
    for row in range(len(logp)):
        prices = []
        for t in range(logp.shape[1]):
            if mask[row, t]:
                new, old, ref = (float(x[row, t]) for x in (logp, old_logp, ref_logp))
                ratio, a = math.exp(new - old), float(advantages[row])
                kept = min(max(ratio, 1 - clip), 1 + clip)
                drift = math.exp(ref - new) - 1 - (ref - new)
                prices.append(beta * drift - min(ratio * a, kept * a))
        sums.append((sum(prices), max(len(prices), 1)))
    if reduce == "sequence":
        return sum(total / n for total, n in sums) / len(sums)
    whole = sum(total for total, _ in sums)
    return whole / (sum(n for _, n in sums) if reduce == "token" else logp.numel())


@pytest.mark.parametrize("reduce", ["sequence", "token", "constant"])
@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_grpo_loss_of_trl(reduce: str, beta: float) -> None:
    given = answers()
    expected = grpo_by_hand(**given, clip=0.2, beta=beta, reduce=reduce)
    found = huggingface.grpo_loss(**given, clip=0.2, beta=beta, reduce=reduce)
    assert abs(found - expected) < 1e-9
    single = {name: x.float() if x.is_floating_point() else x for name, x in given.items()}
    assert abs(huggingface.grpo_loss(**single, beta=beta, reduce=reduce) - expected) < 1e-6
    if reduce != "constant":
        own = reinforce.OURS["grpo_loss"](**given, clip=0.2, beta=beta, reduce=reduce)
        assert abs(own - expected) < 1e-6


def test_gradient_of_grpo() -> None:
    """TRL's against that of our own, with respect to the policy's log-probabilities."""
    for reduce in ("sequence", "token"):
        found = []
        for loss in (huggingface.grpo_loss, reinforce.OURS["grpo_loss"]):
            given = answers()
            logp = given.pop("logp").requires_grad_()
            loss(logp, **given, clip=0.2, beta=0.1, reduce=reduce).backward()
            found.append(logp.grad)
        assert (found[0] - found[1]).abs().max() < 1e-6
        assert found[0].abs().max() > 1e-2


def test_an_answer_without_tokens() -> None:
    """It costs nothing and counts as an answer."""
    given = answers()
    given["mask"] = given["mask"] & (torch.arange(4) != 1)[:, None]
    expected = grpo_by_hand(**given, clip=0.2, beta=0.1, reduce="sequence")
    assert abs(huggingface.grpo_loss(**given, beta=0.1) - expected) < 1e-6


def test_names_of_trl_for_a_mean() -> None:
    """Both "dapo" and "bnpo" are the mean over tokens, when a batch is not cut into parts."""
    given = answers()
    loss = huggingface.grpo_loss(**given, reduce="token")
    assert huggingface.grpo_loss(**given, reduce="dapo") == loss
    assert abs(huggingface.grpo_loss(**given, reduce="bnpo") - loss) < 1e-9
    with pytest.raises(ValueError, match="Unknown loss type"):
        huggingface.grpo_loss(**given, reduce="mean")


def test_mistakes_of_lab_9_are_not_what_trl_computes() -> None:
    for seed in range(3):
        given = answers(seed)
        logp, old, ref, a, mask = given.values()
        ratio, wanted = (logp - old).exp(), a[:, None]
        kept, n = ratio.clamp(0.8, 1.2), mask.sum(1)
        gain = torch.min(ratio * wanted, kept * wanted)
        k1 = logp - ref
        k3 = (-k1).exp() - 1 + k1

        def mean(cost: Tensor, mask: Tensor = mask, n: Tensor = n) -> Tensor:
            return ((cost * mask).sum(1) / n).mean()

        loss = huggingface.grpo_loss(**given, clip=0.2, beta=0.2).item()
        assert abs(mean(0.2 * k3 - gain) - loss) < 1e-6
        wrong = {
            "mean over tokens": ((0.2 * k3 - gain) * mask).sum() / n.sum(),
            "padding counts": ((0.2 * k3 - gain) * mask).mean(),
            "KL rewarded": mean(-0.2 * k3 - gain),
            "k1 for k3": mean(0.2 * k1 - gain),
            "k3 times ratio": huggingface.grpo_loss(**given, beta=0.2, use_bias_correction_kl=True),
            "reference is the old policy": mean(0.2 * ((old - logp).exp() - 1 - old + logp) - gain),
            "max for min": mean(0.2 * k3 - torch.max(ratio * wanted, kept * wanted)),
            "never clipped": mean(0.2 * k3 - ratio * wanted),
            "always clipped": mean(0.2 * k3 - kept * wanted),
            "sign lost": mean(0.2 * k3 + gain),
        }  # fmt: skip
        for name, value in wrong.items():
            assert abs(value - loss) > 1e-3, (name, seed)


def test_groups_of_trl() -> None:
    """Its advantages are ours of lab 9 up to the small number under the fraction."""
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]])
    spread = rewards.std(1, keepdim=True)  # as in _generate_and_score_completions
    trl = (rewards - rewards.mean(1, keepdim=True)) / (spread + 1e-4)
    assert (reinforce.OURS["group_advantages"](rewards) - trl).abs().max() < 1e-3


def test_a_gpt2_counts_the_padding_on_its_left_unless_told() -> None:
    """So does TRL with a GPT-2: the log-probabilities it trains are not those it sampled from."""
    theirs = huggingface.to_gpt2(noisy())
    ids = torch.randint(1, 50, (1, 7), generator=torch.Generator().manual_seed(0))
    padded, seen = F.pad(ids, (3, 0)), F.pad(torch.ones_like(ids), (3, 0))
    with torch.no_grad():
        alone = theirs(ids).logits
        careless = theirs(padded, attention_mask=seen).logits[:, 3:]
        with online._places(theirs):
            careful = theirs(padded, attention_mask=seen).logits[:, 3:]
            assert torch.equal(theirs(ids).logits, alone)
    assert (careful - alone).abs().max() < 1e-4
    assert (careless - alone).abs().max() > 0.1
    assert not theirs.transformer._forward_pre_hooks


def counts_e(item: Any, text: str, ended: bool) -> float:
    return float(text.count("e"))


ASKERS = [[{"role": "user", "content": "the " + n * "er"}] for n in range(4)]


@pytest.mark.parametrize("kind", ["ours", "an adapter in a llama"])
def test_grpo_training_of_trl(tokenizer: Any, small: GPTConfig, kind: str) -> None:
    """A word of the answer is rewarded, and becomes frequent."""
    model: Any = noisy(small)
    if kind != "ours":
        model = huggingface.to_llama(small)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(4)
        model = huggingface.lora(model, "all-linear", 8, 32)
    told = huggingface.train_grpo(model, ASKERS, counts_e, tokenizer, steps=14, lr=2e-2,
                                  prompts_per_step=4, n_per_prompt=8, max_new=6)  # fmt: skip
    assert sum(row["reward"] for row in told[-3:]) / 3 > 0.2 + told[0]["reward"]
    assert {"loss", "reward", "clip_share", "entropy", "tied", "length"} == told[0].keys()
    assert 0 < told[0]["length"] <= 6


def test_the_reference_of_grpo_is_the_model_as_it_came(
    tokenizer: Any, small: GPTConfig, tmp_path: Path
) -> None:
    """Not what lies where it was loaded from: that is what TRL would take."""
    huggingface.to_llama(small, seed=1).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, tokens = huggingface.load(str(tmp_path))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    told = huggingface.train_grpo(model, ASKERS, counts_e, tokens, steps=3, lr=5e-2, beta=0.1,
                                  prompts_per_step=2, n_per_prompt=4, max_new=6)  # fmt: skip
    assert told[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert model.config._name_or_path == str(tmp_path)


def test_equal_rewards_teach_nothing(tokenizer: Any, small: GPTConfig) -> None:
    model, seen = noisy(small), []

    def same(item: Any, text: str, ended: bool) -> float:
        seen.append((item, text, ended))
        return 0.7

    told = huggingface.train_grpo(model, ASKERS, same, tokenizer, steps=2, lr=1e-2,
                                  prompts_per_step=2, n_per_prompt=3, max_new=5)  # fmt: skip
    assert [row["tied"] for row in told] == [1, 1]
    ids = torch.arange(9)[None]
    assert torch.equal(model(ids), noisy(small)(ids))
    assert [item for item, _, _ in seen] == [asker for asker in ASKERS for _ in range(3)]
    assert all(isinstance(text, str) and ended in (True, False) for _, text, ended in seen)


def test_questions_of_the_course_in_trl() -> None:
    """The tuned assistant is asked our questions, and answers them as it does with us."""
    model, asked, judged = assistant.tuned(), questions(seed=0).train[:2], []

    def remembered(question: Question, text: str, ended: bool) -> float:
        judged.append(grade(question, text, ended).right)
        return reinforce.polite_and_right(question, text, ended)

    [told] = huggingface.train_grpo(model, asked, remembered, huggingface.to_tokenizer(), steps=1,
                                    lr=0.0, beta=0.1, prompts_per_step=2, n_per_prompt=8,
                                    max_new=40)  # fmt: skip
    assert sum(judged) >= 14  # of 16; in our own sampling 95 % and more are right
    assert told["kl"] == pytest.approx(0, abs=1e-4)
    assert 10 < told["length"] < 40


def test_answers_used_twice_are_clipped(tokenizer: Any, small: GPTConfig) -> None:
    """The first step has ratio 1; the second sees the same answers and another policy."""
    told = huggingface.train_grpo(noisy(small), ASKERS, counts_e, tokenizer, steps=4, lr=2e-2,
                                  prompts_per_step=4, n_per_prompt=8, max_new=6,
                                  updates=2)  # fmt: skip
    assert told[0]["clip_share"] == 0 < told[1]["clip_share"]
    assert told[0]["reward"] == told[1]["reward"]


def test_too_few_prompts_are_refused(tokenizer: Any, small: GPTConfig) -> None:
    with pytest.raises(ValueError, match="4 prompts are too few for 8 in a step"):
        huggingface.train_grpo(noisy(small), ASKERS, counts_e, tokenizer, steps=1)


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
    monkeypatch.setattr(libraries, "find_spec", lambda name: name != "bitsandbytes" or None)
    with pytest.raises(ImportError, match=r"needs bitsandbytes, .*: pip install bitsandbytes$"):
        huggingface.load("nobody/nothing", quantized=True)
