"""What pip makes of this package beside others: ``python tests/install.py``, no part of the tests.

For each neighbour below pip resolves both in an environment of its own, without
installing them. It takes minutes and a package index; give ``--python`` for maxtext, which needs
3.12 or later.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: The neighbours, and the oldest Python that they take.
NEIGHBOURS = {"": (3, 11), "google-tunix": (3, 11), "maxtext": (3, 12)}


def resolved(python: Path, *packages: str) -> str:
    """The line of pip that names all packages.

    Raises:
        subprocess.CalledProcessError: there are no versions that fit.
    """
    command = [python, "-m", "pip", "install", "--dry-run", ROOT, *packages]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return next(line for line in done.stdout.splitlines() if line.startswith("Would install"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", default=sys.executable, help="the Python to resolve for")
    args = parser.parse_args()
    version = "import sys; print(*sys.version_info[:2])"
    told = subprocess.run([args.python, "-c", version], check=True, capture_output=True, text=True)
    found = tuple(map(int, told.stdout.split()))
    with tempfile.TemporaryDirectory() as folder:
        if args.python == sys.executable:
            venv.create(folder, with_pip=True)
        else:
            subprocess.run([args.python, "-m", "venv", folder], check=True)
        for name, oldest in NEIGHBOURS.items():
            if found < oldest:
                print(f"{name}: needs Python {'.'.join(map(str, oldest))}")
                continue
            line = resolved(Path(folder) / "bin" / "python", *filter(None, [name]))
            print(f"{name or 'alone'}: {len(line.split()) - 2} packages\n  {line}")


if __name__ == "__main__":
    main()
