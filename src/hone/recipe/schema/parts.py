"""The small sections around a model: quantization, media, export, engines, and the multiple-choice benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hone.recipe.schema.key import key

_CALIBRATE = "GPTQ while exporting is not built; export_format: gguf with export_gguf_type writes few bits"
_CROPS = "models that see so cannot be trained on pictures yet"
_MEDIA = "videos and sounds are not built yet"
_SGLANG = (
    "SGLang's package runs on CUDA cards alone (0.5.23), so that no engine for it could be tried out; "
    "infer_backend: vllm answers with the same folders"
)
_KT = "KTransformers is not built yet"


@dataclass(frozen=True)
class QuantizationSection:
    """Whether the frozen weights are held in fewer bits."""

    quantization_method: Literal["bnb", "hqq", "eetq"] = key("bnb", "Who quantises on loading.")
    quantization_bit: int | None = key(None, "Bits of a quantised weight.", at_least=1, at_most=8)
    quantization_type: Literal["fp4", "nf4"] = key("nf4", "The 4-bit format of bitsandbytes.")
    double_quantization: bool = key(True, "Quantise the scales of bitsandbytes as well.")
    quantization_device_map: Literal["auto"] | None = key(
        None, "`auto` spreads a 4-bit model over all GPUs; generation only."
    )


@dataclass(frozen=True)
class MediaSection:
    """Limits on the pictures, videos and sounds that a model is shown."""

    image_max_pixels: int = key(768 * 768, "A larger picture is made smaller, to this area.", at_least=1)
    image_min_pixels: int = key(32 * 32, "A smaller picture is made larger, to this area.", at_least=1)
    image_do_pan_and_scan: bool = key(False, "Show Gemma 3 crops of a picture besides the whole.", later=_CROPS)
    crop_to_patches: bool = key(False, "Show InternVL a picture as tiles.", later=_CROPS)
    video_max_pixels: int = key(256 * 256, "Largest area of a frame.", at_least=1, later=_MEDIA)
    video_min_pixels: int = key(16 * 16, "Smallest area of a frame.", at_least=1, later=_MEDIA)
    video_fps: float = key(2.0, "Frames taken from a second of video.", above=0, later=_MEDIA)
    video_maxlen: int = key(128, "Most frames taken from one video.", at_least=1, later=_MEDIA)
    use_audio_in_video: bool = key(False, "Let the model hear a video's sound track.", later=_MEDIA)
    audio_sampling_rate: int = key(16000, "Samples a second that sounds are brought to.", at_least=1, later=_MEDIA)


@dataclass(frozen=True)
class ExportSection:
    """Where a finished model is written, and in which form."""

    export_dir: str | None = key(None, "Folder that receives the merged model.")
    export_size: int = key(5, "Largest size of one weight file, in GB.", at_least=1)
    export_device: Literal["cpu", "auto"] = key("cpu", "Where adapters are merged.")
    export_quantization_bit: int | None = key(
        None, "Quantise to this many bits (2, 3, 4, 8) with GPTQ.", at_least=2, at_most=8, later=_CALIBRATE
    )
    export_quantization_dataset: str | None = key(None, "Texts that calibrate GPTQ.", later=_CALIBRATE)
    export_quantization_nsamples: int = key(128, "How many of these texts are used.", at_least=1, later=_CALIBRATE)
    export_quantization_maxlen: int = key(1024, "Tokens taken of each text.", at_least=1, later=_CALIBRATE)
    export_legacy_format: bool = key(
        False, "Write pickled .bin files.", later="pickled weights are unsafe to load, safetensors are written"
    )
    export_hub_model_id: str | None = key(
        None, "Repository to send the export to: of the Hugging Face hub, or with USE_MODELSCOPE_HUB=1 of ModelScope."
    )
    export_format: Literal["safetensors", "gguf", "gguf-lora", "ollama"] = key(
        "safetensors",
        "A Hugging Face folder (`safetensors`), a `gguf` file, the adapter alone as one (`gguf-lora`), `ollama`.",
    )
    export_gguf_type: Literal[
        "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0",
        "q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k",
    ] = key("q8_0", "Number format of a GGUF file; those with a `k` need llama-cpp-python.")  # fmt: skip
    export_check: bool | None = key(
        None, "Load the export back and compare its answers; null does so for models below a billion weights."
    )


@dataclass(frozen=True)
class EngineSection:
    """What generates text, and how that program is set up."""

    infer_backend: Literal["huggingface", "llamacpp", "vllm", "sglang"] = key(
        "huggingface",
        "What generates: the built-in engine (`huggingface`), llama.cpp for GGUF files (`llamacpp`), or vLLM (`vllm`).",
        later_values={"sglang": _SGLANG},
    )
    vllm_maxlen: int = key(4096, "Longest conversation for vLLM, in tokens.", at_least=1)
    vllm_gpu_util: float = key(
        0.7,
        "Share of the memory for vLLM: the card's, or the machine's where vLLM is built for processors.",
        above=0,
        at_most=1,
    )
    vllm_enforce_eager: bool = key(False, "No CUDA graphs in vLLM.")
    vllm_max_lora_rank: int = key(32, "Largest adapter rank vLLM makes room for.", at_least=1)
    vllm_config: Mapping[str, Any] | None = key(None, "Further settings of vLLM's engine.")
    sglang_maxlen: int = key(4096, "Longest conversation for SGLang, in tokens.", at_least=1, later=_SGLANG)
    sglang_mem_fraction: float = key(0.7, "Share of memory for SGLang.", above=0, at_most=1, later=_SGLANG)
    sglang_tp_size: int = key(-1, "GPUs that share the model in SGLang; -1 takes all.", at_least=-1, later=_SGLANG)
    sglang_config: Mapping[str, Any] | None = key(None, "Further settings of SGLang.", later=_SGLANG)
    sglang_lora_backend: Literal["triton", "flashinfer"] = key("triton", "SGLang's adapter kernels.", later=_SGLANG)
    use_kt: bool = key(False, "Hold experts in main memory with KTransformers.", later=_KT)
    kt_cpu_activation: Literal["retain", "recompute"] | None = key(
        None, "Keep the experts' activations, or compute them again.", later=_KT
    )
    kt_weight_path: str | None = key(None, "Experts already quantised to INT8.", later=_KT)
    kt_non_expert_weight_path: str | None = key(None, "Everything but the experts, in bf16.", later=_KT)
    kt_expert_checkpoint_path: str | None = key(None, "Experts in safetensors, converted on loading.", later=_KT)
    kt_use_lora_experts: bool | None = key(None, "Add small experts that learn on the GPU.", later=_KT)
    kt_lora_expert_num: int | None = key(None, "How many of them.", at_least=1, later=_KT)
    kt_lora_expert_intermediate_size: int | None = key(None, "Their hidden width.", at_least=1, later=_KT)


@dataclass(frozen=True)
class EvaluationSection:
    """A multiple-choice benchmark (the verb `eval`)."""

    task: str | None = key(
        None, "The benchmark and its split, such as `mmlu_test`, a TOML file that describes one, or `lm_eval:NAME`."
    )
    task_dir: str = key("evaluation", "Folder that holds the benchmarks' questions, or YAML files of lm_eval tasks.")
    batch_size: int = key(4, "Questions asked at once, on each device.", at_least=1)
    lang: Literal["en", "zh"] = key("en", "Language of the words around a question.")
    n_shot: int = key(5, "Solved examples shown before the question.", at_least=0)
    save_dir: str | None = key(None, "New folder for the answers and scores.")
    download_mode: Literal["reuse_dataset_if_exists", "reuse_cache_if_exists", "force_redownload"] = key(
        "reuse_dataset_if_exists",
        "What to do with questions that were downloaded before.",
        later="questions are read from task_dir, nothing is downloaded",
    )
