"""The command `vitlab`."""

import errno
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from vitlab.bench import RESULTS
from vitlab.machine import is_out_of_memory

CHECKPOINT = "A folder that `vitlab train` wrote; a model of this package, as segformer-shapes; or a name on the hub."

# Heavy modules are imported inside the commands: torch alone takes seconds, and --help should not wait for it.


class Commands(TyperGroup):
    """The edge of every command: what a user can put right is said in one sentence, without a traceback."""

    def invoke(self, ctx: typer.Context) -> None:
        for stream in ("stdout", "stderr"):  # a service may have none, and progress bars write to it
            if getattr(sys, stream) is None:
                setattr(sys, stream, open(os.devnull, "w"))
        os.environ["MPLBACKEND"] = "agg"  # no command opens a window, and an unknown one would end a training at last
        try:
            os.getcwd()  # in a folder that is gone torch ends the process
            super().invoke(ctx)
        except KeyboardInterrupt as error:
            say("Interrupted. What was finished is kept, and the same command goes on or begins again.", err=True)
            raise typer.Exit(130) from error
        except Exception as error:
            if (sentence := in_a_sentence(error)) is None:
                raise
            say(f"Error: {sentence}", err=True)
            raise typer.Exit(1) from error


def say(text: str, err: bool = False) -> None:
    """Print: names out of files steer no terminal, and a terminal that lacks a letter is shown its number."""
    text = "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    typer.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


ADVICE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EACCES: "give access to it",
    errno.EPERM: "give access to it",
    errno.EROFS: "choose another place",
    errno.EBUSY: "wait for it",
}


def in_a_sentence(error: Exception) -> str | None:
    """What was found, and what to do about it; None for a fault of the program."""
    room = type(error).__module__.partition(".")[0]
    if room == "vitlab" or isinstance(error, FloatingPointError):
        return str(error)
    if is_out_of_memory(error):
        return "the memory of this machine is too small for that: smaller pictures, batches or models need less."
    if isinstance(error, OSError) and room != "PIL" and error.errno != errno.EPIPE:  # typer takes care of broken pipes
        if not error.strerror:
            return f"{error}."
        nameless = "the working folder" if error.errno == errno.ENOENT else "a file"
        place, advice = error.filename or nameless, ADVICE.get(error.errno, "put it right or choose another place")
        return (
            f"{place} cannot be read or written: {error.strerror}. Please {advice}, then give the same command again."
        )
    if isinstance(error, json.JSONDecodeError | RecursionError) or room in ("PIL", "safetensors_rust"):
        return f"a file cannot be read, because it is damaged or of another kind: {error}."
    return None


app = typer.Typer(
    cls=Commands,
    help="Vision Transformers, from patches to pixels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # its paragraphs flow, and [brackets] stay as they are
)


@app.callback()
def main() -> None:
    """Vision Transformers, from patches to pixels."""


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(help="What to train: digits, shapes, cifar10, cifar100, ade20k, ... or a TOML file of yours."),
    ] = "digits",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; if it holds the same run, interrupted, it goes on. [default: runs/RECIPE]"
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another random beginning. [default: the recipe's]")] = None,
    steps: Annotated[
        int | None, typer.Option(help="More or fewer updates of the weights; the warm-up keeps its share of them.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images an update; fewer need less memory.")] = None,
    lr: Annotated[float | None, typer.Option(help="The highest learning rate.")] = None,
) -> None:
    """Train a model. Interrupt it whenever you like: the same command goes on from the last checkpoint.

    The folder receives metrics.json, log.jsonl, curves.png, the model in model/ and checkpoint.safetensors. For several
    GPUs or machines put `accelerate launch -m` before `vitlab train`.
    """
    from accelerate import PartialState

    from vitlab import training
    from vitlab.training.evaluation import main_score

    chosen = training.read_recipe(recipe, seed=seed, steps=steps, batch_size=batch_size, lr=lr)
    folder = out or Path("runs") / chosen.name
    metrics = training.train(chosen, folder)
    name, score = main_score(metrics)
    if PartialState().is_main_process:  # one of several speaks
        say(f"{name.replace('_', ' ')} {score:.2%} after {metrics['seconds']:.0f} s; written to {folder}")


@app.command()
def results(
    recipes: Annotated[list[str], typer.Argument(help="Recipes to train, such as digits shapes.")],
    seeds: Annotated[int, typer.Option(min=1, help="How many runs of each, with the seeds 0, 1, ...")] = 3,
    out: Annotated[Path, typer.Option(help="Folder for RECIPE.json.")] = RESULTS,
    runs: Annotated[Path, typer.Option(help="Folder for the runs themselves.")] = Path("runs"),
) -> None:
    """Train recipes with several seeds, and write what they reach, with its spread, to RECIPE.json."""
    from vitlab import training
    from vitlab.files import write_json, written_whole
    from vitlab.training.run import summarize

    for name in recipes:
        chosen = [training.read_recipe(name, seed=seed) for seed in range(seeds)]
        path = out / f"{chosen[0].name}.json"
        with written_whole(path) as draft:  # a place that cannot be written is found before the training
            summary = summarize([training.train(r, runs / f"{r.name}-{r.seed}") for r in chosen])
            write_json(draft, summary)
        spread = f" ± {summary['deviation']:.2%}" if summary["deviation"] is not None else ""
        say(f"{name}: {summary['score'].replace('_', ' ')} {summary['mean']:.2%}{spread}; written to {path}")


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="digits, shapes, cifar10, ..., or a recipe whose data are meant.")],
) -> None:
    """Fetch a data set if it is not here yet, and show its card: source, licence, size, classes, how to cite it."""
    from dataclasses import asdict

    from vitlab.data import load
    from vitlab.training.recipe import data_options

    dataset = load(**data_options(name))
    here = f"{len(dataset.train):,} images to train on, {len(dataset.test):,} to test on"
    for entry, text in (asdict(dataset.card) | {"classes": ", ".join(dataset.classes), "here": here}).items():
        say(f"{entry}: {text}")


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="A folder that `vitlab train` wrote.")],
    folder: Annotated[Path, typer.Argument(help="Where to, such as vitlab/weights/NAME.")],
) -> None:
    """Write the model of a run in float16, with a card: the form in which the package brings trained models."""
    from vitlab.training import publishing

    publishing.publish(run, folder)
    say(f"Written: {folder}")


@app.command()
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help=CHECKPOINT)],
    dataset: Annotated[str, typer.Argument(help="digits, shapes, cifar10, ..., or a recipe whose data are meant.")],
) -> None:
    """Test a trained or published model on the test images of a data set."""
    from vitlab.training.evaluation import evaluate_checkpoint

    for name, value in evaluate_checkpoint(checkpoint, dataset).items():
        if isinstance(value, dict):
            for each, number in value.items():
                say(f"  {each}: " + ("not there" if number is None else f"{number:.2%}"))
        else:
            say(f"{name.replace('_', ' ')} {value:.2%}")


@app.command()
def predict(
    checkpoint: Annotated[str, typer.Argument(help=CHECKPOINT)],
    image: Annotated[Path, typer.Argument(help="A picture.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The overlay of a segmentation, a PNG. [default: beside the picture, as NAME-overlay.png]"),
    ] = None,
) -> None:
    """Say what a picture shows: the likeliest classes, or a coloured overlay with its legend.

    Beside the overlay a segmentation writes NAME-classes.png, whose pixels are the numbers of their classes.
    """
    from vitlab.data.pictures import read_picture
    from vitlab.pretrained import overlay
    from vitlab.pretrained.predictor import read_predictor

    picture, predictor = read_picture(image), read_predictor(checkpoint)
    if predictor.is_segmentation:
        drawn, class_map = overlay.places(image, out, predictor)
        classes = predictor.segment(picture)
        overlay.write_class_map(classes, predictor, class_map)
        for name, part in overlay.draw_overlay(picture, classes, predictor, drawn).items():
            say(f"{part:7.2%}  {name}")
        say(f"Written: {drawn}, {class_map}")
    else:
        probabilities = predictor(picture)
        for i in probabilities.argsort(descending=True)[:5].tolist():
            say(f"{probabilities[i]:7.2%}  {predictor.classes[i]}")


@app.command()
def bench(
    out: Annotated[Path, typer.Option(help="Folder for throughput.json and throughput.png.")] = RESULTS,
    rounds: Annotated[int, typer.Option(min=2, help="How often each implementation takes its turn.")] = 9,
) -> None:
    """Measure speed and memory beside transformers (and timm, where it imports). Takes some minutes.

    Where there is a GPU it is measured, in bfloat16, with and without torch.compile; the files are throughput-gpu.*.
    """
    from vitlab.bench import models

    models.run(out, rounds, say=say)


@app.command()
def bench_loop(
    recipe: Annotated[str, typer.Argument(help="A recipe of a classification.")] = "cifar10-cpu",
    steps: Annotated[int, typer.Option(min=4, help="Steps of one run.")] = 60,
    out: Annotated[Path, typer.Option(help="Folder for loop.json.")] = RESULTS,
    rounds: Annotated[int, typer.Option(min=1, help="How often each loop takes its turn.")] = 5,
) -> None:
    """Measure the training loop beside a plain one with a DataLoader and PIL. Takes some minutes."""
    from vitlab.bench import loops
    from vitlab.files import written_whole
    from vitlab.training import read_recipe

    chosen = read_recipe(recipe, steps=steps, warmup_steps=0)
    with written_whole(out / "loop.json") as draft:
        ratio = loops.run(chosen, draft, rounds, say=say)["speed_ratio"]
    say(f"{ratio:.2f} x the plain loop; written: {out / 'loop.json'}")
