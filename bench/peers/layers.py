"""The networks of the benches in PyTorch, as functions of nested parameters under official names; linear weights are [out, in]."""

import math
from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def linear(p: dict, x: Tensor) -> Tensor:
    return F.linear(x, p["weight"], p["bias"])


def attention(q: Tensor, k: Tensor, v: Tensor, fused: bool, bias: Tensor | None = None) -> Tensor:
    """softmax(QKᵀ/√d + bias)V on [B, K, T, d]. The fused kernel has no forward-mode derivative."""
    if fused:
        return F.scaled_dot_product_attention(q, k, v, bias)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return torch.softmax(logits if bias is None else logits + bias, dim=-1) @ v


def modulated_block(p: dict, x: Tensor, condition: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
    """adaLN-Zero block: tokens [B, T, D], condition SiLU(c) [B, D] -> [B, T, D]."""
    D = x.shape[-1]
    shift1, scale1, gate1, shift2, scale2, gate2 = linear(p["adaLN_modulation"]["1"], condition).unsqueeze(1).chunk(6, dim=-1)
    x = x + gate1 * attend(F.layer_norm(x, (D,), eps=1e-6) * (1 + scale1) + shift1)
    u = F.layer_norm(x, (D,), eps=1e-6) * (1 + scale2) + shift2
    return x + gate2 * linear(p["mlp"]["fc2"], F.gelu(linear(p["mlp"]["fc1"], u), approximate="tanh"))


def dit_block(p: dict, x: Tensor, condition: Tensor, heads: int, fused: bool) -> Tensor:
    """The block of DiT: tokens [B, T, D], condition SiLU(c) [B, D] -> [B, T, D]."""

    def attend(u: Tensor) -> Tensor:
        B, T, D = u.shape
        q, k, v = linear(p["attn"]["qkv"], u).view(B, T, 3, heads, D // heads).permute(2, 0, 3, 1, 4).unbind(0)
        return linear(p["attn"]["proj"], attention(q, k, v, fused).transpose(1, 2).reshape(B, T, D))

    return modulated_block(p, x, condition, attend)


def relative_positions(side: int) -> Tensor:
    """Rows of the bias table for the pairs of tokens of a window, query minus key: [n, n], n = side²."""
    place = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
    difference = place[:, :, None] - place[:, None, :] + side - 1
    return difference[0] * (2 * side - 1) + difference[1]


def pswa(p: dict, u: Tensor, side: int, heads: int, window_heads: int, index: Tensor, fused: bool) -> Tensor:
    """Window heads beside bridging heads on a square grid with windows of side × side: [B, T, D] -> [B, T, D]; `index` of `relative_positions`."""
    B, T, D = u.shape
    grid, d = math.isqrt(T), D // heads
    count, attended = grid // side, window_heads * d
    q, k, v, values = linear(p["qkv"], u).split([attended, attended, attended, D - attended], dim=-1)

    def windows(x: Tensor) -> Tensor:
        parted = x.view(B, count, side, count, side, window_heads, d).permute(0, 1, 3, 5, 2, 4, 6)
        return parted.reshape(B * count * count, window_heads, side * side, d)

    bias = p["rel_pos_bias_table"][index].permute(2, 0, 1).unsqueeze(0)
    out = attention(windows(q), windows(k), windows(v), fused, bias).view(B, count, count, window_heads, side, side, d)
    out = out.permute(0, 1, 4, 2, 5, 3, 6).reshape(B, T, attended)
    image = values.transpose(1, 2).reshape(B, D - attended, grid, grid)
    kernel = p["bridge"]["weight"]
    bridged = F.conv2d(image, kernel, p["bridge"]["bias"], padding=kernel.shape[-1] // 2, groups=D - attended)
    return linear(p["proj"], torch.cat([out, bridged.flatten(2).transpose(1, 2)], dim=-1))


def frequencies(size: int) -> Tensor:
    """f_k = 10000^(-k/half), k = 0 … half-1: [size / 2]."""
    half = size // 2
    return torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half).float()


def positions(h: int, w: int, D: int) -> Tensor:
    """[sin jω, cos jω, sin iω, cos iω] of the token in row i and column j, ω_k = 10000^(-k/(D/4)): [h·w, D]."""
    omega = 10000 ** (-torch.arange(D // 4, dtype=torch.float64) / (D // 4))
    i, j = torch.meshgrid(torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64), indexing="ij")
    parts = [f(axis.reshape(-1, 1) * omega) for axis in (j, i) for f in (torch.sin, torch.cos)]
    return torch.cat(parts, dim=1).float()


class DiT:
    """The MeanFlow DiT N(z; t, h; y) on images [B, H, W, C]; t and h go unscaled through an embedder each."""

    def __init__(self, size: int, patch: int, channels: int, width: int, heads: int):
        self.patch, self.channels, self.heads = patch, channels, heads
        self.grid = size // patch
        self.positions = positions(self.grid, self.grid, width)
        self.frequencies = frequencies(256)

    def _embed(self, p: dict, t: Tensor) -> Tensor:
        angles = t[:, None] * self.frequencies
        return linear(p["mlp"]["2"], F.silu(linear(p["mlp"]["0"], torch.cat([angles.cos(), angles.sin()], dim=1))))

    def __call__(self, p: dict, z: Tensor, t: Tensor, h: Tensor, y: Tensor | None, fused: bool) -> Tensor:
        B, g, P, C = z.shape[0], self.grid, self.patch, self.channels
        patches = z.view(B, g, P, g, P, C).permute(0, 1, 3, 5, 2, 4).reshape(B, g * g, C * P * P)
        stem = p["x_embedder"]["proj"]
        x = F.linear(patches, stem["weight"].view(-1, C * P * P), stem["bias"]) + self.positions
        c = self._embed(p["t_embedder"], t) + self._embed(p["h_embedder"], h) + F.embedding(y, p["y_embedder"]["embedding_table"]["weight"])
        condition = F.silu(c)
        for block in p["blocks"]:
            x = dit_block(block, x, condition, self.heads, fused)
        final = p["final_layer"]
        shift, scale = linear(final["adaLN_modulation"]["1"], condition).unsqueeze(1).chunk(2, dim=-1)
        out = linear(final["linear"], F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift)
        return out.view(B, g, g, P, P, C).permute(0, 1, 3, 2, 4, 5).reshape(B, g * P, g * P, C)


def point_network(p: dict, a: Tensor) -> Tensor:
    """Linear layers with SiLU between them: [B, in] -> [B, out]."""
    for i, layer in enumerate(p["layers"]):
        a = linear(layer, F.silu(a) if i > 0 else a)
    return a


class PointNetwork:
    """The MLP N(z; t, h) on points [B, 2]: z, t and h side by side."""

    def __call__(self, p: dict, z: Tensor, t: Tensor, h: Tensor, y: Tensor | None, fused: bool) -> Tensor:
        return point_network(p, torch.cat([z, t[:, None], h[:, None]], dim=1))
