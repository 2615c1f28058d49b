"""The other peer, TRL's SFTTrainer, on the same recipe, in an environment of its own: `python trl_side.py train RECIPE`
reads the recipe of `train_sft.py` and writes `trainer_log.jsonl` and `train_results.json` as both sides do.

`packing` and `bf16` of the recipe are TRL's own; bf16 means weights in bf16, its quickest way on a processor.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    recipe = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    out = Path(recipe["output_dir"])
    out.mkdir(parents=True, exist_ok=True)
    bf16 = bool(recipe.get("bf16"))
    tokenizer = AutoTokenizer.from_pretrained(recipe["model_name_or_path"])
    model = AutoModelForCausalLM.from_pretrained(
        recipe["model_name_or_path"], dtype=torch.bfloat16 if bf16 else torch.float32
    )

    class Log(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            with (out / "trainer_log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"current_steps": state.global_step, **(logs or {})}) + "\n")

    rows = json.loads((Path(recipe["dataset_dir"]) / "rows.json").read_text(encoding="utf-8"))
    asked = [f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"] for row in rows]
    said = [[{"role": "assistant", "content": row["output"]}] for row in rows]
    prompts = [[{"role": "user", "content": question}] for question in asked]
    data = Dataset.from_dict({"prompt": prompts, "completion": said})
    settings = SFTConfig(
        output_dir=str(out), max_length=recipe["cutoff_len"], use_cpu=True, bf16=False, report_to="none",
        per_device_train_batch_size=recipe["per_device_train_batch_size"], num_train_epochs=recipe["num_train_epochs"],
        gradient_accumulation_steps=recipe["gradient_accumulation_steps"], learning_rate=recipe["learning_rate"],
        logging_steps=1, save_strategy="no", seed=recipe["seed"], packing=bool(recipe.get("packing")),
        gradient_checkpointing=not recipe.get("disable_gradient_checkpointing"),
    )  # fmt: skip
    adapter = LoraConfig(
        r=recipe["lora_rank"], lora_alpha=2 * recipe["lora_rank"], target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=data, processing_class=tokenizer, peft_config=adapter,
        callbacks=[Log()],
    )  # fmt: skip
    metrics = trainer.train().metrics
    (out / "train_results.json").write_text(json.dumps(metrics), encoding="utf-8")


if __name__ == "__main__":
    main()
