"""PyTorch's side of `bench meanflow`: one MeanFlow training step, from drawing a batch to the average of the weights.

The step (arXiv 2505.13447; time runs from data at 0 to noise at 1): z = (1 - t)x + te, v = e - x, u = N(z; t, t - r) with gradient,
D = JVP of N along (v, 1, 1) without, target = v - (t - r)D, S = Σ(u - target)², loss = mean of stopgrad((S + c)^-p)·S; then AdamW and the
moving average of the weights. Rows below `equal_rows` have r = t, so their D is not needed.

PyTorch gets its best: what follows is timed after warm-up, and the fastest is the one that the bench measures.
- u and D apart (u with the fused attention kernel, D in a pass without tape), or together (one JVP with tape, as the official code does);
- D on the moving rows, or on the whole batch;
- eager, or torch.compile;
- AdamW fused or foreach, with the average by `_foreach_lerp_`, or both in one compiled function;
- small steps on one thread too.
"""

import itertools

import torch

from layers import DiT, PointNetwork
from protocol import below, load_safetensors, serve
from training import Loss, Training, modes, settle


def drawer(config: dict, x: torch.Tensor, y: torch.Tensor | None):
    """Draws batches: rows of the pool, noise, the normals behind the times, labels with some of them dropped."""
    size = config["batch"]
    null = torch.full((), config["classes"], dtype=torch.int32)

    def draw() -> dict:
        rows = torch.randint(len(x), (size,))
        batch = {"x": x[rows], "e": torch.randn(size, *x.shape[1:]), "a": torch.randn(size), "b": torch.randn(size)}
        if y is not None:
            batch["y"] = torch.where(torch.rand(size) < config["class_drop"], null, y[rows])
        return batch

    return draw


def meanflow_loss(config: dict, network, params: dict, together: bool, moving_only: bool, own_rows: bool) -> Loss:
    """
    The loss as a function of the batch -> (loss, mean of S). With `own_rows` the moving rows are copied: under torch.compile the JVP wants
    point and tangent of one layout, and a view of the last rows has an offset.
    """
    p, c, equal = config["p"], config["c"], config["equal_rows"]
    mean, std = config["time_mean"], config["time_std"]
    first = equal if moving_only else 0

    def run(x, e, a, b, y=None):
        a, b = torch.sigmoid(std * a + mean), torch.sigmoid(std * b + mean)
        t, r = torch.maximum(a, b), torch.minimum(a, b)
        h = t - torch.cat([t[:equal], r[equal:]])
        per_sample = (-1, *[1] * (x.dim() - 1))
        column = t.view(per_sample)
        z, v = (1 - column) * x + column * e, e - x
        head, tail = (None, None) if y is None else (y[:first], y[first:])

        def moving(z, t, h):
            return network(params, z, t, h, tail, False)

        point = tuple(value[first:].clone() if own_rows else value[first:] for value in (z, t, h))
        along = (v[first:], torch.ones_like(t[first:]), torch.ones_like(h[first:]))
        if together:
            u, D = torch.func.jvp(moving, point, along)
            D = D.detach()
            if first > 0:
                u = torch.cat([network(params, z[:first], t[:first], h[:first], head, True), u])
        else:
            with torch.no_grad():
                D = torch.func.jvp(moving, point, along)[1]
            u = network(params, z, t, h, y, True)
        target = v - torch.cat([torch.zeros_like(v[:first]), h[first:].view(per_sample) * D])
        S = (u - target.detach()).square().flatten(1).sum(1)
        weight = (S.detach() + c) ** -p if p != 0 else 1.0
        return (weight * S).mean(), S.detach().mean()

    return run


def prepare(config: dict):
    tensors = load_safetensors(config["file"])
    training = Training(config, tensors)
    network = DiT(**config["dit"]) if "dit" in config else PointNetwork()
    losses = {}
    for mode, together, moving_only in itertools.product(config["modes"], (False, True), (True, False)):
        name = f"D {'with' if together else 'beside'} u, {'moving' if moving_only else 'all'} rows"
        loss = meanflow_loss(config, network, training.params, together, moving_only, own_rows=mode == "compile" and moving_only)
        losses |= modes({"modes": [mode]}, {name: loss})
    return settle(training, losses, drawer(config, tensors["pool.x"], tensors.get("pool.y")), below(tensors, "check."))


if __name__ == "__main__":
    serve(prepare)
