"""What holds in every world: each arm's accuracy per world, its mean and spread, and the miniature's claims world by world.

for world in 0 1 2 3 4 odd; do l2v run --multirun +experiment=worlds runtime.world=$world study=worlds_$world; done
python experiments/maps/table.py worlds_{0:0,1:1,2:2,3:3,4:4,odd:odd} > experiments/maps/worlds.csv
python experiments/maps/worlds.py            # two tables in Markdown, from worlds.csv
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

FILE = Path(__file__).with_name("worlds.csv")
# An arm reaches a target above the one, and does not below the other; in between nothing is claimed.
REACHED, MISSED = 0.9, 0.25
MAPS = ("ridge_neutral", "procrustes", "cca")
STRANGERS = ("mini_stranger_a", "mini_stranger_b")


def label(row: pd.Series) -> str:
    """An arm as it stands in the table: what maps, from where, fitted on what."""
    words = [f"{row['control']} of {row['map']}" if row["control"] else row["map"], row["source"].removeprefix("mini_")]
    return " ".join(word for word in (*words, row["neutral"]) if word)


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """Per target and arm: accuracy (%) in each world, means over seeds, then mean, least and most over the five worlds."""
    values = table.pivot_table(index=["target", "arm"], columns="world", values="value", aggfunc="mean", sort=False) * 100
    # The odd world is the shipped one with other strangers: no sixth draw.
    five = values.drop(columns="odd", errors="ignore")
    return values.assign(mean=five.mean(axis=1), least=five.min(axis=1), most=five.max(axis=1)).reset_index()


def claims(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Of each claim, world by world, whether it holds."""

    def all_of(target: str, method: str, low: float = 0.0, high: float = 1.0, **where: object) -> pd.Series:
        """Whether every such row of a world lies within the bounds."""
        chosen = table[(table["target"] == target) & (table["map"] == method) & (table["control"] == "")]
        for column, value in where.items():
            chosen = chosen[chosen[column].isin(value if isinstance(value, tuple) else (value,))]
        return chosen["value"].between(low, high).groupby(chosen["world"], sort=False).all()

    def both(method: str, low: float = 0.0, high: float = 1.0, **where: object) -> pd.Series:
        return all_of("mini", method, low, high, **where) & all_of("mini_drifted", method, low, high, **where)

    found = {
        f"`direct` at most {MISSED:.0%}, `cot_prompt` at least {REACHED:.0%}": both("direct", high=MISSED)
        & both("cot_prompt", REACHED),
        "`own_direction` reaches both targets": both("own_direction", REACHED),
        "`l2v` from kin reaches both targets": both("l2v", REACHED, source="mini_kin"),
        "`l2v` from strangers reaches neither": both("l2v", high=MISSED, source=STRANGERS),
        "`high_pass` reaches `mini`, not the drifted target": all_of("mini", "high_pass", REACHED)
        & all_of("mini_drifted", "high_pass", high=MISSED),
        "`full_band` reaches `mini`, not the drifted target": all_of("mini", "full_band", REACHED)
        & all_of("mini_drifted", "full_band", high=MISSED),
        "`interpolation` reaches both targets": both("interpolation", REACHED),
        "`unfiltered_interpolation` reaches both targets": both("unfiltered_interpolation", REACHED),
        "`random` (5 seeds) reaches neither": both("random", high=MISSED),
        "`permuted` (5 seeds) reaches neither": both("permuted", high=MISSED),
        "`ridge` (upper bound) reaches `mini` from every source": all_of("mini", "ridge", REACHED),
    }
    for neutral in ("mini_mixed", "mini"):
        for method in MAPS:
            reached = all_of("mini", method, REACHED, source=STRANGERS, neutral=neutral)
            found[f"`{method}` on `{neutral}` reaches `mini` from strangers"] = reached
    for neutral in ("mini_mixed", "mini"):
        for method in MAPS:
            found[f"`{method}` on `{neutral}`: cosine from a above 5 shuffled pairings"] = above(table, method, neutral)
    return found


def above(table: pd.DataFrame, method: str, neutral: str) -> pd.Series:
    """World by world, whether the map's vector from stranger a lies nearer to the own direction than every shuffled map's."""
    wanted = {"map": method, "neutral": neutral, "source": STRANGERS[0], "target": "mini"}
    rows = table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    mapped = rows[rows["control"] == ""].groupby("world", sort=False)["cosine"].max()
    shuffled = rows[rows["control"] == "shuffled_map"].groupby("world", sort=False)["cosine"].max()
    return mapped > shuffled


def main() -> None:
    """Print both tables."""
    table = pd.read_csv(FILE, dtype={"world": str}, keep_default_na=False)
    for column in ("value", "cosine"):
        table[column] = pd.to_numeric(table[column])
    table["arm"] = table.apply(label, axis=1)
    print(accuracies(table).round(1).to_markdown(index=False))
    worlds = list(dict.fromkeys(table["world"]))
    print("\n| claim | " + " | ".join(worlds) + " | holds in |\n|---|" + "---|" * (len(worlds) + 1))
    for claim, held in claims(table).items():
        marks = ["yes" if held.get(world) else "no" if world in held else "" for world in worlds]
        print(f"| {claim} | " + " | ".join(marks) + f" | {marks.count('yes')} of {len([m for m in marks if m])} |")


if __name__ == "__main__":
    main()
