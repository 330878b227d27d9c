"""`l2v preflight` on small folders of real architectures: every seeded fault in one pass, and the run computes the rest."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from l2v.transfer.directions import Directions

sys.path.insert(0, str(Path(__file__).parents[1]))

WORDS = ("benchmark.limit=2", "decoding.max_new_tokens=4", "runtime.progress=false", "runtime.page=false", "runtime.device=cpu")
# A run of one's own model needs its name; its source and texts are chosen.
BASE = [
    "source=local",
    "target=local",
    "contrast=mini",
    "contrast.per_domain=null",
    "intervention.cutoff=8",
    "intervention.layer=1",
]


def text_model(folder: Path, template: str | None = None, **more: Any) -> Path:
    """A tiny Llama with the words of the families' vocabulary."""
    import families
    import transformers

    torch.manual_seed(3)
    tokens = families.tokenizer("<image>", **({} if template is None else {"template": template}))
    config = transformers.LlamaConfig(**families.text_config(tokens, **more))
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def without_spaces(folder: Path, sound: Path) -> None:
    """A source whose tokenizer reads a text without its spaces."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    shutil.copytree(sound, folder)
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Whitespace(), decoders.Fuse()
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    known = ["What is 12 + 30? Think step by step.", "w0 w1 w2 w3 w4"]
    core.train_from_iterator(known, trainers.BpeTrainer(special_tokens=special))
    core.save(str(folder / "tokenizer.json"))


def changed(sound: Path, folder: Path, name: str, **values: Any) -> None:
    """A copy of a checkpoint of which one file says something else."""
    shutil.copytree(sound, folder)
    told = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(told | values))


def words_beyond(folder: Path, sound: Path) -> None:
    """A source whose tokenizer knows a word of the texts by a number that its model has no embedding of."""
    shutil.copytree(sound, folder)
    told = json.loads((folder / "tokenizer.json").read_text())
    told["model"]["vocab"]["w3"] = 500
    (folder / "tokenizer.json").write_text(json.dumps(told))


def texts(path: Path, words: int) -> Path:
    rows = [{"question": f"w{i} w2", "cot": "w3 " * words, "direct": "w4", "domain": "d"} for i in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of sound and broken models and texts, and the grid of cells that meets them all."""
    import families

    folder = tmp_path_factory.mktemp("faults")
    for family in ("llava", "qwen2_vl"):
        families.load(family, folder / family)
    sound = text_model(folder / "sound")
    text_model(folder / "double_bos", families.TEMPLATE.replace("{{ bos_token }}", "{{ bos_token }}{{ bos_token }}"))
    text_model(folder / "deaf", "{% for m in messages %} {{ m['role'] }} : w1{% endfor %}")
    text_model(folder / "wide", hidden_size=48, num_attention_heads=6)
    without_spaces(folder / "spaceless", sound)
    shutil.copytree(folder / "llava", folder / "weightless", ignore=shutil.ignore_patterns("*.safetensors"))
    text_model(
        folder / "forgetful", families.TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'].split('</think>')[-1] }}")
    )
    changed(sound, folder / "inner", "config.json", intermediate_size=96)
    changed(folder / "llava", folder / "patches", "processor_config.json", patch_size=7)
    changed(folder / "qwen2_vl", folder / "pictures", "config.json", image_token_id=9)
    shutil.copytree(folder / "llava", folder / "endless")
    (folder / "endless" / "generation_config.json").write_text('{"eos_token_id": ')
    words_beyond(folder / "words", sound)
    (folder / "internvl").mkdir()
    llm = {"num_hidden_layers": 3, "hidden_size": 32}
    (folder / "internvl" / "config.json").write_text(
        json.dumps({"model_type": "internvl_chat", "vision_config": {}, "llm_config": llm})
    )
    short, middle, long = (texts(folder / f"{name}.jsonl", n) for name, n in (("short", 4), ("middle", 600), ("long", 2000)))

    equal = texts(folder / "equal.jsonl", 1)
    equal.write_text(equal.read_text().replace("w3 ", "w4"))

    def cell(method: str, target: str = "llava", source: str = "sound", contrast: Path = short, *more: str) -> list[str]:
        models = [f"target.path={folder / target}", f"source.path={folder / source}"]
        return [*BASE, f"method={method}", *models, f"contrast.path={contrast}", f"contrast.name={contrast.stem}", *more]

    blocks = [
        cell("direct,l2v"),
        cell("direct", "qwen2_vl"),
        cell("direct", "internvl"),
        cell("direct", "llava", "sound", short, "target.path=null", "target.id=org/vlm", "target.name=far", "target.layers=3",
             "target.width=32"),
        cell("l2v", "llava", "spaceless"),
        cell("l2v", "llava", "deaf"),
        cell("l2v", "llava", "double_bos"),
        cell("l2v", "llava", "sound", long),
        cell("few_shot_cot", "llava", "sound", middle, "method.shots=2"),
        cell("direct", "qwen2_vl", "sound", short, "processor.min_pixels=262144", "processor.max_pixels=262144"),
        cell("merging", "llava", "wide"),
        cell("finetuned_cot", "llava", "sound", short, "method.weights.checkpoint=/none/such"),
        cell("direct", "llava", "sound", short, "target.quantization=4bit"),
        cell("direct", "llava", "sound", short, "target.layers=5", "target.width=32", "target.name=declared"),
        cell("l2v", "llava", "sound", short, "intervention.layer=7"),
        cell("direct", "llava", "sound", short, "processor.max_tiles=2"),
        cell("direct", "weightless"),
        cell("finetuned_cot", "llava", "sound", short, f"method.weights.checkpoint={folder / 'qwen2_vl'}"),
        cell("direct", "llava", "sound", short, "target.attention=flash_attention_2", "target.name=flash"),
        cell("l2v", "llava", "forgetful"),
        cell("l2v", "llava", "inner"),
        cell("l2v", "llava", "words"),
        cell("l2v", "llava", "sound", equal),
        cell("direct", "patches"),
        cell("direct", "pictures"),
        cell("direct", "endless"),
        cell("merging", "llava", "sound", short, "method.weights.kind=ties", f"method.weights.base={folder / 'wide'}"),
        cell("mathneuro", "llava", "sound", long),
        cell("l2v", "llava", "sound", short, "source.layers=3", "source.width=64", "source.name=narrow"),
    ]  # fmt: skip
    (folder / "experiment").mkdir()
    text = f"# @package _global_\nstudy: faults\nblocks: {json.dumps(blocks)}\n"
    (folder / "experiment" / "faults.yaml").write_text(text)
    return folder


# What is told of each fault, and a part of its mend.
TOLD = (
    (r"InternVL checkpoint in its authors' own format", "l2v convert"),
    (r"'org/vlm' could not be loaded from the hub", r"target\.path=FOLDER"),
    (r"loses spaces", "pip install -U transformers"),
    (r"leaves out the question", "mend the template"),
    (r"two BOS", "mend the template"),
    (r"'long' has \d+ tokens, the context of '.*sound' holds 1024", r"contrast\.per_domain"),
    (r"A prompt of \d+ tokens exceeds the context", r"method\.shots"),
    (r"A prompt of \d+ tokens exceeds the context", r"processor\.max_pixels"),
    (r"cannot be merged", "."),
    (r"method\.weights\.checkpoint '/none/such' does not exist", "."),
    (r"quantization=4bit of .* needs bitsandbytes", r"target\.quantization=null"),
    (r"'declared' say 5 x 32, the checkpoint has 3 x 32", r"target\.layers=null"),
    (r"intervention\.layer=7 is out of range", "0 … 2"),
    (r"has no setting like processor\.max_tiles", "processor=hub"),
    (r"weightless' holds no \*\.safetensors", "copy or download"),
    (r"qwen2_vl' is no fine-tuned 'llava'", "made from this target"),
    (r"attention=flash_attention_2 of .* needs flash_attn", r"target\.attention=null"),
    (r"inner' does not fit its config: .*gate_proj\.weight \(64 x 32 instead of 96 x 32\)", "again"),
    (r"words' gives token 500, and the model knows", "get the checkpoint again"),
    (r"two texts of every contrast pair are equal", "choose other texts"),
    (r"patches' writes 16 tokens for a question's pictures, the model makes 4", "get the checkpoint again"),
    (r"pictures' writes token \d+ for a picture, its config.json names 7, 9", "get the checkpoint again"),
    (r"endless/generation_config\.json' cannot be read", "again"),
    (r"wide' cannot be merged|llava' and '.*wide' cannot be merged", r"method\.weights\.base="),
    (r"A prompt of 20\d\d tokens exceeds the context", r"contrast\.path"),
    (r"'narrow' say 3 x 64, the checkpoint has 3 x 32", "source"),
)
SOUND = 4


@pytest.fixture
def no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = ("bitsandbytes", "flash_attn")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in lacking else real(name, *more))


def test_every_fault_is_named_in_one_run_and_the_rest_is_computed(
    faults: Path, l2v: Callable[..., Any], tmp_path: Path, no_extras: None
) -> None:
    words = ("--multirun", "--config-dir", str(faults), "+experiment=faults", f"runtime.outputs={tmp_path}", *WORDS)
    began = time.perf_counter()
    answer = l2v("preflight", "format=json", *words)
    seconds = time.perf_counter() - began
    assert answer.code == 1, answer.err
    assert not list(tmp_path.iterdir()), "preflight writes nothing"
    found = json.loads(answer.out)
    for what, mend in TOLD:
        assert any(re.search(what, p["what"]) and re.search(mend, p["mend"]) for p in found["problems"]), (what, answer.out)
    assert len(found["problems"]) == len(TOLD), answer.out
    notes = [note for note in found["notes"] if "suppress_tokens" not in note["what"]]  # every target's here
    assert [(note["what"].split("'")[1], len(note["cells"])) for note in notes] == [(str(faults / "forgetful"), 1)]
    assert all(problem["cells"] for problem in found["problems"])
    assert (found["cells"], found["blocked"]) == (SOUND + len(TOLD), len(TOLD))
    print(f"{len(TOLD)} faults in {seconds:.0f} s")
    run = l2v("run", *words)
    assert run.code == 1, run.err
    assert "Traceback" not in run.err
    assert len(list((tmp_path / "faults").glob("cells/*/DONE"))) == SOUND, run.err


def test_a_sound_run_has_no_problem_and_its_cost_is_told(faults: Path, l2v: Callable[..., Any], tmp_path: Path) -> None:
    models = (f"target.path={faults / 'llava'}", f"source.path={faults / 'sound'}", f"contrast.path={faults / 'short.jsonl'}")
    words = (*BASE, "method=l2v", *models, f"runtime.outputs={tmp_path}", *WORDS, "decoding.max_new_tokens=1020")
    answer = l2v("preflight", "card=h100", "format=json", *words)
    assert answer.code == 0, answer.out + answer.err
    found = json.loads(answer.out)
    assert "1 of 1 cell can run; 0 problems." in answer.err
    assert [(re.sub("'.*'|[0-9]+ tokens", "…", n["what"]), len(n["cells"])) for n in found["notes"]] == [
        ("The generation_config.json of … changes which tokens are chosen: suppress_tokens=9 entries.", 1),
        ("A prompt of … and an answer of 1020 pass the context of … (1024).", 1),
    ]
    assert (found["problems"], found["cells"], found["blocked"]) == ([], 1, 0)
    assert [need["cells"] for need in found["needs"]] == [1, 1]
    assert all(need["cost"]["rows"] >= 1 and need["cost"]["hours"] > 0 for need in found["needs"])


def test_what_a_checkpoint_changes_of_answers_is_told(faults: Path, l2v: Callable[..., Any], tmp_path: Path) -> None:
    """Before, without a weight, and by the run; another one is another cell."""
    changed(faults / "llava", tmp_path / "punished", "generation_config.json", repetition_penalty=1.3, suppress_tokens=None)
    told = f"The generation_config.json of '{tmp_path / 'punished'}' changes which tokens are chosen: repetition_penalty=1.3."
    models = (f"target.path={tmp_path / 'punished'}", f"source.path={faults / 'sound'}")
    words = (*BASE, "method=direct", *models, f"runtime.outputs={tmp_path / 'outputs'}", *WORDS)
    found = json.loads(l2v("preflight", "format=json", *words).out)
    assert [(note["what"], len(note["cells"])) for note in found["notes"]] == [(told, 1)]
    dry, run = l2v("run", "dry_run=true", "list_cells=true", *words), l2v("run", *words)
    assert (dry.code, run.code) == (0, 0), run.err
    assert [answer.err.count(told) for answer in (dry, run)] == [1, 1]
    other = l2v("run", "dry_run=true", "list_cells=true", *words, f"target.path={faults / 'llava'}")
    assert other.code == 0 and other.out != dry.out and "suppress_tokens=9 entries" in other.err


def test_marks_of_a_template_that_its_model_does_not_know_are_noted(
    faults: Path, l2v: Callable[..., Any], tmp_path: Path
) -> None:
    """An end of turns that ends no answer, as Llama 3's under a generation config that names the end of texts alone, and marks
    of another family's template."""
    shutil.copytree(faults / "llava", tmp_path / "marked")
    template = tmp_path / "marked" / "chat_template.jinja"
    ending = "{% if messages[-1]['role'] == 'assistant' %} MARK {% endif %}{% if add"
    ended = template.read_text().replace("{% if add", ending)
    words = (*BASE, "method=direct", f"source.path={faults / 'sound'}", f"contrast.path={faults / 'short.jsonl'}", *WORDS)
    for mark, noted in (("<pad>", "ends a turn with '<pad>'"), ("</s>", ""), ("<|im_end|>", "writes '<|im_end|>'")):
        template.write_text(ended.replace("MARK", mark))
        answer = l2v("preflight", "format=json", *words, f"target.path={tmp_path / 'marked'}", f"runtime.outputs={tmp_path}")
        told = [note["what"] for note in json.loads(answer.out)["notes"] if f"template of '{tmp_path}" in note["what"]]
        assert (answer.code, len(told)) == (0, bool(noted)) and all(noted in one for one in told), answer.out


def test_pictures_of_another_familys_processor_are_noted(faults: Path, l2v: Callable[..., Any], tmp_path: Path) -> None:
    """No tower fails with them, and what it sees is another picture."""
    words = (*BASE, "method=direct", f"source.path={faults / 'sound'}", f"contrast.path={faults / 'short.jsonl'}", *WORDS)
    sound = json.loads((faults / "llava" / "processor_config.json").read_text())["image_processor"]
    half, plain = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, {"do_normalize": False}
    large, raw = {"size": {"shortest_edge": 56}}, {"do_resize": False}
    for name, odd, told in (
        ("half", half, "centres pictures on 0.5, 0.5, 0.5."), ("plain", plain, "centres pictures on 0.0, 0.0, 0.0."),
        ("flat", {"image_std": [0.5] * 3}, "divides pictures by 0.5, 0.5, 0.5."),
        ("large", large, "keeps the middle 28 pixels of pictures that it scales to 56."),
        ("raw", raw, "keeps the middle 28 pixels of pictures as they are."), ("same", {}, ""),
    ):  # fmt: skip
        changed(faults / "llava", tmp_path / name, "processor_config.json", image_processor=sound | odd)
        answer = l2v("preflight", "format=json", *words, f"target.path={tmp_path / name}", f"runtime.outputs={tmp_path}")
        notes = [note["what"] for note in json.loads(answer.out)["notes"] if "image processor" in note["what"]]
        wanted = [f"The image processor of '{tmp_path / name}' {told}"] if told else []
        assert answer.code == 0 and notes == wanted, answer.out


def test_rows_of_a_contrast_that_make_no_pair_are_counted(faults: Path, l2v: Callable[..., Any], tmp_path: Path) -> None:
    """Before, with what follows, and by the run, which computes a direction of the others."""
    rows = [{"question": f"w{i} w2", "cot": "w3 w3", "direct": "w4" if i else " ", "domain": "d"} for i in range(4)]
    (tmp_path / "gaps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = (f"target.path={faults / 'llava'}", f"source.path={faults / 'sound'}", f"contrast.path={tmp_path / 'gaps.jsonl'}")
    words = (*BASE, "method=l2v", *models, "contrast.name=gaps", f"runtime.outputs={tmp_path / 'outputs'}", *WORDS)
    told = "1 of 4 rows of contrast 'gaps' lack one of the two responses and are left out."
    notes = json.loads(l2v("preflight", "format=json", *words).out)["notes"]
    assert [len(note["cells"]) for note in notes if note["what"] == told] == [1], notes
    run = l2v("run", *words)
    assert run.code == 0 and told in run.err, run.err
    (read,) = (tmp_path / "outputs").glob("cache/directions/*.safetensors")
    assert Directions.load(read).n == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("card=h1",), "h100"),
        (("format=xml",), "json"),
        (("method=l3v",), "l2v"),
        (("x",), "key=value"),
    ],
)
def test_bad_words_are_one_sentence(words: tuple[str, ...], told: str, l2v: Callable[..., Any]) -> None:
    answer = l2v("preflight", *words)
    assert answer.code == 2
    assert told in answer.err and len(answer.err.splitlines()) == 1
