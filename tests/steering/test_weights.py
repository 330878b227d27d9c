"""Methods that change weights: their definitions by hand, and the way back by the bit, for every family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import families
import pytest
import torch
import transformers
from torch import Tensor

from l2v.errors import UserError
from l2v.paths import PACKAGE
from l2v.steering.engine.engine import Decoding, Engine, Request
from l2v.steering.mathneuro import importance, input_norms, language_linears, mathneuro, specific
from l2v.steering.merging import Merge, layer_swap, linear, matching_keys, merge, ties
from l2v.steering.models import LoadedModel, ModelSpec, decoder_layers, load_model
from l2v.steering.prompts import chat_prompt, encode_prompts
from l2v.steering.weights import Change, language_model, language_tensors, weights_changed

LLMS = {
    "llava": ("Llama", {}),
    "llava_next": ("Llama", {}),
    "qwen2_vl": ("Qwen2", {}),
    "qwen2_5_vl": ("Qwen2", {}),
    "qwen3_vl": ("Qwen3", {"head_dim": 8}),
    "internvl": ("Qwen2", {}),
    "idefics2": ("Mistral", {}),
    "idefics3": ("Llama", {}),
    "smolvlm": ("Llama", {}),
}
TEXTS = ["user : w1 w2 w3 assistant : w4", "user : w5 assistant : w6 w7 w8 w9 w10", "user : w3 w3 assistant : w1"]
OTHERS = ["user : w40 w41 w42 w43 assistant : w44", "user : w50 assistant : w51"]


def mini(name: str) -> LoadedModel:
    """A trained model of the miniature world."""
    spec = ModelSpec(f"l2v/mini-{name}", path=str(PACKAGE / "mini" / "checkpoints" / name), dtype="float32")
    return load_model(spec, "vision" if name.startswith("vlm") else "text")


def text_model(kind: str, vocabulary: int = 80, **more: Any) -> LoadedModel:
    """A text LLM of a stock class with the families' widths and random weights; it has another vocabulary than they."""
    sizes = {
        "vocab_size": vocabulary, "hidden_size": families.WIDTH, "intermediate_size": 64,
        "num_hidden_layers": families.LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**{**sizes, **more})
    torch.manual_seed(7)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    return LoadedModel(ModelSpec(f"tests/{kind}"), model, None, None, decoder_layers(model))


@pytest.fixture(scope="module", params=sorted(families.FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, LoadedModel]:
    """Each family's tiny checkpoint."""
    return request.param, families.load(request.param, tmp_path_factory.mktemp(request.param))


def bits(model: Any) -> dict[str, Tensor]:
    """A copy of every tensor of a model as integers: equal means equal to the bit."""
    whole = {torch.float32: torch.int32, torch.bfloat16: torch.int16}
    return {k: v.detach().clone().view(whole.get(v.dtype, v.dtype)) for k, v in model.state_dict().items()}


def same(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    """Whether two such copies are equal."""
    return before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def logits(loaded: LoadedModel) -> Tensor:
    """Of a question with a picture, at its last token."""
    prompt = chat_prompt(loaded, "<image> w1 w2", 1)
    with torch.no_grad():
        return loaded.model(**encode_prompts(loaded, [prompt], [[families.picture(28, 28)]])).logits[0, -1]


# --- definitions, by hand ---------------------------------------------------------------------------------------------


def test_linear_by_hand() -> None:
    """theta = a theta_VLM + (1 - a) theta_LLM on a 4 x 6 matrix."""
    vlm = {"w": torch.arange(24.0).view(4, 6)}
    llm = {"w": torch.full((4, 6), 8.0)}
    expected = [
        [2.0, 2.75, 3.5, 4.25, 5.0, 5.75],
        [6.5, 7.25, 8.0, 8.75, 9.5, 10.25],
        [11.0, 11.75, 12.5, 13.25, 14.0, 14.75],
        [15.5, 16.25, 17.0, 17.75, 18.5, 19.25],
    ]
    assert dict(linear(vlm, llm, 0.75))["w"].tolist() == expected
    assert dict(linear(vlm, llm))["w"][0, :2].tolist() == pytest.approx([0.8, 1.7])  # a = 0.9 unless told otherwise
    with pytest.raises(UserError, match="share=1.5"):
        linear(vlm, llm, 1.5)


def test_layer_swap_by_hand() -> None:
    """Blocks of the range are the LLM's, the final norm goes with the last block, a share averages."""
    keys = ["layers.0.w", "layers.1.w", "layers.2.w", "norm.weight"]
    vlm = {key: torch.zeros(4, 6) for key in keys}
    llm = {key: torch.full((4, 6), float(i + 1)) for i, key in enumerate(keys)}
    assert {k: v[3, 5].item() for k, v in layer_swap(vlm, llm, (1, 2))} == {"layers.1.w": 2.0}
    assert {k: v[0, 0].item() for k, v in layer_swap(vlm, llm, (1, 3))} == {
        "layers.1.w": 2.0,
        "layers.2.w": 3.0,
        "norm.weight": 4.0,
    }
    assert {k: v[0, 0].item() for k, v in layer_swap(vlm, llm, (0, 1), 0.75)} == {"layers.0.w": 0.25}
    for layers in ((2, 2), (-1, 1), (0, 4)):
        with pytest.raises(UserError, match="no range of decoder blocks; choose from 0 to 3"):
            layer_swap(vlm, llm, layers)


def test_ties_by_hand() -> None:
    """Trim, elect, merge, on six numbers.

    tau_VLM  4 -3  1  0  2 -5   trimmed to three:  4 -3  0  0  0 -5
    tau_LLM -2 -6  0  5  1  8                      0 -6  0  5  0  8
    sums                                           4 -9  0  5  0  3
    means of those with the elected sign           4 -4.5 0 5  0  8
    """
    base = torch.full((6,), 10.0)
    vlm, llm = base + torch.tensor([4.0, -3, 1, 0, 2, -5]), base + torch.tensor([-2.0, -6, 0, 5, 1, 8])
    states = ({"w": vlm}, {"w": llm}, {"w": base})
    assert dict(ties(*states, density=0.5))["w"].tolist() == [14, 5.5, 10, 15, 10, 18]
    assert dict(ties(*states, density=0.5, scale=0.5))["w"].tolist() == [12, 7.75, 10, 12.5, 10, 14]
    assert dict(ties(*states, density=0.5, weights=(0.5, 0.25)))["w"].tolist() == [12, 8.5, 10, 11.25, 10, 12]
    assert dict(ties(*states, density=0.1))["w"].tolist() == base.tolist()  # floor(0.6) entries are kept: none
    for density in (0.0, 1.5):
        with pytest.raises(UserError, match=f"density={density}"):
            ties(*states, density=density)


def test_ties_agrees_with_peft() -> None:
    """On random matrices, with weights, as PEFT's merge of adapters has it."""
    peft = pytest.importorskip("peft.utils.merge_utils")
    draws = torch.Generator().manual_seed(0)
    base, vlm, llm = (torch.randn(40, 60, generator=draws) for _ in range(3))
    theirs = base + 0.7 * peft.ties([vlm - base, llm - base], torch.tensor([0.9, 0.3]), 0.3)
    ours = dict(ties({"w": vlm}, {"w": llm}, {"w": base}, 0.3, 0.7, (0.9, 0.3)))["w"]
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert not torch.allclose(ours, base, atol=1e-2)


WEIGHT = torch.tensor([[1.0, -2, 3, -4, 5, -6], [2, 2, 2, 2, 2, 2], [-1, 0, 1, 0, -1, 9], [4, -4, 4, -4, 4, -4]])
MATH = torch.tensor([10.0, 1, 1, 1, 1, 1])
OTHER = torch.tensor([4.0, 1, 1, 1, 1, 2.5])


def test_mathneuro_by_hand() -> None:
    """The score |W| ||x||, its top four of 24 by the math norms, less the top four by the others.

    By math the four largest are the first column (10, 20, 10, 40). By the others they are 22.5 and 15 and 10 in the last
    column (third, first, fourth row) and 16 in the first column's last row, which is therefore not math's alone.
    """
    expected = [
        [10, 2, 3, 4, 5, 6],
        [20, 2, 2, 2, 2, 2],
        [10, 0, 1, 0, 1, 9],
        [40, 4, 4, 4, 4, 4],
    ]
    assert importance(WEIGHT, MATH).tolist() == expected
    chosen = specific(WEIGHT, MATH, OTHER, share=1 / 6)
    assert chosen.nonzero().tolist() == [[0, 0], [1, 0], [2, 0]]
    assert not specific(WEIGHT, MATH, MATH, share=1 / 6).any()


def test_mathneuro_scales_what_it_chose(tmp_path: Path) -> None:
    """In a model: of each Linear exactly the chosen weights are multiplied, the rest and all other tensors stay."""
    loaded = families.load("llava", tmp_path)
    before = {k: v.clone() for k, v in loaded.model.state_dict().items()}
    math, other = input_norms(loaded, TEXTS), input_norms(loaded, OTHERS)
    linears = language_linears(loaded.model)
    assert len(linears) == 3 * 7 + 1  # lm_head is untied here, and counts as released
    with weights_changed(loaded, mathneuro(loaded, TEXTS, OTHERS, share=0.1, factor=1.5)) as written:
        now = loaded.model.state_dict()
        assert written > 15
        for key in before:
            name = key.removesuffix(".weight")
            if name in linears:
                mask = specific(before[key], math[name], other[name], 0.1)
                assert 0 <= int(mask.sum()) <= int(0.1 * mask.numel())
                assert torch.equal(now[key], torch.where(mask, before[key] * 1.5, before[key])), key
            else:
                assert torch.equal(now[key], before[key]), key
    with (
        pytest.raises(UserError, match="no parameter in the top share"),
        weights_changed(loaded, mathneuro(loaded, TEXTS, TEXTS, share=0.1)),
    ):
        pass
    with pytest.raises(UserError, match="non-math calibration set of MathNeuro is empty"):
        mathneuro(loaded, TEXTS, [])
    with pytest.raises(UserError, match="share=0"):
        mathneuro(loaded, TEXTS, OTHERS, share=0)


@pytest.mark.parametrize("name", ["llava", "idefics2"])
def test_input_norms_are_sums_over_texts(name: str, tmp_path: Path) -> None:
    """Equal to norms taken text by text, without padding; so neither padding nor batching counts."""
    loaded = families.load(name, tmp_path)
    prefix, module = language_model(loaded.model)
    inner = module.layers[1].mlp.down_proj
    expected, last = torch.zeros(inner.in_features), torch.zeros(families.WIDTH)
    for text in TEXTS:
        seen: list[Tensor] = []
        handle = inner.register_forward_hook(lambda _m, args, _o, seen=seen: seen.append(args[0]))
        ids = loaded.tokenizer(text, add_special_tokens=True, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            states = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states[-1]
        handle.remove()
        expected += seen[0][0].norm(dim=0)
        last += states[0].norm(dim=0)
    head = next(n for n, m in loaded.model.named_modules() if m is loaded.model.get_output_embeddings())
    for tokens in (1, 20, 10_000):
        norms = input_norms(loaded, TEXTS, batch_tokens=tokens)
        assert torch.allclose(norms[f"{prefix}layers.1.mlp.down_proj"].float(), expected, rtol=1e-4, atol=1e-5)
        assert torch.allclose(norms[head].float(), last, rtol=1e-4, atol=1e-5)


# --- families ---------------------------------------------------------------------------------------------------------


def test_the_language_model_is_found(family: tuple[str, LoadedModel]) -> None:
    """Its tensors match those of the family's text LLM, and are the live ones; vocabulary, tower and projector are not in."""
    name, loaded = family
    kind, more = LLMS[name]
    llm = text_model(kind, **more)
    keys = matching_keys(loaded, llm)
    assert set(keys) == {k.removeprefix("model.") for k in llm.model.state_dict()} - {"embed_tokens.weight", "lm_head.weight"}
    live = {id(p) for p in loaded.model.parameters()}
    assert all(id(tensor) in live for tensor in language_tensors(loaded.model).values())


def test_every_bit_comes_back(family: tuple[str, LoadedModel]) -> None:
    """Merging and MathNeuro change the answer to a picture; afterwards, exceptions or not, the model is what it was."""
    name, loaded = family
    kind, more = LLMS[name]
    llm = text_model(kind, **more)
    before, answer = bits(loaded.model), logits(loaded)
    ways: list[Any] = [
        lambda: merge(loaded, llm, Merge("linear", share=0.5)),
        lambda: merge(loaded, llm, Merge("layer_swap")),
        lambda: merge(loaded, llm, Merge("ties", density=0.3), base=text_model(kind, initializer_range=0.05, **more)),
        lambda: mathneuro(loaded, TEXTS, OTHERS, share=0.1, factor=2.0),
    ]
    for way in ways:
        with weights_changed(loaded, way()) as written:
            assert written > 0
            assert not torch.allclose(logits(loaded), answer, atol=1e-3)
            with weights_changed(loaded, way()):  # one within the other
                pass
        assert same(before, bits(loaded.model))
    with pytest.raises(RuntimeError, match="in the middle"), weights_changed(loaded, ways[0]()):
        raise RuntimeError("in the middle")
    assert same(before, bits(loaded.model))
    assert torch.equal(logits(loaded), answer)


# --- the way back -----------------------------------------------------------------------------------------------------


def test_a_method_that_fails_half_way_leaves_nothing(llava: LoadedModel) -> None:
    """Writes that came before the exception are undone; so are those before a wrong name or shape."""
    before = bits(llava.model)
    name = next(iter(llava.model.state_dict()))

    def failing(last: Change | None) -> Iterator[Change]:
        for key, tensor in llava.model.state_dict().items():
            yield key, tensor + 1
            if key != name:
                break
        if last is None:
            raise KeyboardInterrupt
        yield last

    for last, error in (
        (None, KeyboardInterrupt),
        (("none", torch.zeros(1)), ValueError),
        ((name, torch.zeros(1)), ValueError),
    ):
        with pytest.raises(error), weights_changed(llava, failing(last)):
            raise AssertionError("never entered")
        assert same(before, bits(llava.model))


def test_tied_weights_are_one_tensor() -> None:
    """Skipped with the embeddings, not scaled as a Linear, and restored whichever name they were changed by."""
    loaded = text_model("Llama", tie_word_embeddings=True)
    assert not any("embed" in key or "head" in key for key in language_tensors(loaded.model))
    assert "lm_head" not in language_linears(loaded.model)
    before = bits(loaded.model)
    names = ("model.embed_tokens.weight", "lm_head.weight")
    with weights_changed(loaded, [(name, torch.full_like(loaded.model.lm_head.weight, 3.0)) for name in names]) as written:
        assert written == 1
        assert bool((loaded.model.model.embed_tokens.weight == 3).all())
    assert same(before, bits(loaded.model))


def test_precision_is_kept() -> None:
    """bfloat16 stays bfloat16: computed in float32, rounded once, restored to the bit."""
    vlm, llm = text_model("Llama"), text_model("Llama", initializer_range=0.5)
    vlm.model.to(torch.bfloat16)
    before = bits(vlm.model)
    key = "model.layers.0.mlp.up_proj.weight"
    ours, theirs = (loaded.model.state_dict()[key].clone() for loaded in (vlm, llm))
    with weights_changed(vlm, merge(vlm, llm, Merge("linear"))):
        now = vlm.model.state_dict()[key]
        assert now.dtype == torch.bfloat16
        assert torch.equal(now, (0.9 * ours.float() + 0.1 * theirs).bfloat16())
    assert same(before, bits(vlm.model))


def test_weights_that_cannot_be_written() -> None:
    """Quantised and offloaded weights are refused in a sentence."""
    loaded = text_model("Llama")
    part = loaded.model.model.layers[0].mlp
    kept = part.up_proj.weight
    part.up_proj.weight = torch.nn.Parameter(kept.detach().to(torch.int8), requires_grad=False)
    with pytest.raises(UserError, match=r"quantised \(layers.0.mlp.up_proj.weight is int8\).*leave quantization out"):
        merge(loaded, text_model("Llama"), Merge())
    part.up_proj.weight = torch.nn.Parameter(kept.detach().to("meta"))
    with pytest.raises(UserError, match="offloaded"), weights_changed(loaded, []):
        pass


# --- architectures ----------------------------------------------------------------------------------------------------


def test_architectures_that_differ() -> None:
    """One sentence that names the first difference: depth, a key on either side, a shape, the heads."""
    ours = text_model("Llama")
    cases = [
        (text_model("Llama", num_hidden_layers=2), "3 decoder blocks in the first and 2 in the second"),
        (text_model("Qwen2"), r"layers.0.self_attn.q_proj.bias is only in the second"),
        (text_model("Llama", intermediate_size=48), r"layers.0.mlp.gate_proj.weight is 64 x 32 in the first and 48 x 32 in"),
        (text_model("Llama", num_attention_heads=2, num_key_value_heads=1), "num_attention_heads is 4 in the first and 2"),
    ]
    for other, sentence in cases:
        with pytest.raises(UserError, match=sentence) as caught:
            merge(ours, other, Merge())
        assert "cannot be merged into 'tests/Llama'" in str(caught.value)
    with pytest.raises(UserError, match="q_proj.bias is only in the first"):
        matching_keys(text_model("Qwen2"), ours)
    with pytest.raises(UserError, match="Unknown kind of merging 'tie'; did you mean ties"):
        merge(ours, ours, Merge("tie"))
    with pytest.raises(UserError, match="name that base"):
        merge(ours, ours, Merge("ties"))
    with pytest.raises(UserError, match="only in the"):
        merge(ours, ours, Merge("ties"), base=text_model("Qwen2"))


def test_the_miniature_merges_with_its_base() -> None:
    """vlm and base fit, kin (wider) does not; a = 1 changes no bit, a = 0 gives the base's tensors."""
    vlm, base = mini("vlm"), mini("base")
    before = bits(vlm.model)
    assert len(matching_keys(vlm, base)) == 4 * 9 + 1
    with weights_changed(vlm, merge(vlm, base, Merge(share=1.0))):
        assert same(before, bits(vlm.model))
    with weights_changed(vlm, merge(vlm, base, Merge(share=0.0))):
        theirs = language_tensors(base.model)
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in language_tensors(vlm.model).items())
        assert torch.equal(vlm.model.lm_head.weight.view(torch.int32), before["lm_head.weight"])
    with pytest.raises(UserError, match=r"layers.0.self_attn.q_proj.weight is 96 x 96 in the first and 96 x 160 in the second"):
        merge(vlm, mini("kin"), Merge())


def test_the_engine_answers_with_the_changed_weights(llava: LoadedModel) -> None:
    """An engine that has answered before sees the change, and its end."""
    engine = Engine(llava, Decoding(6))
    rows = [(Request("a", "<image> w1", (families.picture(28, 28),)), None), (Request("b", "w2 w3"), None)]

    def answers() -> list[str]:
        return [response.text for _, response in sorted(engine.answer(rows), key=lambda found: found[0])]

    before = answers()
    with weights_changed(llava, merge(llava, text_model("Llama", initializer_range=0.3), Merge("layer_swap", layers=(1, 3)))):
        assert answers() != before
    assert answers() == before
