"""Around nbgrader: making the exercises, and grading a class for demonstration. The rules are in nbgrader_config.py."""
