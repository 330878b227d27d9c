"""Faults that a careful stranger seeds beside those of test_preflight: told in one pass, and no two workers trip over them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from study.test_preflight import BASE, WORDS, changed, text_model, texts


def put(sound: Path, folder: Path, part: str, file: str = "config.json", **values: Any) -> None:
    """A copy of a checkpoint of which a part of one file says something else."""
    told = json.loads((sound / file).read_text())[part]
    changed(sound, folder, file, **{part: told | values})


def questions(folder: Path, **second: Any) -> Path:
    """MathVista's file with three questions, the second of which is changed."""
    import families

    folder.mkdir()
    families.picture(30, 20).save(folder / "x.png")
    row = {"query": "w1 w2", "image": "x.png", "choices": None, "unit": None, "precision": None, "answer": "3",
           "question_type": "free_form", "answer_type": "integer", "question": "w1 w2",
           "metadata": {"category": "general-vqa", "context": "x", "grade": "x", "language": "english", "skills": ["x"],
                        "source": "x", "split": "testmini", "task": "x"}}  # fmt: skip
    rows = [{**row, "pid": str(i), **(second if i == 1 else {})} for i in range(3)]
    (folder / "testmini.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Broken models, texts and questions, and the experiment that meets each of them beside seven cells that are sound."""
    import families
    import odd_families

    at = tmp_path_factory.mktemp("seeded")
    for family in ("llava", "llava_next", "qwen2_vl", "idefics2"):
        families.load(family, at / family)
    odd_families.load("gemma3_vision", at / "gemma3_vision")
    sound, llava = text_model(at / "sound"), at / "llava"
    text_model(at / "greater", vocab_size=300)
    shutil.copytree(llava, at / "stranger")
    shutil.copy(at / "qwen2_vl" / "processor_config.json", at / "stranger")
    shutil.copytree(llava, at / "silent", ignore=shutil.ignore_patterns("chat_template*"))
    shutil.copytree(llava, at / "abrupt")
    template = (llava / "chat_template.jinja").read_text()
    (at / "abrupt" / "chat_template.jinja").write_text(template.replace(" assistant :", ""))
    changed(llava, at / "eos_word", "generation_config.json", eos_token_id="two")
    changed(llava, at / "eos_far", "generation_config.json", eos_token_id=[9999])
    changed(llava, at / "unpatched", "processor_config.json", patch_size=None)
    changed(llava, at / "far_pictures", "config.json", image_token_index=9999, image_token_id=9999)
    changed(llava, at / "feature", "config.json", vision_feature_layer=-9)
    changed(llava, at / "whole_numbers", "config.json", dtype="int8")
    changed(llava, at / "gptq", "config.json", quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128})
    packed = load_file(llava / "model.safetensors") | {"layers.0.q_proj.qweight": torch.zeros(2, 2, dtype=torch.int32)}
    save_file(packed, at / "gptq" / "model.safetensors", metadata={"format": "pt"})
    changed(at / "idefics2", at / "resampled", "processor_config.json", image_seq_len=7)
    put(llava, at / "heads", "text_config", num_attention_heads=5)
    put(llava, at / "narrow", "text_config", max_position_embeddings=6)
    put(llava, at / "rope", "text_config", rope_parameters={"rope_type": "zzz", "rope_theta": 1e4})
    put(llava, at / "sizeless", "image_processor", "processor_config.json", size=None)
    put(llava, at / "unscaled", "image_processor", "processor_config.json", image_std=[0.0, 0.0, 0.0])
    put(llava, at / "uncropped", "image_processor", "processor_config.json", crop_size={"height": 0, "width": 0})
    put(llava, at / "two_heads", "text_config", tie_word_embeddings=True)
    changed(llava, at / "beams", "generation_config.json", num_beams=4)
    changed(llava, at / "floats", "config.json", quantization_config={"quant_method": "fp8"})
    changed(llava, at / "unpadded", "tokenizer_config.json", pad_token=None)
    changed(sound, at / "reversed", "config.json")
    order = (sound / "chat_template.jinja").read_text().replace("messages %}", "messages|reverse %}")
    (at / "reversed" / "chat_template.jinja").write_text(order)
    put(at / "qwen2_vl", at / "merged", "image_processor", "processor_config.json", merge_size=1)
    put(at / "qwen2_vl", at / "still", "image_processor", "processor_config.json", temporal_patch_size=1)
    area = {"shortest_edge": 4096, "longest_edge": 256}
    put(at / "qwen2_vl", at / "least", "image_processor", "processor_config.json", size=area)
    put(at / "qwen2_vl", at / "turned", "text_config", rope_parameters={**families.ROPE, "mrope_section": [4, 4, 4]})
    put(at / "llava_next", at / "pins", "image_processor", "processor_config.json", image_grid_pinpoints=[[14, 14], [42, 14]])
    put(llava, at / "bright", "image_processor", "processor_config.json", do_rescale=False)
    changed(llava, at / "forced", "generation_config.json", forced_eos_token_id=2)
    shutil.copytree(llava, at / "header")
    weights = (llava / "model.safetensors").read_bytes()
    (at / "header" / "model.safetensors").write_bytes((10**12).to_bytes(8, "little") + weights[8:])
    text_model(at / "uneven", num_attention_heads=4, num_key_value_heads=3)
    short, pictured, ended = (texts(at / f"{name}.jsonl", 4) for name in ("short", "pictured", "ended"))
    pictured.write_text(pictured.read_text().replace("w2", "<image>"))
    ended.write_text(ended.read_text().replace("w3 w3", "w3 </s>", 1))
    foreign, blank = texts(at / "foreign.jsonl", 4), texts(at / "blank.jsonl", 4)
    foreign.write_text(foreign.read_text().replace("w3 w3 w3 w3", "nobody knows these", 1))
    swapped = texts(at / "swapped.jsonl", 4)
    swapped.write_text(swapped.read_text().replace('"cot"', '"x"').replace('"direct"', '"cot"').replace('"x"', '"direct"'))
    blank.write_text(blank.read_text().replace("w1 w2", " "))
    for name, words in (("near", 5), ("long", 1900)):
        rows = [{"question": f"w{min(i, 17)} w2", "response": "w1 " * words} for i in range(20)]
        (at / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain, padded = questions(at / "plain"), questions(at / "padded", query="w1 <|image_pad|>", question="w1 <|image_pad|>")
    lost, closed = questions(at / "lost", image="gone.png"), questions(at / "closed", query="w1 </s> w2", question="w1 </s> w2")

    def cell(method: str, target: str = "llava", contrast: Path = short, *more: str) -> list[str]:
        models = [f"target.path={at / target}", f"source.path={sound}"]
        return [*BASE, f"method={method}", *models, f"contrast.path={contrast}", f"contrast.name={contrast.stem}", *more]

    def asked(data: Path) -> tuple[str, ...]:
        return ("benchmark=mathvista", "benchmark.id=x/y", "benchmark.revision=null", f"benchmark.path={data}")

    def neutral(name: str) -> tuple[str, ...]:
        return ("neutral=local", f"neutral.path={at / name}.jsonl", "neutral.texts=20")

    targets = ("stranger", "silent", "eos_word", "eos_far", "unpatched", "far_pictures", "feature", "whole_numbers", "gptq",
               "resampled", "heads", "narrow", "rope", "sizeless", "merged", "abrupt",
               "unscaled", "uncropped", "two_heads", "beams", "floats", "unpadded",
               "still", "least", "turned", "pins", "bright", "forced", "header")  # fmt: skip
    blocks = [
        cell("direct,l2v"),
        cell("direct", "qwen2_vl", short, *asked(plain)),
        cell("direct", "gemma3_vision"),
        *(cell("direct", target) for target in targets),
        cell("own_direction", "llava", pictured),
        cell("few_shot_cot", "llava", pictured, "method.shots=1"),
        cell("ridge_neutral", "llava", short, *neutral("long")),
        cell("direct", "qwen2_vl", short, *asked(padded)),
        cell("direct", "qwen2_vl", short, *asked(lost)),
        cell("l2v", "llava", short, "intervention.alpha=-1"),
        cell("l2v,mathneuro", "llava", ended),
        cell("few_shot_cot", "llava", ended, "method.shots=2"),
        cell("l2v", "llava", short, f"source.path={at / 'greater'}"),
        cell("direct", "qwen2_vl", short, *asked(closed)),
        cell("l2v", "llava", short, f"source.path={at / 'reversed'}"),
        cell("l2v", "llava", short, f"source.path={at / 'uneven'}"),
        cell("l2v", "llava", foreign),
        cell("own_direction", "llava", blank),
        cell("l2v", "llava", swapped),
    ]
    (at / "experiment").mkdir()
    (at / "experiment" / "seeded.yaml").write_text(f"# @package _global_\nstudy: seeded\nblocks: {json.dumps(blocks)}\n")
    return at


REPEATED = "2 of 20 neutral texts of 'local' repeat another one"
TOLD = (
    (r"stranger' refuses question '.*': .*image_pad", "fit each other"),
    (r"silent' has no chat template", "chat_template"),
    (r"eos_word' ends answers at eos_token_id='two'", "again"),
    (r"eos_far' ends answers at eos_token_id=\[9999\]", "again"),
    (r"unpatched' refuses question '.*': TypeError", "fit each other"),
    (r"far_pictures' writes token \d+ for a picture, its config.json names 9999", "again"),
    (r"feature' cannot read a picture by its config.json", "again"),
    (r"whole_numbers' could not be loaded .*int8", "."),
    (r"gptq' need a package", "install"),
    (r"resampled' writes 7 tokens for a question's pictures, the model makes 3", "again"),
    (r"heads' could not be loaded .*attention heads \(5\)", "."),
    (r"A prompt of \d+ tokens exceeds the context of '.*narrow' \(6\)", "."),
    (r"rope' could not be loaded .*zzz", "."),
    (r"sizeless' refuses question '.*': .*size", "fit each other"),
    (r"merged' writes \d+ tokens for a question's pictures, the model makes \d+", "again"),
    (r"A text holds '<image>', which '.*llava' reads as the place of a picture", "choose other texts"),
    (r"A neutral text has \d+ tokens, the model's context holds 1024", "shorter"),
    (r"A text holds '<\|image_pad\|>', which '.*qwen2_vl' reads", "choose other texts"),
    (r"gone\.png|missing or corrupt", "."),
    (r"intervention\.alpha=-1(\.0)? must be at least 0", "."),
    (r"greater' knows \d+ tokens, its model 300", "again"),
    (r"A text holds '</s>' \(….*w3 </s> .*…\), which '.*sound' reads as a control token", "choose other texts"),
    (r"A text holds '</s>' \(….*w3 </s> .*…\), which '.*llava' reads as a control token", "choose other texts"),
    (r"A text holds '</s>' \(….*w1 </s> w2.*…\), which '.*qwen2_vl' reads as a control token", "choose other texts"),
    (r"unscaled' has image_std=\[0\.0, 0\.0, 0\.0\], which must be", "again"),
    (r"uncropped' makes pictures of another size than its model takes", "again"),
    (
        r"two_heads' ties lm_head\.weight to .*embed_tokens\.weight, and its files hold two that differ",
        "tie_word_embeddings=false",
    ),
    (r"beams' asks for num_beams=4", "decoding"),
    (r"floats' says that its weights are quantized \(quant_method=fp8\), and none of them is", "quantization_config"),
    (r"reversed' writes an answer before its question", "mend the template"),
    (r"A text holds no word that '.*sound' knows \('nobody knows these", "choose other texts"),
    (r"still' makes pictures of another size than its model takes \(48 values a patch", "again"),
    (r"least' would scale pictures to at least 4096 and at most 256 pixels", "again"),
    (r"turned' do not fit each other, .*config\.json \(.*split_sizes=\[4, 4, 4\]", "again"),
    (r"pins' and its config\.json name other shapes of tiles", "again"),
    (r"bright' puts 925 between black and white", "again"),
    (r"forced' asks for forced_eos_token_id=2", "decoding"),
    (r"header/model\.safetensors' are damaged \(the header is longer than the file", "again"),
    (r"uneven' do not fit each other, .*config\.json \(.*4\) must match .*3\)", "again"),
    (r"1 of 2 questions of the contrast data .*blank\.jsonl are empty", "mend the data"),
)


@pytest.mark.usefixtures("served_workers")
def test_all_are_told_in_one_pass_and_two_workers_compute_the_rest(
    seeded: Path, l2v: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("--multirun", "--config-dir", str(seeded), "+experiment=seeded", f"runtime.outputs={tmp_path}", *WORDS)
    answer = l2v("preflight", "format=json", *words)
    assert answer.code == 1 and "Traceback" not in answer.err, answer.err
    found = json.loads(answer.out)
    for what, mend in TOLD:
        assert any(re.search(what, p["what"]) and re.search(mend, p["mend"]) for p in found["problems"]), (what, answer.out)
    odd = [p["what"] for p in found["problems"] if not any(re.search(what, p["what"]) for what, _ in TOLD)]
    assert not odd and len(found["problems"]) == len(TOLD), (odd, answer.out)
    notes = [note["what"] for note in found["notes"] if "suppress_tokens" not in note["what"]]  # every target's here
    assert [name in note for name, note in zip(("abrupt", "'swapped'", REPEATED), notes, strict=True)] == [True] * 3
    # `abrupt`, `unpadded` and `swapped` are no faults by themselves.
    assert (found["cells"], found["blocked"]) == (49, 42)
    run = l2v("run", *words, "executor=processes", "executor.workers=2")
    assert run.code == 1 and "Traceback" not in run.err, run.err
    assert len(list((tmp_path / "seeded").glob("cells/*/DONE"))) == 7, run.err
