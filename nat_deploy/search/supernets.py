"""The supernets of a run: adapted one after the other and evaluated together, each step once, kept in the run folder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import WorkError
from nat_deploy.search.distribution import ArchitectureDistribution
from nat_deploy.search.evaluator import Evaluator
from nat_deploy.search.genes import GeneString, to_gene_string, to_genes
from nat_deploy.search.records import EvaluationRecord
from nat_deploy.search.run_folder import RunFolder
from nat_deploy.spaces import Genes, SearchSpace

OnDone = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Supernets:
    """Adapts and evaluates through `evaluator`, and remembers in the run folder.

    A checkpoint or an error that the folder has is read instead. All supernets go from version to version together: errors of one
    architecture always belong to one version.
    """

    evaluator: Evaluator
    folder: RunFolder
    space: SearchSpace

    def adapt(
        self,
        version: int,
        distribution: ArchitectureDistribution,
        generator: Callable[[int], np.random.Generator],
        on_done: OnDone,
    ) -> None:
        """Bring every supernet from the version before to `version`, each on its own data.

        Args:
            generator: Gives each supernet, by its place, randomness of its own: so a run that was killed between two goes on with the second.
        """
        supernets = self.evaluator.supernets
        for place, (objective, supernet) in enumerate(supernets.items()):
            if not self.folder.has_checkpoint(objective, version):
                self._ensure(objective, version - 1)
                on_done(place, len(supernets))
                supernet.adapt(distribution, generator(place))
                if supernet.version != version:
                    raise WorkError(
                        f"supernet must have version {version} after adaptation, but it has {supernet.version}; start a new run with fresh weights"
                    )
                self.folder.save_checkpoint(objective, supernet)
        on_done(len(supernets), len(supernets))

    def ensure(self, version: int) -> None:
        """Give every supernet the weights of that version, unless it has them."""
        for objective in self.evaluator.supernets:
            self._ensure(objective, version)

    def _ensure(self, objective: str, version: int) -> None:
        supernet = self.evaluator.supernets[objective]
        if supernet.version != version:
            self.folder.load_checkpoint(objective, supernet, version)

    def errors_percent(self, genes: Genes, version: int, on_done: OnDone) -> NDArray[np.float64]:
        """Errors of `n` gene strings with the weights of that version, shape `(n, k)`; what the run folder knows is not evaluated again."""
        known = {r.genes: r.errors_percent for r in self.folder.evaluations.read() if r.supernet_version == version}
        strings = [to_gene_string(row) for row in genes]
        missing = self._alike_together([string for string in strings if string not in known])
        on_done(len(strings) - len(missing), len(strings))
        for done, (string, errors) in enumerate(self._evaluate(missing, version), start=len(strings) - len(missing) + 1):
            known[string] = errors
            on_done(done, len(strings))
        return np.array([known[string] for string in strings], dtype=np.float64)

    def _alike_together(self, strings: list[GeneString]) -> list[GeneString]:
        """Those whose networks begin alike follow each other: evaluators can share that work."""
        space = self.space
        architectures = (
            {string: space.decode(row) for string, row in zip(strings, to_genes(strings), strict=True)} if strings else {}
        )
        return sorted(
            strings, key=lambda s: (architectures[s].resolution, [block.key for block in space.blocks(architectures[s])])
        )

    def _evaluate(self, strings: list[GeneString], version: int) -> Iterator[tuple[GeneString, tuple[float, ...]]]:
        """Errors in the order of `strings`, each on the disk before the next is awaited."""
        if not strings:
            return
        self.ensure(version)
        found = self.evaluator.evaluate([self.space.decode(row) for row in to_genes(strings)])
        for string, errors in zip(strings, found, strict=True):
            record = EvaluationRecord(
                genes=string, supernet_version=version, errors_percent=tuple(float(error) for error in errors)
            )
            self.folder.evaluations.append(record)
            yield string, record.errors_percent
