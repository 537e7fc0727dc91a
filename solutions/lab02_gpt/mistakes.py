"""The mistake bank of lab 2: what learners get wrong, what they read, and other right versions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.bank import Bank, call, module
from glassbox.bank import made
from glassbox.parts import (
    BlockParts,
    GPTConfig,
    GPTParts,
    average_decoder,
    average_encoder,
    silu_experts,
)

bank = Bank("lab02_gpt")
gen = torch.Generator().manual_seed(30)
GPT2_NAMES = {
    "norm1": "ln_1", "out_proj": "attn.c_proj", "norm2": "ln_2",
    "ff_in": "mlp.c_fc", "ff_out": "mlp.c_proj",
}  # fmt: skip


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


def weights_of(parts: nn.Module) -> dict[str, Tensor]:
    return {name: rand(*value.shape) for name, value in parts.state_dict().items()}


# --- Block -----------------------------------------------------------------------------------

_sizes = {"n_layers": 1, "d_model": 8, "n_heads": 4, "d_ff": 12, "vocab_size": 3, "context_len": 9}
_pre, _post = GPTConfig(**_sizes), GPTConfig(**_sizes, norm="post")
_w, _x = weights_of(BlockParts(_pre)), rand(2, 4, 8)
_grouped = GPTConfig(**_sizes, n_kv_heads=2)
_window = torch.ones(4, 4, dtype=torch.bool).tril() & ~torch.ones(4, 4, dtype=torch.bool).tril(-2)


def _block(state: dict[str, Tensor], *args: object, **changes: object) -> dict:
    return module({"config": made(GPTConfig, **_sizes | changes)}, state, *args)


# inner values near -3, where the two forms of GELU differ by a tenth, made loud
_loud = _w | {
    "out_proj.weight": _w["out_proj.weight"] * 0,
    "ff_in.weight": _w["ff_in.weight"] * 0.1,
    "ff_in.bias": _w["ff_in.bias"] * 0 - 3,
    "ff_out.weight": _w["ff_out.weight"] * 1000,
}
bank.probe("Block", _block(_w, _x), _block(_loud, _x), _block(_w, _x, _window),
           _block(_w, _x, norm="post"),
           _block(weights_of(BlockParts(_grouped)), _x, n_kv_heads=2),
           _block(_w, _x, dropout=1.0))  # fmt: skip


class _Usual(BlockParts):
    """The usual block, with methods to be overridden by mistakes."""

    def split(self, x, n_heads):
        return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)

    def repeat(self, x):
        return x.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1)

    def merge(self, heads):
        return heads.transpose(1, 2).flatten(2)

    def see(self, T, mask):
        return torch.ones(T, T, dtype=torch.bool).tril() if mask is None else mask

    def attend(self, x, mask):
        q = self.split(self.q_proj(x), self.n_heads)
        k = self.repeat(self.split(self.k_proj(x), self.n_kv_heads))
        v = self.repeat(self.split(self.v_proj(x), self.n_kv_heads))
        heads = F.scaled_dot_product_attention(q, k, v, self.see(x.shape[1], mask))
        return self.out_proj(self.merge(heads))

    def activation(self, x):
        return F.gelu(x, approximate="tanh")

    def think(self, x):
        return self.ff_out(self.activation(self.ff_in(x)))

    def drop(self, x):
        return self.dropout(x)

    def forward(self, x, mask=None):
        if self.placement == "pre":
            x = x + self.drop(self.attend(self.norm1(x), mask))
            return x + self.drop(self.think(self.norm2(x)))
        x = self.norm1(x + self.drop(self.attend(x, mask)))
        return self.norm2(x + self.drop(self.think(x)))


@bank.wrong("Block", "You use the exact GELU, off by at most 0.0005 per activation; GPT-2 uses the "
            "tanh form.")  # fmt: skip
class ExactGelu(_Usual):
    def activation(self, x):
        return F.gelu(x)


@bank.wrong("Block", "The activation is ReLU; GPT-2 uses GELU in its tanh form.")
class ReluInside(_Usual):
    def activation(self, x):
        return F.relu(x)


@bank.wrong("Block", "The feed-forward layer has no activation: two linear maps are one.")
class NoActivation(_Usual):
    def activation(self, x):
        return x


@bank.wrong("Block", "Without a mask you let tokens see the future; None means causal.")
class NoneIsNoMask(_Usual):
    def see(self, T, mask):
        return torch.ones(T, T, dtype=torch.bool) if mask is None else mask


@bank.wrong("Block", "The mask that is passed has no effect: you always use the causal one.")
class AlwaysCausal(_Usual):
    def see(self, T, mask):
        return torch.ones(T, T, dtype=torch.bool).tril()


@bank.wrong("Block", "The mask that is passed is turned round: True means 'may attend'.")
class MaskTurned(_Usual):
    def see(self, T, mask):
        return torch.ones(T, T, dtype=torch.bool).tril() if mask is None else ~mask


@bank.wrong("Block", "The causal mask is turned round: you show the future and hide the past.")
class FutureOnly(_Usual):
    def see(self, T, mask):
        return torch.ones(T, T, dtype=torch.bool).triu() if mask is None else mask


@bank.wrong("Block", "The residual starts after the norm: you add to the normed x. The stream is "
            "normalised away.")  # fmt: skip
class ResidualAfterNorm(_Usual):
    def forward(self, x, mask=None):
        if self.placement == "post":
            return super().forward(x, mask)
        x = self.norm1(x)
        x = x + self.drop(self.attend(x, mask))
        x = self.norm2(x)
        return x + self.drop(self.think(x))


@bank.wrong("Block", "This is post-norm whatever the config says: the sum is normed, the input of "
            "attention is not.")  # fmt: skip
class AlwaysPost(_Usual):
    def forward(self, x, mask=None):
        x = self.norm1(x + self.drop(self.attend(x, mask)))
        return self.norm2(x + self.drop(self.think(x)))


@bank.wrong("Block", "This is pre-norm whatever the config says.")
class AlwaysPre(_Usual):
    def forward(self, x, mask=None):
        x = x + self.drop(self.attend(self.norm1(x), mask))
        return x + self.drop(self.think(self.norm2(x)))


@bank.wrong("Block", "With post-norm the norm acts on the update; it acts on the sum.")
class PostNormsTheUpdate(_Usual):
    def forward(self, x, mask=None):
        if self.placement == "pre":
            return super().forward(x, mask)
        x = x + self.norm1(self.drop(self.attend(x, mask)))
        return x + self.norm2(self.drop(self.think(x)))


@bank.wrong("Block", "The residuals are missing: each part adds to the stream.")
class NoResidual(_Usual):
    def forward(self, x, mask=None):
        if self.placement == "post":
            return super().forward(x, mask)
        x = self.drop(self.attend(self.norm1(x), mask))
        return self.drop(self.think(self.norm2(x)))


@bank.wrong("Block", "The feed-forward layer reads the x from before attention; it reads the stream "
            "after it.")  # fmt: skip
class Parallel(_Usual):
    def forward(self, x, mask=None):
        if self.placement == "post":
            return super().forward(x, mask)
        return (
            x + self.drop(self.attend(self.norm1(x), mask)) + self.drop(self.think(self.norm2(x)))
        )


@bank.wrong("Block", "norm1 stands before both parts; the feed-forward layer has norm2.")
class OneNormTwice(_Usual):
    def forward(self, x, mask=None):
        if self.placement == "post":
            return super().forward(x, mask)
        x = x + self.drop(self.attend(self.norm1(x), mask))
        return x + self.drop(self.think(self.norm1(x)))


@bank.wrong("Block", "The output map is missing: out_proj mixes the heads.")
class NoOutputMap(_Usual):
    def attend(self, x, mask):
        q, k, v = (self.split(p(x), self.n_heads if p is self.q_proj else self.n_kv_heads)
                   for p in (self.q_proj, self.k_proj, self.v_proj))  # fmt: skip
        k, v = self.repeat(k), self.repeat(v)
        return self.merge(F.scaled_dot_product_attention(q, k, v, self.see(x.shape[1], mask)))


@bank.wrong("Block", "Heads are split or merged in memory order, so that tokens mix: transpose.")
class MergedWithoutTranspose(_Usual):
    def merge(self, heads):
        B, H, T, D = heads.shape
        return heads.reshape(B, T, H * D)


@bank.wrong("Block", "Key heads are repeated as 0 1 0 1; query head h uses key head h // (H / Hkv), "
            "so 0 0 1 1.")  # fmt: skip
class KeyHeadsTiled(_Usual):
    def repeat(self, x):
        return x.repeat(1, self.n_heads // self.n_kv_heads, 1, 1)


@bank.wrong("Block", "Dropout is active in evaluation: F.dropout does not know the mode, the layer "
            "self.dropout does.")  # fmt: skip
class DropsInEvaluation(_Usual):
    def drop(self, x):
        return F.dropout(x, self.dropout.p)


@bank.wrong("Block", "You add in place; the caller's x must stay as it was.")
class AddsInPlace(_Usual):
    def forward(self, x, mask=None):
        if self.placement == "post":
            return super().forward(x, mask)
        with torch.no_grad():
            x += self.drop(self.attend(self.norm1(x), mask))
        return x + self.drop(self.think(self.norm2(x)))


@bank.right("Block")
class BlockByMethods(_Usual):
    pass


@bank.right("Block")
class BlockByHand(BlockParts):
    def attend(self, x, mask):
        T, C = x.shape[1:]
        D = C // self.n_heads
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        heads = []
        for h in range(self.n_heads):
            g = h // (self.n_heads // self.n_kv_heads)
            scores = q[..., h * D : (h + 1) * D] @ k[..., g * D : (g + 1) * D].mT / math.sqrt(D)
            seen = torch.tril(torch.ones(T, T)).bool() if mask is None else mask
            seen = seen if seen.dim() < 3 else seen[:, min(h, seen.shape[1] - 1)]
            scores = scores.masked_fill(~seen, -math.inf)
            heads.append(scores.softmax(-1) @ v[..., g * D : (g + 1) * D])
        return self.out_proj(torch.cat(heads, -1))

    def forward(self, x, mask=None):
        for norm, part in ((self.norm1, lambda t: self.attend(t, mask)), (self.norm2, self.feed)):
            update = part(norm(x) if self.placement == "pre" else x)
            if self.training:
                update = F.dropout(update, self.dropout.p)
            x = x + update if self.placement == "pre" else norm(x + update)
        return x

    def feed(self, x):
        z = self.ff_in(x)
        return self.ff_out(
            0.5 * z * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
        )


# --- GPT -------------------------------------------------------------------------------------

_gpt = {"n_layers": 2, "d_model": 6, "n_heads": 2, "d_ff": 8, "vocab_size": 5, "context_len": 7}
_gw = weights_of(GPTParts(GPTConfig(**_gpt)))
_tied = _gw | {"head.weight": _gw["token.weight"]}
_ids = torch.tensor([[1, 4, 0, 2], [3, 3, 1, 2]])


def _model(state: dict[str, Tensor], ids: Tensor, **changes: object) -> dict:
    return module({"config": made(GPTConfig, **_gpt | changes)}, state, ids)


bank.probe("GPT", _model(_tied, _ids), _model(_tied, torch.tensor([[2, 0]])),
           _model(_tied, _ids, norm="post"), _model(_gw, _ids, tied=False), _model(_gw, _ids),
           _model(_tied, _ids, dropout=1.0),
           _model(_tied, torch.zeros(1, 8, dtype=torch.long)))  # fmt: skip


class _UsualGPT(GPTParts):
    """The usual GPT, with methods to be overridden by mistakes."""

    def __init__(self, config):
        super().__init__(config, _Usual)
        self.tie(config)

    def tie(self, config):
        if config.tied:
            self.head.weight = self.token.weight

    def embed(self, ids):
        T = ids.shape[1]
        if T > self.config.context_len:
            raise ValueError("too long")
        return self.dropout(self.token(ids) + self.position(torch.arange(T)))

    def run(self, x):
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, ids):
        return self.head(self.norm(self.run(self.embed(ids))))


@bank.wrong("GPT", "Your logits are those of a GPT without its final norm.")
class NoFinalNorm(_UsualGPT):
    def forward(self, ids):
        return self.head(self.run(self.embed(ids)))


@bank.wrong("GPT", "With post-norm the final norm is missing; it is there in both cases.")
class NoFinalNormWhenPost(_UsualGPT):
    def forward(self, ids):
        x = self.run(self.embed(ids))
        return self.head(x if self.config.norm == "post" else self.norm(x))


@bank.wrong("GPT", "The positions are missing: the sum has the vectors of the tokens alone.")
class NoPositions(_UsualGPT):
    def embed(self, ids):
        if ids.shape[1] > self.config.context_len:
            raise ValueError("too long")
        return self.dropout(self.token(ids))


@bank.wrong("GPT", "Positions are added before every block; they are added once, before the first.")
class PositionsPerBlock(_UsualGPT):
    def run(self, x):
        at = self.position(torch.arange(x.shape[1]))
        for i, block in enumerate(self.blocks):
            x = block(x + at if i else x)
        return x


@bank.wrong("GPT", "Positions count from 1; the first token stands at position 0.")
class PositionsFromOne(_UsualGPT):
    def embed(self, ids):
        T = ids.shape[1]
        if T > self.config.context_len:
            raise ValueError("too long")
        return self.dropout(self.token(ids) + self.position(torch.arange(1, T + 1)))


@bank.wrong("GPT", "The position vectors are looked up by the ids of the tokens.")
class PositionsOfIds(_UsualGPT):
    def embed(self, ids):
        if ids.shape[1] > self.config.context_len:
            raise ValueError("too long")
        return self.dropout(self.token(ids) + self.position(ids))


@bank.wrong("GPT", "Only the first block runs.")
class OneBlock(_UsualGPT):
    def run(self, x):
        return self.blocks[0](x)


@bank.wrong(
    "GPT", "Every block reads the embeddings; a block reads what the one before it returned."
)
class BlocksSideBySide(_UsualGPT):
    def run(self, x):
        for block in self.blocks:
            out = block(x)
        return out


@bank.wrong("GPT", "The blocks run in reverse order.")
class BlocksReversed(_UsualGPT):
    def run(self, x):
        for block in reversed(self.blocks):
            x = block(x)
        return x


@bank.wrong("GPT", "You return shares; the docstring asks for logits.")
class SoftmaxAtTheEnd(_UsualGPT):
    def forward(self, ids):
        return super().forward(ids).softmax(-1)


@bank.wrong("GPT", "You return the logits of the last position only.")
class LastPosition(_UsualGPT):
    def forward(self, ids):
        return super().forward(ids)[:, -1]


@bank.wrong("GPT", "Head and token table are tied although config.tied is False.")
class AlwaysTied(_UsualGPT):
    def tie(self, config):
        self.head.weight = self.token.weight


@bank.wrong("GPT", "The head and the token table are two tensors. They may be equal now, but training "
            "will move only one of them.")  # fmt: skip
class HeadCopied(_UsualGPT):
    def tie(self, config):
        if config.tied:
            self.head.weight = nn.Parameter(self.token.weight.detach().clone())


@bank.wrong("GPT", "The head and the token table are two tensors. They may be equal now, but training "
            "will move only one of them.")  # fmt: skip
class NeverTied(_UsualGPT):
    def tie(self, config):
        pass


@bank.wrong("GPT", "Dropout is active in evaluation: F.dropout does not know the mode, the layer "
            "self.dropout does.")  # fmt: skip
class DropsInEvaluationToo(_UsualGPT):
    def embed(self, ids):
        x = self.token(ids) + self.position(torch.arange(ids.shape[1]))
        return F.dropout(x, self.dropout.p)


@bank.wrong(
    "GPT", "A text longer than context_len must raise ValueError; yours fails in the lookup."
)
class NoLengthCheck(_UsualGPT):
    def embed(self, ids):
        return self.dropout(self.token(ids) + self.position(torch.arange(ids.shape[1])))


@bank.wrong("GPT", "A text longer than context_len is cut; it must raise ValueError.")
class CutsLongTexts(_UsualGPT):
    def embed(self, ids):
        ids = ids[:, -self.config.context_len :]
        return self.dropout(self.token(ids) + self.position(torch.arange(ids.shape[1])))


@bank.right("GPT")
class GPTByMethods(_UsualGPT):
    pass


@bank.right("GPT")
class GPTWithSlices(GPTParts):
    def __init__(self, config):
        super().__init__(config, BlockByHand)
        if config.tied:
            self.token.weight = self.head.weight

    def forward(self, ids):
        T = ids.size(1)
        if not T <= self.config.context_len:
            raise ValueError("this text is too long for the model")
        x = F.embedding(ids, self.token.weight) + self.position.weight[:T]
        x = nn.Sequential(self.dropout, *self.blocks, self.norm)(x)
        return F.linear(x, self.head.weight)


# --- init_weights ----------------------------------------------------------------------------

_parts = {"n_layers": 2, "d_model": 4, "n_heads": 2, "d_ff": 6, "vocab_size": 5, "context_len": 3}
_half = {k: torch.full_like(v, 0.5).double()
         for k, v in GPTParts(GPTConfig(**_parts)).state_dict().items()}  # fmt: skip
_fresh = made(GPTParts, made(GPTConfig, **_parts), state=_half)
bank.probe("init_weights", call(_fresh, 2), call(_fresh, 8, 0.1))


def _fill(model, std, residual, bias=0.0, norm=1.0, only=None, names=("out_proj", "ff_out")):
    with torch.no_grad():
        for name, p in model.named_parameters():
            layer, kind = name.split(".")[-2:]
            if kind == "bias":
                p.fill_(bias) if bias is not None else None
            elif "norm" in layer:
                p.fill_(norm) if norm is not None else p.normal_(0, std)
            elif only is None or only(layer):
                p.normal_(0, residual if layer in names else std)


@bank.wrong("init_weights", "out_proj and ff_out have std like the rest; they get "
            "std / sqrt(2 · n_layers).")  # fmt: skip
def not_scaled_with_depth(model, n_layers, std=0.02):
    _fill(model, std, std)


@bank.wrong("init_weights", "You divide by sqrt(n_layers); a block writes to the stream twice, so it "
            "is sqrt(2 · n_layers).")  # fmt: skip
def one_write_per_block(model, n_layers, std=0.02):
    _fill(model, std, std / math.sqrt(n_layers))


@bank.wrong("init_weights", "You divide by 2 · n_layers; its square root is asked for.")
def root_forgotten(model, n_layers, std=0.02):
    _fill(model, std, std / (2 * n_layers))


@bank.wrong("init_weights", "Only out_proj is scaled down; ff_out writes to the stream too.")
def feed_forward_not_scaled(model, n_layers, std=0.02):
    _fill(model, std, std / math.sqrt(2 * n_layers), names=("out_proj",))


@bank.wrong("init_weights", "ff_in is scaled down; of the feed-forward layer it is ff_out that writes "
            "to the stream.")  # fmt: skip
def wrong_map_scaled(model, n_layers, std=0.02):
    _fill(model, std, std / math.sqrt(2 * n_layers), names=("out_proj", "ff_in"))


@bank.wrong(
    "init_weights", "All matrices are scaled down; only those of out_proj and ff_out should."
)
def everything_scaled(model, n_layers, std=0.02):
    _fill(model, std / math.sqrt(2 * n_layers), std / math.sqrt(2 * n_layers))


@bank.wrong("init_weights", "The standard deviation is 1: the first loss is far above log V, the "
            "model starts confident and wrong.")  # fmt: skip
def std_of_one(model, n_layers, std=0.02):
    _fill(model, 1.0, 1 / math.sqrt(2 * n_layers))


@bank.wrong("init_weights", "The standard deviation is 0.02 whatever std says.")
def std_ignored(model, n_layers, std=0.02):
    _fill(model, 0.02, 0.02 / math.sqrt(2 * n_layers))


@bank.wrong("init_weights", "The biases are left as they were; they are 0.")
def biases_left(model, n_layers, std=0.02):
    _fill(model, std, std / math.sqrt(2 * n_layers), bias=None)


@bank.wrong("init_weights", "The weights of the norms are drawn at random; they are 1.")
def norms_drawn(model, n_layers, std=0.02):
    _fill(model, std, std / math.sqrt(2 * n_layers), norm=None)


@bank.wrong("init_weights", "The weights of the norms are 0, so every norm gives 0; they are 1.")
def norms_zero(model, n_layers, std=0.02):
    _fill(model, std, std / math.sqrt(2 * n_layers), norm=0.0)


@bank.wrong("init_weights", "The two tables are left as they were; they get std like the rest.")
def tables_left(model, n_layers, std=0.02):
    _fill(model, std, std / math.sqrt(2 * n_layers), only=lambda layer: layer not in (
        "token", "position"))  # fmt: skip


@bank.right("init_weights")
def module_by_module(model, n_layers, std=0.02):
    for name, layer in model.named_modules():
        if isinstance(layer, nn.LayerNorm):
            layer.reset_parameters()
        elif isinstance(layer, nn.Linear | nn.Embedding):
            small = name.endswith(("out_proj", "ff_out"))
            layer.weight.data = torch.randn_like(layer.weight) * std
            if small:
                layer.weight.data /= (2 * n_layers) ** 0.5
            if getattr(layer, "bias", None) is not None:
                layer.bias.data.zero_()


@bank.right("init_weights")
def in_two_passes(model, n_layers, std=0.02):
    def first(layer):
        if isinstance(layer, nn.Embedding | nn.Linear):
            nn.init.normal_(layer.weight, mean=0.0, std=std)
        for name, p in layer.named_parameters(recurse=False):
            if name == "bias":
                nn.init.zeros_(p)
            elif isinstance(layer, nn.LayerNorm):
                nn.init.ones_(p)

    model.apply(first)
    for name, p in model.named_parameters():
        if name.endswith("out_proj.weight") or name.endswith("ff_out.weight"):
            nn.init.normal_(p, mean=0.0, std=std * (2 * n_layers) ** -0.5)


# --- load_gpt2 -------------------------------------------------------------------------------


def _saved(sizes: dict, prefix: str = "", head: bool = True) -> dict[str, Tensor]:
    C, d_ff = sizes["d_model"], sizes["d_ff"]
    shapes = {"wte.weight": (sizes["vocab_size"], C), "wpe.weight": (sizes["context_len"], C),
              "ln_f.weight": (C,), "ln_f.bias": (C,)}  # fmt: skip
    for i in range(sizes["n_layers"]):
        for name, shape in {
            "ln_1": (C,), "attn.c_attn": (C, 3 * C), "attn.c_proj": (C, C), "ln_2": (C,),
            "mlp.c_fc": (C, d_ff), "mlp.c_proj": (d_ff, C),
        }.items():  # fmt: skip
            shapes |= {f"h.{i}.{name}.weight": shape, f"h.{i}.{name}.bias": shape[-1:]}
    state = {prefix + name: rand(*shape) for name, shape in shapes.items()}
    return state | ({"lm_head.weight": rand(*shapes["wte.weight"])} if head else {})


_square = _parts | {"d_ff": 4}  # square matrices: a forgotten transpose raises nothing
_plain, _headless = _saved(_square), _saved(_square, head=False)
_lacking = {k: v for k, v in _plain.items() if k != "h.1.ln_2.bias"}
bank.probe(
    "load_gpt2",
    call(made(GPTParts, made(GPTConfig, **_square), state=weights_of(GPTParts(GPTConfig(**_square)))), _plain),
    call(made(GPTParts, made(GPTConfig, **_square), state=weights_of(GPTParts(GPTConfig(**_square)))),
         _saved(_square, "transformer.")),
    call(made(GPTParts, made(GPTConfig, **_square), state=weights_of(GPTParts(GPTConfig(**_square)))), _headless),
    call(made(GPTParts, made(GPTConfig, **_parts), state=weights_of(GPTParts(GPTConfig(**_parts)))),
         _saved(_parts)),
    call(made(GPTParts, made(GPTConfig, **_square), state=weights_of(GPTParts(GPTConfig(**_square)))), _lacking),
)  # fmt: skip


def _load(model, state, turn=lambda w, layer: w.t(), order="qkv", strip=True, head=None, split=None,
          lookup=None, strict=True):  # fmt: skip
    if strip:
        state = {key.removeprefix("transformer."): value for key, value in state.items()}
    get = lookup or (lambda key: state[key])
    new = {"token.weight": get("wte.weight"), "position.weight": get("wpe.weight")}
    new["head.weight"] = head(state) if head else state.get("lm_head.weight", state["wte.weight"])
    for kind in ("weight", "bias"):
        new[f"norm.{kind}"] = get(f"ln_f.{kind}")
        for i in range(len(model.blocks)):
            for ours, theirs in GPT2_NAMES.items():
                value = get(f"h.{i}.{theirs}.{kind}")
                new[f"blocks.{i}.{ours}.{kind}"] = None if value is None else turn(value, ours)
            fused = get(f"h.{i}.attn.c_attn.{kind}")
            parts = split(fused) if split else turn(fused, "qkv").chunk(3)
            for m, part in zip(order, parts, strict=True):
                new[f"blocks.{i}.{m}_proj.{kind}"] = part
    model.load_state_dict({k: v for k, v in new.items() if v is not None}, strict=strict)


@bank.wrong(
    "load_gpt2", "Matrices are not transposed: GPT-2 stores (in, out), nn.Linear (out, in)."
)
def nothing_transposed(model, state):
    _load(model, state, turn=lambda w, layer: w, split=lambda w: w.chunk(3, -1))


@bank.wrong("load_gpt2", "The matrix of out_proj is not transposed; that it is square hides it.")
def square_not_transposed(model, state):
    _load(model, state, turn=lambda w, layer: w if layer == "out_proj" else w.t())


@bank.wrong("load_gpt2", "The queries, keys and values are not transposed after the split.")
def fused_not_transposed(model, state):
    _load(model, state, split=lambda w: w.chunk(3, -1))


@bank.wrong("load_gpt2", "c_attn is cut along its rows and not along its columns: every part has a "
            "wrong shape.")  # fmt: skip
def cut_along_rows(model, state):
    _load(model, state, split=lambda w: w.chunk(3, 0))


@bank.wrong("load_gpt2", "c_attn holds queries, keys, values in this order; yours is another.")
def keys_first(model, state):
    _load(model, state, order="kqv")


@bank.wrong("load_gpt2", "c_attn holds queries, keys, values in this order; yours is another.")
def values_first(model, state):
    _load(model, state, order="vkq")


@bank.wrong("load_gpt2", "c_attn is split as q0 k0 v0 q1 k1 v1 …; all queries come first.")
def interleaved(model, state):
    _load(model, state, split=lambda w: [w.t()[m::3] for m in range(3)])


@bank.wrong("load_gpt2", "Both norms of a block get the weights of one.")
def one_norm_for_both(model, state):
    state = {key: value for key, value in state.items()}
    for key in list(state):
        if ".ln_2." in key:
            state[key] = state[key.replace(".ln_2.", ".ln_1.")]
    _load(model, state)


@bank.wrong("load_gpt2", "The head gets the token table although there is lm_head.weight.")
def head_ignored(model, state):
    _load(model, state, head=lambda s: s["wte.weight"])


@bank.wrong("load_gpt2", "The biases are left as they were.")
def biases_not_loaded(model, state):
    state = {key: value for key, value in state.items()}
    old = {k: v.clone() for k, v in model.state_dict().items()}
    _load(model, state)
    model.load_state_dict({k: v for k, v in old.items() if k.endswith("bias")}, strict=False)


@bank.wrong("load_gpt2", "The final norm is left as it was: GPT-2 calls it ln_f.")
def final_norm_left(model, state):
    old = {k: v.clone() for k, v in model.state_dict().items()}
    _load(model, state)
    model.load_state_dict({k: v for k, v in old.items() if k.startswith("norm.")}, strict=False)


@bank.wrong("load_gpt2", "Names with the prefix 'transformer.' are not found.")
def prefix_not_stripped(model, state):
    _load(model, state, strip=False)


@bank.wrong("load_gpt2", "Names without the prefix 'transformer.' are not found.")
def prefix_expected(model, state):
    state = {
        k: v for k, v in state.items() if k.startswith("transformer.") or k == "lm_head.weight"
    }
    _load(model, state)


@bank.wrong("load_gpt2", "Without lm_head.weight the head is the token table; you raise KeyError.")
def head_demanded(model, state):
    _load(model, state, head=lambda s: s["lm_head.weight"])


@bank.wrong("load_gpt2", "A missing name passes in silence; it must raise KeyError.")
def missing_passes(model, state):
    state = {key.removeprefix("transformer."): value for key, value in state.items()}
    _load(model, state, lookup=state.get, strict=False)


@bank.right("load_gpt2")
def parameter_by_parameter(model, state):
    def get(name):
        full = f"transformer.{name}"
        return state[full] if full in state else state[name]

    with torch.no_grad():
        model.token.weight.copy_(get("wte.weight"))
        model.position.weight.copy_(get("wpe.weight"))
        model.head.weight.copy_(state["lm_head.weight"] if "lm_head.weight" in state
                                else get("wte.weight"))  # fmt: skip
        model.norm.weight.copy_(get("ln_f.weight"))
        model.norm.bias.copy_(get("ln_f.bias"))
        for i, block in enumerate(model.blocks):
            q, k, v = get(f"h.{i}.attn.c_attn.weight").split(block.q_proj.in_features, dim=1)
            bq, bk, bv = get(f"h.{i}.attn.c_attn.bias").split(block.q_proj.in_features)
            for layer, w, b in (
                (block.q_proj, q, bq),
                (block.k_proj, k, bk),
                (block.v_proj, v, bv),
            ):
                layer.weight.copy_(w.T)
                layer.bias.copy_(b)
            for ours, theirs in (("norm1", "ln_1"), ("norm2", "ln_2"), ("out_proj", "attn.c_proj"),
                                 ("ff_in", "mlp.c_fc"), ("ff_out", "mlp.c_proj")):  # fmt: skip
                w = get(f"h.{i}.{theirs}.weight")
                getattr(block, ours).weight.copy_(w.T if w.dim() == 2 else w)
                getattr(block, ours).bias.copy_(get(f"h.{i}.{theirs}.bias"))


@bank.right("load_gpt2")
def name_by_name(model, state):
    short = {key.replace("transformer.", "", 1): value for key, value in state.items()}
    new = {}
    for name in model.state_dict():
        kind = name.split(".")[-1]
        if not name.startswith("blocks."):
            top = {"token": "wte", "position": "wpe", "norm": "ln_f", "head": "lm_head"}
            key = f"{top[name.split('.')[0]]}.{kind}"
            new[name] = short["wte.weight" if key not in short and "lm_head" in key else key]
            continue
        _, i, layer, _ = name.split(".")
        if layer in GPT2_NAMES:
            value = short[f"h.{i}.{GPT2_NAMES[layer]}.{kind}"]
        else:
            value = short[f"h.{i}.attn.c_attn.{kind}"].chunk(3, -1)["qkv".index(layer[0])]
        new[name] = value.transpose(0, 1) if value.dim() == 2 else value
    model.load_state_dict(new)


# --- sliding_window_mask ---------------------------------------------------------------------

bank.probe("sliding_window_mask", call(5, 2), call(6, 3), call(4, 9), call(6, 2, 1), call(6, 1, 3))


def _distance(T: int) -> Tensor:
    return torch.arange(T)[:, None] - torch.arange(T)


@bank.wrong("sliding_window_mask", "The window is one token too wide: it counts the token itself.")
def one_too_wide(n_tokens, window, n_global=0):
    d = _distance(n_tokens)
    return (d >= 0) & ((d <= window) | (torch.arange(n_tokens) < n_global))


@bank.wrong("sliding_window_mask", "A token does not see itself.")
def without_itself(n_tokens, window, n_global=0):
    d = _distance(n_tokens)
    return (d > 0) & ((d < window) | (torch.arange(n_tokens) < n_global))


@bank.wrong("sliding_window_mask", "The window reaches into the future too; the mask is causal.")
def both_ways(n_tokens, window, n_global=0):
    d = _distance(n_tokens)
    return (d.abs() < window) | ((d >= 0) & (torch.arange(n_tokens) < n_global))


@bank.wrong("sliding_window_mask", "Without global tokens right; n_global has no effect.")
def globals_ignored(n_tokens, window, n_global=0):
    d = _distance(n_tokens)
    return (d >= 0) & (d < window)


@bank.wrong("sliding_window_mask", "Global tokens are seen by tokens before them too: that is the "
            "future.")  # fmt: skip
def globals_from_the_future(n_tokens, window, n_global=0):
    d = _distance(n_tokens)
    return ((d >= 0) & (d < window)) | (torch.arange(n_tokens) < n_global)


@bank.wrong("sliding_window_mask", "Your global tokens see everything before them; they are to be "
            "seen by all after them.")  # fmt: skip
def globals_as_queries(n_tokens, window, n_global=0):
    d = _distance(n_tokens)
    return (d >= 0) & ((d < window) | (torch.arange(n_tokens)[:, None] < n_global))


@bank.wrong(
    "sliding_window_mask", "This is the mask of what is hidden; here True means 'may attend'."
)
def true_means_hidden(n_tokens, window, n_global=0):
    d = _distance(n_tokens)
    return ~((d >= 0) & ((d < window) | (torch.arange(n_tokens) < n_global)))


@bank.wrong("sliding_window_mask", "The mask is transposed: rows are queries, columns are keys.")
def transposed(n_tokens, window, n_global=0):
    d = _distance(n_tokens)
    return ((d >= 0) & ((d < window) | (torch.arange(n_tokens) < n_global))).T


@bank.wrong("sliding_window_mask", "This is the plain causal mask: the window has no effect.")
def window_ignored(n_tokens, window, n_global=0):
    return _distance(n_tokens) >= 0


@bank.wrong("sliding_window_mask", "The text is cut into blocks of `window` tokens; a window slides "
            "along with the token.")  # fmt: skip
def blocks_of_tokens(n_tokens, window, n_global=0):
    at = torch.arange(n_tokens)
    near = at[:, None] // window == at // window
    return (_distance(n_tokens) >= 0) & (near | (at < n_global))


@bank.right("sliding_window_mask")
def by_triangles(n_tokens, window, n_global=0):
    causal = torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()
    mask = causal.triu(1 - window)
    mask[:, :n_global] = causal[:, :n_global]
    return mask


@bank.right("sliding_window_mask")
def row_by_row(n_tokens, window, n_global=0):
    mask = torch.full((n_tokens, n_tokens), False)
    for i in range(n_tokens):
        mask[i, max(0, i - window + 1) : i + 1] = True
        mask[i, : min(n_global, i + 1)] = True
    return mask


# --- route_top_k -----------------------------------------------------------------------------

_rx, _gate = rand(5, 4), rand(4, 6)
bank.probe("route_top_k", call(_rx, _gate, 2), call(_rx, _gate, 1), call(rand(4, 4), rand(4, 4), 3))


@bank.wrong("route_top_k", "The softmax runs over all experts: the weights of the chosen ones sum to "
            "less than 1.")  # fmt: skip
def not_renormalised(x, w_gate, k):
    return (x @ w_gate).softmax(-1).topk(k)


@bank.wrong("route_top_k", "The two results are swapped: weights first, then experts.")
def results_swapped(x, w_gate, k):
    logits, experts = (x @ w_gate).topk(k)
    return experts, logits.softmax(-1)


@bank.wrong("route_top_k", "You return logits in place of weights: the softmax is missing.")
def logits_returned(x, w_gate, k):
    return (x @ w_gate).topk(k)


@bank.wrong("route_top_k", "You choose the smallest logits; the largest win.")
def smallest_win(x, w_gate, k):
    logits, experts = (x @ w_gate).topk(k, largest=False)
    return logits.softmax(-1), experts


@bank.wrong("route_top_k", "The softmax runs over the tokens: columns sum to 1, rows should.")
def over_tokens(x, w_gate, k):
    logits, experts = (x @ w_gate).topk(k)
    return logits.softmax(0), experts


@bank.wrong("route_top_k", "The experts choose tokens (topk along the first axis); the tokens choose "
            "experts.")  # fmt: skip
def experts_choose(x, w_gate, k):
    logits, tokens = (x @ w_gate).topk(k, dim=0)
    return logits.softmax(0), tokens


@bank.wrong("route_top_k", "The logits are divided by their sum; a softmax is asked for.")
def divided_by_the_sum(x, w_gate, k):
    logits, experts = (x @ w_gate).topk(k)
    return logits / logits.sum(-1, keepdim=True), experts


@bank.wrong("route_top_k", "Each weight is a sigmoid of its own; the k weights are one softmax.")
def sigmoid_weights(x, w_gate, k):
    logits, experts = (x @ w_gate).topk(k)
    return logits.sigmoid(), experts


@bank.wrong("route_top_k", "All chosen experts get the same weight; the logits decide it.")
def equal_weights(x, w_gate, k):
    logits, experts = (x @ w_gate).topk(k)
    return torch.full_like(logits, 1 / k), experts


@bank.wrong(
    "route_top_k", "The weights are the softmax over the probabilities, not over the logits."
)
def softmax_twice(x, w_gate, k):
    shares, experts = (x @ w_gate).softmax(-1).topk(k)
    return shares.softmax(-1), experts


@bank.wrong("route_top_k", "The experts stand in the order of their numbers; the largest logit comes "
            "first.")  # fmt: skip
def sorted_by_number(x, w_gate, k):
    logits = x @ w_gate
    experts = logits.topk(k).indices.sort(-1).values
    return logits.gather(-1, experts).softmax(-1), experts


@bank.right("route_top_k")
def shares_renormalised(x, w_gate, k):
    shares, order = torch.softmax(torch.matmul(x, w_gate), dim=1).sort(dim=1, descending=True)
    best = shares[:, :k]
    return best / best.sum(dim=1, keepdim=True), order[:, :k]


@bank.right("route_top_k")
def by_argsort(x, w_gate, k):
    logits = torch.einsum("nc,ce->ne", x, w_gate)
    experts = torch.argsort(-logits, dim=-1)[:, :k]
    chosen = torch.gather(logits, 1, experts)
    exp = (chosen - chosen[:, :1]).exp()
    return exp / exp.sum(-1)[:, None], experts


# --- moe_feed_forward ------------------------------------------------------------------------

_mx, _mg, _experts = rand(6, 3), rand(3, 4), rand(4, 3, 3)
_positive = rand(5, 3).abs()
# expert 0 is chosen by no token
_never = torch.cat([torch.full((3, 1), -5.0, dtype=torch.float64), _mg[:, :3].abs()], 1)
bank.probe(
    "moe_feed_forward",
    call(_mx, made(silu_experts, _experts), _mg, 2),
    call(_mx, made(silu_experts, _experts), _mg, 1),
    call(_mx, made(silu_experts, _experts), _mg, 4),
    call(_positive, made(silu_experts, _experts, strict=True), _never, 2),
    call(_mx, made(silu_experts, _experts, counting=True), _mg, 2),
)


def _route(x, w_gate, k):
    logits, chosen = (x @ w_gate).topk(k)
    return logits.softmax(-1), chosen


@bank.wrong("moe_feed_forward", "The experts' answers are added without their weights.")
def weights_missing(x, experts, w_gate, k):
    _, chosen = _route(x, w_gate, k)
    return _mix(x, experts, torch.ones_like(chosen, dtype=x.dtype), chosen)


@bank.wrong("moe_feed_forward", "The answers are averaged; the router's weights decide.")
def plain_average(x, experts, w_gate, k):
    _, chosen = _route(x, w_gate, k)
    return _mix(x, experts, torch.full(chosen.shape, 1 / k, dtype=x.dtype), chosen)


@bank.wrong("moe_feed_forward", "The weights are a softmax over all experts: those of the chosen ones "
            "sum to less than 1.")  # fmt: skip
def weights_not_renormalised(x, experts, w_gate, k):
    shares, chosen = (x @ w_gate).softmax(-1).topk(k)
    return _mix(x, experts, shares, chosen)


@bank.wrong("moe_feed_forward", "Only the best expert of each token is used; there are k.")
def best_alone(x, experts, w_gate, k):
    weights, chosen = _route(x, w_gate, k)
    return _mix(x, experts, weights[:, :1], chosen[:, :1])


@bank.wrong(
    "moe_feed_forward", "An expert's answer overwrites that of the one before; add them up."
)
def overwritten(x, experts, w_gate, k):
    weights, chosen = _route(x, w_gate, k)
    y = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows, places = torch.where(chosen == e)
        if len(rows):
            y[rows] = weights[rows, places, None] * expert(x[rows])
    return y


@bank.wrong("moe_feed_forward", "Every expert's answer gets the weight of the best one.")
def first_weight_for_all(x, experts, w_gate, k):
    weights, chosen = _route(x, w_gate, k)
    return _mix(x, experts, weights[:, :1].expand(-1, k), chosen)


@bank.wrong("moe_feed_forward", "The weights multiply the input of the experts; they belong to the "
            "answer.")  # fmt: skip
def weights_on_the_input(x, experts, w_gate, k):
    weights, chosen = _route(x, w_gate, k)
    y = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows, places = torch.where(chosen == e)
        if len(rows):
            y = y.index_add(0, rows, expert(weights[rows, places, None] * x[rows]))
    return y


@bank.wrong("moe_feed_forward", "x is added to the result; the residual is the block's business.")
def residual_added(x, experts, w_gate, k):
    return x + _mix(x, experts, *_route(x, w_gate, k))


@bank.wrong("moe_feed_forward", "All experts are mixed; only the k chosen ones have a weight.")
def dense_over_all(x, experts, w_gate, k):
    shares = (x @ w_gate).softmax(-1)
    return sum(shares[:, e, None] * expert(x) for e, expert in enumerate(experts))


@bank.wrong("moe_feed_forward", "An expert that no token chose is called, with no tokens.")
def called_without_tokens(x, experts, w_gate, k):
    weights, chosen = _route(x, w_gate, k)
    y = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows, places = torch.where(chosen == e)
        y = y.index_add(0, rows, weights[rows, places, None] * expert(x[rows]))
    return y


@bank.wrong("moe_feed_forward", "The numbers are right, but experts compute for tokens that did not "
            "choose them: nothing is saved.")  # fmt: skip
def everything_computed(x, experts, w_gate, k):
    weights, chosen = _route(x, w_gate, k)
    full = torch.zeros(len(x), len(experts), dtype=x.dtype).scatter(1, chosen, weights)
    return sum(full[:, e, None] * expert(x) for e, expert in enumerate(experts))


def _mix(x, experts, weights, chosen):
    y = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows, places = torch.where(chosen == e)
        if len(rows):
            y = y.index_add(0, rows, weights[rows, places, None] * expert(x[rows]))
    return y


@bank.right("moe_feed_forward")
def token_by_token(x, experts, w_gate, k):
    rows = []
    for row in x:
        best = torch.topk(row @ w_gate, k)
        weights = torch.softmax(best.values, 0)
        answers = [experts[e](row[None])[0] for e in best.indices.tolist()]
        rows.append(sum(w * a for w, a in zip(weights, answers, strict=True)))
    return torch.stack(rows)


@bank.right("moe_feed_forward")
def with_masks(x, experts, w_gate, k):
    logits = x @ w_gate
    best = logits.topk(k, dim=-1).indices
    kept = torch.full_like(logits, -math.inf).scatter(1, best, logits.gather(1, best))
    share = torch.softmax(kept, dim=-1)  # 0 where not chosen
    out = torch.zeros_like(x)
    for e in range(len(experts)):
        mine = (best == e).any(-1)
        if mine.any():
            update = torch.zeros_like(x)
            update[mine] = share[mine, e].unsqueeze(-1) * experts[e](x[mine])
            out = out + update
    return out


# --- load_balance_loss -----------------------------------------------------------------------

bank.probe("load_balance_loss", call(rand(7, 5), 2), call(rand(6, 4), 1), call(rand(3, 3), 3))


def _f_and_p(logits, k):
    E = logits.shape[-1]
    f = F.one_hot(logits.topk(k).indices, E).sum(1).to(logits.dtype).mean(0)
    return f, logits.softmax(-1).mean(0)


@bank.wrong("load_balance_loss", "Both factors are probabilities; f counts who was chosen.")
def soft_counts(router_logits, k):
    _, p = _f_and_p(router_logits, k)
    return router_logits.shape[-1] * (p * p).sum()


@bank.wrong("load_balance_loss", "Both factors are counts: no gradient would reach the router. P is a "
            "mean of probabilities.")  # fmt: skip
def hard_counts(router_logits, k):
    f, _ = _f_and_p(router_logits, k)
    return router_logits.shape[-1] * (f * f).sum() + 0 * router_logits.sum()


@bank.wrong("load_balance_loss", "Too small by the factor E in front of the sum.")
def without_e(router_logits, k):
    f, p = _f_and_p(router_logits, k)
    return (f * p).sum()


@bank.wrong("load_balance_loss", "Your f sum to 1; each token chooses k experts, so they sum to k.")
def divided_by_k(router_logits, k):
    f, p = _f_and_p(router_logits, k)
    return router_logits.shape[-1] * (f / k * p).sum()


@bank.wrong("load_balance_loss", "P is taken over the k chosen logits; it is a softmax over all E.")
def over_the_chosen(router_logits, k):
    f, _ = _f_and_p(router_logits, k)
    logits, chosen = router_logits.topk(k)
    p = torch.zeros_like(router_logits).scatter(1, chosen, logits.softmax(-1)).mean(0)
    return router_logits.shape[-1] * (f * p).sum()


@bank.wrong("load_balance_loss", "f counts the best expert only; a token chooses k.")
def best_only(router_logits, k):
    f, _ = _f_and_p(router_logits, 1)
    _, p = _f_and_p(router_logits, k)
    return router_logits.shape[-1] * (f * p).sum()


@bank.wrong("load_balance_loss", "The mean of the products is taken token by token; the means of f "
            "and P come first, then the product.")  # fmt: skip
def product_first(router_logits, k):
    E = router_logits.shape[-1]
    marks = F.one_hot(router_logits.topk(k).indices, E).sum(1).to(router_logits.dtype)
    return E * (marks * router_logits.softmax(-1)).mean(0).sum()


@bank.wrong("load_balance_loss", "The softmax runs over the tokens; it belongs over the experts.")
def softmax_over_tokens(router_logits, k):
    f, _ = _f_and_p(router_logits, k)
    return router_logits.shape[-1] * (f * router_logits.softmax(0).mean(0)).sum()


@bank.right("load_balance_loss")
def by_bincount(router_logits, k):
    N, E = router_logits.shape
    chosen = torch.argsort(router_logits, dim=1, descending=True)[:, :k].flatten()
    share = torch.bincount(chosen, minlength=E) / N
    return E * torch.dot(share.to(router_logits.dtype), torch.softmax(router_logits, 1).mean(0))


@bank.right("load_balance_loss")
def expert_by_expert(router_logits, k):
    p, best = router_logits.softmax(dim=-1), router_logits.topk(k, dim=1)[1]
    total = 0
    for e in range(router_logits.size(1)):
        total = total + (best == e).any(1).to(p.dtype).mean() * p[:, e].mean()
    return total * router_logits.size(1)


# --- share_layers ----------------------------------------------------------------------------

_deep = {"n_layers": 4, "d_model": 2, "n_heads": 1, "d_ff": 3, "vocab_size": 3, "context_len": 2}
_deeper = _deep | {"n_layers": 6}


def _stack(sizes: dict):
    return made(GPTParts, made(GPTConfig, **sizes), state=weights_of(GPTParts(GPTConfig(**sizes))))


bank.probe("share_layers", call(_stack(_deep)), call(_stack(_deep), 2), call(_stack(_deeper), 2),
           call(_stack(_deeper), 3))  # fmt: skip


def _left(model):
    return sum(p.numel() for p in model.parameters())


def _assign(model, place):
    blocks = list(model.blocks)
    for i in range(len(blocks)):
        model.blocks[i] = blocks[place(i)]


@bank.wrong("share_layers", "The weights are copied: equal now, but every block still has its own.")
def copied(model, n_groups=1):
    size = len(model.blocks) // n_groups
    for i, block in enumerate(model.blocks):
        block.load_state_dict(model.blocks[i - i % size].state_dict())
    return _left(model)


@bank.wrong("share_layers", "Groups are made of neighbours: 0 0 1 1, not 0 1 0 1.")
def taken_in_turn(model, n_groups=1):
    _assign(model, lambda i: i % n_groups)
    return _left(model)


@bank.wrong("share_layers", "You took n_groups for the number of blocks in a group.")
def group_size(model, n_groups=1):
    _assign(model, lambda i: i - i % n_groups)
    return _left(model)


@bank.wrong("share_layers", "All blocks become the first one, whatever n_groups says.")
def one_group_always(model, n_groups=1):
    _assign(model, lambda i: 0)
    return _left(model)


@bank.wrong("share_layers", "Layers are gone: the model must still run L blocks.")
def layers_dropped(model, n_groups=1):
    model.blocks = nn.ModuleList(list(model.blocks)[:: len(model.blocks) // n_groups])
    return _left(model)


@bank.wrong("share_layers", "Your count takes what is shared once for each block, as before "
            "sharing: sum tensors, not names.")  # fmt: skip
def names_summed(model, n_groups=1):
    size = len(model.blocks) // n_groups
    _assign(model, lambda i: i - i % size)
    return sum(value.numel() for value in model.state_dict().values())


@bank.wrong("share_layers", "You count tensors; count the numbers in them.")
def tensors_counted(model, n_groups=1):
    size = len(model.blocks) // n_groups
    _assign(model, lambda i: i - i % size)
    return len(list(model.parameters()))


@bank.wrong(
    "share_layers", "Your count leaves out what is not in blocks: tables, final norm, head."
)
def blocks_only(model, n_groups=1):
    size = len(model.blocks) // n_groups
    _assign(model, lambda i: i - i % size)
    return _left(model.blocks)


@bank.wrong("share_layers", "Your count takes what is shared once for each block, as before "
            "sharing: sum tensors, not names.")  # fmt: skip
def counted_before(model, n_groups=1):
    n = _left(model)
    size = len(model.blocks) // n_groups
    _assign(model, lambda i: i - i % size)
    return n


@bank.wrong("share_layers", "The last block of each group is kept; it is to be the first.")
def last_kept(model, n_groups=1):
    size = len(model.blocks) // n_groups
    blocks = list(model.blocks)
    for i in range(len(blocks)):
        model.blocks[i] = blocks[i - i % size + size - 1]
    return _left(model)


@bank.right("share_layers")
def new_module_list(model, n_groups=1):
    size = len(model.blocks) // n_groups
    kept = [block for block in model.blocks[::size] for _ in range(size)]
    model.blocks = nn.ModuleList(kept)
    return sum(math.prod(p.shape) for p in dict(model.named_parameters()).values())


@bank.right("share_layers")
def group_by_group(model, n_groups=1):
    size = len(model.blocks) // n_groups
    for g in range(n_groups):
        for i in range(1, size):
            model.blocks[g * size + i] = model.blocks[g * size]
    seen = {id(p): p.numel() for p in model.state_dict(keep_vars=True).values()}
    return sum(seen.values())


# --- encoder_decoder_forward -----------------------------------------------------------------

_stand_ins = made(average_encoder, rand(9, 3)), made(average_decoder, rand(9, 3))
_source, _target = torch.tensor([[3, 1, 4, 1], [5, 2, 6, 0]]), torch.tensor([[2, 7, 1], [8, 2, 8]])
_padded = torch.tensor([[False] * 4, [False, False, False, True]])
bank.probe(
    "encoder_decoder_forward",
    call(*_stand_ins, _source, _target, torch.zeros(2, 4, dtype=torch.bool)),
    call(*_stand_ins, _source, _target, _padded),
)


def _run(encoder, decoder, source, shifted, pad, encoder_mask=None, mask=None, seen=None):
    right = ~pad[:, None, None]
    T = shifted.shape[1]
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    memory = encoder(source, right if encoder_mask is None else encoder_mask)
    return decoder(shifted, memory, causal if mask is None else mask,
                   right if seen is None else seen)  # fmt: skip


def _shift(target):
    return torch.cat([torch.zeros_like(target[:, :1]), target[:, :-1]], 1)


@bank.wrong("encoder_decoder_forward", "The target is not shifted: position t reads the very token "
            "it is to predict.")  # fmt: skip
def not_shifted(encoder, decoder, source_ids, target_ids, source_pad):
    return _run(encoder, decoder, source_ids, target_ids, source_pad)


@bank.wrong("encoder_decoder_forward", "The target is shifted to the left: position t reads the "
            "token after the one it is to predict.")  # fmt: skip
def shifted_left(encoder, decoder, source_ids, target_ids, source_pad):
    left = torch.cat([target_ids[:, 1:], torch.zeros_like(target_ids[:, :1])], 1)
    return _run(encoder, decoder, source_ids, left, source_pad)


@bank.wrong("encoder_decoder_forward", "The last token of the target is moved to the front; the start "
            "token 0 belongs there.")  # fmt: skip
def rolled(encoder, decoder, source_ids, target_ids, source_pad):
    return _run(encoder, decoder, source_ids, target_ids.roll(1, 1), source_pad)


@bank.wrong("encoder_decoder_forward", "The start token is in front, but the last token of the target "
            "is still there: one logit too many.")  # fmt: skip
def one_too_long(encoder, decoder, source_ids, target_ids, source_pad):
    return _run(encoder, decoder, source_ids, F.pad(target_ids, (1, 0)), source_pad)


@bank.wrong("encoder_decoder_forward", "The target's last token is dropped and no start token put in "
            "front: one logit too few.")  # fmt: skip
def start_missing(encoder, decoder, source_ids, target_ids, source_pad):
    return _run(encoder, decoder, source_ids, target_ids[:, :-1], source_pad)


@bank.wrong(
    "encoder_decoder_forward", "A causal mask is inside the encoder; it may look both ways."
)
def causal_encoder(encoder, decoder, source_ids, target_ids, source_pad):
    S = source_ids.shape[1]
    mask = torch.ones(S, S, dtype=torch.bool).tril() & ~source_pad[:, None, None]
    return _run(encoder, decoder, source_ids, _shift(target_ids), source_pad, encoder_mask=mask)


@bank.wrong("encoder_decoder_forward", "The decoder's mask on the target is not causal: it reads the "
            "answer.")  # fmt: skip
def decoder_sees_all(encoder, decoder, source_ids, target_ids, source_pad):
    T = target_ids.shape[1]
    mask = torch.ones(T, T, dtype=torch.bool)
    return _run(encoder, decoder, source_ids, _shift(target_ids), source_pad, mask=mask)


@bank.wrong("encoder_decoder_forward", "The padding mask is turned round: source_pad is True where "
            "there is nothing to see.")  # fmt: skip
def padding_turned(encoder, decoder, source_ids, target_ids, source_pad):
    pad = ~source_pad
    return _run(encoder, decoder, source_ids, _shift(target_ids), pad)


@bank.wrong("encoder_decoder_forward", "Padding of the source is seen by encoder and decoder.")
def padding_ignored(encoder, decoder, source_ids, target_ids, source_pad):
    no_pad = torch.zeros_like(source_pad)
    return _run(encoder, decoder, source_ids, _shift(target_ids), no_pad)


@bank.wrong("encoder_decoder_forward", "The encoder leaves padding out, but the decoder still looks "
            "at the memory of padding.")  # fmt: skip
def decoder_sees_padding(encoder, decoder, source_ids, target_ids, source_pad):
    everything = torch.ones_like(source_pad)[:, None, None]
    return _run(encoder, decoder, source_ids, _shift(target_ids), source_pad, seen=everything)


@bank.wrong("encoder_decoder_forward", "The decoder leaves padding out, but the encoder mixes it into "
            "the memory of real tokens.")  # fmt: skip
def encoder_sees_padding(encoder, decoder, source_ids, target_ids, source_pad):
    everything = torch.ones_like(source_pad)[:, None, None]
    return _run(encoder, decoder, source_ids, _shift(target_ids), source_pad, everything)


@bank.wrong("encoder_decoder_forward", "The memory is pooled to one vector; the decoder looks at all "
            "positions of it.")  # fmt: skip
def pooled_memory(encoder, decoder, source_ids, target_ids, source_pad):
    def pooled(ids, mask):
        memory = encoder(ids, mask)
        real = (~source_pad).to(memory.dtype)[..., None]
        return ((memory * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)).expand_as(memory)

    return _run(pooled, decoder, source_ids, _shift(target_ids), source_pad)


@bank.right("encoder_decoder_forward")
def with_concatenation(encoder, decoder, source_ids, target_ids, source_pad):
    B, T = target_ids.shape
    start = torch.zeros(B, 1, dtype=target_ids.dtype)
    seen = source_pad.logical_not().view(B, 1, 1, -1)
    at = torch.arange(T)
    return decoder(torch.hstack([start, target_ids])[:, :T], encoder(source_ids, seen),
                   at <= at[:, None], seen)  # fmt: skip


@bank.right("encoder_decoder_forward")
def with_roll(encoder, decoder, source_ids, target_ids, source_pad):
    shifted = target_ids.roll(1, dims=1)
    shifted[:, 0] = 0
    seen = (source_pad == 0).unsqueeze(1).unsqueeze(1)
    n = shifted.size(1)
    mask = torch.triu(torch.ones(n, n), diagonal=1) == 0
    memory = encoder(source_ids, seen)
    return decoder(shifted, memory, mask, seen)


# --- generic mutants that change nothing -----------------------------------------------------

for exercise, times in (("route_top_k", 1), ("moe_feed_forward", 1), ("load_balance_loss", 2)):
    for number in range(1, times + 1):
        bank.equivalent(exercise, "-1  =>  +1" + (f"  (#{number})" if number > 1 else ""),
                        "of two axes, the last is axis 1")  # fmt: skip
bank.equivalent("load_balance_loss", "F.one_hot(chosen, n_experts).sum(1)  =>  "
                "(F.one_hot(chosen, n_experts))", "the sum over k is then taken last")  # fmt: skip
for exercise in ("init_weights", "load_gpt2"):
    for constant in ("0", "NaN", "1"):
        bank.equivalent(exercise, f"returns {constant}",
                        "changes tensors that are returned; this function returns none")  # fmt: skip
bank.equivalent("encoder_decoder_forward", "torch.ones(T, T, dtype=torch.bool, "
                "device=target_ids.device)  =>  torch.ones(T, T, dtype=torch.bool)",
                "differs on a GPU only; the graded checks run on a CPU")  # fmt: skip
for part in ("self.q_proj(x).unflatten(-1, (self.n_heads, -1))",
             "layer(x).unflatten(-1, (self.n_kv_heads, -1))", "heads"):  # fmt: skip
    bank.equivalent("Block", f"{part}.transpose(1, 2)  =>  {part}.transpose(2, 1)",
                    "exchanging two axes has no direction")  # fmt: skip
bank.equivalent("GPT", "torch.arange(T, device=ids.device)  =>  torch.arange(T)",
                "differs on a GPU only; the graded checks run on a CPU")  # fmt: skip
