"""The keys of the Megatron Bridge back end: known, so that they are refused with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hone.recipe.schema.key import key

_LATER = "the Megatron Bridge back end is not built yet"


@dataclass(frozen=True)
class MegatronSection:
    """How Megatron would spread a model over many machines."""

    tensor_model_parallel_size: int = key(1, "Devices that share each matrix.", at_least=1, later=_LATER)
    pipeline_model_parallel_size: int = key(1, "Devices that share the layers.", at_least=1, later=_LATER)
    expert_model_parallel_size: int = key(1, "Devices that share the experts.", at_least=1, later=_LATER)
    context_parallel_size: int = key(1, "Devices that share one sequence.", at_least=1, later=_LATER)
    virtual_pipeline_model_parallel_size: int | None = key(
        None, "Pieces of the pipeline on each device.", at_least=1, later=_LATER
    )
    sequence_parallel: bool = key(False, "Share activations along the sequence.", later=_LATER)
    recompute_granularity: Literal["full", "selective"] | None = key(
        None, "Which activations are computed again.", later=_LATER
    )
    recompute_method: Literal["uniform", "block"] | None = key(None, "How layers are grouped for that.", later=_LATER)
    recompute_num_layers: int | None = key(None, "Layers in a group.", at_least=1, later=_LATER)
    account_for_embedding_in_pipeline_split: bool | None = key(
        None, "Count the embedding as a layer when splitting.", later=_LATER
    )
    account_for_loss_in_pipeline_split: bool | None = key(
        None, "Count the loss as a layer when splitting.", later=_LATER
    )
    bias_activation_fusion: bool | None = key(None, "Fuse bias and activation.", later=_LATER)
    apply_rope_fusion: bool | None = key(None, "Fuse rotary positions.", later=_LATER)
    masked_softmax_fusion: bool | None = key(None, "Fuse mask and softmax.", later=_LATER)
    cross_entropy_loss_fusion: bool | None = key(None, "Fuse the cross-entropy.", later=_LATER)
    moe_grouped_gemm: bool | None = key(None, "Multiply all experts in one kernel.", later=_LATER)
    moe_token_dispatcher_type: Literal["allgather", "alltoall", "flex"] | None = key(
        None, "How tokens travel to experts.", later=_LATER
    )
    calculate_per_token_loss: bool | None = key(None, "Weigh every token alike.", later=_LATER)
    use_distributed_optimizer: bool = key(True, "Share the optimizer's state.", later=_LATER)
    overlap_param_gather: bool = key(True, "Fetch weights while computing.", later=_LATER)
    overlap_grad_reduce: bool = key(True, "Sum gradients while computing.", later=_LATER)
    use_packed_sequences: bool = key(False, "Pack conversations.", later=_LATER)
    mixed_precision: str = key("bf16_mixed", "Its precision recipe.", later=_LATER)
    megatron_pretrained_checkpoint: str | None = key(None, "A checkpoint in Megatron's form.", later=_LATER)
    export_hf_on_finish: bool = key(False, "Convert back when done.", later=_LATER)
    extra_config: str | None = key(None, "Further settings as JSON.", later=_LATER)
