"""A trained model in the form in which it is handed on: half the bytes, with a card."""

import shutil
from pathlib import Path

from vitlab.pretrained import save_pretrained
from vitlab.pretrained.predictor import PREPROCESSOR_FILE, read_predictor
from vitlab.training.model_card import card
from vitlab.training.run import METRICS_FILE, MODEL_FOLDER, read_metrics


def publish(run: Path, folder: Path) -> None:
    """Write the model of a finished run in half the bytes, with a card that says what it is.

    Args:
        run: the folder of the run.
        folder: receives config.json, model.safetensors in float16, preprocessor_config.json, metrics.json, README.md.

    Raises:
        TrainingError, CheckpointError: if the run is not finished.
    """
    metrics = read_metrics(run)
    predictor = read_predictor(run)
    save_pretrained(predictor.model.half(), folder, classes=predictor.classes)
    for source in (run / MODEL_FOLDER / PREPROCESSOR_FILE, run / METRICS_FILE):
        shutil.copyfile(source, folder / source.name)
    (folder / "README.md").write_text(card(folder.name, metrics), encoding="utf-8")
