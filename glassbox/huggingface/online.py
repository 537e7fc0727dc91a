"""Learning from sampled answers as TRL does it: GRPO's loss of given numbers, and its training.

As in `preference`, the loss comes from TRL's own trainer, whose model is a stand-in that has the
given log-probabilities. TRL has no PPO to compare with: it was removed in version 1.13.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from glassbox.huggingface import libraries
from glassbox.huggingface.libraries import trainer_of
from glassbox.huggingface.models import theirs_of, to_llama
from glassbox.huggingface.preference import TINY
from glassbox.telecom.questions import Question, messages

MEANS = {"sequence": "grpo", "token": "dapo", "constant": "dr_grpo"}
"""TRL's names of what a loss is a mean of; any other of its `loss_type`s is passed on."""


def grpo_loss(
    logp: Tensor, old_logp: Tensor, ref_logp: Tensor, advantages: Tensor, mask: Tensor,
    clip: float = 0.2, beta: float = 0.0, reduce: str = "sequence", **options: Any,
) -> Tensor:  # fmt: skip
    """TRL's loss of answers with these log-probabilities: (B, T) x 3, (B,), (B, T) -> scalar.

    `reduce`: "sequence", the mean of every answer's mean; "token", the mean of all tokens;
    "constant", the sum over B * T; or a `loss_type` of TRL. The price of drift is beta times k3;
    TRL's own default, `use_bias_correction_kl=True`, multiplies it by the ratio. `options` are
    GRPOConfig's.
    """
    n_rows, width = logp.shape
    counted, prompt = mask.long(), torch.zeros(n_rows, 1).long()
    inputs = {
        "prompt_ids": prompt, "prompt_mask": prompt + 1, "completion_ids": counted,
        "completion_mask": counted, "advantages": advantages, "old_per_token_logps": old_logp,
        "ref_per_token_logps": ref_logp, "num_items_in_batch": counted.sum(),
    }  # fmt: skip
    outputs = SimpleNamespace(log_probs=logp, entropy=torch.zeros_like(logp))
    options.setdefault("use_bias_correction_kl", False)
    with trainer_of(
        "GRPO", to_llama(TINY), [{"prompt": "a"}], others={"reward_funcs": lambda **_: []},
        num_generations=2, per_device_train_batch_size=2, max_completion_length=width,
        epsilon=clip, loss_type=MEANS.get(reduce, reduce), **options,
    ) as trainer:  # fmt: skip
        trainer.beta = beta  # set late: with the config's, a reference would be loaded
        trainer.model.eval()  # no gradient accumulation, whose steps would divide the loss
        return trainer._compute_loss(lambda **_: outputs, inputs)


def train_grpo(
    model: Any, asked: Sequence[Any], reward: Callable[[Any, str, bool], float], tokenizer: Any,
    steps: int, prompts_per_step: int = 8, n_per_prompt: int = 8, lr: float = 1e-6,
    warm_up: int = 0, schedule: str = "constant", beta: float = 0.0, clip: float = 0.2,
    reduce: str = "sequence", updates: int = 1, temperature: float = 1.0, max_new: int = 64,
    seed: int = 0, **options: Any,
) -> list[dict[str, float]]:  # fmt: skip
    """Train `model` in place on its own answers with TRL's GRPOTrainer; the measures of every step.

    `asked`: questions of the course or lists of messages, taken in their order, `prompts_per_step`
    at a time, again from the first when no full step is left; `reward(item, text, ended)` judges
    an answer, `n_per_prompt` of which are a group. `updates`: steps taken with the same answers.
    Keys: "loss", "reward", "kl" (nats an answer, k3), "clip_share", "entropy" (nats a token),
    "tied" (share of groups whose rewards are all equal), "length" (tokens). The reference is the
    model as it was; it costs a second model only if beta is not 0 and there is no adapter. Drift is
    priced as in `grpo_loss`; "kl" is missing where it costs nothing.
    `options` are GRPOConfig's; place as in `train_sft`.
    """
    if len(asked) < prompts_per_step:
        raise ValueError(f"{len(asked)} prompts are too few for {prompts_per_step} in a step.")
    theirs = theirs_of(model)
    options.setdefault("use_bias_correction_kl", False)
    options.setdefault("bf16", next(theirs.parameters()).is_cuda and libraries.bf16())

    def judged(completions: list, completion_ids: list, at: list[int], **_: Any) -> list[float]:
        ended = [ids[-1] == tokenizer.eos_token_id for ids in completion_ids]
        return [float(reward(asked[n], said[0]["content"], end))
                for n, said, end in zip(at, completions, ended, strict=True)]  # fmt: skip

    data = [{"prompt": _prompt(item), "at": n} for n, item in enumerate(asked)]
    with _saved(theirs, beta), trainer_of(
        "GRPO", theirs, data, tokenizer, {"reward_funcs": judged}, max_steps=steps,
        per_device_train_batch_size=prompts_per_step * n_per_prompt, num_generations=n_per_prompt,
        learning_rate=lr, warmup_steps=warm_up, beta=beta, epsilon=clip,
        lr_scheduler_type="constant_with_warmup" if schedule == "constant" else schedule,
        loss_type=MEANS.get(reduce, reduce), num_iterations=updates, temperature=temperature,
        max_completion_length=max_new, shuffle_dataset=False, seed=seed, **options,
    ) as trainer:  # fmt: skip
        with _places(theirs), _places(trainer.ref_model):
            trainer.train()
        log = [entry for entry in trainer.state.log_history if "loss" in entry]
    if theirs is not model:
        model.load_gpt2(theirs.state_dict())
    return _measures(log)


def _prompt(item: Any) -> list[dict[str, str]]:
    return messages(item)[:-1] if isinstance(item, Question) else list(item)


@contextmanager
def _saved(model: Any, beta: float) -> Iterator[None]:
    """The model in a folder under its name, where TRL looks for the reference it wants.

    It loads whatever lies under that name: of a model that was fine-tuned since it was loaded,
    that would be the one before.
    """
    if beta == 0 or hasattr(model, "get_base_model"):
        yield
        return
    name = model.config._name_or_path
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        model.config._name_or_path = folder
        try:
            yield
        finally:
            model.config._name_or_path = name


@contextmanager
def _places(model: Any) -> Iterator[None]:
    """Tokens have the places that they have without the padding on their left.

    TRL pads prompts on the left, and a GPT-2 that is given no places counts the padding. It
    counts right when it samples: log-probabilities of the same answer would differ.
    """
    if model is None:
        yield
        return

    def add(body: Any, args: tuple, given: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        ids = args[0] if args else given.get("input_ids")
        seen = given.get("attention_mask")
        whole = ids is not None and seen is not None and ids.shape == seen.shape
        if whole and given.get("position_ids") is None:
            given["position_ids"] = (seen.long().cumsum(1) - 1).clamp(min=0)
        return args, given

    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    hook = causal.base_model.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def _measures(log: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """TRL's log in our words; what belongs to the answers stays while they are used again."""
    names = {"loss": "loss", "reward": "reward", "clip_share": "clip_ratio/region_mean",
             "entropy": "entropy", "tied": "frac_reward_zero_std",
             "length": "completions/mean_length"}  # fmt: skip
    found, seen = [], {}
    for entry in log:
        seen |= entry
        row = {ours: seen[name] for ours, name in names.items()}
        if "kl" in seen:  # not without a reference
            row["kl"] = seen["kl"] * row["length"]
        found.append(row)
    return found
