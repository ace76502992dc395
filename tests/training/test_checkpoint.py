"""The file that a training goes on from."""

import pytest
import torch

from vitlab.files import write_tensors
from vitlab.training.checkpoint import FILE, read_state
from vitlab.training.recipe import TrainingError


def test_a_file_without_a_fingerprint_is_of_another_version_and_not_called_damaged(tmp_path):
    write_tensors(tmp_path / FILE, {"model.weight": torch.zeros(1)}, {"meta": "{}"})
    with pytest.raises(TrainingError, match="was not written by this version of vitlab"):
        read_state(tmp_path)
