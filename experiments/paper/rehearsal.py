"""Every experiment of the paper, from its own file, on tiny random checkpoints of the real architectures; figures mean nothing.

    python experiments/paper/rehearsal.py FOLDER            # all of it; repeat it to go on
    python experiments/paper/rehearsal.py FOLDER table1     # one experiment

Targets: LLaVA-NeXT, Qwen2-VL, Idefics2, Llama 3.2 Vision, and InternVL2 in its authors' layout, through `l2v convert`. Sources
of other widths, LLMs to merge with, checkpoints fine-tuned by `l2v finetune`; stand-in questions in each benchmark's own file
format, and lm-eval tasks in the place of those of `limits`. The configs are those of conf/, with paths, depths and widths put
in; grids are cut to a few cells. It ends with the paper's tables, how many of the printed figures have a measured one beside
them, which claims find nothing to be held against, and every cell that failed without one of the reasons named here.
Exit code: 0 all of it is there, 1 something is not.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import families  # noqa: E402
import internvl2_original  # noqa: E402
import lm_eval_tasks  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
import yaml  # noqa: E402

import l2v.paths  # noqa: E402
from l2v.report.claims import ClaimLedger, read_claims  # noqa: E402
from l2v.report.paper import paper_table  # noqa: E402
from l2v.report.study import open_study  # noqa: E402
from l2v.study.store import Store  # noqa: E402
from l2v.verbs.run import FAILED  # noqa: E402

# A target of conf/target -> the family that stands for it.
TARGETS = {
    "llava_next_8b": "llava_next", "qwen2_vl_7b": "qwen2_vl", "qwen2_vl_2b": "qwen2_vl", "idefics2_8b": "idefics2",
    "mulberry_qwen2_vl_2b": "qwen2_vl", "llama32_vision_11b": "mllama", "mulberry_llama_11b": "mllama",
}  # fmt: skip
INTERNVL2 = {"1b": "qwen2", "2b": "internlm2", "8b": "internlm2", "26b": "internlm2", "40b": "llama", "76b": "llama"}
# A source -> class and width; those that are merged have the shape of their target's language model.
SOURCES = {
    "r1_qwen_1_5b": ("Llama", 40), "r1_llama_70b": ("Llama", 80),
    "r1_qwen_32b": ("Llama", 80), "r1_qwen_14b": ("Llama", 80), "r1_qwen_7b": ("Llama", 40), "llama3_8b": ("Llama", 48),
    "dart_math_llama3_8b": ("Llama", 32), "qwen2_math_7b": ("Qwen2", 32), "metamath_mistral_7b": ("Mistral", 32),
    "internlm2_math_7b": ("Llama", 48),
}  # fmt: skip
# What is cut of each grid; the experiment's own words otherwise.
FEW = ("intervention.layer=1", "intervention.alpha=0.5", "intervention.cutoff=9")
CUTS: dict[str, tuple[str, ...]] = {
    "table1": (*FEW, "contrast.seed=0,1", "seed=0"),
    "table2": FEW,
    "source_scale": FEW,
    "fig2": ("intervention.layer=1", "intervention.alpha=0.5", "intervention.cutoff=5,9"),
    "fig4": ("intervention.layer=1", "intervention.cutoff=9", "method.min_new_tokens=2", "intervention.alpha=0.1,0.5"),
    "fig5": ("intervention.layer=0,1,2", "intervention.source_layer=1", "intervention.cutoff=9"),
    "fig6": FEW,
    "fig7a": ("intervention.layer=1", "intervention.cutoff=9", "intervention.alpha=0.1,0.5,0.9"),
    "fig7b": (*FEW, "contrast.per_domain=1,2", "contrast.seed=0,1"),
    "fig8": FEW,
    "prompt_method": FEW,
    "limits": FEW,
}
# Why cells of an experiment are expected to fail.
NAMED = {"fig8": ("Phi-3",)}
# Claims on settings that the cuts, or the stand-ins of lm-eval's tasks, leave out; and on a target that is named above.
UNHELD = ("fig2.low", "fig2.high", "fig5", "fig7b", "limits", "internvl2_4b")
# What stands in limits.yaml -> the stand-in of tests/lm_eval_tasks.py.
TASKS = {"chartqa": "tiny_pictures", "mmmu_val": "tiny_sums"}
# The analysis of Figures 1 and 2b: words of `l2v analyze`.
FIG1 = ("source=llama3_8b", "target=qwen2_vl_7b", "contrast=still2_generated", "contrast.max_new_tokens=6",
        "intervention.cutoff=9", "analyze.permutations=2", "study=fig1")  # fmt: skip
SMALL = (
    "contrast.per_domain=2", "decoding.max_new_tokens=2", "runtime.device=cpu", "runtime.progress=false", "runtime.page=false",
    "executor=local", "processor=hub",
)  # fmt: skip
WORDS = [f"w{i}" for i in range(families.WORDS)]


def words(count: int, seed: int) -> str:
    """Some words that every tokenizer here knows."""
    return " ".join(WORDS[(seed * 7 + i * 3) % len(WORDS)] for i in range(count))


def source(folder: Path, kind: str, width: int) -> None:
    """A random text LLM with a chat template."""
    if (folder / "config.json").exists():
        return
    tokens = families.tokenizer("<image>")
    if kind == "Qwen2":  # transformers takes its type for a byte-level vocabulary whatever its files say
        folder.mkdir(parents=True, exist_ok=True)
        internvl2_original.byte_level(folder)
        tokens = transformers.AutoTokenizer.from_pretrained(folder)
        tokens.chat_template = families.TEMPLATE
    torch.manual_seed(width)
    heads = (6, 2) if width == 48 else (4, 2)
    inner = internvl2_original.INNER if width == 48 else 64
    more = {"num_attention_heads": heads[0], "num_key_value_heads": heads[1], "intermediate_size": inner}
    config = getattr(transformers, f"{kind}Config")(**{**families.text_config(tokens), "hidden_size": width, **more})
    families.lively(getattr(transformers, f"{kind}ForCausalLM")(config), tokens).save_pretrained(folder)
    tokens.save_pretrained(folder)


def checkpoints(folder: Path, l2v: Any) -> dict[str, dict[str, Any]]:
    """Every model's settings by its name; what is there is kept."""
    found: dict[str, dict[str, Any]] = {}
    for name, family in TARGETS.items():
        path = folder / family
        if not (path / "config.json").exists():
            families.load(family, path)
        found[name] = {"path": str(path), "layers": families.LAYERS, "width": families.WIDTH}
    for size, backbone in INTERNVL2.items():
        original, path = folder / f"internvl2_original_{backbone}", folder / f"internvl2_{backbone}"
        if not path.exists():
            internvl2_original.write(original, backbone)
            assert l2v(["convert", f"model={original}", f"out={path}"]) == 0
        found[f"internvl2_{size}"] = {"path": str(path), "layers": internvl2_original.LAYERS, "width": internvl2_original.WIDTH}
    found["internvl2_4b"] = {"path": str(phi3(folder)), "layers": internvl2_original.LAYERS, "width": internvl2_original.WIDTH}
    for name, (kind, width) in SOURCES.items():
        source(folder / f"source_{kind}_{width}", kind, width)
        found[name] = {"path": str(folder / f"source_{kind}_{width}"), "layers": families.LAYERS, "width": width}
    return {name: {**settings, "dtype": "float32"} for name, settings in found.items()}


def phi3(folder: Path) -> Path:
    """What stands for InternVL2-4B: its authors' layout with a Phi-3, which cannot be converted."""
    path = folder / "internvl2_original_phi3"
    if not path.exists():
        shutil.copytree(folder / "internvl2_original_qwen2", path)
        config = json.loads((path / "config.json").read_text())
        config["llm_config"] |= {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3"}
        (path / "config.json").write_text(json.dumps(config))
    return path


def data(folder: Path) -> dict[str, str]:
    """Six stand-in rows of each benchmark in its own fields, and contrast data in STILL-2's."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(6):
        families.picture(40 + 4 * i, 30, i).save(folder / f"{i}.png")
    metadata = {"context": "x", "grade": "x", "language": "english", "skills": ["arithmetic reasoning"], "source": "x",
                "split": "testmini", "task": "math word problem"}  # fmt: skip
    versions = ("Text Dominant", "Text Lite", "Vision Intensive", "Vision Dominant", "Vision Only")
    rows: dict[str, list[dict[str, Any]]] = {
        "mathvista/testmini": [
            {"pid": str(i), "question": words(5, i), "query": words(6, i), "image": f"{i}.png", "choices": None, "unit": None,
             "precision": None, "answer": "3", "question_type": "free_form", "answer_type": "integer",
             "metadata": {**metadata, "category": ("math-targeted-vqa", "general-vqa")[i % 2]}}
            for i in range(6)
        ],
        "mathverse/testmini": [
            {"sample_index": str(i), "problem_index": str(i % 2), "problem_version": version, "question": words(5, i),
             "image": f"{i}.png", "answer": "A", "question_type": "multi-choice", "query_wo": words(5, i),
             "query_cot": words(7, i), "question_for_eval": words(5, i),
             "metadata": {"split": "testmini", "source": "x", "subject": "Plane Geometry", "subfield": "Angle"}}
            for i, version in enumerate([*versions, *versions])
        ],
        "mmstar/val": [
            {"index": i, "question": f"{words(4, i)} Options: A: w1, B: w2, C: w3, D: w4", "image": f"{i}.png", "answer": "A",
             "category": ("coarse perception", "math")[i % 2], "l2_category": "x", "meta_info": {}}
            for i in range(6)
        ],
        "mathvision/test": [
            {"id": str(i), "question": f"{words(4, i)} <image1>", "options": [], "answer": "3", "solution": "", "level": 1,
             "subject": "algebra", "image": f"{i}.png"}
            for i in range(6)
        ],
        **{
            f"dynamath/sample_variant{variant}": [
                {"id": str(i), "question": words(5, i + variant), "ground_truth": "B", "answer_type": "multiple choice",
                 "subject": "statistics", "knowledge_level": "elementary school", "image": f"{i}.png"}
                for i in range(2)
            ]
            for variant in range(1, 11)
        },
    }  # fmt: skip
    for name, lines in rows.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        for line in lines:
            line["image"] = str(folder / f"{int(line['image'].split('.')[0]) % 6}.png")
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    thought = "<|begin_of_thought|> {} <|end_of_thought|> <|begin_of_solution|> {} <|end_of_solution|>"
    pairs = [
        {"question": words(5, i), "domain": domain, "combined_text": thought.format(words(12, i), words(3, i + 1))}
        for domain in ("math", "physics", "chemistry", "biology")
        for i in range(4)
    ]
    (folder / "still2.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return {**{name: str(folder / name) for name in ("mathvista", "mathverse", "mmstar", "mathvision", "dynamath")},
            "mathvision_test": str(folder / "mathvision"), "still2": str(folder / "still2.jsonl")}  # fmt: skip


def configs(folder: Path, models: dict[str, dict[str, Any]], paths: dict[str, str]) -> None:
    """A copy of conf/ in which the models and data lie here."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "conf", folder)
    for group, names in (("target", models), ("source", models), ("benchmark", paths), ("contrast", paths)):
        for name in names:
            path = folder / group / f"{name}.yaml"
            if path.exists():
                values = yaml.safe_load(path.read_text())
                values |= models[name] if name in models else {"path": paths[name], "revision": None}
                path.write_text(yaml.safe_dump(values, sort_keys=False))
    limits, asked = folder / "experiment" / "limits.yaml", folder / "benchmark" / "lm_eval.yaml"
    text = limits.read_text()
    for name, task in TASKS.items():
        text = text.replace(name, task)
    limits.write_text(text)
    asked.write_text(f"{asked.read_text()}\ninclude_path: {lm_eval_tasks.write_tasks(folder.parent / 'tasks')}\n")


def analyze(l2v: Any, outputs: Path) -> int:
    """Figures 1 and 2b; 0 when they are there."""
    small = ("contrast.per_domain=2", "runtime.device=cpu", "runtime.progress=false", f"runtime.outputs={outputs}")
    return int(l2v(["analyze", *FIG1, *small]))


def unheld(outputs: Path, experiment: str) -> int:
    """How many comparisons of an experiment's claims find nothing to be held against, but for those of UNHELD; prints them."""
    claims = [
        one for one in read_claims(ROOT / "experiments" / "paper" / "claims.yaml") if experiment in (one.experiment, one.id)
    ]
    ledger = ClaimLedger(str(outputs), "official")
    found = [(claim.id, one) for claim in claims for one in ledger.findings(claim)]
    lost = [f"{name}: {one.why}" for name, one in found if one.verdict == "not run"]
    unnamed = [why for why in lost if not any(name in why for name in UNHELD)]
    for why in unnamed:
        print(f"{experiment}: UNHELD {why}")
    print(
        f"{experiment}: {len(found)} comparisons of {len(claims)} claims, {len(lost)} not run, {len(unnamed)} of them unnamed"
    )
    return len(unnamed)


def missing(outputs: Path, experiment: str) -> int:
    """How many of the printed figures have no measured one beside them; prints both numbers."""
    table = paper_table(open_study(Store(str(outputs), experiment)), experiment)
    lost = table[table["chosen"] == "missing"]
    print(f"{experiment}: {len(table) - len(lost)} of {len(table)} printed figures present")
    for row in lost.itertuples():
        print(f"{experiment}: missing {row.target} {row.method} {row.column}")
    return len(lost)


def run(l2v: Any, outputs: Path, experiment: str) -> int:
    """One experiment with its grid cut; 0 when no cell failed but for a reason that is named here."""
    given = [word for word in SMALL if not (word.startswith("contrast.per_domain") and experiment == "fig7b")]
    words_ = ["run", "--multirun", f"+experiment={experiment}", f"runtime.outputs={outputs}", *given, *CUTS[experiment]]
    code = int(l2v(words_))
    unnamed = [why for why in FAILED if not any(name in why for name in NAMED.get(experiment, ()))]
    for why in unnamed:
        print(f"{experiment}: FAILED without a named reason: {why}")
    print(f"{experiment}: exit code {code}, {len(FAILED)} cells failed, {len(unnamed)} of them without a named reason")
    return int(bool(unnamed) or code > 1)


def main(arguments: Sequence[str]) -> int:
    """Make what is missing, run, and print every row of the paper's tables."""
    folder = Path(arguments[0]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    l2v.paths.conf_dir = lambda: folder / "conf"
    shutil.copytree(ROOT / "conf", folder / "conf", dirs_exist_ok=True)
    from l2v.cli import main as command

    models = checkpoints(folder / "models", command)
    configs(folder / "conf", models, data(folder / "data"))
    for name in ("llava_next_8b", "internvl2_8b", "qwen2_vl_7b", "idefics2_8b"):
        if not (folder / f"outputs/checkpoints/{name}_virgo").exists():
            code = command(["finetune", f"target={name}", "source=r1_qwen_32b", "contrast=still2", "+finetune=virgo",
                            f"finetune.out=outputs/checkpoints/{name}_virgo", "finetune.epochs=1", "contrast.per_domain=2",
                            "runtime.device=cpu", "runtime.progress=false"])  # fmt: skip
            assert code == 0, name
    asked, outputs = list(arguments[1:]) or [*CUTS, "fig1"], folder / "outputs"
    wrong = [name for name in asked if (analyze(command, outputs) if name == "fig1" else run(command, outputs, name))]
    for name in ("table1", "table2", "source_scale"):
        if name in asked:
            command(["report", f"+experiment={name}", f"outputs={outputs}", "--format", "md"])
            wrong += [name] if missing(outputs, name) else []
    wrong += [name for name in asked if unheld(outputs, name)]
    print(f"wrong: {', '.join(dict.fromkeys(wrong)) or 'nothing'}, of {', '.join(asked)}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
