"""PyTorch's answer to a slow network, for bench_links: DistributedDataParallel with its PowerSGD hook (needs torch)."""

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, final

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook

from tfscale.data.sources.idx import idx
from tfscale.world import World

if TYPE_CHECKING:
    from tfscale.scripts.bench.links_worker import Task

RANK = 4
START = 2
"""Steps that are plain allreduce, as few as it allows; its default of 1000 is longer than the training."""


def _tensors(x: Any, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(x.reshape(len(x), -1)).float() / 255, torch.tensor(y).long()


def _layers(hidden: Sequence[int]) -> torch.nn.Module:
    layers = []
    for before, after in pairwise((784, *hidden, 10)):
        linear = torch.nn.Linear(before, after)
        torch.nn.init.xavier_uniform_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


@final
class PowerSgd:
    """PyTorch's DistributedDataParallel over gloo, with its PowerSGD hook.

    The same layers, start distribution, optimizer and learning rate; an order of examples of its own.

    Args:
        task: Which.
        world: Which process this is.
        widths: Of the hidden layers.
        momentum: Nesterov's.
        seed: Of the start and the order.
    """

    def __init__(self, task: "Task", world: World, *, widths: Sequence[int], momentum: float, seed: int) -> None:
        self._world, self._batch, self.trial = world, task.batch, dict[str, float]()
        torch.manual_seed(seed)
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        dist.init_process_group("gloo", rank=world.rank, world_size=world.size)
        arrays = idx(name="mnist", folder=None)
        self._train = _tensors(arrays.x_train, arrays.y_train)
        self._test = _tensors(arrays.x_test, arrays.y_test)
        # One bucket: with several, the hook's later collectives start in an order that differs between processes.
        self._model = torch.nn.parallel.DistributedDataParallel(_layers(widths), bucket_cap_mb=1000)
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=RANK, start_powerSGD_iter=START)
        self._model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        self._optimizer = torch.optim.SGD(self._model.parameters(), task.rate, momentum=momentum, nesterov=True)
        self._order, self._position = torch.randperm(len(self._train[1])), 0

    def step(self) -> None:
        """See `bench_links_worker.Trainer`."""
        whole = self._batch * self._world.size
        if self._position + whole > len(self._order):
            self._order, self._position = torch.randperm(len(self._order)), 0
        start = self._position + self._world.rank * self._batch
        own = self._order[start : start + self._batch]
        self._position += whole
        self._optimizer.zero_grad()
        torch.nn.functional.cross_entropy(self._model(self._train[0][own]), self._train[1][own]).backward()
        self._optimizer.step()

    def accuracy(self) -> float:
        """See `bench_links_worker.Trainer`."""
        x, y = (part[self._world.rank :: self._world.size] for part in self._test)
        with torch.no_grad():
            right = (self._model.module(x).argmax(dim=1) == y).sum()
        dist.all_reduce(right)
        return float(right) / len(self._test[1])

    def anyone(self, flag: bool) -> bool:
        """See `bench_links_worker.Trainer`."""
        said = torch.tensor(int(flag))
        dist.all_reduce(said)
        return bool(said > 0)
