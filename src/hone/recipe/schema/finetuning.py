"""The keys that say what is trained, with which method and which loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hone.recipe.schema.key import key

_LAYERWISE = "a step inside the backward pass changes weights before the gradient is checked and cut"
_TRACKER = (
    "say report_to: swanlab; its settings are the variables that SwanLab reads itself (SWANLAB_PROJECT and the like)"
)
_BACKEND = "this back end is not built yet"


@dataclass(frozen=True)
class FinetuningSection:
    """The stage, the weights that learn, and the tricks around them."""

    pure_bf16: bool = key(False, "Hold and train the weights in bf16, with no fp32 copy.")
    stage: Literal["pt", "sft", "rm", "ppo", "dpo", "kto", "grpo"] = key(
        "sft",
        "What is learned: plain text (pt), answers (sft), preferences (rm, dpo, kto), or rewards (ppo, grpo).",
    )
    finetuning_type: Literal["lora", "oft", "freeze", "full"] = key(
        "lora",
        "Which weights learn: a low-rank adapter, an orthogonal one, some layers, or all.",
    )
    use_llama_pro: bool = key(False, "Train only the blocks that `hone expand` added.")
    use_adam_mini: bool = key(False, "Adam-mini.")
    use_mca: bool = key(False, "The Megatron-core back end.", later=_BACKEND)
    use_megatron_bridge: bool = key(False, "The Megatron Bridge back end.", later=_BACKEND)
    use_hyper_parallel: bool = key(False, "The HyperParallel back end.", later=_BACKEND)
    hyper_parallel_args: str | None = key(None, "JSON file for HyperParallel.", later=_BACKEND)
    hyper_parallel_cp_size: int = key(1, "Its context-parallel size.", at_least=1, later=_BACKEND)
    use_muon: bool = key(False, "Muon for matrices, AdamW for the rest.")
    use_dft_loss: bool = key(False, "Weigh each token's loss by its probability (DFT).")
    use_asft_loss: bool = key(False, "DFT anchored to the base model (ASFT).")
    asft_alpha: float = key(0.1, "Strength of that anchor.", at_least=0)
    use_eaft_loss: bool = key(False, "Weigh each token's loss by its entropy (EAFT).")
    eaft_alpha: float = key(1.0, "Strength of that weighing.", at_least=0)
    freeze_vision_tower: bool = key(True, "The part that sees does not learn.")
    freeze_multi_modal_projector: bool = key(True, "The bridge from eye to language does not learn.")
    freeze_language_model: bool = key(False, "The language model does not learn.")
    compute_accuracy: bool = key(False, "Report the share of answer tokens predicted rightly when evaluating.")
    disable_shuffling: bool = key(False, "Train in the order of the data.")
    early_stopping_steps: int | None = key(
        None, "Stop when this many evaluations in a row brought nothing better.", at_least=1
    )
    plot_loss: bool = key(False, "Draw the curves of the run as PNG files.")
    include_effective_tokens_per_second: bool = key(False, "Report tokens a second, padding left out.")

    freeze_trainable_layers: int = key(2, "finetuning_type freeze: the last n blocks learn; negative, the first n.")
    freeze_trainable_modules: tuple[str, ...] = key(("all",), "Names of the modules in these blocks that learn.")
    freeze_extra_modules: tuple[str, ...] = key((), "Names of modules outside the blocks that learn too.")

    additional_target: tuple[str, ...] = key((), "Modules trained whole and saved beside the adapter.")
    lora_alpha: int | None = key(None, "Scale of the adapter. Left out: twice the rank.", at_least=1)
    lora_dropout: float = key(0.0, "Dropout before the adapter.", at_least=0, below=1)
    lora_rank: int = key(8, "Rank of the adapter's matrices.", at_least=1)
    lora_target: tuple[str, ...] = key(("all",), "Modules that get an adapter; `all` is every linear layer.")
    loraplus_lr_ratio: float | None = key(None, "LoRA+: how much faster B learns than A.", above=0)
    loraplus_lr_embedding: float = key(1e-6, "LoRA+: learning rate of embedding adapters.", at_least=0)
    use_rslora: bool = key(False, "Scale by the root of the rank (rsLoRA).")
    use_dora: bool = key(False, "Learn direction and magnitude apart (DoRA).")
    pissa_init: bool = key(False, "Start from the principal parts of the weights (PiSSA).")
    pissa_iter: int = key(16, "PiSSA: iterations of the quick SVD; -1 is the exact one.", at_least=-1)
    pissa_convert: bool = key(False, "PiSSA: save as an ordinary adapter. It always is.")
    create_new_adapter: bool = key(False, "Merge the given adapters and train a new one on top.")
    module_dropout: float = key(0.0, "OFT: dropout.", at_least=0, below=1)
    oft_rank: int = key(0, "OFT: number of blocks; 0 goes by their size.", at_least=0)
    oft_block_size: int = key(32, "OFT: size of a block.", at_least=0)
    oft_target: tuple[str, ...] = key(("all",), "OFT: modules that get an adapter.")

    pref_beta: float = key(0.1, "How closely the policy is held to the reference.", at_least=0)
    pref_ftx: float = key(0.0, "Weight of an added loss on the better answer.", at_least=0)
    pref_bco_weight: float = key(0.0, "Weight of the BCO loss mixed into DPO.", at_least=0)
    pref_loss: Literal["sigmoid", "hinge", "ipo", "kto_pair", "orpo", "simpo"] = key(
        "sigmoid", "Which preference loss; orpo and simpo need no reference."
    )
    dpo_label_smoothing: float = key(0.0, "Share of labels taken to be the wrong way round.", at_least=0, at_most=0.5)
    kto_chosen_weight: float = key(1.0, "KTO: weight of liked answers.", at_least=0)
    kto_rejected_weight: float = key(1.0, "KTO: weight of disliked answers.", at_least=0)
    simpo_gamma: float = key(0.5, "SimPO: margin between the answers.", at_least=0)
    ld_alpha: float | None = key(None, "Weight of the longer answer's surplus tokens (LD-DPO).", at_least=0, at_most=1)
    ref_model: str | None = key(None, "Reference model. Left out: the base model.")
    ref_model_adapters: tuple[str, ...] = key((), "Adapters of the reference model.")
    ref_model_quantization_bit: int | None = key(None, "Bits of the reference model: 4 or 8.")

    ppo_buffer_size: int = key(1, "PPO: steps whose questions are answered at once.", at_least=1)
    ppo_epochs: int = key(4, "PPO: how often answers are learned from.", at_least=1)
    ppo_score_norm: bool = key(False, "PPO: scores less the mean of all so far, over their deviation.")
    ppo_target: float = key(6.0, "PPO: the KL of an answer, in nats, that the adaptive coefficient aims at.", above=0)
    ppo_whiten_rewards: bool = key(False, "PPO: rewards of tokens get a variance of 1.")
    reward_model: str | None = key(None, "Reward model: a folder, an adapter, or an URL.")
    reward_model_adapters: tuple[str, ...] = key((), "Adapters of the reward model.")
    reward_model_quantization_bit: int | None = key(None, "Bits of the reward model: 4 or 8.")
    reward_model_type: Literal["lora", "full", "api"] = key(
        "lora", "An adapter on the same base, a model of its own, or a service."
    )

    reward_funcs: tuple[str, ...] = key(
        (), "GRPO, PPO: rewards of answers, built in (exact_match, regex:PATTERN, json_valid, length:LETTERS), "
        "or `file.py:function`, or `module:function`."
    )  # fmt: skip
    reward_weights: tuple[float, ...] = key(
        (), "GRPO, PPO: what each reward counts, a reward model last. Left out: 1 each."
    )
    num_generations: int = key(8, "GRPO: answers to each question, which are compared with each other.", at_least=2)
    epsilon: float = key(0.2, "GRPO: how far below 1 a probability ratio counts.", above=0, below=1)
    epsilon_high: float | None = key(None, "GRPO: how far above 1. Left out: as epsilon.", above=0)
    beta: float = key(0.0, "GRPO: weight of the KL to the reference; at 0 there is none.", at_least=0)
    scale_rewards: Literal["group", "none"] = key("group", "GRPO: divide advantages by the group's deviation, or not.")
    steps_per_generation: int = key(1, "GRPO: steps whose questions are answered at once.", at_least=1)
    num_iterations: int = key(1, "GRPO: how often answers are learned from.", at_least=1)

    use_galore: bool = key(False, "GaLore.")
    galore_target: tuple[str, ...] = key(("all",), "GaLore: modules.")
    galore_rank: int = key(16, "GaLore: rank.", at_least=1)
    galore_update_interval: int = key(200, "GaLore: steps between projections.", at_least=1)
    galore_scale: float = key(2.0, "GaLore: scale.")
    galore_proj_type: Literal["std", "reverse_std", "right", "left", "full"] = key(
        "std", "GaLore: side of the projection."
    )
    galore_layerwise: bool = key(False, "GaLore: step layer by layer.", later=_LAYERWISE)
    use_apollo: bool = key(False, "APOLLO.")
    apollo_target: tuple[str, ...] = key(("all",), "APOLLO: modules.")
    apollo_rank: int = key(16, "APOLLO: rank.", at_least=1)
    apollo_update_interval: int = key(200, "APOLLO: steps between projections.", at_least=1)
    apollo_scale: float = key(32.0, "APOLLO: scale.")
    apollo_proj: Literal["svd", "random"] = key("random", "APOLLO: kind of projection.")
    apollo_proj_type: Literal["std", "right", "left"] = key("std", "APOLLO: side of the projection.")
    apollo_scale_type: Literal["channel", "tensor"] = key("channel", "APOLLO: scale each channel or the tensor.")
    apollo_layerwise: bool = key(False, "APOLLO: step layer by layer.", later=_LAYERWISE)
    apollo_scale_front: bool = key(False, "APOLLO: limit the growth of norms before scaling.")
    use_badam: bool = key(False, "BAdam.")
    badam_mode: Literal["layer", "ratio"] = key("layer", "BAdam: by layers or by a share.")
    badam_start_block: int | None = key(None, "BAdam: first block.", at_least=0)
    badam_switch_mode: Literal["ascending", "descending", "random", "fixed"] | None = key(
        "ascending", "BAdam: order of blocks."
    )
    badam_switch_interval: int | None = key(50, "BAdam: steps on a block; -1 stays.")
    badam_update_ratio: float = key(0.05, "BAdam: share that learns.", above=0, at_most=1)
    badam_mask_mode: Literal["adjacent", "scatter"] = key("adjacent", "BAdam: shape of the mask.")
    badam_verbose: int = key(0, "BAdam: how much it tells.", at_least=0, at_most=2)

    use_swanlab: bool = key(False, "Report to SwanLab.", later=_TRACKER)
    swanlab_project: str | None = key("llamafactory", "SwanLab: project.", later=_TRACKER)
    swanlab_workspace: str | None = key(None, "SwanLab: workspace.", later=_TRACKER)
    swanlab_run_name: str | None = key(None, "SwanLab: name of the run.", later=_TRACKER)
    swanlab_mode: Literal["cloud", "local"] = key("cloud", "SwanLab: where it keeps runs.", later=_TRACKER)
    swanlab_api_key: str | None = key(None, "SwanLab: key.", secret=True, later=_TRACKER)
    swanlab_logdir: str | None = key(None, "SwanLab: folder.", later=_TRACKER)
    swanlab_lark_webhook_url: str | None = key(None, "SwanLab: Lark webhook.", secret=True, later=_TRACKER)
    swanlab_lark_secret: str | None = key(None, "SwanLab: the webhook's secret.", secret=True, later=_TRACKER)
