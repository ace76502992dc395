"""For authors, in the repository's root.

python -m vitlab.authoring                      bring every notebook into its committed form (--check: only look)
python -m vitlab.authoring new TOPIC FUNCTION…  write the stubs of a topic whose functions stand in vitlab/TOPIC.py
"""

import argparse
import sys
from pathlib import Path

from vitlab.authoring import notebooks


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m vitlab.authoring", description=notebooks.__doc__.partition(":")[0])
    parser.add_argument("--check", action="store_true", help="name the notebooks that are out of date, write nothing")
    new = parser.add_subparsers(dest="command").add_parser(
        "new", help="write the stubs of a new topic in all its rooms"
    )
    new.add_argument("topic")
    new.add_argument("function", nargs="+", help="the functions of the exercise, which stand in vitlab/TOPIC.py")
    options = parser.parse_args()
    if not Path("_config.yml").exists():
        parser.error("there is no _config.yml here: run this in the repository's root")
    if options.command == "new":
        from vitlab.authoring.new import write_stubs

        try:
            written = write_stubs(options.topic, options.function)
        except (ValueError, ModuleNotFoundError) as error:
            parser.error(str(error))
        for path in written:
            print(f"{path} written")
        print(
            "Then: the topic into LECTURE in vitlab/checks/__init__.py and into ORDER in tests/test_house.py, the "
            f"chapter into _toc.yml and the introduction's plan, the shapes into vitlab/checks/{options.topic}.py."
        )
    return notebooks.main(options.check)


if __name__ == "__main__":
    sys.exit(main())
