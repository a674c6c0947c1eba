"""Training steps in PyTorch, and how the fastest way to run one is found."""

from typing import Callable

import torch
from torch import Tensor

from protocol import Step, below, best_threads, compiled, fastest, nested, rate, say

CHECK_STEPS = 3

# A loss maps a batch to (loss, the figure to report); both are scalars.
Loss = Callable[..., tuple[Tensor, Tensor]]


class Training:
    """Weights under official names, AdamW, and the moving average of the weights if there is a `decay` in the config."""

    def __init__(self, config: dict, tensors: dict[str, Tensor]):
        self.config = config
        self.start = below(tensors, "params.")
        weights = {name: value.clone().requires_grad_() for name, value in self.start.items()}
        self.params, self.leaves = nested(weights), list(weights.values())
        self.average = [leaf.detach().clone() for leaf in self.leaves] if "decay" in config else []

    def reset(self) -> None:
        """Weights and average as they were at first, in place, so that compiled functions stay valid."""
        with torch.no_grad():
            for tensors in (self.leaves, self.average):
                for tensor, start in zip(tensors, self.start.values()):
                    tensor.copy_(start)

    def update(self, kind: str) -> Callable[[], None]:
        """AdamW and the average: `fused`, `foreach`, or `compiled`, all of it in one function of torch.compile."""
        config = self.config
        how = {"fused": True} if kind == "fused" else {"foreach": True}
        betas, decay = (config["b1"], config["b2"]), config.get("weight_decay", 0.0)
        optimizer = torch.optim.AdamW(self.leaves, lr=config["lr"], betas=betas, eps=1e-8, weight_decay=decay, **how)
        weight = 1 - config.get("decay", 0.0)

        def run() -> None:
            optimizer.step()
            if self.average:
                with torch.no_grad():
                    torch._foreach_lerp_(self.average, self.leaves, weight)

        return compiled(run, whole=False) if kind == "compiled" else run

    def step(self, loss: Loss, kind: str, draw: Callable[[], dict]) -> Callable[..., float]:
        """One training step on a batch, drawn if not given; returns the loss function's figure as a number."""
        update = self.update(kind)

        def run(batch: dict | None = None) -> float:
            value, figure = loss(**(batch or draw()))
            for leaf, grad in zip(self.leaves, torch.autograd.grad(value, self.leaves)):
                # A convolution may give its gradient channels last, which the fused optimizer would take for the layout of the weight.
                leaf.grad = grad.contiguous()
            update()
            return figure.item()

        return run

    def check(self, step: Callable[..., float], batch: dict) -> list[float]:
        """The figures of the first steps from the starting weights on one batch, then Σ weight² (of the average if there is one)."""
        self.reset()
        figures = [step(batch) for _ in range(CHECK_STEPS)]
        last = self.average or self.leaves
        return figures + [float(sum(tensor.detach().double().square().sum() for tensor in last))]


def settle(training: Training, losses: dict[str, Loss], draw: Callable[[], dict], batch: dict) -> tuple[Step, dict]:
    """
    Rates every loss with the fused optimizer, then the optimizers with the fastest loss, then a small step's threads. Each pair first trains
    from the starting weights on `batch`; those figures are told as `checks`. The optimizer is compiled only if some loss is.
    """
    config, checks = training.config, {}

    def first_checked(name: str, kind: str) -> Step:
        step = None

        def run():
            nonlocal step
            if step is None:
                step = training.step(losses[name], kind, draw)
                checks[f"{name}, {kind} AdamW"] = training.check(step, batch)
                training.reset()
            return step()

        return run

    if config.get("first_variant"):
        name = next(iter(losses))
        step = first_checked(name, "fused")
        step()
        return step, {"variants": {}, "chosen": f"{name}, fused AdamW", "checks": checks}
    rates = rate({name: first_checked(name, "fused") for name in losses}, config["seconds"])
    best = fastest(rates)
    kinds = ["fused", "foreach", "compiled"] if "compile" in config["modes"] else ["fused", "foreach"]
    updates = {kind: first_checked(best, kind) for kind in kinds}
    last = rate(updates, config["seconds"])
    kind = fastest(last)
    step, chosen, by_threads = best_threads(updates[kind], f"{best}, {kind} AdamW", last[kind], config["seconds"])
    variants = {f"{name}, fused AdamW": ms for name, ms in rates.items()} | {f"{best}, {kind} AdamW": ms for kind, ms in last.items()}
    say(f"fastest: {chosen}")
    return step, {"variants": variants | by_threads, "chosen": chosen, "checks": checks}


def modes(config: dict, functions: dict[str, Callable]) -> dict[str, Callable]:
    """Every function in each of the modes of the config, `eager` and `compile`."""
    made = {"eager": lambda f: f, "compile": compiled}
    return {f"{mode}{', ' if name else ''}{name}": made[mode](f) for name, f in functions.items() for mode in config["modes"]}
