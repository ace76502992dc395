"""What authors of the course need: notebooks in their committed form, `python -m vitlab.authoring`."""
