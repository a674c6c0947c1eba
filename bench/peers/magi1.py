"""PyTorch's side of `bench magi1`: the guided, pipelined sampler of MAGI-1 (arXiv 2505.13211), a stage of which makes one chunk.

PyTorch gets its best: what follows is timed after warm-up, and the fastest is the one that the bench measures.
- the three passes of guidance as calls of their own, as in the official code, or those with and without text as one batch;
- the fused attention kernel or attention written out;
- one thread, or all.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from layers import attention as attend_heads
from layers import linear
from protocol import below, best_threads, fastest, load_safetensors, nested, rate, serve

EDGES, PREVIOUS, TEXT = [0, 0.0217, 0.1, 0.3, 0.999], [1.5, 1.5, 1.5, 1, 1], [7.5, 7.5, 7.5, 0, 0]
CLEAN = 0.9999


def norm(p: dict, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], p["weight"], p["bias"], 1e-6)


def norm_plus_one(p: dict, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], p["weight"] + 1, p["bias"], 1e-6)


class Network:
    def __init__(self, params: dict, config: dict, fused: bool):
        self.p, self.c, self.fused = params, config, fused
        self.freqs = torch.tensor([math.exp(-math.log(10000) * j / 128) for j in range(128)])

    def condition(self, t: Tensor, on: Tensor) -> Tensor:
        """t [B, M], on [B, M] -> [B, M, D/4]."""
        angles = t[..., None] * self.freqs * 1000
        mlp = self.p["t_embedder"]["mlp"]
        embedded = linear(mlp["2"], F.silu(linear(mlp["0"], torch.cat([angles.cos(), angles.sin()], -1))))
        y = self.p["y_embedder"]
        with_text, without = linear(y["y_proj_adaln"][0], y["null_caption_embedding"][-2:])
        return embedded + on[..., None] * with_text + (1 - on[..., None]) * without

    def rotation(self, first: int, frames: int, h: int, w: int) -> tuple[Tensor, Tensor]:
        bands, r = self.p["rope"]["bands"], math.sqrt(h * w / 256)
        frame = torch.arange(first, first + frames, dtype=torch.float32)
        row = (torch.arange(h) - (h - 1) / 2) * (h / r - 1) / (h - 1)
        column = (torch.arange(w) - (w - 1) / 2) * (w / r - 1) / (w - 1)
        grid = torch.meshgrid(frame, row, column, indexing="ij")
        angles = torch.cat([axis.reshape(-1, 1) * bands for axis in grid], -1)
        return angles.cos(), angles.sin()

    @staticmethod
    def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        cos, sin = turn
        half = cos.shape[-1]
        a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)

    def grouped(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [B, nh, n, d], k and v [B, nk, s, d]: queries that share keys are one longer block."""
        B, nh, n, d = q.shape
        nk = k.shape[1]
        return attend_heads(q.reshape(B, nk, nh // nk * n, d), k, v, self.fused).reshape(B, nh, n, d)

    def read(self, a: dict, qx: Tensor, y: Tensor) -> Tensor:
        kv = F.linear(y, a["linear_kv_xattn"]["weight"]).view(y.shape[0], y.shape[1], -1, 2, self.c["headDim"])
        kx, vx = norm_plus_one(a["k_layernorm_xattn"], kv[:, :, :, 0]).transpose(1, 2), kv[:, :, :, 1].transpose(1, 2)
        return self.grouped(qx, kx, vx)

    def __call__(self, x: Tensor, t: Tensor, on: Tensor, text: Tensor, first: int, spans: list, cache: list | None, null: Tensor | None = None):
        """
        x [B, F, H, W, C]; t, on [B, M]; text [B, L, Y] for all chunks of a row, but `null` [1, L, Y], if given, for the first;
        spans: keys that each chunk sees, counted from the first cached token. Returns the velocity, and keys and values of every layer.
        """
        c = self.c
        B, frames, H, W, C = x.shape
        M, (ph, pw), hd = t.shape[1], c["patch"], c["headDim"]
        h, w = H // ph, W // pw
        weight = self.p["x_embedder"]["weight"].reshape(c["width"], C, ph, pw)
        tokens = F.conv2d(x.reshape(B * frames, H, W, C).permute(0, 3, 1, 2), weight, stride=(ph, pw)).flatten(2).transpose(1, 2)
        u = tokens.reshape(B, frames * h * w, c["width"])
        P = u.shape[1] // M
        cond = F.silu(self.condition(t, on))
        turn = self.rotation(first, frames, h, w)
        embed = lambda words: F.silu(linear(self.p["y_embedder"]["y_proj_xattn"][0], words))
        y = embed(text)
        lead = None if null is None else embed(null).expand(B, -1, -1)
        kept = []
        for l, layer in enumerate(self.p["videodit_blocks"]["layers"]):
            a = layer["self_attention"]
            z = norm(a["linear_qkv"]["layer_norm"], u)
            q, qx, k, v = (F.linear(z, a["linear_qkv"][name]["weight"]).view(B, u.shape[1], -1, hd).transpose(1, 2) for name in ("q", "qx", "k", "v"))
            q, k = self.rotate(norm_plus_one(a["q_layernorm"], q), turn), self.rotate(norm_plus_one(a["k_layernorm"], k), turn)
            qx = norm_plus_one(a["q_layernorm_xattn"], qx)
            kept.append((k, v))
            if cache is not None:
                k, v = (torch.cat([old.expand(B, -1, -1, -1), new], 2) for old, new in zip(cache[l], (k, v)))
            own = torch.cat([self.grouped(q[:, :, j * P : (j + 1) * P], k[:, :, b:e], v[:, :, b:e]) for j, (b, e) in enumerate(spans)], 2)
            cross = self.read(a, qx if lead is None else qx[:, :, P:], y)
            if lead is not None:
                cross = torch.cat([self.read(a, qx[:, :, :P], lead), cross], 2)
            parts = [part.transpose(1, 2).reshape(B, u.shape[1], 8, -1) for part in (own, cross)]
            mixed = F.linear(torch.stack(parts, 3).reshape(B, u.shape[1], -1), a["linear_proj"]["weight"])
            gate1, gate2 = linear(layer["ada_modulate_layer"]["proj"][0], cond).tanh()[:, :, None].chunk(2, -1)
            D = c["width"]
            u = u + norm_plus_one(layer["self_attn_post_norm"], (gate1 * mixed.view(B, M, P, D)).view(B, -1, D))
            m = layer["mlp"]
            hidden = F.linear(F.gelu(F.linear(norm(m["layer_norm"], u), m["linear_fc1"]["weight"])), m["linear_fc2"]["weight"])
            u = u + norm_plus_one(layer["mlp_post_norm"], (gate2 * hidden.view(B, M, P, D)).view(B, -1, D))
        out = F.linear(norm_plus_one(self.p["videodit_blocks"]["final_layernorm"], u), self.p["final_linear"]["linear"]["weight"])
        out = out.view(B, frames, h, w, ph, pw, C).permute(0, 1, 2, 4, 3, 5, 6).reshape(B, frames, H, W, C)
        return out, kept


def warp(u: float) -> float:
    return u * u / (3 - 2 * u * u)


def scales(t: float) -> tuple[float, float]:
    i = max(0, sum(edge - 1e-7 < t for edge in EDGES) - 1)
    return PREVIOUS[i], TEXT[i]


class Sampler:
    """The pipelined sampler. Latents of a chunk are [1, c, H, W, C]."""

    def __init__(self, network: Network, config: dict, text: Tensor, batched: bool):
        self.net, self.c, self.text, self.batched = network, config, text, batched
        null = network.p["y_embedder"]["null_caption_embedding"][: config["nullTokens"]][None]
        self.null = null
        self.times = [warp(k / config["steps"]) for k in range(config["steps"] + 1)]

    def forward(self, chunks: dict, clean: tuple | None, cache: dict, steps: dict) -> None:
        """One forward: `chunks` by index are moved one step on; the finished chunk (index, latents) gets into the cache."""
        c, order = self.c, sorted(chunks)
        called = ([clean[0]] if clean else []) + order
        x = torch.cat(([clean[1]] if clean else []) + [chunks[j] for j in order], 1)
        t = [CLEAN] * len(called[: len(called) - len(order)]) + [self.times[steps[j]] for j in order]
        part = c["steps"] // len(c["history"])
        begins = [called[0]] if clean else []
        begins += [max(0, j + 1 - c["history"][steps[j] // part]) for j in order]
        first = min(begins)
        P = x.shape[1] // len(called) * (x.shape[2] // c["patch"][0]) * (x.shape[3] // c["patch"][1])
        spans = [((b - first) * P, (j + 1 - first) * P) for b, j in zip(begins, called)]
        kept = None
        if first < called[0]:
            old = [cache[j] for j in range(first, called[0])]
            kept = [tuple(torch.cat([chunk[l][side] for chunk in old], 2) for side in (0, 1)) for l in range(c["layers"])]
        times, frame = torch.tensor(t), called[0] * c["chunkFrames"]
        M, n = len(called), len(order)
        lead = self.null if clean else None  # a finished chunk has no text
        if self.batched:
            on = torch.tensor([[1.0] * M, [0.0] * M])
            both, keys = self.net(x.expand(2, -1, -1, -1, -1), times.expand(2, M), on, torch.cat([self.text, self.null]), frame, spans, kept, lead)
            full, previous = both[:1], both[1:]
            keys = [tuple(side[1:] for side in layer) for layer in keys]
        else:
            full, _ = self.net(x, times[None], torch.ones(1, M), self.text, frame, spans, kept, lead)
            previous, keys = self.net(x, times[None], torch.zeros(1, M), self.null, frame, spans, kept)
        if clean:
            cache[clean[0]] = [tuple(side[:, :, :P].clone() for side in layer) for layer in keys]
        noisy = torch.cat([chunks[j] for j in order], 0)
        # Every chunk alone: a batch of chunks.
        alone, _ = self.net(noisy, times[M - n :, None], torch.zeros(n, 1), self.null.expand(n, -1, -1), frame, [(0, P)], None)
        for i, j in enumerate(order):
            previous_scale, text_scale = scales(self.times[steps[j]])
            at = slice((M - n + i) * c["chunkFrames"], (M - n + i + 1) * c["chunkFrames"])
            v = (1 - previous_scale) * alone[i : i + 1] + (previous_scale - text_scale) * previous[:, at] + text_scale * full[:, at]
            chunks[j] = chunks[j] + (self.times[steps[j] + 1] - self.times[steps[j]]) * v

    def video(self, noise: Tensor) -> list[Tensor]:
        c = self.c
        W, q, n = c["window"], c["steps"] // c["window"], c["chunks"]
        out, chunks, cache, finished = [], {}, {}, None
        for g in range(q * (n + W - 1)):
            stage, i = divmod(g, q)
            for j in range(max(0, stage - W + 1), min(n, stage + 1)):
                chunks.setdefault(j, noise[:, j * c["chunkFrames"] : (j + 1) * c["chunkFrames"]])
            clean = finished if i == 0 else None
            self.forward(chunks, clean, cache, {j: (stage - j) * q + i for j in chunks})
            oldest = min(chunks)
            if (stage - oldest) * q + i == c["steps"] - 1:
                finished = (oldest, chunks.pop(oldest))
                out.append(finished[1])
        return out

    def stage(self, noise: Tensor) -> Tensor:
        """A stage in the middle of a long video, from one finished chunk to the next."""
        c = self.c
        W, q = c["window"], c["steps"] // c["window"]
        piece = lambda j: noise[:, j * c["chunkFrames"] : (j + 1) * c["chunkFrames"]]
        chunks = {j: piece(j) for j in range(1, W + 1)}
        cache: dict = {}
        for i in range(q):
            self.forward(chunks, (0, piece(0)) if i == 0 else None, cache, {j: (W - j) * q + i for j in chunks})
        return chunks[1]


def prepare(config: dict):
    tensors = load_safetensors(config["file"])
    params, noise, text = nested(below(tensors, "params.")), tensors["inputs.noise"], tensors["inputs.features"]
    variants, checks = {}, {}
    for fused in (True, False):
        for batched in (True, False):
            name = f"eager, {'fused attention' if fused else 'attention written out'}, {'one batch' if batched else 'calls of their own'}"
            sampler = Sampler(Network(params, config, fused), config, text, batched)

            @torch.inference_mode()
            def step(sampler=sampler):
                return sampler.stage(noise).flatten()[0].item()

            with torch.inference_mode():
                checks[name] = [float(chunk.double().square().sum()) for chunk in sampler.video(noise)]
            variants[name] = step
    rates = rate(variants, config["seconds"])
    best = fastest(rates)
    step, chosen, more = best_threads(variants[best], best, rates[best], config["seconds"])
    return step, {"variants": rates | more, "chosen": chosen, "checks": checks}


if __name__ == "__main__":
    serve(prepare)
