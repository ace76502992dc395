"""`python -m vitlab`, and with it `accelerate launch -m vitlab train ...`."""

from vitlab.cli import app

app()
