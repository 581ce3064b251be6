# SPDX-License-Identifier: Apache-2.0
"""Hugging Face's Trainer, with our order of data, our loss and our checkpoints.

The loop, accumulation, clipping, the schedule, mixed precision and processes are its own and
accelerate's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.utils.data import Sampler, SequentialSampler
from torch.utils.tensorboard import SummaryWriter
from transformers import Trainer, TrainingArguments
from transformers.integrations import TensorBoardCallback

from svlm_core.errors import SettingsError, SvlmError
from svlm_core.training import checkpoints
from svlm_core.training.course import Course
from svlm_core.training.model import Trainee
from svlm_core.training.pack import Collator
from svlm_core.training.recipe import Stage

LEFT_OUT = 'left_out.txt'


class Diverged(SvlmError):
    """The loss is no number any more."""


def arguments(stage: Stage, course: Course, folder: Path, seed: int) -> TrainingArguments:
    """What the trainer has to know of a stage.

    Raises SettingsError where the batch cannot be shared among the processes.
    """
    on_cpu = not torch.cuda.is_available()
    known = TrainingArguments(
        output_dir=str(folder),
        max_steps=course.steps,
        per_device_train_batch_size=stage.pack,
        learning_rate=stage.learning_rate,
        lr_scheduler_type='cosine',
        warmup_steps=round(stage.warmup * course.steps),
        optim='adamw_torch_fused',
        adam_beta2=stage.beta2,
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.clip,
        bf16=stage.bf16,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        dataloader_num_workers=stage.workers,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        save_steps=stage.save_every,
        logging_steps=stage.log_every,
        logging_nan_inf_filter=False,
        report_to=[],
        seed=seed,
        disable_tqdm=False,
    )
    if known.n_gpu > 1:
        raise SettingsError(
            f'{known.n_gpu} GPUs and one process: start with `accelerate launch --config_file '
            'training/fsdp2.yaml training/train.py ...`, or show it one with CUDA_VISIBLE_DEVICES'
        )
    side_by_side = stage.pack * known.world_size
    if stage.batch % side_by_side:
        raise SettingsError(
            f'batch={stage.batch} cannot be shared by {known.world_size} processes of '
            f'pack={stage.pack}'
        )
    known.gradient_accumulation_steps = stage.batch // side_by_side
    return known


class ChunkTrainer(Trainer):
    """Trains on a course, writes checkpoints whole, and goes on from one bit for bit."""

    def __init__(
        self,
        model: Trainee,
        course: Course,
        collator: Collator,
        stage: Stage,
        args: TrainingArguments,
        begun: int,
    ) -> None:
        """`begun` is the step that training goes on from; 0 is from the beginning."""
        super().__init__(model, args, data_collator=collator, train_dataset=course)
        self._folder = Path(str(args.output_dir))
        self._course, self._keep = course, stage.keep
        self._left_out = 0
        self._foretold = torch.zeros(2, device=args.device)  # right, and asked for
        if self.is_world_process_zero():
            board = SummaryWriter(str(self._folder / 'tensorboard'), purge_step=begun)
            self.add_callback(TensorBoardCallback(board))

    def create_accelerator_and_postprocess(self) -> None:
        """With FSDP2 and bf16: gradients are summed up, and the loss is kept, in float32."""
        super().create_accelerator_and_postprocess()
        if self.is_fsdp_enabled and self.args.bf16:
            self.accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
                param_dtype=torch.bfloat16, reduce_dtype=torch.float32
            )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean over all tokens that the whole step asks for, in whichever pack they are."""
        self._note(inputs['problems'])
        labels = inputs['labels']
        loss, right = model(inputs['pack'], labels)
        self._foretold += torch.stack([right, right.new_tensor(len(labels))])
        processes = self.accelerator.num_processes  # their gradients will be averaged
        return loss * processes / num_items_in_batch.clamp(min=1)

    def log(self, logs: dict[str, float], *more: Any) -> None:
        """Write a line of the log; `accuracy` is that of single tokens, given those before.

        Raises Diverged when the loss is no number.
        """
        if 'loss' in logs:
            if not math.isfinite(logs['loss']):
                raise Diverged(
                    f'the loss is {logs["loss"]} at step {self.state.global_step} in '
                    f'{self._folder}: lower the learning rate, and begin anew'
                )
            right, asked = self.accelerator.reduce(self._foretold).tolist()
            logs['accuracy'] = right / max(asked, 1)
            logs['left_out'] = self._left_out
            self._foretold.zero_()
        super().log(logs, *more)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Weight decay is for matrices."""
        return [name for name, parameter in model.named_parameters() if parameter.ndim > 1]

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        return SequentialSampler(self._course)

    def _note(self, problems: list[str]) -> None:
        """Count the rows that could not be read, and write down why."""
        self._left_out += len(problems)
        if problems:
            with (self._folder / LEFT_OUT).open('a', encoding='utf-8') as file:
                file.writelines(f'{line}\n' for line in problems)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        part = self._folder / f'.checkpoint-{self.state.global_step}'
        model, optimizer, scheduler = self._learning
        first = self.is_world_process_zero()
        with checkpoints.writing(part):
            if first:
                checkpoints.begin(part)
            self.accelerator.wait_for_everyone()
            checkpoints.write(self._mine(part), model, optimizer)
            if first:
                checkpoints.write_schedule(part, scheduler)
                self.state.save_to_json(str(part / checkpoints.STATE))
            self.accelerator.wait_for_everyone()
            if first:
                checkpoints.finish(part, self._keep)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: Any, model: Any = None) -> None:
        """Weights come with the optimiser's moments, once both are cut for the processes."""

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        if checkpoint is not None:
            folder, (model, optimizer, scheduler) = Path(checkpoint), self._learning
            checkpoints.read(self._mine(folder), model, optimizer)
            checkpoints.read_schedule(folder, scheduler, optimizer)

    def _load_rng_state(self, checkpoint: Any) -> None:
        if checkpoint is not None:
            checkpoints.read_random(self._mine(Path(checkpoint)))

    @property
    def _learning(self) -> tuple[Any, Any, Any]:
        """The model, its optimiser, and the schedule of the learning rate."""
        return self.model, self.optimizer, self.lr_scheduler

    def _mine(self, folder: Path) -> Path:
        """What this process writes into a checkpoint."""
        args = self.args
        return folder / f'process-{args.process_index}-of-{args.world_size}.safetensors'
