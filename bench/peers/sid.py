"""PyTorch's side of `bench sid`: one iteration of Score identity Distillation, and one training step of EDM's U-Net.

The iteration (arXiv 2404.04057 and 2505.12674, one step, ε-prediction, α = 1): x = D_θ(s·z, 625) without gradient; ψ is fitted by Σ(ε̂ - ε)²/B at
a·x + s·ε; then with new draws θ descends along Σ (f_r - f_f)(f_f - x)/w/B, f_r and f_f the clean images of teacher and ψ at a·x + s·ε with gradient through x,
w the mean of |x - f_r| of a sample, at least 1e-5, without gradient. Adam with β = (0, 0.999) for both, and the average of θ with a half-life.

The step: EDM's loss (arXiv 2206.00364) of the network "DDPM++" with 32 channels, AdamW, the average of the weights.

PyTorch gets its best, timed after warm-up: eager or torch.compile, fused or foreach optimizers, small steps on one thread too; the U-Net in
either memory format.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from layers import linear
from protocol import below, best_threads, fastest, load_safetensors, nested, rate, say, serve
from training import Training, modes, settle

CHECK_STEPS = 3
START = 625


def tables() -> tuple[Tensor, Tensor]:
    """a and s of Stable Diffusion: √β in a straight line over 1000 steps."""
    beta = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=torch.float64) ** 2
    bar = torch.cumprod(1 - beta, 0)
    return bar.sqrt().float(), (1 - bar).sqrt().float()


def point_network(p: dict, x: Tensor, t: Tensor, frequencies: Tensor) -> Tensor:
    angles = (t * 1e-3)[:, None] * frequencies
    first, *rest = p["layers"]
    h = F.silu(linear(first, torch.cat([x, angles.sin(), angles.cos()], 1)))
    for layer in rest:
        h = h + F.silu(linear(layer, h))
    return linear(p["out"], h)


class Distillation:
    """Both updates; weights in place, so that compiled functions stay valid."""

    def __init__(self, config: dict, tensors: dict[str, Tensor]):
        self.config = config
        self.a, self.s = tables()
        self.frequencies = math.pi / 2 * 2.0 ** torch.arange(config["features"] // 2)
        self.teacher = nested(below(tensors, "teacher."))
        self.start = {name: below(tensors, f"{name}.") for name in ("fake", "generator")}
        weights = {name: {key: value.clone().requires_grad_() for key, value in start.items()} for name, start in self.start.items()}
        self.nets = {name: nested(flat) for name, flat in weights.items()}
        self.leaves = {name: list(flat.values()) for name, flat in weights.items()}
        self.average = [leaf.detach().clone() for leaf in self.leaves["generator"]]

    def clean(self, p: dict, x: Tensor, t: Tensor) -> Tensor:
        return (x - self.s[t][:, None] * point_network(p, x, t.float(), self.frequencies)) / self.a[t][:, None]

    def generate(self, z: Tensor) -> Tensor:
        t = torch.full((len(z),), START, dtype=torch.int64)
        return self.clean(self.nets["generator"], self.s[START] * z, t)

    def noised(self, x: Tensor, e: Tensor, t: Tensor) -> Tensor:
        return self.a[t][:, None] * x + self.s[t][:, None] * e

    def fake_loss(self, z: Tensor, e: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.generate(z)
        predicted = point_network(self.nets["fake"], self.noised(x, e, t), t.float(), self.frequencies)
        return (predicted - e).square().sum() / len(z)

    def generator_loss(self, z: Tensor, e: Tensor, t: Tensor) -> Tensor:
        x = self.generate(z)
        noised = self.noised(x, e, t)
        real, fake = self.clean(self.teacher, noised, t), self.clean(self.nets["fake"], noised, t)
        w = (x - real).detach().abs().mean(1, keepdim=True).clamp(min=1e-5)
        return ((real - fake) * (fake - x) / w).sum() / len(z)

    def iteration(self, how: dict, wrap):
        """One iteration on draws -> both losses; draws fresh ones if there are none."""
        config, B = self.config, self.config["batch"]
        rates = {"fake": config["fake_lr"], "generator": config["generator_lr"]}
        adam = {name: torch.optim.Adam(leaves, lr=rates[name], betas=(0.0, 0.999), eps=1e-8, **how) for name, leaves in self.leaves.items()}
        losses = {"fake": wrap(self.fake_loss), "generator": wrap(self.generator_loss)}
        seen = 0

        def draw() -> dict:
            return {"z": torch.randn(B, 2), "e": torch.randn(B, 2), "t": torch.randint(20, 980, (B,))}

        def run(batches: dict | None = None) -> list[float]:
            nonlocal seen
            figures = []
            for name, loss in losses.items():
                value = loss(**(batches[name] if batches else draw()))
                for leaf, grad in zip(self.leaves[name], torch.autograd.grad(value, self.leaves[name])):
                    leaf.grad = torch.nan_to_num(grad, nan=0.0, posinf=1e5, neginf=-1e5)
                adam[name].step()
                figures.append(value.item())
            beta = 0.5 ** (B / max(min(config["half_life"], 0.05 * seen), 1e-8))
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.leaves["generator"], 1 - beta)
            seen += B
            return figures

        return run

    def check(self, step, batches: dict) -> list[float]:
        figures = [figure for _ in range(CHECK_STEPS) for figure in step(batches)]
        total = float(sum(tensor.double().square().sum() for tensor in self.average))
        self.reset()
        return [*figures, total]

    def reset(self) -> None:
        with torch.no_grad():
            for name, leaves in self.leaves.items():
                for leaf, start in zip(leaves, self.start[name].values()):
                    leaf.copy_(start)
            for average, start in zip(self.average, self.start["generator"].values()):
                average.copy_(start)


def prepare_sid(config: dict, tensors: dict[str, Tensor]):
    run = Distillation(config, tensors)
    batches = {ours: {key: value.long() if key == "t" else value for key, value in below(tensors, f"{theirs}.").items()} for ours, theirs in (("fake", "fit"), ("generator", "match"))}
    wraps = {"eager": lambda f: f, "compile": lambda f: torch.compile(f, dynamic=False)}
    kinds = {"fused": {"fused": True}, "foreach": {"foreach": True}}
    names = [(mode, kind) for mode in config["modes"] for kind in kinds]
    checks, variants = {}, {}
    for mode, kind in names[:1] if config.get("first_variant") else names:
        name = f"{mode}, {kind} Adam"
        run.reset()
        # The optimizer of the check has seen its steps; the one that is timed is new.
        checks[name] = run.check(run.iteration(kinds[kind], wraps[mode]), batches)
        variants[name] = run.iteration(kinds[kind], wraps[mode])
    if config.get("first_variant"):
        (name, step), = variants.items()
        return step, {"variants": {}, "chosen": name, "checks": checks}
    rates = rate(variants, config["seconds"])
    best = fastest(rates)
    step, chosen, by_threads = best_threads(variants[best], best, rates[best], config["seconds"])
    say(f"fastest: {chosen}")
    return step, {"variants": rates | by_threads, "chosen": chosen, "checks": checks}


def norm(p: dict, x: Tensor) -> Tensor:
    return F.group_norm(x, min(32, x.shape[1] // 4), p["weight"], p["bias"], 1e-6)


def conv(p: dict, x: Tensor) -> Tensor:
    return F.conv2d(x, p["weight"], p["bias"], padding=p["weight"].shape[-1] // 2)


def block(p: dict, x: Tensor, emb: Tensor, way: str | None = None) -> Tensor:
    def resample(y: Tensor) -> Tensor:
        if way == "down":
            return F.avg_pool2d(y, 2)
        return F.interpolate(y, scale_factor=2, mode="nearest") if way == "up" else y

    h = conv(p["conv0"], resample(F.silu(norm(p["norm0"], x)))) + linear(p["affine"], emb)[:, :, None, None]
    h = conv(p["conv1"], F.silu(norm(p["norm1"], h)))
    y = (h + (conv(p["skip"], resample(x)) if "skip" in p else x)) * math.sqrt(0.5)
    if "qkv" not in p:
        return y
    B, C, H, W = y.shape
    # q, k and v of one channel after the other.
    q, k, v = conv(p["qkv"], norm(p["norm2"], y)).reshape(B, C, 3, H * W).permute(2, 0, 3, 1)
    mixed = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
    return (conv(p["proj"], mixed.transpose(1, 2).reshape(B, C, H, W)) + y) * math.sqrt(0.5)


def unet(p: dict, x: Tensor, told: Tensor) -> Tensor:
    """32 channels, levels 16 and 8 with 1 and 2 times as many, one block each, attention at 8."""
    width = p["map_layer0"]["weight"].shape[1]
    frequencies = 10000.0 ** (-torch.arange(width // 2) / (width // 2 - 1))
    angles = told[:, None] * frequencies
    emb = F.silu(linear(p["map_layer1"], F.silu(linear(p["map_layer0"], torch.cat([angles.sin(), angles.cos()], 1)))))
    enc, dec = p["enc"], p["dec"]
    skips = [conv(enc["16x16_conv"], x)]
    for name in ("16x16_block0", "8x8_down", "8x8_block0"):
        skips.append(block(enc[name], skips[-1], emb, "down" if name.endswith("down") else None))
    x = block(dec["8x8_in1"], block(dec["8x8_in0"], skips[-1], emb), emb)
    for name in ("8x8_block0", "8x8_block1", "16x16_up", "16x16_block0", "16x16_block1"):
        up = name.endswith("up")
        x = block(dec[name], x if up else torch.cat([x, skips.pop()], 1), emb, "up" if up else None)
    return conv(dec["16x16_aux_conv"], F.silu(norm(dec["16x16_aux_norm"], x)))


def prepare_unet(config: dict, tensors: dict[str, Tensor]):
    training = Training(config, tensors)
    data = 0.5

    def loss_in(layout):
        def loss(x: Tensor, e: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
            x, e = (image.permute(0, 3, 1, 2).contiguous(memory_format=layout) for image in (x, e))
            s = sigma.view(-1, 1, 1, 1)
            total = s**2 + data**2
            noised = x + s * e
            output = unet(training.params, noised * total.rsqrt(), sigma.log() / 4)
            denoised = noised * data**2 / total + output * s * data * total.rsqrt()
            value = (total / (s * data) ** 2 * (denoised - x) ** 2).sum() / len(x)
            return value, value.detach()

        return loss

    pool, B = tensors["pool.x"], config["batch"]

    def draw() -> dict:
        x = pool[torch.randint(len(pool), (B,))]
        return {"x": x, "e": torch.randn_like(x), "sigma": (torch.randn(B) * 1.2 - 1.2).exp()}

    layouts = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
    losses = modes(config, {name: loss_in(layout) for name, layout in layouts.items()})
    return settle(training, losses, draw, below(tensors, "check."))


def prepare(config: dict):
    tensors = load_safetensors(config["file"])
    return (prepare_sid if config["work"] == "sid" else prepare_unet)(config, tensors)


if __name__ == "__main__":
    serve(prepare)
