"""Which slips give which numbers: made by `python -m vitlab.checks tables`, looked up when a check fails.

Every slip of every formulation, alone and two at a time, is run on a few fixed cases; from its results a fingerprint is
made, one number. A student's function is called on the same cases, and the slips with its fingerprint are the candidates.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from vitlab.checks.engine import diagnosis
from vitlab.checks.engine.candidate import Candidate
from vitlab.checks.engine.exercise import Case, Exercise, Function, Misconception, Sizes
from vitlab.checks.engine.program import RESULT, Program, read
from vitlab.checks.engine.slips import Slip, run, slips
from vitlab.files import written_whole

TABLES = Path(__file__).parents[1] / "tables"
ALONE = 2**16 - 1  # in the place of the second slip
PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29)  # sizes of the fixed cases: no product or root of two is a third
PAIRED = 250  # so many of the cheapest slips of a formulation are also tried two at a time
BESIDE = 250  # so many of the cheapest beside each misconception
SAME = 1e-9  # two slips have the same fingerprint up to this share of the results' length
CLOSE = 1e-6  # a student's may differ by this share: a step may have been computed in float32
LARGEST = 1e10  # a fingerprint beyond it comes of a division by what is 0 but for rounding: each machine has another
THOSE_OF = "Your numbers are those of"  # begins the sentence on slips


@dataclass(frozen=True)
class Origin:
    """A right or wrong function whose slips are looked for; `misconception` if it is wrong already."""

    program: Program
    slips: tuple[Slip, ...]
    misconception: Misconception | None


@dataclass(frozen=True)
class Explanation:
    """A wrong version that may be the student's: one or two slips of an origin."""

    origin: Origin
    slips: tuple[Slip, ...]

    @property
    def cost(self) -> float:
        return sum(slip.cost for slip in self.slips) + (1.0 if self.origin.misconception else 0.0)

    def __call__(self, *arguments: Any) -> Any:
        return run(self.origin.program, self.slips, arguments)

    @property
    def sentence(self) -> str:
        clauses = [slip.clause for slip in sorted(self.slips, key=lambda slip: slip.changes[0][0])]
        if self.origin.misconception:
            return f"Two things. First: {self.origin.misconception.sentence} Second: {clauses[0]}."
        if len(clauses) == 1:
            return f"{THOSE_OF} one slip: {clauses[0]}."
        return f"{THOSE_OF} two slips: {clauses[0]}; and {clauses[1]}."


def fixed_cases(exercise: Exercise) -> list[Case]:
    """The cases on which everything is compared, in float64: one with all sizes different, one with all alike.

    With sizes alike more mistakes run, such as K Qᵀ for Q Kᵀ. For a result that is one number there are more cases.
    """
    generator = Generator().manual_seed(20)
    primes = [prime for prime in PRIMES if prime not in exercise.pinned.values()]
    free = [symbol for symbol in exercise.symbols if symbol not in exercise.pinned]
    lines = []
    for _ in range(1 if exercise.shape else 7):
        order = torch.randperm(max(len(free), 5), generator=generator).tolist()
        lines.append({symbol: primes[i] for symbol, i in zip(free, order, strict=False)})
    lines.append(dict.fromkeys(free, 3))
    return [exercise.case(Sizes(gradient=True, **sizes, **exercise.pinned), generator) for sizes in lines]


def sources(exercise: Exercise) -> list[tuple[Function, Misconception | None]]:
    """The functions whose slips are looked for: the reference, its other formulations, the misconceptions."""
    right = [(function, None) for function in exercise.formulations]
    return right + [(misconception.function, misconception) for misconception in exercise.misconceptions]


@cache
def origin(exercise: Exercise, k: int) -> Origin | None:
    """The k-th of the sources with its slips; None for a misconception that cannot run on the fixed cases."""
    function, misconception = sources(exercise)[k]
    program = read(function, exercise.given)
    try:
        found = tuple(slips(program, exercise, fixed_cases(exercise)[0]))
    except Exception:
        if misconception is None:
            raise
        return None
    if misconception:  # first what is done to the result: of two mistakes one is often a step too many at the end
        last = len(program.operations) - 1
        found = sorted(found, key=lambda slip: slip.cost - 0.3 * (slip.changes[-1][0] == last))[:BESIDE]
    return Origin(program, tuple(found), misconception)


def origins(exercise: Exercise) -> list[tuple[int, Origin]]:
    every = ((k, origin(exercise, k)) for k in range(len(sources(exercise))))
    return [(k, found) for k, found in every if found is not None]


def fingerprint(results: list[Any]) -> tuple[float, float] | None:
    """One number from the results on the fixed cases, and their length.

    A case without a result (an exception) counts as one. None if no case has a result, or one is no tensor of numbers.
    """
    total, length = 0.0, 0.0
    if all(result is None for result in results):
        return None
    for k, result in enumerate(results):
        if result is None:
            total += 271.8 * (k + 1)
            continue
        if isinstance(result, bool) or not isinstance(result, Tensor | int | float):
            return None
        values = torch.as_tensor(result).detach().double()
        if values.numel() > 10**6:
            return None
        flat = torch.nan_to_num(values.flatten(), nan=12.345, posinf=1e3, neginf=-1e3)
        weights = torch.sin(torch.arange(1, flat.numel() + 1, dtype=torch.float64) * (1.7 + 0.37 * k)) + 0.1
        shape = sum(side * math.sqrt(3 + axis) for axis, side in enumerate(values.shape))
        total += float(flat @ weights) + shape
        length += float(flat @ flat) + shape**2
    return total, max(1.0, math.sqrt(length))


def build(exercise: Exercise) -> dict[str, np.ndarray]:
    """The table of one exercise: fingerprints in order, and what has them."""
    cases = fixed_cases(exercise)
    right = [exercise.reference(*case.arguments) for case in cases]
    rows: dict[int, tuple[float, float, tuple[int, int, int]]] = {}
    quiet: list[tuple[int, int, int]] = []
    total, length = fingerprint(right)

    def key(number: float) -> int:
        return round(number / (length * SAME))

    for k, origin in origins(exercise):
        known = [_values(origin, case) for case in cases]

        def tried(chosen: tuple[int, ...], origin: Origin = origin, known: list = known) -> tuple[float, float] | None:
            parts = tuple(origin.slips[i] for i in chosen)
            return fingerprint([_result(origin, parts, c, now) for c, now in zip(cases, known, strict=True)])

        def add(chosen: tuple[int, ...], k: int = k, origin: Origin = origin, tried: Callable = tried) -> bool:
            """Run slips together, and keep them if nothing cheaper gives the same numbers."""
            found = tried(chosen)
            if found is None or not abs(found[0]) < LARGEST:
                return False
            row = (k, *chosen, ALONE)[:3]
            if abs(found[0] - total) <= SAME * length:
                if origin.misconception is None and len(chosen) == 1:
                    quiet.append(row)
                return False
            cost = Explanation(origin, tuple(origin.slips[i] for i in chosen)).cost
            near = [n for n in (key(found[0]), key(found[0]) - 1, key(found[0]) + 1) if n in rows]
            if near and min(rows[n][1] for n in near) <= cost:
                return False
            for n in near:
                del rows[n]
            rows[key(found[0])] = (found[0], cost, row)
            return True

        if origin.misconception is not None and (origin.misconception.is_of_two or not _wrong(exercise, origin, cases)):
            continue
        for i in range(len(origin.slips)):
            add((i,))
        if origin.misconception is None:
            for pair in combinations(_different(origin, cases[0], known[0])[:PAIRED], 2):
                add(pair)
    ordered = sorted(rows.values())
    return {
        "fingerprints": np.array([row[0] for row in ordered], dtype=np.float32),
        "slips": np.array([row[2] for row in ordered], dtype=np.uint16).reshape(-1, 3),
        "quiet": np.array([row for row in quiet if _heard(exercise, row)], dtype=np.uint16).reshape(-1, 3),
        "right": np.array(total),
        "key": np.array(source_key(exercise)),
    }


def _values(origin: Origin, case: Case) -> dict[str, Any] | None:
    """Everything that an origin computes on a case; None where it stops, as a wrong one may."""
    try:
        return origin.program.run(case.arguments)
    except Exception:
        return None


def _result(origin: Origin, parts: tuple[Slip, ...], case: Case, known: dict[str, Any] | None) -> Any:
    try:
        return run(origin.program, parts, case.arguments, known)
    except Exception:
        return None


def _different(origin: Origin, case: Case, known: dict[str, Any]) -> list[int]:
    """The slips of an origin that run on a case, one of each kind of result."""
    found: dict[int, int] = {}
    right = fingerprint([known[RESULT]])
    for i, slip in enumerate(origin.slips):
        made = fingerprint([_result(origin, (slip,), case, known)])
        if made is not None and abs(made[0]) < LARGEST:
            found.setdefault(round(made[0] / (right[1] * SAME)), i)
    found.pop(round(right[0] / (right[1] * SAME)), None)
    return list(found.values())


def _wrong(exercise: Exercise, origin: Origin, cases: list[Case]) -> bool:
    try:
        return any(
            not _same(origin.program.run(case.arguments)[RESULT], exercise.reference(*case.arguments)) for case in cases
        )
    except Exception:
        return False


def _same(x: Any, y: Any) -> bool:
    return diagnosis.close(torch.as_tensor(x), torch.as_tensor(y), torch.float64)


def _heard(exercise: Exercise, row: tuple[int, int, int]) -> bool:
    """Whether a slip that changes nothing on the fixed cases changes something on those of the check."""
    version = explanation(exercise, row)
    for case in (case for part in exercise.cases(0) for case in part):
        try:
            result = version(*case.arguments)
        except Exception:
            return True
        expected = exercise.reference(*case.arguments)
        dtype = torch.as_tensor(expected).dtype
        if not isinstance(result, Tensor | int | float) or not diagnosis.close(
            torch.as_tensor(result), torch.as_tensor(expected), dtype
        ):
            return True
    return False


def source_key(exercise: Exercise) -> str:
    """A hash of what the table is made from: every slip, as it is run."""
    digest = hashlib.sha256()
    found = origins(exercise)
    if (places := [k for k, _ in found]) != list(range(len(found))):  # rows name an origin by its place
        digest.update(f"{places}\n".encode())
    for _, origin in found:
        for operation in origin.program.operations:
            digest.update(f"{operation.targets}={operation.code}\n".encode())
        for slip in origin.slips:
            digest.update(
                f"{slip.cost} {[(p, [(o.targets, o.code) for o in ops]) for p, ops in slip.changes]}\n".encode()
            )
    return digest.hexdigest()[:16]


def path(exercise: Exercise) -> Path:
    return TABLES / f"{exercise.name}.npz"


def save(exercise: Exercise) -> int:
    """Build the table of an exercise and write it; returns how many wrong versions it tells apart."""
    table = build(exercise)
    with written_whole(path(exercise)) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **table)
    return len(table["slips"])


@cache
def load(exercise: Exercise) -> dict[str, np.ndarray]:
    """The table of an exercise, or an empty one.

    One that is out of date (`is_fresh`) misleads nobody: what it suggests is compared with the student's numbers.
    """
    if not path(exercise).exists():
        return {}
    with np.load(path(exercise), allow_pickle=False) as file:
        return dict(file)


def is_fresh(exercise: Exercise) -> bool:
    """Whether the table was made from the exercise as it is."""
    table = load(exercise)
    return bool(table) and str(table["key"]) == source_key(exercise)


def lookup(exercise: Exercise, candidate: Candidate) -> Iterator[Explanation]:
    """The explanations that fit a candidate on the fixed cases, the likeliest first."""
    table = load(exercise)
    if not table:
        return
    found = fingerprint([candidate.call(exercise.name, case.arguments).output for case in fixed_cases(exercise)])
    if found is None:
        return
    number, length = found
    fingerprints = table["fingerprints"]
    tolerance = CLOSE * length + 1e-7 * abs(number)
    low, high = np.searchsorted(fingerprints, [number - tolerance, number + tolerance])
    rows = table["slips"][low:high].tolist()
    if abs(number - float(table["right"])) <= tolerance:  # right on these cases: wrong for large numbers, say
        rows += table["quiet"].tolist()
    found = [explanation(exercise, row) for row in rows if fits(exercise, row)]
    yield from sorted(found, key=lambda explanation: explanation.cost)


def explanation(exercise: Exercise, row: tuple[int, int, int]) -> Explanation:
    found = origin(exercise, row[0])
    return Explanation(found, tuple(found.slips[i] for i in row[1:] if i != ALONE))


def fits(exercise: Exercise, row: list[int]) -> bool:
    """Whether the numbers in a row name slips that there are: not so in a table that is out of date."""
    if row[0] >= len(sources(exercise)) or (found := origin(exercise, row[0])) is None:
        return False
    return all(i < len(found.slips) for i in row[1:] if i != ALONE)
