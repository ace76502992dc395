"""The engine of all checks: it reaches a student's code, judges it, and finds the words for a mistake."""
