"""Training end to end: a recipe, one loop, and what it leaves behind.

from vitlab.training import read_recipe, train
metrics = train(read_recipe("digits"), Path("runs/digits"))
"""

from vitlab.training.loop import train
from vitlab.training.recipe import Recipe, TrainingError, read_recipe, recipe_names

__all__ = ["Recipe", "TrainingError", "read_recipe", "recipe_names", "train"]
