"""PyTorch's side of `bench mvar`: a training step of VAR, and greedy samples of VAR with its cache and of MVAR without one, from the specification."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from engine import best_call
from layers import linear
from protocol import below, load_safetensors, nested, serve
from training import Training, modes, settle

KERNELS = {"fused attention": True, "written-out attention": False}


def modulated(p: dict, x: Tensor, six: list[Tensor], attend) -> Tensor:
    """x + γ1·Attn((1 + s1)·LN(x) + b1), then the same with the MLP; the order of the vectors is γ1, γ2, s1, s2, b1, b2."""
    C = x.shape[-1]
    gate1, gate2, scale1, scale2, shift1, shift2 = six
    x = x + gate1 * attend(F.layer_norm(x, (C,), eps=1e-6) * (1 + scale1) + shift1)
    u = F.layer_norm(x, (C,), eps=1e-6) * (1 + scale2) + shift2
    return x + gate2 * linear(p["ffn"]["fc2"], F.gelu(linear(p["ffn"]["fc1"], u), approximate="tanh"))


def attend(p: dict, u: Tensor, heads: int, fused: bool, mask: Tensor | None, past: list) -> Tensor:
    """Attention of normalized queries and keys; what `past` holds comes before the keys and values, and takes them up."""
    B, n, C = u.shape
    bias = torch.cat([p["q_bias"], torch.zeros_like(p["q_bias"]), p["v_bias"]])
    q, k, v = F.linear(u, p["mat_qkv"]["weight"], bias).view(B, n, 3, heads, C // heads).permute(2, 0, 3, 1, 4).unbind(0)
    q = F.normalize(q, dim=-1) * p["scale_mul_1H11"].clamp_max(math.log(100)).exp()
    k = F.normalize(k, dim=-1)
    if past is not None:
        if past:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        past[:] = [k, v]
    if fused:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    else:
        logits = q @ k.transpose(-1, -2)
        out = torch.softmax(logits if mask is None else logits.masked_fill(~mask, -torch.inf), dim=-1) @ v
    return linear(p["proj"], out.transpose(1, 2).reshape(B, n, C))


def network(p: dict, x: Tensor, cond: Tensor, heads: int, fused: bool, mask: Tensor | None, caches=None) -> Tensor:
    """Embedded tokens [B, n, C] -> logits [B, n, V]."""
    act = F.silu(cond)
    for i, block in enumerate(p["blocks"]):
        six = linear(block["ada_lin"]["1"], act).unsqueeze(1).chunk(6, dim=-1)
        past = None if caches is None else caches[i]
        x = modulated(block, x, six, lambda u, block=block, past=past: attend(block["attn"], u, heads, fused, mask, past))
    scale, shift = linear(p["head_nm"]["ada_lin"]["1"], act).unsqueeze(1).chunk(2, dim=-1)
    return linear(p["head"], F.layer_norm(x, (x.shape[-1],), eps=1e-6) * (1 + scale) + shift)


def levels(ladder: list[int]) -> Tensor:
    return torch.cat([torch.full((side * side,), l) for l, side in enumerate(ladder)])


def train(config: dict, tensors: dict):
    training = Training(config, tensors)
    batch = below(tensors, "inputs.")
    level = levels(config["ladder"])
    mask = level[:, None] >= level[None, :]

    def loss_with(fused: bool):
        def loss(tokens, inputs, y):
            p = training.params
            cond = p["class_emb"]["weight"][y.long()]
            x = torch.cat([cond[:, None] + p["pos_start"], linear(p["word_embed"], inputs)], dim=1)
            x = x + p["lvl_embed"]["weight"][level] + p["pos_1LC"]
            logits = network(p, x, cond, config["heads"], fused, mask)
            value = F.cross_entropy(logits.flatten(0, 1), tokens.long().flatten())
            return value, value.detach()

        return loss

    losses = modes(config, {name: loss_with(fused) for name, fused in KERNELS.items()})
    return settle(training, losses, lambda: batch, batch)


def window(side: int, kernel: int) -> Tensor:
    """Which token of side × side sees which: kernel × kernel around it, moved inwards at borders."""
    start = (torch.arange(side) - kernel // 2).clamp(0, side - kernel)
    place = torch.arange(side)
    axis = (place[None, :] >= start[:, None]) & (place[None, :] < start[:, None] + kernel)
    return (axis[:, None, :, None] & axis[None, :, None, :]).reshape(side * side, side * side)


def sample(config: dict, tensors: dict):
    params, codes = nested(below(tensors, "params.")), below(tensors, "codes.")["embedding.weight"]
    y = below(tensors, "inputs.")["y"].long()
    ladder, heads, guidance = config["ladder"], config["heads"], config["guidance"]
    B, K, side = len(y), len(ladder), ladder[-1]
    none = params["class_emb"]["weight"].shape[0] - 1
    both = torch.cat([y, torch.full_like(y, none)])
    masks = [window(p, config["kernel"]) if l >= config["refine_step"] else None for l, p in enumerate(ladder)]

    def draw(fused: bool):
        cond = params["class_emb"]["weight"][both]
        latents = torch.zeros(B, codes.shape[1], side, side)
        caches = [[] for _ in params["blocks"]] if config["history"] > 1 else None
        offset, total = 0, 0
        for l, p in enumerate(ladder):
            n = p * p
            if l == 0:
                x = cond[:, None] + params["pos_start"]
            else:
                small = F.interpolate(latents, size=(p, p), mode="area").flatten(2).transpose(1, 2)
                x = linear(params["word_embed"], small).repeat(2, 1, 1)
            x = x + params["lvl_embed"]["weight"][l] + params["pos_1LC"][:, offset : offset + n]
            logits = network(params, x, cond, heads, fused, masks[l], caches)
            gamma = guidance * l / (K - 1)
            chosen = ((1 + gamma) * logits[:B] - gamma * logits[B:]).argmax(-1)
            total = total + chosen.sum()
            picked = codes[chosen].transpose(1, 2).reshape(B, -1, p, p)
            latents = latents + (picked if p == side else F.interpolate(picked, size=(side, side), mode="bicubic"))
            offset += n
        return latents, total.float().sqrt()

    forwards = modes({**config, "modes": ["eager"]}, {name: lambda fused=fused: draw(fused) for name, fused in KERNELS.items()})
    return best_call(config, forwards)


def prepare(config: dict):
    tensors = load_safetensors(config["file"])
    return train(config, tensors) if config["kind"] == "train" else sample(config, tensors)


if __name__ == "__main__":
    serve(prepare)
