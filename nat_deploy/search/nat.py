"""Neural Architecture Transfer: search and supernet adaptation taking turns.

    initial archive: adapt, evaluate
    repeat: fit a surrogate on the archive; evolve on its predictions; choose new candidates; cut archive and candidates to
        constant size by survival; adapt the supernet to
            what is left; evaluate all of it with the new weights; measure some of it on the devices and refit the latency predictors
    measure finalists on the devices

Every error in an archive belongs to the same weights: after an adaptation everything is evaluated again, and nothing older is
compared with it. Likewise every latency in it comes from the same predictors: after a sitting all are predicted again.

Source: Lu et al., Neural Architecture Transfer (arXiv 2005.05859), whose search code was never published.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from nat_deploy.errors import WorkError
from nat_deploy.predictors.accuracy import AccuracyPredictor, choose_surrogate, score_predictions
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
from nat_deploy.search.objective import ERROR, make_objective
from nat_deploy.search.pareto import hypervolume
from nat_deploy.search.probing import probe_archive, probe_space
from nat_deploy.search.problem import RefittableSource, SearchProblem, make_problem
from nat_deploy.search.records import (
    EvaluationRecord,
    FinalistRecord,
    Hypervolumes,
    IterationRecord,
    ResultRecord,
    Selection,
    SurrogateRecord,
)
from nat_deploy.search.run_folder import RunFolder
from nat_deploy.search.sittings import Devices, Measure
from nat_deploy.search.survival import survive_aimed
from nat_deploy.spaces import Genes, SearchSpace

_AIMED_SHARE = 0.5  # of new candidates and of survivors, under a budget


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search found.

    chosen      the most accurate network that meets the budgets
    finalists   up to `settings.finalists` of them, most accurate first; the chosen one is the first
    front       the non-dominated part of the last archive that is predicted to meet the budgets: errors measured with the adapted
                supernet, latencies predicted
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
        evaluator: A supernet as it is before the search (version 0); afterwards it has the weights that belong to the result.
        latency_sources: A predictor per latency objective and latency budget, by its name.
        measure: Measures networks, one callable per name; a device without one is trusted to its predictor.
        run_folder: Made with `RunFolder.create` or `RunFolder.resume`.
        on_event: Told of progress.

    Raises:
        BudgetError: No architecture meets a budget; the sentence gives the smallest reachable value.
        InputError: A latency objective has no predictor.
        FileFormatError: A file of the run folder is not as it was written.
    """
    settings, devices = run_folder.settings, Devices(measure=measure, folder=run_folder)
    on_event(SearchEvent(step="check budgets", iteration=0, done=0, total=1))
    problem = make_problem(space, settings, latency_sources)
    problem = probe_space(problem, devices, _generator(settings.seed, 0, _Draw.PROBES), settings.probes)
    problem = check_budgets(problem, devices, _generator(settings.seed, 0, _Draw.BUDGETS))
    on_event(SearchEvent(step="check budgets", iteration=0, done=1, total=1))
    search = _Search(problem=problem, evaluator=evaluator, devices=devices, folder=run_folder, on_event=on_event)
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
    search.ensure_weights(archive.supernet_version)
    front = _feasible_front(problem, search.predict_again(archive))
    strings = tuple(to_gene_string(row) for row in front.genes)
    run_folder.write_result(ResultRecord(supernet_version=archive.supernet_version, finalists=finalists, front=strings))
    return SearchResult(chosen=finalists[0], finalists=finalists, front=front)


class _Draw(IntEnum):
    """Every place that draws random numbers has a generator of its own, made from (seed, iteration, place): nothing to carry over a kill."""

    BUDGETS = 0
    INITIAL = 1
    SURROGATE = 2
    EVOLUTION = 3
    INFILL = 4
    SURVIVAL = 5
    ADAPTATION = 6
    FINALISTS = 7
    PROBES = 8


def _generator(seed: int, iteration: int, draw: _Draw) -> np.random.Generator:
    return np.random.default_rng([seed, iteration, int(draw)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """The steps of the loop with one state of the latency predictors; each first looks whether the run folder has its result already."""

    problem: SearchProblem
    evaluator: Evaluator
    devices: Devices
    folder: RunFolder
    on_event: OnEvent

    def tell(self, step: Step, iteration: int, done: int, total: int) -> None:
        self.on_event(SearchEvent(step=step, iteration=iteration, done=done, total=total))

    def generator(self, iteration: int, draw: _Draw) -> np.random.Generator:
        return _generator(self.folder.settings.seed, iteration, draw)

    # ---- iterations ---------------------------------------------------------------------------------------------------------

    def begin(self) -> Evaluations:
        """The initial archive, evaluated."""
        if (done := self.folder.read_iteration(0)) is not None:
            return self.evaluate(to_genes(done.genes), done.supernet_version, 0)
        selection = self.folder.read_selection(0)
        if selection is None:
            genes = sample_initial_archive(self.problem, self.folder.settings.initial_size, self.generator(0, _Draw.INITIAL))
            strings = tuple(to_gene_string(row) for row in genes)
            selection = Selection(iteration=0, genes=strings, new=(), predicted_error_percent=(), method=None, compared=())
            self.folder.write_selection(selection)
        archive = self._adapt_and_evaluate(selection, version=0)
        volume = self._hypervolume(archive)
        self._finish(selection, archive, before=volume, adapted=volume, surrogate=None)
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
            surrogate=self._score(selection, found),
        )
        return found

    def _select(self, iteration: int, archive: Evaluations) -> Selection:
        """Surrogate, evolution, infill, survival: what the next archive will be."""
        settings, space = self.folder.settings, self.problem.space
        self.tell("fit surrogate", iteration, 0, 1)
        surrogate = choose_surrogate(
            space, archive.genes, archive.column(ERROR), self.generator(iteration, _Draw.SURROGATE), methods=settings.surrogates
        )
        self.tell("fit surrogate", iteration, 1, 1)

        candidates = self._evolve(iteration, archive, surrogate)
        errors = surrogate.predict(candidates)
        predicted = Evaluations(
            objectives=archive.objectives,
            genes=candidates,
            values=self.problem.values(candidates, errors.mean),
            measured=np.zeros(len(candidates), dtype=np.bool_),
            supernet_version=archive.supernet_version,
            num_sittings=len(self.problem.sittings),
        )
        new = choose_infill(
            predicted,
            np.where(np.array(archive.objectives) == ERROR, errors.std[:, None], 0.0),
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
            predicted_error_percent=tuple(float(error) for error in new.column(ERROR)),
            method=surrogate.surrogate.method,
            compared=surrogate.scores,
        )

    def _evolve(self, iteration: int, archive: Evaluations, surrogate: AccuracyPredictor) -> Genes:
        """Candidates for the whole front, surely within budgets and, under budgets, for the trade-off of error against what is bounded, likely within: there lies the answer."""
        settings, rng = self.folder.settings, self.generator(iteration, _Draw.EVOLUTION)
        aimed = tuple(budget.objective for budget in settings.budgets)
        populations = []
        for names, held_to in (
            (settings.objectives, self.problem.violation),
            ((ERROR, *aimed), self.problem.likely_violation),
        )[: 2 if aimed else 1]:
            problem = replace(self.problem, objectives=tuple(make_objective(name) for name in names))
            total, calls = settings.generations, itertools.count()

            def objectives(
                genes: Genes,
                problem: SearchProblem = problem,
                held_to: Callable[[Genes], NDArray[np.float64]] = held_to,
                total: int = total,
                calls: Iterator[int] = calls,
            ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
                self.tell("evolve", iteration, min(next(calls), total), total)
                return problem.values(genes, surrogate.predict(genes).mean), held_to(genes)

            populations.append(
                evolve(
                    self.problem.space,
                    objectives,
                    archive.genes,
                    rng,
                    population_size=settings.population_size,
                    generations=settings.generations,
                )
            )
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
        )
        return archive.take(rows).merge(new)

    def _score(self, selection: Selection, found: Evaluations) -> SurrogateRecord | None:
        """Predictions for the new candidates against what was measured; training points never count."""
        if selection.method is None:
            return None
        errors = dict(zip(map(to_gene_string, found.genes), found.column(ERROR), strict=True))
        measured = np.array([errors[string] for string in selection.new])
        macs = self.problem.space.count(to_genes(selection.new)).macs if selection.new else np.empty(0)
        return SurrogateRecord(
            method=selection.method,
            compared=selection.compared,
            on_new=score_predictions(np.array(selection.predicted_error_percent), measured),
            macs_kendall_tau=score_predictions(-np.asarray(macs, dtype=np.float64), measured).kendall_tau,
        )

    def _finish(
        self, selection: Selection, archive: Evaluations, *, before: float, adapted: float, surrogate: SurrogateRecord | None
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
                surrogate=surrogate,
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
        values = self.problem.values(archive.genes, archive.column(ERROR))
        return replace(archive, values=values, num_sittings=len(self.problem.sittings))

    # ---- the supernet -------------------------------------------------------------------------------------------------------

    def _adapt_and_evaluate(self, selection: Selection, version: int) -> Evaluations:
        genes = to_genes(selection.genes)
        if self.folder.settings.adapt:
            version += 1
            self._adapt(selection.iteration, genes, version)
        return self.evaluate(genes, version, selection.iteration)

    def _adapt(self, iteration: int, genes: Genes, version: int) -> None:
        if self.folder.has_checkpoint(version):
            return
        self.ensure_weights(version - 1)
        self.tell("adapt", iteration, 0, 1)
        distribution = make_distribution(self.folder.settings.adaptation, self.problem.space, genes)
        self.evaluator.adapt(distribution, self.generator(iteration, _Draw.ADAPTATION))
        if self.evaluator.version != version:
            raise WorkError(
                f"supernet must have version {version} after adaptation, but it has {self.evaluator.version}; start a new run with fresh weights"
            )
        self.folder.save_checkpoint(self.evaluator)
        self.tell("adapt", iteration, 1, 1)

    def ensure_weights(self, version: int) -> None:
        """Give the evaluator the weights of that version, unless it has them."""
        if self.evaluator.version != version:
            self.folder.load_checkpoint(self.evaluator, version)

    def evaluate(self, genes: Genes, version: int, iteration: int) -> Evaluations:
        """Errors of gene strings with the weights of that version; what the run folder knows is not evaluated again."""
        known = {r.genes: r.error_percent for r in self.folder.evaluations.read() if r.supernet_version == version}
        strings = [to_gene_string(row) for row in genes]
        missing = self._alike_together([string for string in strings if string not in known])
        self.tell("evaluate", iteration, len(strings) - len(missing), len(strings))
        for done, (string, error) in enumerate(self._evaluate_missing(missing, version), start=len(strings) - len(missing) + 1):
            known[string] = error
            self.tell("evaluate", iteration, done, len(strings))
        errors = np.array([known[string] for string in strings])
        return Evaluations(
            objectives=self.problem.names,
            genes=genes,
            values=self.problem.values(genes, errors),
            measured=np.ones(len(genes), dtype=np.bool_),
            supernet_version=version,
            num_sittings=len(self.problem.sittings),
        )

    def _alike_together(self, strings: list[GeneString]) -> list[GeneString]:
        """Those whose networks begin alike follow each other: evaluators can share that work."""
        space = self.problem.space
        architectures = (
            {string: space.decode(row) for string, row in zip(strings, to_genes(strings), strict=True)} if strings else {}
        )
        return sorted(
            strings, key=lambda s: (architectures[s].resolution, [block.key for block in space.blocks(architectures[s])])
        )

    def _evaluate_missing(self, strings: list[GeneString], version: int) -> Iterator[tuple[GeneString, float]]:
        """Errors in the order of `strings`, each on the disk before the next is awaited."""
        if not strings:
            return
        self.ensure_weights(version)
        errors = self.evaluator.evaluate([self.problem.space.decode(row) for row in to_genes(strings)])
        for string, error in zip(strings, errors, strict=True):
            self.folder.evaluations.append(EvaluationRecord(genes=string, supernet_version=version, error_percent=float(error)))
            yield string, float(error)


def _is_among(genes: Genes, strings: tuple[GeneString, ...]) -> NDArray[np.bool_]:
    wanted = set(strings)
    return np.array([to_gene_string(row) in wanted for row in genes], dtype=np.bool_)


def _feasible_front(problem: SearchProblem, archive: Evaluations) -> Evaluations:
    within = problem.violation(archive.genes) == 0
    return (archive.take(within) if within.any() else archive).front()
