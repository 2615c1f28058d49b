"""The keys that say what is learned from: data sets, template, cutting, packing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hone.recipe.schema.key import key


@dataclass(frozen=True)
class DataSection:
    """Which rows are read, how they are written as tokens, and how tokens become batches."""

    template: str | None = key(
        None, "Card that writes conversations down. Left out: what the model was trained with, or its own template."
    )
    dataset: tuple[str, ...] = key((), "Data sets to train on: names in dataset_info.json, or paths.")
    eval_dataset: tuple[str, ...] = key((), "Data sets to evaluate on: names in dataset_info.json, or paths.")
    dataset_dir: str = key(
        "data",
        "Folder that holds dataset_info.json; ONLINE: names are hub ids; REMOTE:<repository>: it lies on the hub.",
    )
    media_dir: str | None = key(
        None,
        "Folder that picture, video and sound paths start from, and stay in. Left out: the data folder.",
    )
    cutoff_len: int = key(2048, "Most tokens of an example, and the length of a pack.", at_least=1)
    train_on_prompt: bool = key(False, "Learn the prompt as well as the answer.")
    mask_history: bool = key(False, "Learn only the last answer of a conversation.")
    streaming: bool = key(False, "Read rows while training instead of before.")
    buffer_size: int = key(16384, "Examples shuffled at a time when streaming.", at_least=1)
    mix_strategy: Literal["concat", "interleave_under", "interleave_over", "interleave_once"] = key(
        "concat",
        "How several data sets become one: after one another, or in turns until the first or the last is used up.",
    )
    interleave_probs: tuple[float, ...] = key((), "Share of each data set when interleaving, as the sets are listed.")
    overwrite_cache: bool = key(False, "Prepare the data again even if nothing changed.")
    preprocessing_batch_size: int = key(1000, "Examples that packing looks at together.", at_least=1)
    preprocessing_num_workers: int | None = key(None, "Processes that prepare the data.", at_least=1)
    max_samples: int | None = key(None, "Use only the first rows of each data set.", at_least=1)
    eval_num_beams: int | None = key(
        None, "Beams of generation when evaluating.", at_least=1, later="beam search is not built yet"
    )
    ignore_pad_token_for_loss: bool = key(
        True, "Leave padding out of the loss.", later="batches hold no padding, so there is nothing to learn from it"
    )
    val_size: float = key(
        0.0, "Part of the training data kept for evaluation: a share below 1, or a number of rows.", at_least=0
    )
    eval_on_each_dataset: bool = key(False, "Evaluate each data set by itself.")
    packing: bool | None = key(None, "Put several examples in one row. Left out: on for stage pt only.")
    neat_packing: bool = key(False, "Pack, and let no example see its neighbours. (Hone never lets it.)")
    tool_format: str | None = key(None, "How tools and calls are written, instead of the template's way.")
    default_system: str | None = key(None, "System text where a conversation has none, instead of the template's.")
    enable_thinking: bool | None = key(
        True, "Reasoning models: think, do not think (false), or as each row does (null)."
    )
    preserve_thinking: bool = key(False, "Keep the thoughts of earlier turns.")
    tokenized_path: str | None = key(None, "Folder that prepared data are saved to, and taken from the next time.")
    data_shared_file_system: bool = key(
        False, "All machines see one disk, so that one process prepares the data.", later="not built yet"
    )
    on_overflow: Literal["truncate", "drop", "error"] = key(
        "truncate", "A row longer than cutoff_len is cut (and counted), left out (and counted), or ends the run."
    )
    on_bad_row: Literal["error", "skip"] = key(
        "error", "A row that cannot be read ends the run, or is skipped and listed in bad_rows.jsonl."
    )
