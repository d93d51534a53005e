"""Two steps of gradient descent on given pictures, by one process or by one of two.

python one_of_two.py FOLDER RANK    trains every case of FOLDER/cases.pt on its half
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from maskrt.train.data.target import Target
from maskrt.train.networks.families import Network, new_network
from maskrt.train.recipes.recipe import Recipe
from maskrt.train.step import LossModule


@dataclass(frozen=True)
class Case:
    """A network and the batches of its steps."""

    recipe: Recipe
    images: Tensor
    """(B, H, W, 3) of every step."""
    sizes: Tensor
    targets: Sequence[list[Target]]
    """B of each step."""

    @property
    def parts(self) -> tuple[object, ...]:
        """What it is made of, to be pickled: in a script this class has another name."""
        return self.recipe, self.images, self.sizes, self.targets

    def half(self, rank: int) -> Case:
        """The first or second half of every batch."""
        part = slice(rank * len(self.images) // 2, (rank + 1) * len(self.images) // 2)
        targets = [batch[part] for batch in self.targets]
        return Case(self.recipe, self.images[part], self.sizes[part], targets)


def network_of(case: Case) -> Network:
    """The same in every process."""
    torch.manual_seed(0)
    return new_network(case.recipe).train()


def descended(case: Case, model: Network, module: nn.Module) -> list[dict[str, float]]:
    """The losses of each step; `module` gives them and `model` has the weights."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    said = []
    for targets in case.targets:
        terms = module(case.images, case.sizes, targets, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        said.append({name: value.item() for name, value in terms.items()})
    return said


def main(folder: Path, rank: int) -> None:
    """Leaves (losses, weights) of each case in FOLDER/rank.pt."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=(folder / "meet").as_uri(),
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    ended = {}
    for name, parts in torch.load(folder / "cases.pt", weights_only=False).items():
        case = Case(*parts)
        model = network_of(case)
        module = nn.parallel.DistributedDataParallel(LossModule(model))
        losses = descended(case.half(rank), model, module)
        ended[name] = (losses, {k: v.detach() for k, v in model.named_parameters()})
    torch.save(ended, folder / f"{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
