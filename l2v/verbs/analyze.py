"""l2v analyze: what the states of source and target show (dispersion, PCA, spectra, cosines), in pictures.

    l2v analyze source=mini_kin target=mini contrast=mini study=look
    l2v analyze source=llama3_8b target=qwen2_vl_7b contrast=still2_generated     the source writes, both read (Figures 1, 2b)

What it writes, outputs/STUDY/lat/ID: index.html, PNG, CSV.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from l2v.errors import UserError, printable

if TYPE_CHECKING:
    import torch

    from l2v.config import Config
    from l2v.report.lat.numbers import Analysis, Side
    from l2v.study.cells import Cell
    from l2v.study.plan import Reading
    from l2v.transfer.directions import Directions

PARTS = ("analyze", "source", "target", "contrast", "intervention", "scorer", "study", "runtime")
# Raised when what is drawn changes, so that old pictures are not mistaken for new ones.
SCHEMA = 1
CURVE = 16  # cutoffs of a curve that names none
ENERGY = 400  # points of an energy curve, at most


def main(arguments: list[str]) -> int:
    """Read the states of source and target, if they are not cached, write the pictures and print four lines and the paths."""
    from l2v.verbs.compose import compose_single

    config = compose_single(arguments, PARTS)
    if config is None:
        return 0
    _check(config)
    if config.contrast.kind == "generated":
        # Both models are compared on the same texts: those that the source writes.
        from l2v.study.workers.devices import pick_device
        from l2v.study.workers.texts import written_by_source

        config = written_by_source(config, pick_device(config.runtime.device), partial(print, file=sys.stderr))
    cell, k_given = _cells(config)
    cutoffs = _cutoffs(config)

    from l2v.report.lat.folder import write_analysis
    from l2v.report.lat.numbers import summary
    from l2v.study.store import Store

    source, target = _read(config, cell)
    k = _k(k_given, source, target)
    found = _analysis(config, source, target, k, sorted({*cutoffs, k}))
    store = Store(config.runtime.outputs, config.study).open()
    folder = store.path / "lat" / _id(config, source, target, k, cutoffs)
    page = write_analysis(found, folder)
    print(printable(summary(found)))
    print(f"\n{folder / 'lat.json'}\n{page}")
    return 0


@dataclass(frozen=True)
class _ReadModel:
    """One of the two models, as it was read. block: the one whose pictures are drawn."""

    reading: Reading
    role: str
    block: int
    path: Path
    directions: Directions

    def states(self, block: int) -> torch.Tensor:
        """The final states of one block, (2n, d)."""
        return self.directions.load_states(self.path, block)

    @property
    def mean(self) -> torch.Tensor:
        """The directions of all blocks, (layers, d)."""
        return self.directions.mean


def _check(config: Config) -> None:
    """What can be told before anything is read. Raises UserError, one sentence each."""
    from l2v.benchmarks.scoring import check_scorers
    from l2v.study.model_files import model_facts

    check_scorers(config.scorer)
    layer, layers = config.analyze.layer, model_facts(config.target).layers
    if layer is not None and not 0 <= layer < layers:
        raise UserError(f"analyze.layer={layer} is out of range: {config.target.name} has decoder blocks 0 … {layers - 1}.")


def _cells(config: Config) -> tuple[Cell, Cell]:
    """A cell whose readings are both models' states, and one that holds the checked cutoff."""
    from l2v.study.resolve import resolve

    # The parts that name what is read are shared: a branch of the hub becomes its commit in both.
    chosen = replace(config, intervention=replace(config.intervention), method=replace(config.method))
    if config.analyze.layer is not None:
        chosen.intervention.layer = config.analyze.layer
    # The learned map between two models is made of the states of both.
    chosen.method.name = "ridge"
    both = resolve(chosen)
    chosen.method.name = "l2v"
    return both, resolve(chosen)


def _cutoffs(config: Config) -> list[int]:
    """The cutoffs of the curves: as given, or even numbers from 2 to the smaller width, evenly spaced on a log scale.

    Raises UserError for one outside of 1 … the smaller width.
    """
    import numpy as np

    from l2v.study.model_files import model_facts

    smaller = min(model_facts(config.source).width, model_facts(config.target).width)
    for k in config.analyze.cutoffs:
        if not 1 <= k <= smaller:
            raise UserError(f"analyze.cutoffs holds {k}, outside of 1 … {smaller}, the smaller width of the two models.")
    spread = [2 * round(k / 2) for k in np.geomspace(2, smaller, CURVE)]
    return sorted(set(config.analyze.cutoffs or [k for k in spread if k <= smaller]))


def _read(config: Config, cell: Cell) -> tuple[_ReadModel, _ReadModel]:
    """Source and target; what the cache lacks is read by loading them. Raises UserError for fewer than 3 pairs."""
    from l2v.study.cells import Job
    from l2v.study.plan import directions_path, job_readings
    from l2v.study.workers.devices import pick_device
    from l2v.study.workers.directions import ensure_directions
    from l2v.transfer.directions import Directions

    assert cell.layer is not None and cell.source_layer is not None
    readings = job_readings(cell)
    ensure_directions([Job(cell, config)], pick_device(config.runtime.device), partial(print, file=sys.stderr))
    models = []
    for reading, role, block in zip(readings, ("source", "target"), (cell.source_layer, cell.layer), strict=True):
        path = directions_path(config.runtime.outputs, reading.id)
        models.append(_ReadModel(reading, role, block, path, Directions.load(path)))
    if models[0].directions.n < 3:
        raise UserError(
            f"`l2v analyze` needs at least 3 pairs, this contrast has {models[0].directions.n}; raise contrast.per_domain."
        )
    return models[0], models[1]


def _k(cell: Cell, source: _ReadModel, target: _ReadModel) -> int:
    """The cutoff of the pictures. Raises UserError for one above the smaller width."""
    from l2v.transfer.spectrum import resolve_cutoff

    assert cell.cutoff is not None
    return resolve_cutoff(cell.cutoff, source.mean[source.block], target.mean.shape[-1])


def _analysis(config: Config, source: _ReadModel, target: _ReadModel, k: int, cutoffs: list[int]) -> Analysis:
    """Everything that is drawn, from the cached states."""
    import numpy as np
    import torch

    from l2v.report.lat.numbers import Analysis, low_high
    from l2v.report.study import open_study
    from l2v.study.store import Store
    from l2v.transfer import lat

    orders = lat.orders(source.mean.shape[-1], config.analyze.permutations, config.analyze.seed)
    own, others = target.states(target.block), source.states(source.block)
    study = open_study(Store(config.runtime.outputs, config.study))
    return Analysis(
        source=_side(config, source, k, cutoffs),
        target=_side(config, target, k, cutoffs),
        k=k,
        carried=lat.separation(own, k, others),
        carried_permuted=np.array([lat.separation(own, k, others[:, torch.from_numpy(order)]).auc for order in orders]),
        agreement=lat.agreement(source.mean, target.mean, k, orders),
        settings=_settings(config, source, target, k),
        low_high=low_high(study.results, config.source.name, config.target.name, config.scorer[0]),
        miniature=any(model.id.startswith("l2v/mini") for model in (config.source, config.target)),
    )


def _side(config: Config, model: _ReadModel, k: int, cutoffs: list[int]) -> Side:
    """One model: the curves of every block, the rest of the chosen one."""
    import numpy as np

    from l2v.report.lat.numbers import Side
    from l2v.transfer import lat

    layers, width = model.mean.shape
    orders = lat.orders(width, config.analyze.permutations, config.analyze.seed)
    v, states = model.mean[model.block], model.states(model.block)
    # Odd cutoffs: an even one keeps no bin that the odd one below it lacks.
    ks = 2 * np.unique(np.linspace(0, (width - 1) // 2, min(width, ENERGY)).round().astype(int)) + 1
    return Side(
        name=model.reading.model.name,
        role=model.role,
        block=model.block,
        width=width,
        dispersions=[lat.dispersion(lat.differences(model.states(i)), cutoffs, orders) for i in range(layers)],
        components=lat.components(states),
        power=lat.power_shares(v),
        energy=np.stack([ks.astype(float), lat.energy_curve(v, ks.tolist())], axis=1),
        k50=lat.energy_k(v, 0.5),
        k90=lat.energy_k(v, 0.9),
        low=lat.separation(states, k),
        whole=lat.separation(states, None),
    )


def _settings(config: Config, source: _ReadModel, target: _ReadModel, k: int) -> dict[str, str]:
    """What the page tells of where its figures come from."""
    told = {}
    for one in (source, target):
        model = one.reading.model
        told[one.role] = f"{model.name} ({model.id}, revision {model.revision}, {model.dtype}), block {one.block}"
    contrast, n = source.reading.contrast, source.directions.n
    told["contrast"] = f"{contrast.name} ({contrast.id}, {contrast.kind}, revision {contrast.revision}), n = {n} pairs"
    told["cutoff k"] = str(k)
    told["permuted coordinates"] = f"{config.analyze.permutations} orders, seed {config.analyze.seed}"
    return told


def _id(config: Config, source: _ReadModel, target: _ReadModel, k: int, cutoffs: list[int]) -> str:
    """The folder's name: a hash of what its figures depend on, but for the study's results, which are read anew each time."""
    from l2v.identity import digest

    models = [[model.reading.id, model.reading.model.name, model.block] for model in (source, target)]
    chosen = {"cutoffs": cutoffs, "permutations": config.analyze.permutations, "seed": config.analyze.seed}
    return digest({"lat": SCHEMA, "models": models, "k": k, **chosen})
