"""What each stretch of the road costs in seconds and memory, each in a process of its own, the best of three runs.

python benchmarks/road.py [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SNAPSHOT = """
import time
from pathlib import Path
from rdl.database import open_reader
from rdl import infer, snapshot
reader = open_reader("{url}")
declared = reader.reflect()
schema = infer.apply(declared, infer.propose(reader, declared))
started = time.perf_counter()
snapshot.build(reader, schema, Path("{folder}") / str(time.time_ns()))
print(time.perf_counter() - started)
"""


def cost(command: list[str], *, runs: int = 3) -> tuple[float, float, str]:
    """Seconds (best of ``runs``), peak memory in MB and stdout of a command, with a cache of its own each time."""
    best, output = float("inf"), ""
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as cache:
            started = time.perf_counter()
            environment = {**os.environ, "RDL_CACHE": cache}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            best, output = min(best, time.perf_counter() - started), done.stdout
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    return best, peak, output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    options = parser.parse_args()
    python, rdl = sys.executable, [sys.executable, "-m", "rdl.cli"]
    print("| what | limit | measured | peak memory |\n|---|---|---|---|")
    bare, _, _ = cost([python, "-c", "pass"])
    seconds, peak, _ = cost([python, "-c", "import rdl"])
    print(f"| `import rdl`, less an empty Python | 0.3 s | {seconds - bare:.2f} s | {peak:.0f} MB |", flush=True)
    if not options.data.is_dir():
        print(f"the real databases are not there: {options.data}")
        return
    url = f"sqlite:///{options.data / 'f1.sqlite'}"
    seconds, peak, _ = cost([*rdl, "inspect", url, "--json"])
    print(f"| `rdl inspect` on f1.sqlite, nothing cached | 2 s | {seconds:.2f} s | {peak:.0f} MB |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        _, peak, output = cost([python, "-c", SNAPSHOT.format(url=url, folder=folder)])
        print(f"| snapshot of f1.sqlite | 3 s | {float(output):.2f} s | {peak:.0f} MB |", flush=True)
        command = [*rdl, "train", "driver-dnf", "--db", f"relbench:{options.data / 'rel-f1'}", "--quiet", "--out"]
        seconds, peak, _ = cost([*command, f"{folder}/dnf"], runs=1)
        print(f"| `rdl train driver-dnf`, end to end | 300 s, 2000 MB | {seconds:.0f} s | {peak:.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
