"""Print what the committed chapters say otherwise at a revision than in the working tree.

    python tests/compare_numbers.py REVISION

prints a line for every number or text that is another, and for every one that is only on one
side; it prints nothing, and exits with 0, if all are equal.
"""

import sys
from pathlib import Path

from initscope.reproduce.compare import differences, facts_at, facts_in

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def main(revision: str, notebooks: Path = NOTEBOOKS) -> int:
    """Print the differences between a revision and the working tree; return 1 if there are any."""
    lines = differences(facts_at(revision, notebooks), facts_in(notebooks))
    print(*lines, sep="\n", end="\n" if lines else "")
    return int(bool(lines))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/compare_numbers.py REVISION")
    sys.exit(main(sys.argv[1]))
