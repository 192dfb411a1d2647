"""What holds in every search space; a space's tests inherit it and give the `space` fixture."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from nat_deploy.errors import ArchitectureError
from nat_deploy.spaces import Genes, SearchSpace, count_macs, count_params, count_peak_activation_bytes, make_space

MANY = 40


class SpaceContract:
    @pytest.fixture
    def space(self) -> SearchSpace:
        raise NotImplementedError

    @pytest.fixture
    def strings(self, space: SearchSpace) -> Genes:
        """Gene strings within the bounds, most of them not canonical."""
        rng = np.random.default_rng(7)
        return rng.integers(space.gene_lower, space.gene_upper + 1, size=(MANY, len(space.gene_lower)))

    def test_the_name_makes_the_space(self, space: SearchSpace) -> None:
        assert make_space(space.name, resolutions=space.resolutions, num_classes=space.num_classes) == space

    def test_encode_undoes_decode_up_to_repair(self, space: SearchSpace, strings: Genes) -> None:
        for genes, repaired in zip(strings, space.repair(strings), strict=True):
            assert np.array_equal(space.encode(space.decode(genes)), repaired)
            assert space.decode(repaired) == space.decode(genes)

    def test_decode_undoes_encode(self, space: SearchSpace) -> None:
        for architecture in (space.smallest(), space.largest()):
            assert space.decode(space.encode(architecture)) == architecture

    def test_repair_changes_nothing_twice(self, space: SearchSpace, strings: Genes) -> None:
        repaired = space.repair(strings)
        assert np.array_equal(space.repair(repaired), repaired)

    def test_repair_leaves_its_input(self, space: SearchSpace, strings: Genes) -> None:
        before = strings.copy()
        space.repair(strings)
        assert np.array_equal(strings, before)

    def test_equal_after_repair_is_equal_network(self, space: SearchSpace, strings: Genes) -> None:
        rng = np.random.default_rng(8)
        for genes in strings:
            other = genes.copy()  # one gene further
            place = rng.integers(len(genes))
            other[place] = rng.integers(space.gene_lower[place], space.gene_upper[place] + 1)
            first, second = space.repair(np.stack([genes, other]))
            assert np.array_equal(first, second) == (space.decode(genes) == space.decode(other))
            assert np.array_equal(first, second) == (space.blocks(space.decode(genes)) == space.blocks(space.decode(other)))

    @pytest.mark.parametrize("sampling", ["uniform", "balanced-depth"])
    def test_samples_are_canonical_valid_and_repeatable(self, space: SearchSpace, sampling: str) -> None:
        genes = space.sample(np.random.default_rng(3), MANY, sampling=sampling)  # type: ignore[arg-type]
        assert genes.shape == (MANY, len(space.gene_lower))
        assert np.array_equal(space.repair(genes), genes)
        for row in genes:
            space.check(space.decode(row))
        again = space.sample(np.random.default_rng(3), MANY, sampling=sampling)  # type: ignore[arg-type]
        assert np.array_equal(genes, again)
        assert len(np.unique(genes, axis=0)) > MANY // 2

    def test_counts_are_sums_over_blocks(self, space: SearchSpace, strings: Genes) -> None:
        counts = space.count(strings)
        for row, genes in enumerate(strings):
            blocks = space.blocks(space.decode(genes))
            assert counts.macs[row] == sum(map(count_macs, blocks))
            assert counts.num_params[row] == sum(map(count_params, blocks))
            assert counts.peak_activation_bytes[row] == max(map(count_peak_activation_bytes, blocks))

    def test_smallest_and_largest_bound_every_count(self, space: SearchSpace, strings: Genes) -> None:
        ends = space.count(np.stack([space.encode(space.smallest()), space.encode(space.largest())]))
        counts = space.count(strings)
        for name in ("macs", "num_params", "peak_activation_bytes"):
            low, high = getattr(ends, name)
            assert low < high
            assert np.all((getattr(counts, name) >= low) & (getattr(counts, name) <= high))

    def test_blocks_fit_together(self, space: SearchSpace, strings: Genes) -> None:
        for genes in strings:
            architecture = space.decode(genes)
            blocks = space.blocks(architecture)
            assert (blocks[0].in_channels, blocks[0].in_size) == (3, architecture.resolution)
            assert blocks[-1].out_channels == space.num_classes
            for before, after in itertools.pairwise(blocks):
                assert (before.out_channels, before.out_size) == (after.in_channels, after.in_size)

    @pytest.mark.parametrize("outside", [-1, 10**9])
    def test_values_outside_are_refused(self, space: SearchSpace, outside: int) -> None:
        for place in range(len(space.gene_lower)):
            genes = space.encode(space.largest())
            genes[place] = outside
            with pytest.raises(ArchitectureError, match=f"gene {place} must lie in .* but it is {outside}"):
                space.repair(genes[None])
        with pytest.raises(ArchitectureError, match=r"resolution must be one of .* but it is 7"):
            space.check(replace(space.smallest(), resolution=7))
        with pytest.raises(ArchitectureError, match="'another'"):
            space.check(replace(space.smallest(), space="another"))

    def test_strings_of_another_length_are_refused(self, space: SearchSpace, strings: Genes) -> None:
        with pytest.raises(ArchitectureError, match="genes must have shape"):
            space.repair(strings[:, 1:])
        with pytest.raises(ArchitectureError, match="genes must have shape"):
            space.repair(strings[0])
