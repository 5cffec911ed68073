"""The model and tokenizer made in code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from litestage.config import TinySettings
from litestage.model.sublayers import Decoder
from litestage.model.tiny import CONTEXT, END, PAD, tiny_llama, tiny_tokenizer

TEXTS = ["Which of these floats?\n(A) a nail (B) a log\nRecall:", "Wood is lighter than water.", "Water is wet."] * 3
STRANGE = "Zürich \u2013 naïve  spaces\n\tand 漢字 🙂 <end"


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer(TEXTS, 300)


def test_any_text_survives_the_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in (*TEXTS, STRANGE):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_words_it_was_trained_on_are_short(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer(" water")["input_ids"]) < len(tokenizer(" wyzzq")["input_ids"])


def test_the_vocabulary_has_a_limit_and_two_special_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    assert 256 < len(tokenizer) <= 300
    assert (tokenizer.eos_token, tokenizer.pad_token) == (END, PAD)
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    ids = tokenizer("It floats.")["input_ids"]
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == "It floats."


def test_the_same_texts_give_the_same_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tiny_tokenizer(iter(TEXTS), 300).get_vocab() == tokenizer.get_vocab()


def test_a_saved_tokenizer_reads_back(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(STRANGE)["input_ids"] == tokenizer(STRANGE)["input_ids"]
    assert (again.eos_token_id, again.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_the_seed_decides_the_weights(tokenizer: PreTrainedTokenizerFast, tiny: TinySettings) -> None:
    one, same, other = (tiny_llama(tiny, tokenizer, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    drawn = [name for name in one if "norm" not in name]
    assert not any(torch.equal(one[name], other[name]) for name in drawn)


def test_the_global_generator_is_left_alone(tokenizer: PreTrainedTokenizerFast, tiny: TinySettings) -> None:
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    tiny_llama(tiny, tokenizer, 1)
    assert torch.equal(torch.rand(2), want)


def test_the_model_has_the_asked_shape(tokenizer: PreTrainedTokenizerFast, tiny: TinySettings) -> None:
    model = tiny_llama(tiny, tokenizer, 0)
    decoder = Decoder(model)
    assert (decoder.num_sublayers, decoder.context, decoder.head_dim) == (4, CONTEXT, 16)
    assert decoder.dtype == torch.float32
    assert model.config.intermediate_size == 48
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert model.model.embed_tokens.weight.shape == (len(tokenizer), 32)


def test_embeddings_are_tied_and_have_the_asked_spread(tokenizer: PreTrainedTokenizerFast, tiny: TinySettings) -> None:
    tiny.embedding_std = 0.25
    model = tiny_llama(tiny, tokenizer, 0)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert float(model.lm_head.weight.detach().std()) == pytest.approx(0.25, rel=0.03)
