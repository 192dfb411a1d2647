"""Gene strings as rows of an array and as values that files and sets can hold."""

from collections.abc import Sequence

import numpy as np

from nat_deploy.spaces import Genes

GeneString = tuple[int, ...]


def to_gene_string(row: Genes) -> GeneString:
    """One gene string, shape `(num_genes,)`, as a value that files and sets can hold."""
    return tuple(int(gene) for gene in row)


def to_genes(strings: Sequence[GeneString]) -> Genes:
    """Shape `(n, num_genes)`."""
    return np.array(strings, dtype=np.int64)
