"""Neural Architecture Transfer: search and supernet adaptation taking turns.

    initial archive: adapt, evaluate
    repeat: fit surrogates on the archive; evolve on their predictions; choose new candidates; cut archive and candidates to
        constant size by survival; adapt the supernets, one per data set, to
            what is left; evaluate all of it with the new weights; measure some of it on the devices and refit the latency predictors
    measure finalists on the devices

Every error in an archive belongs to the same weights: after an adaptation everything is evaluated again, and nothing older is
compared with it. Likewise every latency in it comes from the same predictors: after a sitting all are predicted again.

Source: Lu et al., Neural Architecture Transfer (arXiv 2005.05859), whose search code was never published.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import InputError
from nat_deploy.search.archive import Evaluations, not_among
from nat_deploy.search.distribution import make_distribution
from nat_deploy.search.evaluator import Evaluator
from nat_deploy.search.events import OnEvent, SearchEvent, Step
from nat_deploy.search.feasibility import check_budgets
from nat_deploy.search.finalists import choose_finalists
from nat_deploy.search.genes import GeneString, to_gene_string, to_genes
from nat_deploy.search.infill import choose_infill
from nat_deploy.search.initial import sample_initial_archive
from nat_deploy.search.nsga3 import evolve
from nat_deploy.search.pareto import hypervolume
from nat_deploy.search.probing import probe_archive, probe_space
from nat_deploy.search.problem import RefittableSource, SearchProblem, make_problem
from nat_deploy.search.records import (
    FinalistRecord,
    Hypervolumes,
    IterationRecord,
    ResultRecord,
    Selection,
    SurrogateRecord,
)
from nat_deploy.search.run_folder import RunFolder
from nat_deploy.search.sittings import Devices, Measure
from nat_deploy.search.supernets import Supernets
from nat_deploy.search.surrogates import ErrorSurrogates, fit_surrogates, score_surrogates
from nat_deploy.search.survival import survive_aimed
from nat_deploy.spaces import Genes, SearchSpace

_AIMED_SHARE = 0.5  # of new candidates and of survivors, under a budget


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search found.

    chosen      the most accurate network that meets the budgets: the lowest mean error over the data sets, or what the weights prefer
    finalists   up to `settings.finalists` of them, most accurate first; the chosen one is the first
    front       the non-dominated part of the last archive that is predicted to meet the budgets: errors measured with the adapted
                supernets, latencies predicted
    """

    chosen: FinalistRecord
    finalists: tuple[FinalistRecord, ...]
    front: Evaluations


def run_search(
    space: SearchSpace,
    evaluator: Evaluator,
    latency_sources: Mapping[str, RefittableSource],
    measure: Mapping[str, Measure],
    run_folder: RunFolder,
    on_event: OnEvent = lambda event: None,
) -> SearchResult:
    """Search as `run_folder.settings` ask, or continue what the folder holds.

    Args:
        space: What can be chosen.
        evaluator: A supernet for each error objective, as it is before the search (version 0); afterwards they have the weights that belong
            to the result.
        latency_sources: A predictor per latency objective and latency budget, by its name.
        measure: Measures networks, one callable per name; a device without one is trusted to its predictor.
        run_folder: Made with `RunFolder.create` or `RunFolder.resume`.
        on_event: Told of progress.

    Raises:
        BudgetError: No architecture meets a budget; the sentence gives the smallest reachable value.
        InputError: A latency objective has no predictor, or an error objective no supernet.
        FileFormatError: A file of the run folder is not as it was written.
    """
    settings, devices = run_folder.settings, Devices(measure=measure, folder=run_folder)
    on_event(SearchEvent(step="check budgets", iteration=0, done=0, total=1))
    problem = make_problem(space, settings, latency_sources)
    if tuple(evaluator.supernets) != problem.error_names:
        raise InputError(
            f"each error objective needs a supernet, {', '.join(problem.error_names)}, but there are supernets for "
            f"{', '.join(evaluator.supernets) or 'none'}; give one for each, in their order"
        )
    problem = probe_space(problem, devices, _generator(settings.seed, 0, _Draw.PROBES), settings.probes)
    problem = check_budgets(problem, devices, _generator(settings.seed, 0, _Draw.BUDGETS))
    on_event(SearchEvent(step="check budgets", iteration=0, done=1, total=1))
    supernets = Supernets(evaluator=evaluator, folder=run_folder, space=space)
    search = _Search(problem=problem, supernets=supernets, devices=devices, folder=run_folder, on_event=on_event)
    archive = search.begin()
    for iteration in range(1, settings.iterations + 1):
        archive = search.iterate(iteration, archive)
        search = search.probe(iteration, archive)
        archive = search.predict_again(archive)
    problem, finalists = choose_finalists(
        search.problem,
        archive,
        devices,
        lambda genes: search.evaluate(genes, archive.supernet_version, settings.iterations),
        _generator(settings.seed, settings.iterations, _Draw.FINALISTS),
        count=settings.finalists,
        max_rounds=settings.finalist_rounds,
        on_measured=lambda done, total: search.tell("measure finalists", settings.iterations, done, total),
    )
    search = replace(search, problem=problem)
    supernets.ensure(archive.supernet_version)
    front = _feasible_front(problem, search.predict_again(archive))
    strings = tuple(to_gene_string(row) for row in front.genes)
    run_folder.write_result(ResultRecord(supernet_version=archive.supernet_version, finalists=finalists, front=strings))
    return SearchResult(chosen=finalists[0], finalists=finalists, front=front)


_Values = Callable[[Genes, NDArray[np.float64]], NDArray[np.float64]]
"""Objective values of gene strings and their errors, shapes `(n, num_genes)` and `(n, k)`."""


class _Draw(IntEnum):
    """Every place that draws random numbers has a generator of its own, made from (seed, iteration, draw, place among several): nothing to carry over a kill."""

    BUDGETS = 0
    INITIAL = 1
    SURROGATE = 2
    EVOLUTION = 3
    INFILL = 4
    SURVIVAL = 5
    ADAPTATION = 6
    FINALISTS = 7
    PROBES = 8


def _generator(seed: int, iteration: int, draw: _Draw, place: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, iteration, int(draw), place])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """The steps of the loop with one state of the latency predictors; each first looks whether the run folder has its result already."""

    problem: SearchProblem
    supernets: Supernets
    devices: Devices
    folder: RunFolder
    on_event: OnEvent

    def tell(self, step: Step, iteration: int, done: int, total: int) -> None:
        self.on_event(SearchEvent(step=step, iteration=iteration, done=done, total=total))

    def generator(self, iteration: int, draw: _Draw, place: int = 0) -> np.random.Generator:
        return _generator(self.folder.settings.seed, iteration, draw, place)

    # ---- iterations ---------------------------------------------------------------------------------------------------------

    def begin(self) -> Evaluations:
        """The initial archive, evaluated."""
        if (done := self.folder.read_iteration(0)) is not None:
            return self.evaluate(to_genes(done.genes), done.supernet_version, 0)
        selection = self.folder.read_selection(0)
        if selection is None:
            genes = sample_initial_archive(self.problem, self.folder.settings.initial_size, self.generator(0, _Draw.INITIAL))
            strings = tuple(to_gene_string(row) for row in genes)
            selection = Selection(iteration=0, genes=strings, new=(), predicted=())
            self.folder.write_selection(selection)
        archive = self._adapt_and_evaluate(selection, version=0)
        volume = self._hypervolume(archive)
        self._finish(selection, archive, before=volume, adapted=volume, surrogates=())
        return archive

    def iterate(self, iteration: int, archive: Evaluations) -> Evaluations:
        """One iteration, from an archive to the next."""
        if (done := self.folder.read_iteration(iteration)) is not None:
            return self.evaluate(to_genes(done.genes), done.supernet_version, iteration)
        selection = self.folder.read_selection(iteration)
        if selection is None:
            selection = self._select(iteration, archive)
            self.folder.write_selection(selection)
        found = self._adapt_and_evaluate(selection, archive.supernet_version)
        self._finish(
            selection,
            found,
            before=self._hypervolume(archive),
            adapted=self._hypervolume(found.take(~_is_among(found.genes, selection.new))),
            surrogates=score_surrogates(selection, found, self.problem.space),
        )
        return found

    def _select(self, iteration: int, archive: Evaluations) -> Selection:
        """Surrogates, evolution, infill, survival: what the next archive will be."""
        settings = self.folder.settings
        self.tell("fit surrogate", iteration, 0, 1)
        surrogates = fit_surrogates(
            archive, self.problem.space, self.generator(iteration, _Draw.SURROGATE), methods=settings.surrogates
        )
        self.tell("fit surrogate", iteration, 1, 1)

        candidates = self._evolve(iteration, archive, surrogates)
        predicted = Evaluations(
            objectives=archive.objectives,
            genes=candidates,
            values=self.problem.values(candidates, surrogates.predict(candidates)),
            measured=np.zeros(len(candidates), dtype=np.bool_),
            supernet_version=archive.supernet_version,
            num_sittings=len(self.problem.sittings),
        )
        new = choose_infill(
            predicted,
            self.problem.spread(surrogates.spread(candidates)),
            self.problem.violation(candidates),
            self.problem.likely_violation(candidates),
            archive,
            self.problem.reference,
            settings.new_per_iteration,
            self.generator(iteration, _Draw.INFILL),
            aimed_share=self._aimed_share,
        )
        kept = self._keep(iteration, archive, new)
        return Selection(
            iteration=iteration,
            genes=tuple(to_gene_string(row) for row in kept.genes),
            new=tuple(to_gene_string(row) for row in new.genes),
            predicted=surrogates.predicted(new),
        )

    def _evolve(self, iteration: int, archive: Evaluations, surrogates: ErrorSurrogates) -> Genes:
        """Candidates for the whole front, surely within budgets and, under budgets, for the trade-off of the mean error against what is bounded, likely within: there lies the answer."""
        settings, rng, problem = self.folder.settings, self.generator(iteration, _Draw.EVOLUTION), self.problem

        def population(values: _Values, held_to: Callable[[Genes], NDArray[np.float64]]) -> Genes:
            total, calls = settings.generations, itertools.count()

            def objectives(genes: Genes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
                self.tell("evolve", iteration, min(next(calls), total), total)
                return values(genes, surrogates.predict(genes)), held_to(genes)

            return evolve(
                problem.space,
                objectives,
                archive.genes,
                rng,
                population_size=settings.population_size,
                generations=settings.generations,
            )

        populations = [population(problem.values, problem.violation)]
        if settings.budgets:
            populations.append(population(problem.aimed_values, problem.likely_violation))
        found = np.concatenate(populations)
        return found[not_among(found, found[:0])]

    @property
    def _aimed_share(self) -> float:
        return _AIMED_SHARE if self.folder.settings.budgets else 0.0

    def _keep(self, iteration: int, archive: Evaluations, new: Evaluations) -> Evaluations:
        """The new candidates, always, and as many old members as fit: a candidate costs one evaluation, and only that shows what it is worth.

        An old member that only may be over a budget may stay: the finalists' measurements decide.
        """
        room = self.folder.settings.archive_size - len(new)
        pool = archive.merge(new)
        if len(archive) <= room:
            return pool
        rows = survive_aimed(
            archive.values,
            self.problem.violation(archive.genes),
            self.problem.likely_violation(archive.genes),
            room,
            self.generator(iteration, _Draw.SURVIVAL),
            aimed_share=self._aimed_share,
            aim=archive.mean_error_percent,
        )
        return archive.take(rows).merge(new)

    def _finish(
        self,
        selection: Selection,
        archive: Evaluations,
        *,
        before: float,
        adapted: float,
        surrogates: tuple[SurrogateRecord, ...],
    ) -> None:
        volumes = Hypervolumes(
            reference=tuple(map(float, self.problem.reference)), before=before, adapted=adapted, after=self._hypervolume(archive)
        )
        self.folder.write_iteration(
            IterationRecord(
                iteration=selection.iteration,
                supernet_version=archive.supernet_version,
                num_sittings=archive.num_sittings,
                genes=selection.genes,
                num_new=len(selection.new),
                hypervolumes=volumes,
                surrogates=surrogates,
            )
        )

    def _hypervolume(self, archive: Evaluations) -> float:
        return hypervolume(archive.values, self.problem.reference)

    # ---- the devices --------------------------------------------------------------------------------------------------------

    def probe(self, iteration: int, archive: Evaluations) -> "_Search":
        """The search whose latency predictors know some more of the archive."""
        count = self.folder.settings.probes
        self.tell("measure", iteration, 0, 1)
        problem = probe_archive(self.problem, self.devices, archive, count, name=f"iteration-{iteration:03}")
        self.tell("measure", iteration, 1, 1)
        return replace(self, problem=problem)

    def predict_again(self, archive: Evaluations) -> Evaluations:
        """The archive with latencies of the predictors as they are now."""
        values = self.problem.values(archive.genes, archive.errors_percent)
        return replace(archive, values=values, num_sittings=len(self.problem.sittings))

    # ---- the supernets ------------------------------------------------------------------------------------------------------

    def _adapt_and_evaluate(self, selection: Selection, version: int) -> Evaluations:
        genes, iteration = to_genes(selection.genes), selection.iteration
        if self.folder.settings.adapt:
            version += 1
            self.supernets.adapt(
                version,
                make_distribution(self.folder.settings.adaptation, self.problem.space, genes),
                lambda place: self.generator(iteration, _Draw.ADAPTATION, place),
                lambda done, total: self.tell("adapt", iteration, done, total),
            )
        return self.evaluate(genes, version, iteration)

    def evaluate(self, genes: Genes, version: int, iteration: int) -> Evaluations:
        """Errors of gene strings with the weights of that version, beside their costs."""
        errors = self.supernets.errors_percent(genes, version, lambda done, total: self.tell("evaluate", iteration, done, total))
        return Evaluations(
            objectives=self.problem.names,
            genes=genes,
            values=self.problem.values(genes, errors),
            measured=np.ones(len(genes), dtype=np.bool_),
            supernet_version=version,
            num_sittings=len(self.problem.sittings),
        )


def _is_among(genes: Genes, strings: tuple[GeneString, ...]) -> NDArray[np.bool_]:
    wanted = set(strings)
    return np.array([to_gene_string(row) in wanted for row in genes], dtype=np.bool_)


def _feasible_front(problem: SearchProblem, archive: Evaluations) -> Evaluations:
    within = problem.violation(archive.genes) == 0
    return (archive.take(within) if within.any() else archive).front()
