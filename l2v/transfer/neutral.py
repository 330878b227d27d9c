"""Neutral texts: what learned maps are fitted on. Two models' states of the same texts, at the same places of each.

A place is a character of the text, the end of a word, so that models of different tokenizers are read where they have read
the same; the last one is the final token of the chat, where contrasts are read. The states are written as they are computed,
block by block: in memory is one batch while reading, and one block of one model while writing.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from l2v.disk import write_atomically
from l2v.errors import UserError
from l2v.identity import digest
from l2v.steering.pictures import check_text_ids
from l2v.transfer.contrast import Chat, check_texts, read_rows
from l2v.transfer.directions import file_digest, tensor_digest
from l2v.transfer.extract import check_chats, format_chat, token_ids
from l2v.transfer.forward import states_at

WORD = re.compile(r"\S+")


def load_chats(
    data: str, revision: str | None, split: str, columns: dict[str, str], domains: Sequence[str], count: int | None, seed: int
) -> list[Chat]:
    """`count` texts of a hub id or a local file, drawn without replacement; a smaller count takes the first of a larger one's.

    Columns: `question`, and where there are any `response` (empty: unanswered) and `domain`; `columns` renames. None: all of
    them. Raises UserError for a file without such texts, or with too few.
    """
    rows = read_rows(data, revision, split, "neutral")
    missing = [i for i, row in enumerate(rows, start=1) if not str(row.get(columns["question"]) or "").strip()]
    if missing:
        raise UserError(
            f"Row {missing[0]} of the neutral texts {data} has no '{columns['question']}'; mend the data or name the column "
            "with neutral.columns.question=…"
        )
    for number, row in enumerate(rows, start=1):
        check_texts(row, columns, f"Row {number} of the neutral texts {data}", "neutral")
    chosen = [row for row in rows if not domains or str(row.get(columns["domain"])) in domains]
    count = len(chosen) if count is None else count
    if not 0 < count <= len(chosen):
        where = f" of domain {', '.join(domains)}" if domains else ""
        raise UserError(f"neutral.texts={count}: {data} holds {len(chosen)} texts{where}; ask for 1 to so many.")
    order = np.random.default_rng(seed).permutation(len(chosen))[:count]
    return [Chat(str(chosen[i][columns["question"]]), str(chosen[i].get(columns["response"]) or "") or None) for i in order]


def oddities(chats: Sequence[Chat], name: str) -> list[tuple[str, str]]:
    """What is odd of the texts and gives a map all the same: as `contrast.oddities` tells it."""
    again = len(chats) - len(set(chats))
    what = f"{again} of {len(chats)} neutral texts of '{name}' repeat another one."
    return [(what, "a map is fitted on them as often")] if again else []


def word_ends(chat: Chat, count: int) -> list[tuple[str, int]]:
    """Where `count` words end, evenly spread over a chat's turns: the turn, and how many characters of it have been read.

    The last word of the chat is not among them unless it must; a chat of fewer words gives some of them twice.
    """
    turns = [("user", chat.user.strip()), ("assistant", (chat.assistant or "").strip())]
    ends = [(turn, word.end()) for turn, text in turns for word in WORD.finditer(text)]
    return [ends[place] for place in np.linspace(0, len(ends) - 1, count + 1).astype(int)[:-1]] if count else []


def token_places(
    tokenizer: Any, chat: Chat, ends: Sequence[tuple[str, int]], tokenizer_bos: bool
) -> tuple[list[int], list[int]]:
    """A chat's ids as its model reads them, and for each end of a word the token that completes it, then the final token.

    Raises UserError for a tokenizer that cannot tell where its tokens lie, or a template that rewrites the text.
    """
    text = format_chat(tokenizer, chat)
    ids = token_ids(tokenizer, text, tokenizer_bos)
    name = getattr(tokenizer, "name_or_path", "?")
    if not tokenizer.is_fast:
        raise UserError(f"The tokenizer of '{name}' cannot tell which characters a token stands for; convert it to a fast one.")
    told = (tokenizer(text, add_special_tokens=special, return_offsets_mapping=True) for special in (False, True))
    spans = next(list(one["offset_mapping"]) for one in told if list(one["input_ids"]) == ids)
    user = text.find(chat.user.strip())
    starts = {"user": user, "assistant": text.rfind(chat.assistant.strip()) if chat.assistant else -1}
    places = []
    for turn, end in ends:
        last = starts[turn] + end - 1
        holding = [i for i, (first, after) in enumerate(spans) if first <= last < after]
        if starts[turn] < 0 or not holding:
            raise UserError(f"The template or tokenizer of '{name}' rewrites a neutral text; choose others: {chat.user[:60]}")
        places.append(holding[-1])
    return ids, [*places, len(ids) - 1]


def places_read(
    model: Any, tokenizer: Any, chats: Sequence[Chat], places: int, tokenizer_bos: bool
) -> list[tuple[list[int], list[int]]]:
    """Every text's ids and places. Raises UserError for what the model cannot read; looks at no weights."""
    read = [token_places(tokenizer, chat, word_ends(chat, places - 1), tokenizer_bos) for chat in chats]
    longest = max(len(ids) for ids, _ in read)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and longest > limit:
        raise UserError(f"A neutral text has {longest} tokens, the model's context holds {limit}; choose shorter texts.")
    check_text_ids(model, tokenizer, (ids for ids, _ in read))
    check_chats(tokenizer, chats)
    return read


def read_states(
    model: nn.Module,
    tokenizer: Any,
    layers: Sequence[nn.Module],
    chats: Sequence[Chat],
    places: int,
    folder: Path,
    provenance: dict[str, Any],
    batch_tokens: int = 16384,
    tokenizer_bos: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the states of all blocks at `places` places of every text into `folder`, a file per block, (texts x places, d).

    The folder appears when it is whole. What an interruption left in FOLDER.partial is gone on from. Raises UserError for a
    text longer than the model's context or the device's memory.
    """
    read = places_read(model, tokenizer, chats, places, tokenizer_bos)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)
    order = sorted(range(len(read)), key=lambda i: len(read[i][0]), reverse=True)
    partial = folder.with_name(f"{folder.name}.partial")
    shelf = _PartialBlocks(partial, len(layers), order, places, model, digest([provenance, [ids for ids, _ in read]]))
    while shelf.done < len(order):
        width = len(read[order[shelf.done]][0])
        batch = order[shelf.done : shelf.done + max(1, batch_tokens // width)]
        try:
            found = states_at(model, layers, [read[i][0] for i in batch], pad, [read[i][1] for i in batch])
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise UserError(f"A neutral text of {width} tokens does not fit the memory; choose shorter texts.") from error
            batch_tokens = width * (len(batch) // 2)
            continue
        shelf.put(batch, found)
        if progress:
            progress(shelf.done, len(order))
    shelf.close(folder, provenance)


class _PartialBlocks:
    """The states of texts on their way to disk: a file that is mapped into memory, and a note of its content with digests."""

    def __init__(self, folder: Path, layers: int, order: Sequence[int], places: int, model: nn.Module, key: str) -> None:
        config: Any = model.config
        width, dtype = int(config.get_text_config().hidden_size), next(model.parameters()).dtype
        self.folder, self.note, self.key = folder, folder / "read.json", key
        # Quantised weights are of no float type; what they compute in is bfloat16 at the most.
        dtype = dtype if dtype.is_floating_point else torch.bfloat16
        folder.mkdir(parents=True, exist_ok=True)
        shape = (layers, len(order), places, width)
        self.states = torch.from_file(str(folder / "states.bin"), True, int(np.prod(shape)), dtype=dtype).view(shape)
        self.batches: list[tuple[int, str]] = []
        for count, known in self._noted():
            # A file that was cut off, or that a power failure took, is full of zeros now.
            if self._digest(order[self.done : self.done + count]) != known:
                break
            self.batches.append((count, known))

    @property
    def done(self) -> int:
        """How many texts are read."""
        return sum(count for count, _ in self.batches)

    def _noted(self) -> list[tuple[int, str]]:
        try:
            known = json.loads(self.note.read_text())
            return [(int(count), str(one)) for count, one in known["batches"]] if known["key"] == self.key else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _digest(self, batch: Sequence[int]) -> str:
        return tensor_digest(self.states[:, torch.tensor(batch, dtype=torch.long)])

    def put(self, batch: Sequence[int], found: Tensor) -> None:
        """Keep the next texts' states (texts, layers, places, d)."""
        self.states[:, torch.tensor(batch)] = found.transpose(0, 1).to(self.states.dtype)
        self.batches.append((len(batch), self._digest(batch)))
        write_atomically(self.note, json.dumps({"key": self.key, "batches": self.batches}))

    def close(self, folder: Path, provenance: dict[str, Any]) -> None:
        """Write every block to a file of its own and remove the rest."""
        from safetensors.torch import save

        blocks = self.folder / "blocks"
        for block, states in enumerate(self.states):
            rows = states.reshape(-1, states.shape[-1]).contiguous()
            if not bool(torch.isfinite(rows).all()):
                raise UserError("A model's states of the neutral texts are not finite; load it in float32 or bfloat16.")
            header = {"provenance": json.dumps(provenance, sort_keys=True)}
            header |= {"block": str(block), "blocks": str(len(self.states))}
            header |= {"digest": file_digest({"states": rows}, header)}
            write_atomically(blocks / f"{block:03d}.safetensors", save({"states": rows}, header), sync=True)
        shutil.rmtree(folder, ignore_errors=True)
        blocks.rename(folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def block_count(folder: Path) -> int:
    """Of how many blocks a folder holds the states. Raises UserError as `load_states` for the first of them."""
    _, header = _read(folder, 0)
    return int(header["blocks"]) if "blocks" in header else len(list(folder.glob("*.safetensors")))


def load_states(folder: Path, layer: int, provenance: Mapping[str, Any] | None = None) -> Tensor:
    """The states of one block, (texts x places, d) in the model's dtype.

    Raises UserError for a missing or damaged file, and for one of another block or of another `provenance` than is given.
    """
    states, header = _read(folder, layer)
    strange = provenance is not None and header.get("provenance") != json.dumps(provenance, sort_keys=True)
    if strange or int(header.get("block", layer)) != layer:
        raise UserError(f"{folder}/{layer:03d}.safetensors holds other states than its place says; {_READ_AGAIN}")
    return states


_READ_AGAIN = "delete its folder and it is computed again."


def _read(folder: Path, layer: int) -> tuple[Tensor, dict[str, str]]:
    path = folder / f"{layer:03d}.safetensors"
    try:
        with safe_open(str(path), framework="pt") as file:
            states, header = file.get_tensor("states"), file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} holds no states ({error}); {_READ_AGAIN}") from error
    known = header.pop("digest", None)
    # A version that did not tell the block had a digest of the states alone.
    if known != (file_digest({"states": states}, header) if "block" in header else tensor_digest(states)):
        raise UserError(f"{path} is damaged; {_READ_AGAIN}")
    return states, header


def shuffled(texts: Tensor, seed: int) -> Tensor:
    """Rows in the order in which every text stands in another one's place; the places within a text stay. Equal row counts."""
    count = len(torch.unique(texts))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return torch.arange(len(texts)).view(count, -1)[order].flatten()
