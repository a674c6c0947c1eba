"""PyTorch's side of `bench engine`: training steps, forward passes, a forward-mode derivative, attention, and one large matrix product.

Each work takes its tensors from the bench's file and is run in every sensible way: with the fused attention kernel or written out, eager or
compiled; the fastest after warm-up is the one that is measured.
"""

import torch
import torch.nn.functional as F

from layers import attention, dit_block, point_network
from protocol import below, best_threads, fastest, load_safetensors, nested, rate, say, serve
from training import Training, modes, settle

KERNELS = {"fused attention": True, "written-out attention": False}


def run_blocks(params: dict, x, c, heads: int, fused: bool):
    condition = F.silu(c)
    for block in params["blocks"]:
        x = dit_block(block, x, condition, heads, fused)
    return x


def blocks_step(config: dict, tensors: dict):
    training = Training(config, tensors)
    batch = below(tensors, "inputs.")

    def loss_with(fused: bool):
        def loss(x, c, target):
            value = (run_blocks(training.params, x, c, config["heads"], fused) - target).square().mean()
            return value, value.detach()

        return loss

    losses = modes(config, {name: loss_with(fused) for name, fused in KERNELS.items()})
    return settle(training, losses, lambda: batch, batch)


def mlp_step(config: dict, tensors: dict):
    training = Training(config, tensors)
    batch = below(tensors, "inputs.")

    def loss(x, target):
        value = (point_network(training.params, x) - target).square().mean()
        return value, value.detach()

    return settle(training, modes(config, {"": loss}), lambda: batch, batch)


def best_call(config: dict, calls: dict, guard=torch.no_grad):
    """The fastest of functions of no argument that return tensors; their sums of squares are what the bench compares."""
    checks = {}

    def checked(name: str):
        def run():
            with guard():
                out = calls[name]()
            if name not in checks:
                checks[name] = [float(tensor.detach().double().square().sum()) for tensor in out]
            return out

        return run

    if config.get("first_variant"):
        name = next(iter(calls))
        step = checked(name)
        step()
        return step, {"variants": {}, "chosen": name, "checks": checks}
    rates = rate({name: checked(name) for name in calls}, config["seconds"])
    best = fastest(rates)
    step, chosen, by_threads = best_threads(checked(best), best, rates[best], config["seconds"])
    say(f"fastest: {chosen}")
    return step, {"variants": rates | by_threads, "chosen": chosen, "checks": checks}


def blocks_forward(config: dict, tensors: dict):
    params, inputs = nested(below(tensors, "params.")), below(tensors, "inputs.")

    def call(fused: bool):
        return lambda: (run_blocks(params, inputs["x"], inputs["c"], config["heads"], fused),)

    return best_call(config, modes(config, {name: call(fused) for name, fused in KERNELS.items()}))


def blocks_jvp(config: dict, tensors: dict):
    params, inputs = nested(below(tensors, "params.")), below(tensors, "inputs.")

    def call():
        def network(x, c):
            return run_blocks(params, x, c, config["heads"], False)

        return torch.func.jvp(network, (inputs["x"], inputs["c"]), (inputs["dx"], inputs["dc"]))

    return best_call(config, modes(config, {"torch.func.jvp": call}))


def attention_forward(config: dict, tensors: dict):
    q, k, v = (tensors[f"inputs.{name}"] for name in "qkv")
    return best_call(config, modes(config, {name: lambda fused=fused: (attention(q, k, v, fused),) for name, fused in KERNELS.items()}))


def attention_gradient(config: dict, tensors: dict):
    q, k, v = (tensors[f"inputs.{name}"].requires_grad_() for name in "qkv")
    cotangent = tensors["inputs.w"]
    forwards = modes(config, {name: lambda fused=fused: attention(q, k, v, fused) for name, fused in KERNELS.items()})

    def call(forward):
        def run():
            out = forward()
            return (out, *torch.autograd.grad(out, (q, k, v), cotangent))

        return run

    return best_call(config, {name: call(forward) for name, forward in forwards.items()}, torch.enable_grad)


def product(config: dict, tensors: dict):
    a, b = tensors["inputs.a"], tensors["inputs.b"]
    return best_call(config, {"eager": lambda: (a @ b,)})


WORKS = {
    "blocks-step": blocks_step,
    "blocks-forward": blocks_forward,
    "blocks-jvp": blocks_jvp,
    "mlp-step": mlp_step,
    "attention": attention_forward,
    "attention-grad": attention_gradient,
    "product": product,
}


if __name__ == "__main__":
    serve(lambda config: WORKS[config["kind"]](config, load_safetensors(config["file"])))
