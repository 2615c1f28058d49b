"""From the recipe's training section to the arguments of `transformers.Trainer`, with what Hone decides itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hone.errors import RecipeError

if TYPE_CHECKING:
    import torch

    from hone.recipe import TrainingSection
    from hone.training.lean import Seq2SeqTrainingArguments

OURS: dict[str, Any] = {
    # A repaired loss would hide that training went wrong; the run stops instead.
    "logging_nan_inf_filter": False,
    # Hone shows the progress.
    "disable_tqdm": True,
    # The loss is the stage's; batches are not arguments of the model's forward.
    "remove_unused_columns": False,
    "label_names": ["labels"],
    # Every weight that learns gets a gradient in every step, and the head's is made outside the model's forward, where
    # the search for those that get none does not see it.
    "ddp_find_unused_parameters": False,
    # Set up by Hone before the trainer sees the model.
    "gradient_checkpointing": None,
    "gradient_checkpointing_kwargs": None,
    "activation_checkpointing": None,
    "overwrite_output_dir": None,
    "resume_from_checkpoint": None,
    "neftune_noise_alpha": None,
}


def trainer_arguments(training: TrainingSection, *, autocast: torch.dtype | None = None) -> Seq2SeqTrainingArguments:
    """The library's arguments. `autocast` is the dtype of matrix products (None: that of the weights).

    Raises RecipeError with the library's own words for a combination that it refuses.
    """
    import torch

    from hone.training.lean import Seq2SeqTrainingArguments

    given = {name: value for name, value in training.arguments.items() if name not in OURS}
    ours = {name: value for name, value in OURS.items() if value is not None}
    ours |= {
        "output_dir": training.output_dir,
        "bf16": autocast is torch.bfloat16,
        "fp16": autocast is torch.float16,
        # The library refuses bf16 on a processor unless told that this is meant; Hone has checked the device itself.
        "use_cpu": bool(given.get("use_cpu")) or not torch.accelerator.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available() and given.get("dataloader_pin_memory", True),
    }
    try:
        return Seq2SeqTrainingArguments(**{**given, **ours})
    except (ValueError, TypeError, NotImplementedError, ImportError) as reason:
        raise RecipeError.one("RECIPE-TRAINING", str(reason).strip(), "training arguments", "change them") from None
