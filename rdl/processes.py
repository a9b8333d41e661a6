"""The processes that train one model: this one, or several that Lightning Fabric starts, each on a device of its own.

Several processes share the work of each step: each takes a part of the batch, and the mean of their gradients moves the
same weights in all of them (DDP: gloo among CPUs, NCCL among GPUs). What they read is prepared once, here, and shared
with them in memory; what comes back are the progress and the weights of the first of them.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import resource
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from rdl.config import TrainConfig
from rdl.errors import ConfigError, RdlError

# Each process says itself what it does: Fabric's own lines would stand among them.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

T = TypeVar("T")
#: What trains: given its place among the processes and whom to tell, it returns what is to be kept.
Work = Callable[[Fabric, Callable[[Any], None]], T]


def choose_device(name: str) -> str:
    """Fabric's accelerator for ``name``: ``auto`` takes a CUDA GPU where there is one. Raises ConfigError where there
    is no such device."""
    there = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available()}
    if not there.get(name):
        found = ", ".join(device for device, usable in there.items() if usable)
        raise ConfigError(f"there is no device {name!r} here", hint=f"use one of {found}.")
    if name == "auto":
        return "cuda" if there["cuda"] else "cpu"
    return name


def check_devices(config: TrainConfig) -> None:
    """Raises ConfigError where the devices that ``config`` asks for are not there, or cannot do what it asks."""
    name = choose_device(config.device)
    on_gpu = name == "cuda"
    if on_gpu and config.devices > torch.cuda.device_count():
        raise ConfigError(
            f"{config.devices} devices are asked for, and there are {torch.cuda.device_count()} GPUs",
            hint="ask for as many, or for processes on the CPU: --device cpu.",
        )
    if config.precision == "16-mixed" and not on_gpu:
        raise ConfigError("16-mixed precision needs a CUDA device", hint="use bf16-mixed or 32-true.")
    if config.devices > 1 and hasattr(sys, "ps1"):
        raise ConfigError(
            "several processes are not started from a prompt or a notebook", hint="use rdl train … --devices N."
        )
    if config.devices > 1 and getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(
            "a process of several runs the script that started it once more",
            hint='put what trains under: if __name__ == "__main__":',
        )
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError("rdl starts its processes itself", hint="leave torchrun out, and give --devices N.")


def run(config: TrainConfig, work: Work[T], listen: Callable[[Any], None]) -> T:
    """What ``work`` returns, run here or, of several devices, in the first of as many processes; ``listen`` is told
    here what the first of them tells.

    Raises ConfigError where one of the processes was killed: the others are ended then, and where it is interrupted.
    """
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=True) if config.devices > 1 else "auto"
    accelerator = choose_device(config.device)
    fabric = Fabric(accelerator=accelerator, devices=config.devices, strategy=strategy, precision=config.precision)  # type: ignore[arg-type]
    if config.devices == 1:
        return work(fabric, listen)
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    heard = _Heard(receiver, listen)
    try:
        with _children(), _many_files():
            threads = max(1, config.threads // config.devices)
            fabric.launch(partial(_in_process, work=work, sender=sender, threads=threads))
    except (ProcessExitedException, ProcessRaisedException) as failure:
        _explain(failure, heard.error)
    finally:
        sender.close()  # so that the listener comes to an end
        heard.join()
    if heard.error is not None:
        raise heard.error
    result: T = heard.result
    return result


def share(number: int, fabric: Fabric) -> slice:
    """The part of ``number`` things that falls to this process."""
    ends = [place * number // fabric.world_size for place in (fabric.global_rank, fabric.global_rank + 1)]
    return slice(*ends)


def gather(part: T, fabric: Fabric) -> list[T]:
    """The parts of all processes in their order, in each of them."""
    if fabric.world_size == 1:
        return [part]
    parts: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(parts, part)
    return parts


def _in_process(fabric: Fabric, *, work: Work[Any], sender: Connection, threads: int) -> None:
    """Runs ``work`` in one of several processes; the first one sends what is told, and at last what is returned."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", "Grad strides do not match")  # of weights whose first axis has one entry
    first = fabric.global_rank == 0
    try:
        result = work(fabric, (lambda told: sender.send((True, told))) if first else (lambda _: None))
    except RdlError as error:
        if first:
            sender.send((False, error))
        raise  # which ends the others: they may be waiting for this one
    if first:
        sender.send((False, result))
    fabric.barrier()


class _Heard(threading.Thread):
    """Listens to the first of several processes until the pipe is closed; keeps its result, or the error."""

    def __init__(self, receiver: Connection, listen: Callable[[Any], None]) -> None:
        super().__init__(daemon=True)
        self.receiver, self.listen = receiver, listen
        self.result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                told, value = self.receiver.recv()
                if not told:
                    self.result = value
                    self.error = value if isinstance(value, RdlError) else None
                    return
                try:
                    self.listen(value)
                except BaseException as error:  # whoever listens has had enough
                    self.error = error
                    self.receiver.close()
                    return


@contextlib.contextmanager
def _children() -> Iterator[None]:
    """Ends the processes that were started within and are still there when it is left, however that comes."""
    before = set(multiprocessing.active_children())
    try:
        yield
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
            process.join()


@contextlib.contextmanager
def _many_files() -> Iterator[None]:
    """Lets this process and those it starts have as many open files as the system allows: a shared tensor is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65_536), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _explain(failure: ProcessExitedException | ProcessRaisedException, error: BaseException | None) -> None:
    """Raises what a user is to be told of a process that ended before its time."""
    if error is not None:
        raise error from None
    lost = "closed by peer" in str(failure) or "Connection reset" in str(failure)
    if lost or (isinstance(failure, ProcessExitedException) and failure.signal_name):
        raise ConfigError(
            "a training process was ended from outside; the others were ended too",
            hint="is there memory for so many? --resume goes on where it stopped.",
        ) from None
    if isinstance(failure, ProcessExitedException):
        raise ConfigError("the training processes could not be started; what they said stands above") from None
    raise failure
