"""The line protocol between a bench and its PyTorch peer, and what every peer needs: weights from a file, fair timing, the best variant.

A request is one line on stdin, the answer one line of JSON on stdout:

    prepare <json>   builds the work and settles on its fastest variant -> whatever the peer has to tell about it
    measure <n>      n steps                                            -> list of n times in ms
    memory           -                                                  -> peak resident memory of this process in MiB

An answer {"error": sentence} means that the request failed. The first line is unasked for: versions and threads. Lines on stderr that
begin with "# " are progress for a person.
"""

import json
import os
import resource
import statistics
import struct
import sys
import time
import types
from typing import Callable

import torch

Step = Callable[[], object]

SMALL_STEP_MS = 20

# Nothing but answers may reach the bench: libraries that print go to stderr.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(text: str) -> None:
    """A line of progress for the person who waits."""
    print(f"# {text}", file=sys.stderr, flush=True)


def first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip()[:200]}" if lines else type(error).__name__


def serve(prepare: Callable[[dict], tuple[Step, object]]) -> None:
    """Answers requests until stdin ends. `prepare` returns the step to measure and what to answer."""
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    step: Step | None = None
    _answer({"torch": torch.__version__.split("+")[0], "threads": torch.get_num_threads()})
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        try:
            if command == "prepare":
                step, told = prepare(json.loads(rest))
                _answer(told)
            elif command == "measure":
                if step is None:
                    raise RuntimeError("measure: wanted a prepare before it, got none")
                _answer(measure(step, int(rest)))
            elif command == "memory":
                _answer(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            else:
                raise RuntimeError(f"wanted prepare, measure or memory, got '{command}'")
        except Exception as error:  # whatever it is, the bench has to hear of it
            _answer({"error": first_line(error)})


def _answer(value: object) -> None:
    print(json.dumps(value), file=_answers, flush=True)


def measure(step: Step, n: int) -> list[float]:
    """Times of n steps in ms."""
    times = []
    for _ in range(n):
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def rate(variants: dict[str, Step], seconds: float = 1.5, warm_up: int = 3) -> dict[str, float]:
    """Median ms of each variant, measured in turns of a few steps so that none has a quieter machine. Variants that fail are left out."""
    alive: dict[str, Step] = {}
    for name, step in variants.items():
        try:
            start = time.perf_counter()
            measure(step, 1)
            first = time.perf_counter() - start
            if first > 2:
                say(f"{name}: first step {first:.0f} s")
            measure(step, warm_up - 1)
            alive[name] = step
        except Exception as error:
            say(f"{name}: left out, {first_line(error)}")
    times: dict[str, list[float]] = {name: [] for name in alive}
    for _ in range(5):
        for name, step in alive.items():
            times[name] += measure(step, 1)
            budget = seconds / 5 * 1e3 - times[name][-1]
            times[name] += measure(step, min(50, int(budget / max(times[name][-1], 1e-3)))) if budget > 0 else []
    return {name: statistics.median(ms) for name, ms in times.items()}


def fastest(rates: dict[str, float]) -> str:
    if not rates:
        raise RuntimeError("wanted one variant that runs, got none")
    return min(rates, key=rates.__getitem__)


def best_threads(step: Step, name: str, ms: float, seconds: float) -> tuple[Step, str, dict[str, float]]:
    """A step of a few ms may run faster on one thread than on all: the step, named and set to the number that is faster, and the times."""
    everything = torch.get_num_threads()
    if ms > SMALL_STEP_MS or everything == 1:
        return step, name, {}

    def on(threads: int) -> Step:
        def run():
            torch.set_num_threads(threads)
            return step()

        return run

    variants = {name: on(everything), f"{name}, one thread": on(1)}
    rates = rate(variants, seconds)
    best = fastest(rates)
    return variants[best], best, rates


def compiled(f: Callable, whole: bool = True) -> Callable:
    """torch.compile for shapes that never change; fails at its first call where there is no compiler or, if `whole`, a graph would break."""
    # Dynamo keeps compilations by code object and tries the conditions of each in turn at every call. A code object of its own keeps a variant
    # from paying for the others made by the same line.
    own = types.FunctionType(f.__code__.replace(), f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    own.__kwdefaults__ = f.__kwdefaults__
    return torch.compile(own, dynamic=False, fullgraph=whole)


def load_safetensors(path: str) -> dict[str, torch.Tensor]:
    """Every tensor of a safetensors file: eight bytes of header length, a JSON header of {name: {dtype, shape, data_offsets}}, the data."""
    types = {"F32": torch.float32, "I32": torch.int32, "BOOL": torch.bool}
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            flat = torch.frombuffer(data[start:end], dtype=types[entry["dtype"]]) if end > start else torch.empty(0)
            tensors[name] = flat.reshape(entry["shape"]).clone()
    return tensors


def below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose name starts with the prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def nested(flat: dict[str, torch.Tensor]) -> dict:
    """{'a.b': x} -> {'a': {'b': x}}; levels numbered from 0 become lists."""
    tree: dict = {}
    for name, tensor in flat.items():
        node = tree
        *path, last = name.split(".")
        for key in path:
            node = node.setdefault(key, {})
        node[last] = tensor

    def lists(node):
        if not isinstance(node, dict):
            return node
        children = {key: lists(child) for key, child in node.items()}
        numbered = [str(i) for i in range(len(children))]
        return [children[key] for key in numbered] if set(children) == set(numbered) else children

    return lists(tree)
