"""`l2v analyze` for every source and target of the miniature, gathered into the CSVs beside this file.

    python experiments/lat/mini.py [outputs]

Half a minute on a CPU. The pages lie under outputs/lat/lat/.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import pandas as pd

from l2v.cli import main

HERE = Path(__file__).parent
SOURCES = ("mini_kin", "mini_base", "mini_stranger_a", "mini_stranger_b")
TARGETS = ("mini", "mini_drifted")
# 34 is the band that the drifted target shares with its kin by construction; 32 that of the trial it was designed on.
K, CUTOFFS = 34, "[8,16,32,34,48,64,80,96]"


def analysed(source: str, target: str, outputs: str) -> Path:
    """The folder of one analysis."""
    out = io.StringIO()
    words = [f"source={source}", f"target={target}", "study=lat", f"runtime.outputs={outputs}", "analyze.permutations=100"]
    with contextlib.redirect_stdout(out):
        code = main(["analyze", *words, f"intervention.cutoff={K}", f"analyze.cutoffs={CUTOFFS}", "runtime.device=cpu"])
    if code:
        sys.exit(code)
    print(f"{source} x {target}\n{out.getvalue()}")
    return Path(out.getvalue().splitlines()[-1]).parent


def gather(outputs: str) -> None:
    """Run all pairs and write dispersion.csv, energy.csv, separation.csv and cosine.csv."""
    dispersion, energy, separation, cosine = [], [], [], []
    for target in TARGETS:
        for source in SOURCES:
            folder = analysed(source, target, outputs)
            pair = {"source": source, "target": target}
            dispersion.append(pd.read_csv(folder / "dispersion_map.csv"))
            spectrum = pd.read_csv(folder / "spectrum.csv").query("quantity == 'energy'")
            for (role, model, block), part in spectrum.groupby(["role", "model", "block"]):
                reached = {f"k{share}": int(part[part["share"] >= share / 100]["x"].min()) for share in (50, 90)}
                energy.append({"role": role, "model": model, "block": block, **reached})
            one = pd.read_csv(folder / "densities.csv").drop(columns=["pair", "cot", "direct"]).drop_duplicates()
            of = one["axis"].str.split().str[0].map(pair)
            separation.append(one.assign(states=of, direction=of.where(one["axis"] != "target carried low", source)))
            cosine.append(pd.read_csv(folder / "cosine.csv").assign(**pair))
    tables = {"dispersion": pd.concat(dispersion), "energy": pd.DataFrame(energy)}
    tables |= {"separation": pd.concat(separation), "cosine": pd.concat(cosine)}
    for name, table in tables.items():
        numbers = table.select_dtypes("float")
        table = table.assign(**{column: numbers[column].map(lambda v: float(f"{v:.6g}")) for column in numbers})
        table.drop_duplicates().to_csv(HERE / f"{name}.csv", index=False)


if __name__ == "__main__":
    gather(sys.argv[1] if len(sys.argv) > 1 else "outputs")
