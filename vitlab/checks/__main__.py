"""For authors, in the repository's root.

python -m vitlab.checks tables [EXERCISE ...]   make the tables of slips anew (all that are out of date, or those named)
python -m vitlab.checks report [EXERCISE ...]   measure the checks, and write book/results/checks.json
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from vitlab.checks import derivable
from vitlab.checks.engine import table
from vitlab.checks.engine.switches import quietly


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m vitlab.checks", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    tables = commands.add_parser("tables", help="make the tables of slips anew")
    tables.add_argument("exercise", nargs="*", help="by default all whose table is out of date")
    report = commands.add_parser("report", help="measure the checks, and write book/results/checks.json")
    report.add_argument("exercise", nargs="*", help="by default all")
    options = parser.parse_args()
    known = list(derivable())
    if unknown := [name for name in options.exercise if name not in known]:
        parser.error(f"there is no exercise {unknown[0]!r}; the exercises are {', '.join(known)}")
    if options.command == "report":
        from vitlab.checks.measure import main as measure

        return measure(options.exercise)
    with ProcessPoolExecutor(initializer=quietly) as workers:
        for line in workers.map(make, options.exercise or [name for name in known if out_of_date(name)]):
            print(line, flush=True)
    return 0


def out_of_date(name: str) -> bool:
    return not table.is_fresh(derivable()[name])


def make(name: str) -> str:
    start = time.perf_counter()
    rows = table.save(derivable()[name])
    return f"{name}: {rows} wrong versions in {time.perf_counter() - start:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
