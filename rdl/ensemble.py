"""Several models as one: trained each on its own, from seeds of their own, and averaged where they predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rdl.features import Features
from rdl.model import RelationalModel
from rdl.sampler import Subgraph


class Ensemble(nn.Module):
    """Models whose outputs stand side by side, as those of the members of one head do: so their mean is taken before it
    is made a probability or a number of the label's units (deep ensembles, Lakshminarayanan et al., 2017)."""

    def __init__(self, models: Sequence[RelationalModel]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, features: Mapping[str, Features], subgraph: Subgraph, summary: Tensor | None = None) -> Tensor:
        """The outputs of all members of all models ``[S, models · members, …]``: see :class:`RelationalModel`."""
        return torch.cat([model(features, subgraph, summary) for model in self.models], dim=1)


def models_of(model: nn.Module) -> list[RelationalModel]:
    """The models of an ensemble, or the one alone."""
    return list(model.models) if isinstance(model, Ensemble) else [model]  # type: ignore[list-item, arg-type]
