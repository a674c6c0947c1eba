"""PyTorch's side of `bench tarflow`: exact sampling of a TarFlow, token by token with a cache of keys and values.

A block k (arXiv 2412.06329; odd blocks read the tokens in reverse) is inverted by x_0 = z_0, x_{i+1} = z_{i+1} exp(α_i) + μ_i, where α_i and
μ_i are what its causal transformer makes of x_0 … x_i; blocks follow from the last to the first.

PyTorch gets its best: what follows is timed after warm-up on a few blocks, and the fastest is the one that the bench measures.
- a cache that grows by concatenation, as in the official code, or one of full length that is written into;
- the fused attention kernel or attention written out;
- eager, or one step in torch.compile, for which the cache has its full length and a mask hides what is not there yet;
- one thread, or all.
"""

from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from layers import linear
from protocol import below, compiled, fastest, load_safetensors, nested, rate, say, serve

# Keys and values of one layer -> attended, with what is kept for the next token.
Attend = Callable[..., Tensor]


def norm(p: dict, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], p["weight"], p["bias"], 1e-5)


def token(p: dict, x: Tensor, context: Tensor, heads: int, attend: Attend) -> tuple[Tensor, Tensor]:
    """α and μ [B, D] for the token after x [B, D]."""
    h = linear(p["proj_in"], x) + context
    B, W = h.shape
    for l, layer in enumerate(p["attn_blocks"]):
        a, m = layer["attention"], layer["mlp"]
        q, k, v = linear(a["qkv"], norm(a["norm"], h)).view(B, 3, heads, 1, W // heads).unbind(1)
        h = h + linear(a["proj"], attend(l, q, k, v).reshape(B, W))
        h = h + linear(m["main"]["2"], F.gelu(linear(m["main"]["0"], norm(m["norm"], h))))
    return linear(p["proj_out"], h).chunk(2, dim=-1)


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1) @ v


def growing(attention):
    """Inverts a block with a cache that grows."""

    def run(p: dict, z: Tensor, context: Tensor, heads: int) -> Tensor:
        keys, values = {}, {}

        def attend(l: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys[l] = torch.cat([keys[l], k], dim=2) if l in keys else k
            values[l] = torch.cat([values[l], v], dim=2) if l in values else v
            return attention(q, keys[l], values[l])

        x = [z[:, 0]]
        for i in range(z.shape[1] - 1):
            alpha, mu = token(p, x[-1], context[:, i], heads, attend)
            x.append(z[:, i + 1] * alpha.exp() + mu)
        return torch.stack(x, dim=1)

    return run


def caches(p: dict, B: int, T: int, heads: int) -> tuple[Tensor, Tensor]:
    W = p["pos_embed"].shape[-1]
    shape = (len(p["attn_blocks"]), B, heads, T, W // heads)
    return torch.zeros(shape), torch.zeros(shape)


def kept(attention):
    """Inverts a block with a cache of full length, of which a part is read."""

    def run(p: dict, z: Tensor, context: Tensor, heads: int) -> Tensor:
        B, T, _ = z.shape
        keys, values = caches(p, B, T, heads)
        x = torch.empty_like(z)
        x[:, 0] = z[:, 0]
        for i in range(T - 1):

            def attend(l: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                keys[l][:, :, i : i + 1], values[l][:, :, i : i + 1] = k, v
                return attention(q, keys[l][:, :, : i + 1], values[l][:, :, : i + 1])

            alpha, mu = token(p, x[:, i], context[:, i], heads, attend)
            x[:, i + 1] = z[:, i + 1] * alpha.exp() + mu
        return x

    return run


def one_step():
    """Inverts a block by a compiled step of fixed shapes; the position is a tensor, so that no token compiles anew."""

    def step(p: dict, x: Tensor, z: Tensor, context: Tensor, keys: Tensor, values: Tensor, places: Tensor, i: Tensor, heads: int) -> Tensor:
        seen = torch.where(places <= i, 0.0, float("-inf"))

        def attend(l: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys[l].index_copy_(2, i, k)
            values[l].index_copy_(2, i, v)
            weights = torch.softmax((q * q.shape[-1] ** -0.5) @ keys[l].transpose(-1, -2) + seen, dim=-1)
            return weights @ values[l]

        alpha, mu = token(p, x, context, heads, attend)
        return z * alpha.exp() + mu

    fast = compiled(step)

    def run(p: dict, z: Tensor, context: Tensor, heads: int) -> Tensor:
        B, T, _ = z.shape
        keys, values = caches(p, B, T, heads)
        places = torch.arange(T)
        x = [z[:, 0].contiguous()]
        noise, contexts = z.transpose(0, 1).contiguous(), context.transpose(0, 1).contiguous()
        for i in range(T - 1):
            x.append(fast(p, x[-1], noise[i + 1], contexts[i], keys, values, places, places[i : i + 1], heads))
        return torch.stack(x, dim=1)

    return run


def sample(params: dict, z: Tensor, heads: int, invert, blocks: int) -> list[Tensor]:
    """The noise and the output of each inverted block, the last ones being the first `blocks` to come."""
    steps = [z]
    for k in reversed(range(len(params["blocks"]) - blocks, len(params["blocks"]))):
        p = params["blocks"][k]
        context = p["pos_embed"][None]
        if "class_embed" in p:
            context = context + p["class_embed"].mean(dim=0, keepdim=True)
        turn = (lambda t: t.flip(1)) if k % 2 == 1 else (lambda t: t)
        steps.append(turn(invert(p, turn(steps[-1]), turn(context), heads)))
    return steps


def images(z: Tensor, h: int, w: int, S: int) -> Tensor:
    """Tokens with the channel first [B, h·w, C·S²] -> [B, hS, wS, C]."""
    B, _, D = z.shape
    return z.view(B, h, w, D // (S * S), S, S).permute(0, 1, 4, 2, 5, 3).reshape(B, h * S, w * S, D // (S * S))


def prepare(config: dict):
    tensors = load_safetensors(config["file"])
    params, z, heads = nested(below(tensors, "params.")), tensors["inputs.z"], config["heads"]
    h, w = config["grid"]
    depth = len(params["blocks"])
    inverts = {}
    if "eager" in config["modes"]:
        for name, attention in {"fused attention": F.scaled_dot_product_attention, "attention written out": written_out}.items():
            inverts[f"eager, cache of full length, {name}"] = kept(attention)
            inverts[f"eager, growing cache, {name}"] = growing(attention)
    if "compile" in config["modes"]:
        inverts["compile, cache of full length"] = one_step()
    checks = {}

    def square(x: Tensor) -> float:
        return float(x.double().square().sum())

    def runner(name: str, blocks: int):
        @torch.inference_mode()
        def run():
            steps = sample(params, z, heads, inverts[name], blocks)
            if blocks < depth:
                return None
            out = images(steps[-1], h, w, config["patch"])
            if name not in checks:
                checks[name] = [square(x) for x in steps] + [square(out[:, : out.shape[1] // 2, : out.shape[2] // 2])]
            return out.flatten()[0].item()

        return run

    everything = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in list(inverts):
        try:
            runner(name, depth)()
        except Exception as error:
            say(f"{name}: left out, {type(error).__name__}")
            del inverts[name]

    def on(threads: int, name: str, blocks: int):
        run = runner(name, blocks)

        def step():
            torch.set_num_threads(threads)
            return run()

        return step

    # Steps of one token are so small that threads rarely pay: variants are compared on one, and the fastest on all as well.
    rated = min(config["rated_blocks"], depth)
    rates = rate({name: on(1, name, rated) for name in inverts}, config["seconds"], warm_up=1)
    best = fastest(rates)
    threads = {1: best, everything: f"{best}, {everything} threads"}
    by_threads = rate({name: on(count, best, rated) for count, name in threads.items()}, config["seconds"], warm_up=1)
    chosen = fastest(by_threads)
    say(f"fastest: {chosen}")
    count = next(count for count, name in threads.items() if name == chosen)
    scale = depth / rated
    variants = {name: ms * scale for name, ms in (rates | by_threads).items()}
    return on(count, best, depth), {"variants": variants, "chosen": chosen, "checks": checks}


if __name__ == "__main__":
    serve(prepare)
