"""Is a difference between worked and direct states of a real language model of low frequency? Read once, then asked.

    python experiments/real/lat/lat.py read smollm2 10     # states of 20 pairs for each kind of contrast; likewise gemma3_270m
    python experiments/real/lat/lat.py ask                 # dispersion.csv, kinds.csv, carried.csv and the answers
    python experiments/real/lat/lat.py draw                # spectrum.png and cosine.png

Needs `l2v convert model=smollm2` and `model=gemma3_270m`. Orders of the coordinates are the null: one order serves all blocks
and cutoffs, and the largest excess anywhere is held against the largest excess of each order, so that one p answers for all.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from l2v.transfer import lat

HERE = Path(__file__).parent
STATES = Path("outputs/real_lat")
KINDS = ("response_pairs", "generated", "prompts", "demonstrations")
MODELS = ("smollm2", "gemma3_270m")
CUTOFFS = (32, 64, 128, 256)
ORDERS = 200
MASSIVE = 2  # coordinates of the largest share of a model's variance that are left out


def read(model: str, per_domain: int) -> None:
    """Extract every pair's final states, float32, and keep them as one tensor per kind, (blocks, 2n, d)."""
    from safetensors.torch import save_file

    from l2v.steering.engine.engine import Decoding, Request, generate_rows
    from l2v.steering.models import ModelSpec, load_model
    from l2v.transfer.contrast import Chat, build_pairs, load_questions, sample_questions
    from l2v.transfer.extract import extract

    loaded = load_model(ModelSpec(model, path=f"outputs/checkpoints/{model}", dtype="float32"), "text")
    rows = sample_questions(load_questions("l2v/benchmarks/sums/data/contrast.jsonl"), per_domain)

    def answer(chats: list[Chat]) -> list[str]:
        asked = [(Request(str(place), chat.user), None) for place, chat in enumerate(chats)]
        found = generate_rows(loaded, asked, Decoding(48, stop=("\n\n",)))
        return [response.text.strip() or "?" for response in found]

    words = ("Add the numbers one by one and show every step.", "Reply with the number only.")
    STATES.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        pairs = build_pairs(kind, rows, *words, answer)
        found = extract(loaded.model, loaded.tokenizer, loaded.layers, pairs, batch_tokens=4096, keep_states=True)
        assert found.states is not None
        save_file({"states": found.states.float().contiguous()}, STATES / f"{model}.{kind}.safetensors")
        print(model, kind, len(pairs), "pairs", flush=True)


def states(model: str, kind: str) -> torch.Tensor:
    """(blocks, 2n, d)."""
    from safetensors.torch import load_file

    return load_file(STATES / f"{model}.{kind}.safetensors")["states"]


def massive(model: str) -> list[int]:
    """The coordinates that hold most of the variance of a model's differences, summed over blocks in shares, over all kinds."""
    share = torch.zeros(())
    for kind in KINDS:
        u = torch.stack([lat.differences(block) for block in states(model, kind)])
        variance = u.var(dim=1)
        share = share + (variance / variance.sum(dim=-1, keepdim=True)).sum(dim=0)
    return share.topk(MASSIVE).indices.tolist()


def retained(u: torch.Tensor) -> np.ndarray:
    """The share of the trace that each low-pass keeps, (blocks, cutoffs), of u (blocks, n, d)."""
    centred = (u - u.mean(dim=1, keepdim=True)).numpy()
    d = centred.shape[-1]
    power = lat._power(np.fft.rfft(centred), d).sum(axis=1)
    return power @ lat._kept(d, CUTOFFS).T / power.sum(axis=-1, keepdims=True)


def concentration(u: torch.Tensor) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Observed and expected shares (blocks, cutoffs), the p of the largest excess anywhere, and how many excesses it is of."""
    d = u.shape[-1]
    seen = retained(u)
    null = np.stack([retained(u[:, :, torch.from_numpy(order)]) for order in lat.orders(d, ORDERS, 0)])
    spread = null.std(axis=0)
    excess = ((seen - null.mean(axis=0)) / spread).max()
    largest = ((null - null.mean(axis=0)) / spread).max(axis=(1, 2))
    return seen, null.mean(axis=0), float((1 + (largest >= excess).sum()) / (1 + ORDERS)), seen.size


def dispersion() -> list[str]:
    """dispersion.csv: every block and cutoff; and one line per model, kind and choice of coordinates."""
    lines, table = [], []
    for model in MODELS:
        without = massive(model)
        for kind in KINDS:
            u = torch.stack([lat.differences(block) for block in states(model, kind)])
            variance = u.var(dim=1)
            share = float((variance[:, without].sum(dim=-1) / variance.sum(dim=-1)).max())
            kept = [i for i in range(u.shape[-1]) if i not in without]
            for name, part in (("all", u), ("without massive", u[:, :, kept])):
                seen, expected, p, tests = concentration(part)
                for block in range(len(seen)):
                    for place, k in enumerate(CUTOFFS):
                        white = (k - 1) / part.shape[-1]
                        table.append([model, kind, name, block, k, f"{seen[block, place]:.4f}", f"{white:.4f}",
                                      f"{expected[block, place]:.4f}"])  # fmt: skip
                over = np.abs(seen - expected).max()
                told = f"{model} {kind} ({name}; n = {u.shape[1]}): p = {p:.3f} of {tests}, largest deviation {over:.3f}"
                lines.append(f"{told}; {without} hold up to {share:.2f}")
    _write("dispersion.csv", ["model", "contrast", "coordinates", "block", "k", "kept", "white", "permuted"], table)
    return lines


def kinds() -> list[str]:
    """kinds.csv: the cosine of the mean directions of every two kinds, block by block, and of two halves of one kind."""
    lines, table = [], []
    for model in MODELS:
        u = {kind: torch.stack([lat.differences(block) for block in states(model, kind)]) for kind in KINDS}
        limit = lat.cosine_limit(u[KINDS[0]].shape[-1], len(u[KINDS[0]]) * 6)
        for place, one in enumerate(KINDS):
            for other in KINDS[place:]:
                a, b = (u[one][:, ::2], u[one][:, 1::2]) if one == other else (u[one], u[other])
                cosines = torch.cosine_similarity(a.mean(dim=1), b.mean(dim=1), dim=-1)
                table += [[model, one, other, block, f"{value:.4f}"] for block, value in enumerate(cosines.tolist())]
                least, middle, most = cosines.quantile(torch.tensor([0, 0.5, 1], dtype=cosines.dtype)).tolist()
                told = f"median {middle:.2f} ({least:.2f} to {most:.2f}), chance limit {limit:.2f}"
                lines.append(f"{model} {one} x {other}: {told}")
    _write("kinds.csv", ["model", "contrast", "other", "block", "cosine"], table)
    return lines


def agreed(source: str, target: str, kind: str, k: int) -> tuple[lat.Agreement, float, float]:
    """Where the two models' mean directions agree, the largest |cosine| of that map, and its p among shuffled coordinates."""
    theirs, own = (torch.stack([lat.differences(b).mean(dim=0) for b in states(m, kind)]) for m in (source, target))
    found = lat.agreement(theirs, own, k, lat.orders(theirs.shape[-1], ORDERS, 0))
    largest = float(np.abs(found.low.cosines).max())
    return found, largest, float((1 + (found.permuted >= largest).sum()) / (1 + ORDERS))


def carried() -> list[str]:
    """carried.csv: every Gemma block's direction carried to every SmolLM2 block, per kind and cutoff, and back."""
    lines, table = [], []
    for source, target in (MODELS[::-1], MODELS):
        for kind in KINDS:
            for k in (*CUTOFFS, 560):
                found, largest, p = agreed(source, target, kind, k)
                table.append(
                    [source, target, kind, k, f"{largest:.3f}", f"{np.quantile(found.permuted, 0.95):.3f}", f"{p:.3f}"]
                )
        rows = [row for row in table if row[0] == source]
        lines.append(f"{source} -> {target}: smallest p {min(row[-1] for row in rows)} of {len(rows)} maps")
    _write("carried.csv", ["source", "target", "contrast", "k", "largest_cosine", "permuted_95", "p"], table)
    return lines


def draw_spectra(plt: Any) -> None:
    """spectrum.png: what the lowest bins hold of every block's dispersion beyond a white spectrum, and one's permuted band."""
    figure, axes = plt.subplots(len(MODELS), len(KINDS), figsize=(12, 6), sharex="row", sharey=True, layout="constrained")
    for row, model in zip(axes, MODELS, strict=True):
        for axis, kind in zip(row, KINDS, strict=True):
            u = torch.stack([lat.differences(block) for block in states(model, kind)])
            middle, bins = len(u) // 2, np.arange(u.shape[-1] // 2 + 1)
            null = [_cumulative(u[middle, :, torch.from_numpy(order)]) for order in lat.orders(u.shape[-1], ORDERS, 0)]
            axis.fill_between(
                bins, *np.quantile(null, (0.025, 0.975), axis=0), color="#bbbbbb", label="95 % of permuted orders"
            )
            for block, part in enumerate(u):
                chosen = block == middle
                colour, strength = ("#d95f02", 1.0) if chosen else ("#1b6ca8", 0.25)
                label = f"block {middle}" if chosen else None
                axis.plot(bins, _cumulative(part), color=colour, alpha=strength, zorder=2 + chosen, label=label)
            axis.set_title(f"{model}, {kind}", fontsize=9)
            axis.legend(fontsize=7, loc="lower right")
        row[0].set_ylabel("share held, less that of white")
    figure.supxlabel("bins from DC upwards (one side; k keeps k / 2 of them); other blocks in blue; n = 20 pairs", fontsize=9)
    figure.savefig(HERE / "spectrum.png", dpi=70)


def _cumulative(u: torch.Tensor) -> np.ndarray:
    centred = (u - u.mean(dim=0)).numpy()
    power = lat._power(np.fft.rfft(centred), u.shape[-1]).sum(axis=0)
    white = lat._power(np.ones(len(power), dtype=complex), u.shape[-1])
    return np.cumsum(power / power.sum() - white / white.sum())


def draw_cosines(plt: Any, k: int = 64) -> None:
    """cosine.png: every block of one model carried at k against every block of the other, both ways, for each kind."""
    figure, axes = plt.subplots(len(MODELS), len(KINDS), figsize=(12, 7), layout="constrained")
    for row, (source, target) in zip(axes, (MODELS[::-1], MODELS), strict=True):
        for axis, kind in zip(row, KINDS, strict=True):
            found, largest, p = agreed(source, target, kind, k)
            image = axis.imshow(found.low.cosines, cmap="RdBu", vmin=-1, vmax=1, origin="lower", aspect="auto")
            limit = np.quantile(found.permuted, 0.95)
            axis.set_title(f"{kind}\nlargest {largest:.2f}, of permuted\n95 % below {limit:.2f}, p = {p:.2f}", fontsize=8)
            axis.set_xlabel(f"{target} block", fontsize=8)
            axis.set_ylabel(f"{source} block, carried" if kind == KINDS[0] else "", fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.6, label=f"cosine, both low-passed at k = {k}")
    figure.savefig(HERE / "cosine.png", dpi=70)


def draw() -> None:
    """Both pictures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    draw_spectra(plt)
    draw_cosines(plt)


def _write(name: str, header: list[str], rows: list[list[object]]) -> None:
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "draw":
        draw()
    else:
        print("\n".join([*dispersion(), *kinds(), *carried()]))
