"""Several processes: the result of one within the noise of sums, and an end to it where one of them dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from rdl.config import TrainConfig
from rdl.errors import ConfigError
from rdl.processes import check_devices, choose_device
from rdl.progress import Progress
from rdl.snapshot import Snapshot
from rdl.train import Inputs, fit
from tests.test_train import CONFIG, fresh, inputs, predicted

__all__ = ["inputs"]
#: Without dropout, whose masks are drawn by each process for its part.
PLAIN = replace(CONFIG, dropout=0.0, min_steps=40, max_steps=40, device="cpu")


def test_two_processes_train_what_one_does(inputs: tuple[Snapshot, Inputs]) -> None:
    """An odd batch, so that their parts differ in size."""
    snapshot, given = inputs
    config = replace(PLAIN, batch_size=63)
    told: list[int] = []
    one, two = fresh(snapshot, dropout=0.0), fresh(snapshot, dropout=0.0)
    expected = fit(one, given, config)
    found = fit(two, given, replace(config, devices=2), listen=lambda progress: told.append(progress.step))
    assert told == list(range(1, 41))
    assert found.samples == expected.samples == 40 * 63
    for ours, theirs in zip(found.history, expected.history, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, abs=1e-4)
        assert ours.val_loss == pytest.approx(theirs.val_loss, abs=1e-4)
    assert predicted(two, given) == pytest.approx(predicted(one, given), abs=1e-4)
    assert np.ptp(predicted(one, given)) > 0.1


def test_a_killed_process_ends_the_others(inputs: tuple[Snapshot, Inputs]) -> None:
    snapshot, given = inputs

    def kill(progress: Progress) -> None:
        if progress.step == 3:
            os.kill(multiprocessing.active_children()[-1].pid or 0, signal.SIGKILL)

    config = replace(PLAIN, min_steps=100_000, max_steps=100_000, devices=2)
    with pytest.raises(ConfigError, match="a training process was ended"):
        fit(fresh(snapshot), given, config, listen=kill)
    assert not multiprocessing.active_children()


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="16-mixed"):
            check_devices(TrainConfig(precision="16-mixed"))
        with pytest.raises(ConfigError, match="no device"):
            check_devices(TrainConfig(device="cuda", devices=2))
        assert choose_device("auto") == "cpu"
    with pytest.raises(ConfigError, match="no device 'mps'"):
        choose_device("mps")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(ConfigError, match="--devices"):
        check_devices(TrainConfig())


def test_a_batch_too_small_to_share_is_refused(inputs: tuple[Snapshot, Inputs]) -> None:
    snapshot, given = inputs
    with pytest.raises(ConfigError, match="cannot share"):
        fit(fresh(snapshot), given, replace(PLAIN, batch_size=1, devices=2))
