"""The keys that say which model is loaded, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hone.recipe.schema.key import key

_SHIFTED = "shifted groups let packed examples see each other, and are not what is used afterwards; see rope_scaling"
_DEPTHS = "its one library is no longer kept and does not run with current transformers"
_UNSLOTH = "it replaces the forward that keeps packed examples apart; Hone brings its own fast path"
_OWN_SPEED = "Hone brings its own fast path, and this one is not part of it"


@dataclass(frozen=True)
class ModelSection:
    """The base model, its adapters, and how both are loaded."""

    model_name_or_path: str | None = key(
        None, "The base model: a folder, a GGUF file, or the name of a repository on the hub."
    )
    adapter_name_or_path: tuple[str, ...] = key(
        (), "Adapters on top of the base, in order. When training, the last one goes on learning."
    )
    adapter_folder: str | None = key(None, "Folder inside the adapter's repository where the adapter lies.")
    cache_dir: str | None = key(None, "Where downloads are kept, instead of the hub's usual cache.")
    use_fast_tokenizer: bool = key(
        True, "Use the tokenizer written in Rust.", later="only the fast tokenizers are supported"
    )
    resize_vocab: bool = key(False, "Grow the embeddings to the tokenizer's size.")
    split_special_tokens: bool = key(
        False, "Read special tokens inside a text as plain characters. What users write is always read so."
    )
    add_tokens: tuple[str, ...] = key((), "Ordinary tokens to add to the tokenizer.")
    add_special_tokens: tuple[str, ...] = key((), "Special tokens to add to the tokenizer.")
    new_special_tokens_config: str | None = key(None, "YAML file of new special tokens and a description of each.")
    init_special_tokens: Literal["noise_init", "desc_init", "desc_init_w_noise"] = key(
        "noise_init", "How the rows of new tokens start: noise, their description, or both."
    )
    model_revision: str = key("main", "Branch, tag or commit of the model's repository.")
    low_cpu_mem_usage: bool = key(
        True, "Load weights without a second copy in memory.", later="models are always loaded so"
    )
    rope_scaling: Literal["linear", "dynamic", "yarn", "llama3"] | None = key(
        None, "Stretch rotary positions beyond the length the model was trained on."
    )
    flash_attn: Literal["auto", "disabled", "sdpa", "fa2", "fa3"] = key(
        "auto", "Which attention is used. `auto` takes the fastest one that is exact on this machine."
    )
    shift_attn: bool = key(False, "Shifted sparse attention of LongLoRA.", later=_SHIFTED)
    mixture_of_depths: Literal["convert", "load"] | None = key(
        None, "Turn a model into a mixture-of-depths model, or load one.", later=_DEPTHS
    )
    use_unsloth: bool = key(False, "Load through Unsloth.", later=_UNSLOTH)
    use_unsloth_gc: bool = key(False, "Keep checkpointed activations in main memory.")
    enable_liger_kernel: bool = key(False, "Liger's fused kernels, on CUDA.")
    moe_aux_loss_coef: float | None = key(
        None, "Weight of the router's balance loss in mixture-of-experts models.", at_least=0
    )
    disable_gradient_checkpointing: bool = key(
        False, "Keep all activations instead of computing them again in the backward pass: faster, more memory."
    )
    use_reentrant_gc: bool = key(True, "Use the re-entrant form of gradient checkpointing.")
    upcast_layernorm: bool = key(False, "Hold the weights of normalisation layers in fp32.")
    upcast_lmhead_output: bool = key(False, "Compute the loss from fp32 logits. It always is.")
    train_from_scratch: bool = key(False, "Start from random weights of the model's shape.")
    offload_folder: str = key(
        "offload",
        "Folder for weights that do not fit in memory.",
        later="weights are not laid on disk; use quantization_bit",
    )
    use_kv_cache: bool = key(True, "Keep keys and values while generating.", later="generating always keeps them")
    use_v1_kernels: bool | None = key(False, "Fused kernels, mostly for NPU.", later=_OWN_SPEED)
    infer_dtype: Literal["auto", "float16", "bfloat16", "float32"] = key(
        "auto", "Number format of the weights when generating."
    )
    hf_hub_token: str | None = key(None, "Access token of the Hugging Face hub.", secret=True)
    ms_hub_token: str | None = key(
        None, "Access token of ModelScope.", secret=True, later="ModelScope is read without a token for now"
    )
    om_hub_token: str | None = key(None, "Access token of Modelers.", secret=True, later="not built yet")
    print_param_status: bool = key(False, "List every parameter with its type, device and whether it learns.")
    trust_remote_code: bool = key(
        False, "Run Python code that comes with the model. Only for repositories whose code you have read."
    )
