"""A trained model in the form in which it is handed on: half the bytes, with a card."""

import os
import shutil
from pathlib import Path

from vitlab.files import folder_written_whole
from vitlab.pretrained import save_pretrained
from vitlab.pretrained.forms import CONFIG_FILE, WEIGHTS_FILE
from vitlab.pretrained.predictor import PREPROCESSOR_FILE, read_predictor
from vitlab.training.model_card import card
from vitlab.training.recipe import TrainingError
from vitlab.training.run import METRICS_FILE, MODEL_FOLDER, read_metrics
from vitlab.validation import path_of

CARD_FILE = "README.md"
FILES = (CONFIG_FILE, WEIGHTS_FILE, PREPROCESSOR_FILE, METRICS_FILE, CARD_FILE)


def publish(run: Path, folder: Path) -> None:
    """Write the model of a finished run in half the bytes, with a card that says what it is.

    Args:
        run: the folder of the run.
        folder: receives config.json, model.safetensors in float16, preprocessor_config.json, metrics.json, README.md.

    Raises:
        TrainingError, CheckpointError: if the run is not finished, or one of these files is there already.
    """
    run, folder = path_of(run, TrainingError), path_of(folder, TrainingError)
    metrics, predictor = read_metrics(run), read_predictor(run)
    try:
        text = card(folder.resolve().name, metrics)
    except (KeyError, TypeError, ValueError) as error:
        fault = f"it lacks {error}" if isinstance(error, KeyError) else "an entry is of another kind than a run writes"
        raise TrainingError(f"{run / METRICS_FILE} is damaged: {fault}.") from error
    with folder_written_whole(folder) as draft:
        for name in FILES:
            if os.path.lexists(folder / name):
                raise TrainingError(f"{folder / name} is there already: choose another folder, or move it away.")
        save_pretrained(predictor.model.half(), draft, classes=predictor.classes)
        for source in (run / MODEL_FOLDER / PREPROCESSOR_FILE, run / METRICS_FILE):
            shutil.copyfile(source, draft / source.name)
        (draft / CARD_FILE).write_text(text, encoding="utf-8", errors="replace")
