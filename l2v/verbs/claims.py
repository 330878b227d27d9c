"""l2v claims: every claim of the paper, held against stored cells: reproduced, contradicted, under-powered or not run.

    l2v claims                                   what the studies of the paper's experiments say
    l2v claims mini=true                         what their twins on the miniature say
    l2v claims --format csv out=ledger.csv       every comparison: difference, interval, p, n, least n for a power of .8

The claims, and which cells test each: experiments/paper/claims.yaml; `l2v run --multirun +experiment=NAME` computes them,
`l2v analyze` what is claimed of states (Figures 1, 2b).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from l2v.disk import check_place, write_atomically
from l2v.errors import printable, unknown

FORMATS = ("text", "md", "csv")


@dataclass(frozen=True)
class ClaimsSettings:
    outputs: str = "outputs"  # folder of all studies
    scorer: str = "official"  # by which answers count
    mini: bool = False  # the miniature's twins in the place of the paper's experiments
    file: str | None = None  # the claims; None: the packaged ones, experiments/paper/claims.yaml
    format: str = "text"  # text, md or csv
    out: str | None = None  # file for the table of comparisons (csv)


SETTINGS = ClaimsSettings


def main(arguments: list[str]) -> int:
    """Print the ledger; always exit code 0: a claim that fails is a finding."""
    from l2v.verbs.settings import parse

    settings = parse(arguments, ClaimsSettings)
    if settings.format not in FORMATS:
        raise unknown("format", settings.format, FORMATS)
    if settings.out:
        check_place(Path(settings.out))
    from l2v.benchmarks.scoring import check_scorers
    from l2v.paths import claims_file
    from l2v.report.claims import ClaimLedger, ledger_table, ledger_text, on_miniature, read_claims
    from l2v.report.tables import markdown

    check_scorers([settings.scorer])
    claims = read_claims(Path(settings.file) if settings.file else claims_file())
    asked = [twin for claim in claims if (twin := on_miniature(claim))] if settings.mini else claims
    ledger = ClaimLedger(settings.outputs, settings.scorer)
    findings = [one for claim in asked for one in ledger.findings(claim)]
    if settings.format == "text":
        print(printable(ledger_text(claims, findings)))
    if settings.format == "text" and not settings.out:
        return 0
    table = ledger_table(findings)
    if settings.out:
        write_atomically(Path(settings.out), table.to_csv(index=False))
    if settings.format != "text":
        print(printable(markdown(table) if settings.format == "md" else table.to_csv(index=False).rstrip("\n")))
    return 0
