"""A training step and an evaluation of RelBench's reference model, and of the same function with the same weights
computed for what is distinct and needed alone: CPU time of one thread, both in one process in turn, medians.

python benchmarks/step/run.py [--data ../shared/data/rel-f1] [--rounds 5] [--batch 512] [--fanouts 128,64]
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from reference import Names, Reference, batch_of
from shared import Shared
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

import rdl
from rdl import features
from rdl.config import Regime, Sampling
from rdl.predict import sampler_of, seeds_of
from rdl.query.task import Kind
from rdl.sampler import EdgeType, Sampler, Seeds
from rdl.shop import build_shop

CHURN = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0, days) > 0"
TOLERANCE = 1e-5


def cpu_ms(step: Callable[[], object]) -> float:
    begin = time.process_time()
    step()
    return 1000 * (time.process_time() - begin)


class Pair:
    """The reference and ours on one database, with equal weights and an optimiser each."""

    def __init__(self, task: rdl.pipeline.BoundTask, fanouts: tuple[int, ...], seed: int = 0) -> None:
        task.db.extract()
        definition, snapshot, table = task.definition, task.db.snapshot, task.labels
        fitted = features.fit(snapshot, table.fitted_at_us, definition.hidden)
        self.packed = features.pack(snapshot, fitted)
        self.sampler: Sampler = sampler_of(definition, snapshot, fanouts, Sampling.recent, seed)
        train = table.of("train")
        self.seeds: Seeds = seeds_of(train, definition.entity, Regime.seed_time, strictly=definition.row_level)
        self.binary = definition.kind is Kind.binary
        self.target = torch.from_numpy(train.target).float()
        if not self.binary:
            self.target = (self.target - self.target.mean()) / self.target.std()
        types = [EdgeType(r, to_parent) for r in self.sampler.graph.links for to_parent in (True, False)]
        names = Names.of(list(self.packed), types)
        torch.manual_seed(seed)
        self.names, self.reference = names, Reference(fitted, self.packed, names)
        self.ours = Shared(copy.deepcopy(self.reference), names)
        self.optimizers = [torch.optim.Adam(model.parameters(), lr=1e-3) for model in (self.reference, self.ours.of)]

    def loss(self, logits: Tensor, which: Tensor) -> Tensor:
        if self.binary:
            return binary_cross_entropy_with_logits(logits, self.target[which])
        return (logits - self.target[which]).abs().mean()

    def train(self, which: Tensor, *, theirs_first: bool) -> tuple[float, float]:
        """ms of a step: forward, backward and optimiser."""
        subgraph = self.sampler(self.seeds.take(which))
        batch = batch_of(self.packed, subgraph, self.names)
        self.reference.train()
        self.ours.train()

        def step(logits: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> Callable[[], None]:
            def run() -> None:
                optimizer.zero_grad()
                self.loss(logits(), which).backward()
                optimizer.step()

            return run

        theirs = step(lambda: self.reference(batch), self.optimizers[0])
        ours = step(lambda: self.ours(self.packed, subgraph), self.optimizers[1])
        if theirs_first:
            return cpu_ms(theirs), cpu_ms(ours)
        found = cpu_ms(ours)
        return cpu_ms(theirs), found

    @torch.no_grad()
    def evaluate(self, which: Tensor) -> tuple[float, float, float]:
        """ms of predictions by both, and the largest difference of their logits."""
        subgraph = self.sampler(self.seeds.take(which))
        batch = batch_of(self.packed, subgraph, self.names)
        self.reference.eval()
        found: list[Tensor] = []
        theirs = cpu_ms(lambda: found.append(self.reference(batch)))
        ours = cpu_ms(lambda: found.append(self.ours(self.packed, subgraph)))
        return theirs, ours, float((found[0] - found[1]).abs().max())

    def gradients_agree(self, which: Tensor) -> float:
        """How far the gradients of all weights are apart, as a share of their length."""
        subgraph = self.sampler(self.seeds.take(which))
        self.reference.eval()
        self.ours.eval()
        self.loss(self.reference(batch_of(self.packed, subgraph, self.names)), which).backward()
        self.loss(self.ours(self.packed, subgraph), which).backward()
        apart, whole = 0.0, 0.0
        for theirs, ours in zip(self.reference.parameters(), self.ours.of.parameters(), strict=True):
            if theirs.grad is not None:
                other = torch.zeros_like(theirs) if ours.grad is None else ours.grad
                apart += float((theirs.grad - other).square().sum())
                whole += float(theirs.grad.square().sum())
        for model in (self.reference, self.ours.of):
            model.zero_grad()
        return math.sqrt(apart / whole)


def measure(name: str, pair: Pair, size: int, rounds: int) -> list[str]:
    """Two lines of the table."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(pair.seeds), generator=generator)
    batches = [order[torch.arange(n * size, (n + 1) * size) % len(order)] for n in range(rounds + 1)]
    nodes = sum(map(len, pair.sampler(pair.seeds.take(batches[0])).rows.values()))
    gradients = pair.gradients_agree(batches[0][:64])
    steps = [pair.train(which, theirs_first=number % 2 == 0) for number, which in enumerate(batches)][1:]
    # The same weights on both sides again, those that the reference has learnt.
    pair.ours.of.load_state_dict(pair.reference.state_dict())
    once = cpu_ms(lambda: pair.ours.freeze(pair.packed))
    looked = [pair.evaluate(which) for which in batches][1:]
    difference = max(difference for _, _, difference in looked)
    assert difference <= TOLERANCE, f"logits differ by {difference}"
    assert gradients <= 1e-3, f"gradients differ by {gradients}"
    lines = []
    for what, times, note in (
        ("a training step", [s[:2] for s in steps], f"gradients within {gradients:.0e}"),
        ("evaluation", [s[:2] for s in looked], f"logits within {difference:.0e}; all rows once: {once:,.0f} ms"),
    ):
        theirs, ours = (statistics.median(side) for side in zip(*times, strict=True))
        ratio = statistics.median(one / other for one, other in times)
        lines.append(f"| {name}, {what} | {nodes:,} | {theirs:,.0f} ms | {ours:,.0f} ms | {ratio:.1f}× | {note} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data" / "rel-f1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--fanouts", default="128,64")
    parser.add_argument("--scale", type=float, default=0.2, help="of the sample shop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    fanouts = tuple(map(int, options.fanouts.split(",")))
    print("| batch | nodes | RelBench | rdl | ratio | |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        build_shop(Path(folder) / "shop.duckdb", scale=options.scale)
        tasks = {"sample shop, churn": rdl.connect(f"duckdb:///{folder}/shop.duckdb").task(CHURN)}
        if options.data.is_dir():
            tasks["rel-f1, driver-position"] = rdl.connect(f"relbench:{options.data}").task("driver-position")
        for name, task in tasks.items():
            for line in measure(name, Pair(task, fanouts), options.batch, options.rounds):
                print(line, flush=True)


if __name__ == "__main__":
    main()
