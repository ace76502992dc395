"""How fast, and with how much memory: this package beside `transformers` (and timm, where it imports), in one run.

Each row of the table has a fresh process. In it the implementations take turns, so that a busy moment of the machine
hits all of them; medians and quartiles are kept. Memory is measured in a fresh process for each implementation. Beside
each time stands the floor: the operations over the machine's own matrix rate, or the bytes that must move over its copy
rate, whichever takes longer.

Where there is a GPU it is what is measured: larger batches, products in bfloat16, each implementation with and without
`torch.compile`. On a processor ONNX Runtime and OpenVINO compute both exported models, too, where they are installed.
"""

import importlib
import importlib.util
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitlab.bench.engines import ENGINES, exported
from vitlab.bench.measurement import DTYPES, alone, device, machine_rates, resident, seconds
from vitlab.decoder import upsample
from vitlab.files import folder_written_whole, write_json
from vitlab.machine import provenance
from vitlab.mit import CONFIGS as MIT_CONFIGS
from vitlab.segformer import CONFIGS as SEGFORMER_CONFIGS
from vitlab.segformer import SegFormer
from vitlab.training.operations import flop_of_forward
from vitlab.vit import ViT

MODELS = {"ViT-B/16": 224, "SegFormer-B0": 512, "SegFormer-B2": 512}  # and the side of their images, in pixels
MODES = ("inference", "class maps", "training")  # to scores; to the class of every pixel; a step
BATCHES = {
    "cpu": {"inference": 1, "class maps": 1, "training": 2},
    "cuda": {"inference": 32, "class maps": 32, "training": 8},
}
COMPILED = ", compiled"
SEED = 0


def implementations(model: str, mode: str) -> list[str]:
    """Who can be measured here; timm has no SegFormer."""
    names = ["vitlab", "transformers"]
    if model == "ViT-B/16" and importlib.util.find_spec("timm"):
        names.append("timm")
    if device() == "cuda":
        return names + [name + COMPILED for name in names]
    return names + [f"{name}, {engine}" for engine in ENGINES for name in names[:2] if mode != "training"]


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


def class_maps(net: nn.Module, scores: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """From images to the class of every pixel, as each package would have it."""
    if isinstance(net, SegFormer):
        return net.segment
    return lambda images: upsample(scores(images), images.shape[-2:]).argmax(dim=1)


def task(model: str, implementation: str, mode: str) -> tuple[nn.Module, Callable[[], Any]]:
    """A model, and one round of its work: a forward pass, or a training step with AdamW.

    AdamW is the fused one, as in `vitlab train`: the plain one costs every model the same time, and would blur what is
    compared here.
    """
    torch.manual_seed(SEED)
    package, _, engine = implementation.partition(", ")
    net, scores, loss = build(model, package)
    if mode == "class maps":
        scores = class_maps(net, scores)
    if implementation.endswith(COMPILED):
        scores, loss = torch.compile(scores), torch.compile(loss)
    where, side = device(), MODELS[model]
    B = BATCHES[where][mode]
    net, images = net.to(where), torch.randn(B, 3, side, side, device=where)
    in_bfloat16 = torch.autocast(where, torch.bfloat16, enabled=DTYPES[where] == torch.bfloat16)
    if engine in ENGINES:
        return net, exported(engine, net.eval(), scores, images)
    if mode != "training":
        net.eval()

        def forward() -> None:
            with torch.no_grad(), in_bfloat16:
                scores(images)

        return net, forward
    classes, size = (1000, (B,)) if model == "ViT-B/16" else (150, (B, side, side))
    labels = torch.randint(0, classes, size, device=where)
    optimizer = torch.optim.AdamW(net.train().parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with in_bfloat16:
            value = loss(images, labels)
        value.backward()
        optimizer.step()

    return net, step


def floor(model: str, mode: str, rates: dict[str, float]) -> dict[str, float]:
    """The least that vitlab's form of the model has to do, and the seconds that this takes at the machine's rates.

    A training step has the operations of three forward passes. Upsampling and comparing classes are not counted.
    Bytes: in inference every parameter is read once. A training step reads it twice (forward, backward), writes its
    gradient, and AdamW reads weight, gradient and two moments and writes three of them back: 10 transfers. The images
    are read once.
    """
    with torch.device("meta"):
        net, scores, _ = build(model, "vitlab")
        images = torch.randn(BATCHES[device()][mode], 3, MODELS[model], MODELS[model])
        net.train(mode == "training")
        forward = flop_of_forward(scores, images)
    passes = 3 if mode == "training" else 1
    transfers = 10 if mode == "training" else 1
    moved = 4 * (transfers * sum(p.numel() for p in net.parameters()) + images.numel())
    flop = passes * forward
    least = max(flop / rates["matrix_flop_per_s"], moved / rates["copy_bytes_per_s"])
    return {"flop": flop, "bytes": moved, "seconds": least}


def peak_memory(model: str, implementation: str, mode: str) -> int:
    """Bytes that two rounds need beyond what the process had before the model was built.

    For a process of its own: see `alone`. Building a model first loads the libraries. With a GPU, the bytes of its own
    memory.
    """
    build(model, implementation.partition(", ")[0])
    before = resident("VmRSS")
    _, work = task(model, implementation, mode)
    work()
    work()
    return torch.cuda.max_memory_allocated() if device() == "cuda" else resident("VmHWM") - before


def measure(model: str, mode: str, rounds: int) -> dict[str, Any]:
    """One row of the table: every implementation of one model in one mode, and the machine's rates at that time."""
    names = implementations(model, mode)
    works = {name: task(model, name, mode)[1] for name in names}
    for work in works.values():  # the first rounds allocate and compile, and are not counted
        for _ in range(1 if device() == "cpu" else 3):
            work()
    times: dict[str, list[float]] = {name: [] for name in names}
    before = machine_rates()
    for i in range(rounds):
        for name in names if i % 2 == 0 else reversed(names):
            times[name].append(seconds(works[name]))
    del works
    rates = {name: max(rate, before[name]) for name, rate in machine_rates().items()}
    least, batch = floor(model, mode, rates), BATCHES[device()][mode]
    results = {}
    for name in names:
        low, middle, high = quantiles(times[name], n=4)
        results[name] = {
            "seconds": {"median": middle, "quartiles": [low, high]},
            "images_per_second": batch / middle,
            # Not measured where the export, which takes more, would have to come first.
            "peak_memory_bytes": None
            if name.partition(", ")[2] in ENGINES
            else alone(peak_memory, model, name, mode, HF_HUB_OFFLINE="1"),
            "fraction_of_floor": least["seconds"] / middle,
        }
    ours, theirs = results["vitlab"], results["transformers"]
    return {
        "model": model,
        "mode": mode,
        "image_side": MODELS[model],
        "batch": batch,
        "rounds": rounds,
        "rates": rates,
        "floor": least,
        "implementations": results,
        "speed_ratio": speed_ratio(times, "vitlab", "transformers"),
        "speed_ratio_compiled": speed_ratio(times, "vitlab" + COMPILED, "transformers" + COMPILED)
        if "vitlab" + COMPILED in times
        else None,
        "speed_ratios": {name: speed_ratio(times, "vitlab", name) for name in names[1:]},
        "memory_ratio": ours["peak_memory_bytes"] / theirs["peak_memory_bytes"],
    }


def speed_ratio(times: dict[str, list[float]], ours: str, theirs: str) -> float:
    """How many times as fast as another: the median over the rounds, in each of which both took their turn."""
    return median(t / o for t, o in zip(times[theirs], times[ours], strict=True))


def where() -> dict[str, Any]:
    """Where the numbers come from, for whoever reads the results."""
    return provenance(device()) | {
        "transformers": importlib.import_module("transformers").__version__,
        "seed": SEED,
        "data": "random images",
        "dtype": str(DTYPES[device()]).removeprefix("torch."),
    }


def run(folder: Path, rounds: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure everything; write throughput.json and throughput.png, on a GPU throughput-gpu.*, into `folder`.

    Raises:
        OSError: at once, if no files can be written there.
    """
    name = "throughput" if device() == "cpu" else "throughput-gpu"
    with folder_written_whole(folder) as draft:  # before anything is measured: it takes some minutes
        rows = []
        for model, mode in product(MODELS, MODES):
            if mode != "class maps" or model.startswith("SegFormer"):
                rows.append(alone(measure, model, mode, rounds, HF_HUB_OFFLINE="1"))
                say(line(rows[-1]))
        results = {"where": where(), "rows": rows}
        write_json(draft / f"{name}.json", results)
        draw(results, draft / f"{name}.png")
    say(f"Written: {folder / name}.json, {folder / name}.png")
    return results


def line(row: dict[str, Any]) -> str:
    """One row for a terminal."""
    ours, compiled = row["implementations"]["vitlab"], row["speed_ratio_compiled"]
    engines = [f"{r:.2f} x {name}" for name, r in row["speed_ratios"].items() if name.partition(", ")[2] in ENGINES]
    return (
        f"{row['model']:13} {row['mode']:10} {ours['images_per_second']:6.2f} images/s, "
        f"{row['speed_ratio']:.2f} x transformers{f' ({compiled:.2f} x if both are compiled)' if compiled else ''}, "
        f"{row['memory_ratio']:.2f} x its memory, "
        f"{ours['fraction_of_floor']:.0%} of the floor{''.join(f', {each}' for each in engines)}"
    )


def draw(results: dict[str, Any], path: Path) -> None:
    """Images per second of every implementation, in bars with their quartiles."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    heights = [
        max((len(row["implementations"]) for row in results["rows"] if row["mode"] == mode), default=1)
        for mode in MODES
    ]
    axes = figure.subplots(len(MODES), len(MODELS), squeeze=False, height_ratios=heights)
    for ax in axes.flat:
        ax.set_axis_off()
    for row in results["rows"]:
        ax = axes[MODES.index(row["mode"]), list(MODELS).index(row["model"])]
        ax.set_axis_on()
        for name, result in row["implementations"].items():
            rate, (fast, slow) = result["images_per_second"], result["seconds"]["quartiles"]
            spread = [[rate - row["batch"] / slow], [row["batch"] / fast - rate]]
            ax.barh(name, rate, xerr=spread, capsize=3, color="C0" if name == "vitlab" else "C7")
        ax.invert_yaxis()  # the first above
        ax.set_title(f"{row['model']}, {row['mode']}", fontsize=9)
        ax.set_xlabel("images / s", fontsize=9)
    figure.savefig(path, dpi=150)
