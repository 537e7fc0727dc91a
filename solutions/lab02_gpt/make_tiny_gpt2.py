"""Train the small GPT-2 that lab 2 loads, and save it as the transformers library does.

    python solutions/lab02_gpt/make_tiny_gpt2.py

Two layers of width 64 on bytes, 124,672 parameters, trained on fault tickets that a seeded grammar
makes up: no text of anybody's. Written to `data/tiny_gpt2` beside this file, in float16; about two
minutes on one core. Another processor gives slightly other weights.
"""

import math
import random
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

HERE = Path(__file__).parent
SIZES = {"n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 128, "vocab_size": 256}
STEPS, BATCH, T, RATE = 800, 16, 128, 4e-3

FAULTS = {
    "no dial tone": "the line card was replaced",
    "slow internet": "the profile was changed to 50 Mbit/s",
    "no internet": "the modem was restarted",
    "noise on the line": "a wet joint was dried",
    "dropped calls": "a neighbour cell was added",
    "no fibre signal": "the connector was cleaned",
}
PLACES = ["Bangkok", "Chiang Mai", "Phuket", "Khon Kaen", "Hat Yai"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]


def ticket(rng: random.Random) -> str:
    """One made-up ticket: the cure follows from the fault, everything else is chance."""
    fault, cure = rng.choice(list(FAULTS.items()))
    place, day = rng.choice(PLACES), rng.choice(DAYS)
    return (f"Ticket {rng.randint(1000, 9999)}: customer in {place} reports {fault}. "
            f"On {day} {cure}. Status: {rng.choice(['closed', 'open'])}.\n")  # fmt: skip


def main() -> None:
    """Make the text, train, save."""
    torch.set_num_threads(1)
    rng = random.Random(0)
    text = "".join(ticket(rng) for _ in range(8000))
    data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).long()
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**SIZES, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                                       bos_token_id=None, eos_token_id=None))  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95))
    for step in range(STEPS):
        rate = RATE * min(1, step / 30, 0.02 + math.cos(math.pi * step / STEPS / 2))
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = torch.randint(len(data) - T, (BATCH, 1))
        ids = data[starts + torch.arange(T)]
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == STEPS - 1:
            print(f"step {step:4}  loss {loss.item():.3f}", flush=True)
    model.half().save_pretrained(HERE / "data" / "tiny_gpt2")
    (HERE / "data" / "tiny_gpt2" / "generation_config.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
