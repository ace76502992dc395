"""For authors: `notebooks` in their committed form, and the students' `exercises` made from solutions/."""
