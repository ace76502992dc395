"""How well the checks do: `make checks-report` writes book/results/checks.json.

Four kinds of answers are judged, over 20 seeds: right ones (the formulations of the checks and the variants of the tests),
listed misconceptions, mutants (the reference with one slip in it, each on one seed), and pairs (two slips drawn at
random, in any formulation). A mutant that no check rejects is either equal to the reference, which is listed with the
reason, or accepted wrongly. An hour of one core; what was measured of other exercises before stays in the file.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Generator

from vitlab.checks import TOPICS, derivable, exercises
from vitlab.checks.engine import diagnosis, table, values
from vitlab.checks.engine.candidate import LocalCandidate
from vitlab.checks.engine.exercise import Case, Exercise, Sizes
from vitlab.checks.engine.judge import judge
from vitlab.checks.engine.report import ExerciseResult
from vitlab.checks.engine.switches import quietly
from vitlab.files import write_json
from vitlab.machine import provenance

SEEDS = range(20)
PAIRS = 200  # drawn for each exercise
EQUAL = {  # why a mutant may pass, by the precision in which it gives the reference's numbers
    torch.float64: "the same numbers, also in float64",
    torch.float32: "another number, by less than float32 can tell apart",
}
RESULTS = Path("book/results/checks.json")


def main(names: list[str]) -> int:
    """Measure the exercises of these names, or all."""
    if not Path("tests").is_dir():
        sys.exit("There is no folder tests/ here: run this in the repository's root.")
    every = [(topic, e.name) for topic in TOPICS for e in exercises(topic) if isinstance(e, Exercise)]
    before = json.loads(RESULTS.read_text(encoding="utf-8"))["exercises"] if RESULTS.exists() else {}
    rows = {name: before.get(name) for _, name in every}  # in the lecture's order
    jobs = [(topic, name) for topic, name in every if not names or name in names]
    where = provenance()  # before the file is written, which would be a change beside the commit
    with ProcessPoolExecutor(initializer=_quietly) as workers:
        for (_, name), row in zip(jobs, workers.map(_measure, jobs), strict=True):
            rows[name] = row | {"where": where}
            found = {name: row for name, row in rows.items() if row}
            write_json(RESULTS, {"seeds": len(SEEDS), "exercises": found})
            print(
                f"{name}: {len(row['false accepts'])} accepted and {row['false rejects']} refused wrongly", flush=True
            )
    return 0


def _quietly() -> None:
    quietly()
    sys.path[:0] = ["tests", "."]


def _measure(job: tuple[str, str]) -> dict[str, Any]:
    topic, name = job
    exercise = derivable()[name]
    right = [*exercise.formulations, *import_module(f"test_{topic}").CORRECT[name]]
    mutants = list(_mutants(exercise))
    pairs = list(_pairs(exercise))
    times: list[float] = []

    def judged(function: Callable, seed: int) -> ExerciseResult:
        start = time.process_time()
        result = judge(exercise, LocalCandidate({name: function}), seed)
        if not result.passed:
            times.append(1000 * (time.process_time() - start))
        return result

    by_mutant = [(mutant, judged(mutant, seed % len(SEEDS))) for seed, mutant in enumerate(mutants)]
    by_pair = [(pair, judged(pair, seed % len(SEEDS))) for seed, pair in enumerate(pairs)]
    accepted = [mutant for mutant, result in (*by_mutant, *by_pair) if result.passed]
    reasons = [(mutant.sentence, _reason(exercise, mutant)) for mutant in accepted]
    by_misconception = [(m, judged(m.function, seed)) for m in exercise.misconceptions for seed in SEEDS]
    wrong = [m for m, result in by_misconception if result.passed]
    other = [m for m, result in by_misconception if result.sentences[0] != m.sentence]
    return {
        "right answers": len(right),
        "false rejects": sum(not judged(function, seed).passed for function in right for seed in SEEDS),
        "misconceptions": len(exercise.misconceptions),
        "misconceptions told otherwise": sorted({m.sentence for m in other}),
        "mutants": len(mutants),
        "pairs": len(pairs),
        "false accepts": sorted({said for said, reason in reasons if not reason} | {m.sentence for m in wrong}),
        "equal to the reference, also on numbers that no check draws": {
            equal: sorted({said for said, reason in reasons if reason == equal}) for equal in EQUAL.values()
        },
        "mutants explained": _share([result for _, result in by_mutant]),
        "pairs explained": _share([result for _, result in by_pair]),
        "milliseconds of a processor, median": round(median(times)),
        "milliseconds of a processor, largest": round(max(times)),
    }


def _mutants(exercise: Exercise):
    """One slip at a time in the reference; those alone that return something on the fixed cases."""
    cases = table.fixed_cases(exercise)
    reference = table.origin(exercise, 0)
    for slip in reference.slips:
        mutant = table.Explanation(reference, (slip,))
        if any(_returns(mutant, case.arguments) for case in cases):
            yield mutant


def _pairs(exercise: Exercise):
    """Two slips of any cost, drawn at random."""
    generator = Generator().manual_seed(1)
    arguments = table.fixed_cases(exercise)[0].arguments
    origins = [origin for _, origin in table.origins(exercise) if origin.misconception is None]
    found = 0
    while found < PAIRS:
        origin = origins[found % len(origins)]
        i, j = torch.randint(len(origin.slips), (2,), generator=generator).tolist()
        pair = table.Explanation(origin, (origin.slips[i], origin.slips[j]))
        if i != j and _returns(pair, arguments):
            found += 1
            yield pair


def _returns(function: Callable, arguments: tuple) -> bool:
    try:
        return isinstance(function(*arguments), torch.Tensor | int | float)
    except Exception:
        return False


def _reason(exercise: Exercise, function: Callable) -> str:
    """Why a function that passes is no false accept, tried on sizes and numbers that no check has seen; "" if it is one."""
    generator = Generator().manual_seed(99)
    lines = [line for part in exercise.parts for line in part.lines]
    cases = [exercise.case(line, generator) for line in [Sizes(gradient=True)] * 10 + lines * 3]
    cases = [case for case in cases if _returns(exercise.reference, case.arguments)]  # no grid smaller than R x R
    for precision, reason in EQUAL.items():
        if all(_gives_the_numbers(function, exercise, case, precision) for case in cases):
            return reason
    return ""


def _gives_the_numbers(function: Callable, exercise: Exercise, case: Case, precision: torch.dtype) -> bool:
    try:
        came, expected = (values.as_tensor(f(*case.arguments)) for f in (function, exercise.reference))
    except Exception:
        return False
    return diagnosis.close(came, expected, expected.dtype if expected.dtype == torch.float32 else precision)


def _share(results: list[ExerciseResult]) -> float:
    """The share of the rejected answers that were told a mistake by name."""
    rejected = [result for result in results if not result.passed]
    return round(sum(result.named for result in rejected) / len(rejected), 3) if rejected else 1.0
