"""How fast, and with how much memory: this package beside `transformers` (and timm, where it imports), in one run.

Each row of the table has a fresh process. In it the implementations take turns, so that a busy moment of the machine
hits all of them; medians and quartiles are kept. Memory is measured in a fresh process for each implementation. Beside
each time stands the floor: the operations over the machine's own matrix rate, or the bytes that must move over its copy
rate, whichever takes longer.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from vitlab.linear import linear
from vitlab.mit import CONFIGS as MIT_CONFIGS
from vitlab.provenance import provenance
from vitlab.segformer import CONFIGS as SEGFORMER_CONFIGS
from vitlab.segformer import SegFormer
from vitlab.vit import ViT

MODELS = {"ViT-B/16": 224, "SegFormer-B0": 512, "SegFormer-B2": 512}  # and the side of their images, in pixels
MODES = {"inference": 1, "training": 2}  # and their batch sizes
SEED = 0


def implementations(model: str) -> list[str]:
    """Who can be measured here; timm has no SegFormer."""
    names = ["vitlab", "transformers"]
    if model == "ViT-B/16" and importlib.util.find_spec("timm"):
        names.append("timm")
    return names


def build(model: str, implementation: str) -> tuple[nn.Module, Callable[[Tensor], Tensor], Callable[..., Tensor]]:
    """A model with random weights, its scores as a function of images, and its loss as one of images and labels."""
    if model == "ViT-B/16":
        net, scores = _vit(implementation)
        return net, scores, lambda images, labels: F.cross_entropy(scores(images), labels)
    name = model.removeprefix("SegFormer-")
    if implementation == "vitlab":
        net = SegFormer.from_config(name)
        return net, lambda images: net(images, upsample=False), net.loss
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    encoder = MIT_CONFIGS[f"MiT-{name}"]
    config = SegformerConfig(
        hidden_sizes=encoder.d,
        depths=encoder.depths,
        num_attention_heads=encoder.num_heads,
        decoder_hidden_size=SEGFORMER_CONFIGS[name].C,
        num_labels=150,
    )
    net = SegformerForSemanticSegmentation(config)
    return net, lambda images: net(images).logits, lambda images, labels: net(images, labels=labels).loss


def _vit(implementation: str) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    if implementation == "vitlab":
        net = ViT.from_config("ViT-B/16")
        return net, net
    if implementation == "timm":
        import timm

        net = timm.create_model("vit_base_patch16_224")
        return net, net
    from transformers import ViTConfig, ViTForImageClassification

    net = ViTForImageClassification(ViTConfig(num_labels=1000))
    return net, lambda images: net(images).logits


def task(model: str, implementation: str, mode: str) -> tuple[nn.Module, Callable[[], Any]]:
    """A model, and one round of its work: a forward pass, or a training step with AdamW.

    AdamW is the fused one, as in `vitlab train`: the plain one costs every model the same time, and would blur what is
    compared here.
    """
    torch.manual_seed(SEED)
    net, scores, loss = build(model, implementation)
    B, side = MODES[mode], MODELS[model]
    images = torch.randn(B, 3, side, side)
    if mode == "inference":
        net.eval()
        return net, torch.no_grad()(lambda: scores(images))
    labels = torch.randint(0, 1000, (B,)) if model == "ViT-B/16" else torch.randint(0, 150, (B, side, side))
    optimizer = torch.optim.AdamW(net.train().parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss(images, labels).backward()
        optimizer.step()

    return net, step


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def machine_rates() -> dict[str, float]:
    """Float32 operations a second in a large matrix product, by whichever of two libraries is faster here, and bytes a
    second in a copy (read and written)."""
    A, B = torch.randn(2, 2048, 2048)
    source = torch.zeros(2**26)  # 256 MB
    target = torch.zeros_like(source)
    with torch.no_grad():
        product = min(min(seconds(lambda: A @ B), seconds(lambda: linear(A, B))) for _ in range(10))
    copy = min(seconds(lambda: target.copy_(source)) for _ in range(10))
    return {"matrix_flop_per_s": 2 * 2048**3 / product, "copy_bytes_per_s": 2 * 4 * source.numel() / copy}


def floor(model: str, mode: str, rates: dict[str, float]) -> dict[str, float]:
    """The least that vitlab's form of the model has to do, and the seconds that this takes at the machine's rates.

    Operations are those of matrix products, convolutions and attention; a training step counts as three forward passes.
    Bytes: in inference every parameter is read once. A training step reads it twice (forward, backward), writes its
    gradient, and AdamW reads weight, gradient and two moments and writes three of them back: 10 transfers. The images
    are read once.
    """
    with torch.device("meta"):
        net, scores, _ = build(model, "vitlab")
        B, side = MODES[mode], MODELS[model]
        images = torch.randn(B, 3, side, side)
        net.train(mode == "training")
        with FlopCounterMode(display=False) as counter:
            scores(images)
    passes = 3 if mode == "training" else 1
    transfers = 1 if mode == "inference" else 10
    moved = 4 * (transfers * sum(p.numel() for p in net.parameters()) + images.numel())
    flop = passes * counter.get_total_flops()
    least = max(flop / rates["matrix_flop_per_s"], moved / rates["copy_bytes_per_s"])
    return {"flop": flop, "bytes": moved, "seconds": least}


def alone(expression: str) -> Any:
    """What an expression about this module gives in a fresh process, where no other model has run before.

    That matters: the C library's allocator remembers the largest tensors it has seen, and serves later ones faster.
    """
    program = f"import json; from vitlab import bench; print(json.dumps(bench.{expression}))"
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{expression} could not be measured: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory(model: str, implementation: str, mode: str) -> int:
    """Bytes that two rounds need beyond what the process had before the model was built.

    For a process of its own: see `alone`. Building a model first loads the libraries.
    """
    build(model, implementation)
    before = resident("VmRSS")
    _, work = task(model, implementation, mode)
    work()
    work()
    return resident("VmHWM") - before


def resident(entry: str) -> int:
    """Bytes of this process in memory: now (VmRSS) or at most so far (VmHWM).

    Not resource.getrusage: its maximum starts at what the process had that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(entry))


def measure(model: str, mode: str, rounds: int) -> dict[str, Any]:
    """One row of the table: every implementation of one model in one mode, and the machine's rates at that time."""
    names = implementations(model)
    works = {name: task(model, name, mode)[1] for name in names}
    for work in works.values():  # the first round allocates, and is not counted
        work()
    times: dict[str, list[float]] = {name: [] for name in names}
    before = machine_rates()
    for i in range(rounds):
        for name in names if i % 2 == 0 else reversed(names):
            times[name].append(seconds(works[name]))
    del works
    rates = {name: max(rate, before[name]) for name, rate in machine_rates().items()}
    least = floor(model, mode, rates)
    results = {}
    for name in names:
        low, middle, high = quantiles(times[name], n=4)
        results[name] = {
            "seconds": {"median": middle, "quartiles": [low, high]},
            "images_per_second": MODES[mode] / middle,
            "peak_memory_bytes": alone(f"peak_memory({model!r}, {name!r}, {mode!r})"),
            "fraction_of_floor": least["seconds"] / middle,
        }
    ours, theirs = results["vitlab"], results["transformers"]
    return {
        "model": model,
        "mode": mode,
        "image_side": MODELS[model],
        "batch": MODES[mode],
        "rounds": rounds,
        "rates": rates,
        "floor": least,
        "implementations": results,
        "speed_ratio": median(t / o for t, o in zip(times["transformers"], times["vitlab"], strict=True)),
        "memory_ratio": ours["peak_memory_bytes"] / theirs["peak_memory_bytes"],
    }


def where() -> dict[str, Any]:
    """Where the numbers come from, for whoever reads the results."""
    return provenance() | {
        "transformers": importlib.import_module("transformers").__version__,
        "seed": SEED,
        "data": "random images",
        "dtype": "float32",
    }


def run(folder: Path, rounds: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure everything; write throughput.json and throughput.png into `folder`."""
    rows = []
    for model in MODELS:
        for mode in MODES:
            rows.append(alone(f"measure({model!r}, {mode!r}, {rounds})"))
            say(line(rows[-1]))
    results = {"where": where(), "rows": rows}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "throughput.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(results, folder / "throughput.png")
    return results


def line(row: dict[str, Any]) -> str:
    """One row for a terminal."""
    ours = row["implementations"]["vitlab"]
    return (
        f"{row['model']:13} {row['mode']:10} {ours['images_per_second']:6.2f} images/s, "
        f"{row['speed_ratio']:.2f} x transformers, {row['memory_ratio']:.2f} x its memory, "
        f"{ours['fraction_of_floor']:.0%} of the floor"
    )


def draw(results: dict[str, Any], path: Path) -> None:
    """Images per second of every implementation, in bars with their quartiles."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots(len(MODES), len(MODELS))
    for row, ax in zip(results["rows"], axes.T.flat, strict=True):
        for i, result in enumerate(row["implementations"].values()):
            rate, (fast, slow) = result["images_per_second"], result["seconds"]["quartiles"]
            spread = [[rate - row["batch"] / slow], [row["batch"] / fast - rate]]
            ax.bar(i, rate, yerr=spread, capsize=3, color=f"C{i}")
        ax.set_xticks(range(len(row["implementations"])), row["implementations"], fontsize=9)
        ax.set_title(f"{row['model']}, {row['mode']}", fontsize=9)
        ax.set_ylabel("images / s", fontsize=9)
    figure.savefig(path, dpi=150)
