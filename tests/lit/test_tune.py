"""Fine-tuning: the loss, the schedule, validation by the pipeline, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.nn.functional import cross_entropy

from litestage.config import DropoutSettings, Experiment, LoraSettings
from litestage.lit.batches import collate, tokenize
from litestage.lit.datamodule import QuestionData
from litestage.lit.tune import FineTune
from litestage.metrics import score, tokens_per_question
from litestage.model.load import attach_lora
from litestage.model.tiny import tiny_llama
from litestage.pipeline import run
from litestage.records import Question
from litestage.text.stages import Example

MakeTrainer = Callable[..., L.Trainer]
Change = Callable[..., Experiment]

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log:UserWarning")


@pytest.fixture
def batch(data: QuestionData) -> dict[str, torch.Tensor]:
    return data._tensors(data.train_batches(0)[0])


def test_each_stage_has_the_mean_loss_of_its_own_tokens(
    module: FineTune, data: QuestionData, batch: dict[str, torch.Tensor]
) -> None:
    names = module.engine.stage_names
    sums: dict[str, list[torch.Tensor]] = {}
    hits: dict[str, list[bool]] = {}
    with torch.no_grad():
        for row in data.train_batches(0)[0]:
            for tokens in tokenize(data.tokenizer, row, names):
                logits = module.model(torch.tensor([tokens.ids]), use_cache=False).logits[0, tokens.start - 1 : -1]
                labels = torch.tensor(tokens.ids[tokens.start :])
                name = names[tokens.stage]
                sums.setdefault(name, []).append(cross_entropy(logits, labels, reduction="none"))
                hits.setdefault(name, []).extend((logits.argmax(-1) == labels).tolist())
        found = module.stage_losses(batch)
    assert list(found) == names
    for name, (loss, accuracy) in found.items():
        torch.testing.assert_close(loss, torch.cat(sums[name]).mean(), rtol=1e-5, atol=1e-5)
        assert float(accuracy) == pytest.approx(sum(hits[name]) / len(hits[name]))


def losses(module: FineTune, batch: dict[str, torch.Tensor]) -> dict[str, float]:
    with torch.no_grad():
        return {name: float(loss) for name, (loss, _) in module.stage_losses(batch).items()}


def test_stage_weights_are_relative_to_their_mean(module: FineTune, batch: dict[str, torch.Tensor]) -> None:
    each = losses(module, batch)
    assert module.training_step(batch, 0).item() == pytest.approx(sum(each.values()) / 3, rel=1e-5)
    for stage, weight in zip(module.engine.reasoning.stages, (1.0, 0.0, 5.0), strict=True):
        stage.loss_weight = weight
    wanted = (0.5 * each["recall"] + 0.0 * each["analyze"] + 2.5 * each["summarize"]) / 3
    assert module.training_step(batch, 0).item() == pytest.approx(wanted, rel=1e-5)
    for stage in module.engine.reasoning.stages:
        stage.loss_weight *= 10  # only the proportions count
    assert module.training_step(batch, 0).item() == pytest.approx(wanted, rel=1e-5)


def test_exercises_weigh_as_much_as_a_mean_stage(module: FineTune, data: QuestionData) -> None:
    names = module.engine.stage_names
    made = [
        Example("exercise", "(A) a nail\nFor option A,", " a nail."),
        Example("summarize", "Summarize:", " So the answer is option A."),
    ]
    rows = [[tokens] for tokens in tokenize(data.tokenizer, made, names)]
    batch = collate(rows, 1)
    for stage, weight in zip(module.engine.reasoning.stages, (1.0, 1.0, 4.0), strict=True):
        stage.loss_weight = weight
    each = losses(module, batch)
    assert list(each) == ["exercise", "summarize"]
    wanted = (each["exercise"] + 2.0 * each["summarize"]) / 2
    assert module.training_step(batch, 0).item() == pytest.approx(wanted, rel=1e-5)


def test_learning_rate_warms_up_then_falls_to_zero(module: FineTune) -> None:
    module._trainer = SimpleNamespace(estimated_stepping_batches=20)  # type: ignore[assignment]
    made = module.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]
    rates = []
    for _ in range(21):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    assert schedule["interval"] == "step"
    assert rates[:3] == pytest.approx([0.0, 0.005, 0.01])  # a tenth of 20 steps, up to 1e-2
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[20] == pytest.approx(0.0, abs=1e-9)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.98)


def test_validation_is_the_pipeline(
    trained: FineTune, data: QuestionData, trainer: MakeTrainer, tmp_path: Path
) -> None:
    asked = data.splits.validation
    result = run(trained.engine, asked, trained.engine.full_depth())
    wanted = score(asked, result.attempts)
    assert 0 < wanted.accuracy < 1
    (logged,) = trainer(tmp_path).validate(trained, data, verbose=False)
    assert logged["val/accuracy"] == pytest.approx(wanted.accuracy)
    assert logged["val/parsed"] == pytest.approx(1 - wanted.unparsed_rate)
    for name, tokens in tokens_per_question(result.attempts, trained.engine.stage_names).items():
        assert logged[f"val/tokens_{name}"] == pytest.approx(tokens)
    assert [question for question, _ in trained.samples] == list(asked)
    assert [attempt for _, attempt in trained.samples] == result.attempts


def test_samples_are_those_of_the_last_validation(
    trained: FineTune, data: QuestionData, trainer: MakeTrainer, tmp_path: Path
) -> None:
    for _ in range(2):
        trainer(tmp_path).validate(trained, data, verbose=False)
    assert len(trained.samples) == len(data.splits.validation)


def test_training_lowers_the_loss(
    module: FineTune, data: QuestionData, batch: dict[str, torch.Tensor], trainer: MakeTrainer, tmp_path: Path
) -> None:
    before = losses(module, batch)
    made = trainer(tmp_path, epochs=2, limit_val_batches=0)
    made.fit(module, data)
    assert made.global_step == 4
    after = losses(module, batch)
    assert all(after[name] < before[name] for name in before)


class Watch(Callback):
    """Notes the trained modules' mode and the devices of the questions."""

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *args: Any
    ) -> None:
        self.batches += batch
        assert not pl_module.model.training


def test_questions_reach_validation_as_they_are(
    module: FineTune, data: QuestionData, trainer: MakeTrainer, tmp_path: Path
) -> None:
    watch = Watch()
    trainer(tmp_path, callbacks=[watch], enable_checkpointing=False).fit(module, data)
    assert tuple(watch.batches) == data.splits.validation
    assert all(isinstance(question, Question) for question in watch.batches)
    assert module.model.training


def with_lora(experiment: Experiment, tokenizer: Any) -> FineTune:
    torch.manual_seed(0)
    model = attach_lora(tiny_llama(experiment.model.tiny, tokenizer, seed=0), LoraSettings(rank=2))
    return FineTune(experiment, model, tokenizer, "tiny (tests)")


def keep_every_epoch(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)


@pytest.mark.parametrize("lora", [False, True])
def test_resuming_ends_where_the_whole_run_ends(
    experiment: Experiment, data: QuestionData, tokenizer: Any, trainer: MakeTrainer, tmp_path: Path, lora: bool
) -> None:
    def fresh() -> FineTune:
        model = tiny_llama(experiment.model.tiny, tokenizer, seed=0)
        return with_lora(experiment, tokenizer) if lora else FineTune(experiment, model, tokenizer, "tiny (tests)")

    whole, resumed = fresh(), fresh()
    trainer(tmp_path, epochs=2, callbacks=[keep_every_epoch(tmp_path)]).fit(whole, data)
    again = trainer(tmp_path, epochs=2, callbacks=[keep_every_epoch(tmp_path / "again")])
    again.fit(resumed, data, ckpt_path=str(tmp_path / "epoch=0.ckpt"))
    assert again.global_step == 4
    wanted = whole.state_dict()
    found = resumed.state_dict()
    assert found.keys() == wanted.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-6)
    start = fresh().state_dict()
    assert any(not torch.equal(start[name], weight) for name, weight in wanted.items())


def test_frozen_weights_are_not_in_checkpoints(
    experiment: Experiment, data: QuestionData, tokenizer: Any, trainer: MakeTrainer, tmp_path: Path
) -> None:
    """The tied head included, which is the embedding under another name."""
    module = with_lora(experiment, tokenizer)
    assert module.model.get_base_model().config.tie_word_embeddings
    trainer(tmp_path, callbacks=[keep_every_epoch(tmp_path)], limit_val_batches=0).fit(module, data)
    saved = torch.load(tmp_path / "epoch=0.ckpt", weights_only=True)
    trained = {f"model.{name}" for name, p in module.model.named_parameters() if p.requires_grad}
    assert set(saved["state_dict"]) == trained
    assert all("lora" in name for name in trained)
    assert len(saved["optimizer_states"][0]["state"]) == len(trained)


def test_all_weights_are_in_checkpoints_without_adapters(module: FineTune) -> None:
    checkpoint = {"state_dict": dict(module.state_dict())}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["state_dict"].keys() == module.state_dict().keys()


class Steps(Callback):
    """Notes the loss of each step, and the rate of dropout."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]))
        self.rates.append(float(trainer.callback_metrics.get("train/dropout", 0.0)))


def test_dropout_begins_with_its_rate_and_repeats(
    experiment: Experiment, data: QuestionData, tokenizer: Any, trainer: MakeTrainer, change: Change, tmp_path: Path
) -> None:
    def trained(dropout: DropoutSettings | None) -> Steps:
        changed = change(experiment, "model", dropout=dropout)
        module = FineTune(changed, tiny_llama(experiment.model.tiny, tokenizer, seed=0), tokenizer, "tiny (tests)")
        seen = Steps()
        made = trainer(tmp_path, epochs=2, callbacks=[seen], enable_checkpointing=False, limit_val_batches=0)
        made.fit(module, data)
        return seen

    plain, first, second = map(trained, (None, *[DropoutSettings(rate=0.6, ramp=0.5)] * 2))
    assert first.rates == pytest.approx([0.0, 0.3, 0.6, 0.6])
    assert second.losses == first.losses
    assert plain.losses[0] == first.losses[0]
    assert all(a != b for a, b in zip(plain.losses[1:], first.losses[1:], strict=True))


def with_dropout(module: FineTune, experiment: Experiment, rate: float) -> FineTune:
    """The same model in a module that leaves sub-layers out at once."""
    settings = replace(experiment.model, dropout=DropoutSettings(rate, ramp=0.0))
    name, tokenizer = module.engine.name, module.engine.tokenizer
    made = FineTune(replace(experiment, model=settings), module.model, tokenizer, name)
    made._trainer = SimpleNamespace(estimated_stepping_batches=4, global_step=0, global_rank=0, barebones=True)
    return made


def test_what_is_left_out_depends_on_seed_step_and_process_alone(
    trained: FineTune, experiment: Experiment, batch: dict[str, torch.Tensor]
) -> None:
    def loss(seed: int = 0, **place: int) -> float:
        module = with_dropout(trained, replace(experiment, seed=seed), rate=0.5)
        vars(module.trainer).update(place)
        return module.training_step(batch, 0).item()

    torch.manual_seed(1)
    first = loss()
    torch.manual_seed(2)
    assert loss() == first
    assert len({first, loss(seed=1), loss(global_step=1), loss(global_rank=1)}) == 4


def test_gradients_flow_around_what_is_left_out(
    trained: FineTune, experiment: Experiment, batch: dict[str, torch.Tensor]
) -> None:
    def gradients(module: FineTune) -> dict[str, torch.Tensor]:
        module.zero_grad()
        module.training_step(batch, 0).backward()
        return {name: p.grad.clone() for name, p in module.model.named_parameters() if p.grad is not None}

    plain, found = gradients(trained), gradients(with_dropout(trained, experiment, rate=0.5))
    assert found.keys() == dict(trained.model.named_parameters()).keys()
    for name, gradient in found.items():
        assert gradient.isfinite().all()
        assert gradient.any(), name
        assert not torch.equal(gradient, plain[name])


def test_validation_leaves_nothing_out(
    trained: FineTune, experiment: Experiment, data: QuestionData, trainer: MakeTrainer, tmp_path: Path
) -> None:
    asked, batch = data.splits.validation, data._tensors(data.train_batches(0)[0])
    before = losses(trained, batch)
    answers = run(trained.engine, asked, trained.engine.full_depth()).attempts
    module = with_dropout(trained, experiment, rate=1.0)
    assert module.training_step(batch, 0).item() != pytest.approx(sum(before.values()) / 3, rel=0.1)
    assert losses(module, batch) == before
    trainer(tmp_path).validate(module, data, verbose=False)
    assert [attempt for _, attempt in module.samples] == answers
