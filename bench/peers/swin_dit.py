"""PyTorch's side of `bench swin-dit`: forward and backward of one block, of DiT or of Swin DiT, to its tokens, condition and parameters."""

import torch
import torch.nn.functional as F

from engine import KERNELS, best_call
from layers import dit_block, modulated_block, pswa, relative_positions
from protocol import below, load_safetensors, nested, serve
from training import modes


def prepare(config: dict):
    tensors = load_safetensors(config["file"])
    inputs = below(tensors, "inputs.")
    named = below(tensors, "params.")
    leaves = [named[name] for name in sorted(named)] + [inputs["x"], inputs["c"]]
    for leaf in leaves:
        leaf.requires_grad_()
    params = nested(named)
    heads, window_heads = config["heads"], config.get("window_heads")
    index = relative_positions(config["window"]) if window_heads is not None else None

    def block(fused: bool):
        condition = F.silu(inputs["c"])
        if window_heads is None:
            return dit_block(params, inputs["x"], condition, heads, fused)
        return modulated_block(params, inputs["x"], condition, lambda u: pswa(params["attn"], u, config["window"], heads, window_heads, index, fused))

    def call(forward):
        return lambda: torch.autograd.grad(forward(), leaves, inputs["gradient"])

    forwards = modes(config, {name: lambda fused=fused: block(fused) for name, fused in KERNELS.items()})
    return best_call(config, {name: call(forward) for name, forward in forwards.items()}, torch.enable_grad)


if __name__ == "__main__":
    serve(prepare)
