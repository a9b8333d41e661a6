"""Message passing over a sampled subgraph: one layer a module, each on every table and edge type at once."""

from rdl.convs.attention import HeteroAttention
from rdl.convs.relgnn import RelGNN
from rdl.convs.sage import COUNT_CONSTANTS_DAYS, TIME_CONSTANTS_DAYS, Aggregate, Conv, HeteroSAGE
from rdl.convs.transformer import RelationalTransformer

__all__ = [
    "COUNT_CONSTANTS_DAYS",
    "TIME_CONSTANTS_DAYS",
    "Aggregate",
    "Conv",
    "HeteroAttention",
    "HeteroSAGE",
    "RelGNN",
    "RelationalTransformer",
]
