"""Texts become token ids: boundaries, BOS, EOS, truncation, and what is refused."""

import numpy as np
import pytest

from pluralign import DataError, DataQualityWarning, IncompatibleError, ParameterError, Preferences
from pluralign.learn import tokenise_pairs, train_tokenizer
from pluralign.learn.tokenise import tokenise_texts

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEXTS = ["the cat sat on the mat", "a dog ran far away", "is it red or blue?"] * 5


@pytest.fixture
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=300)


def pairs(*rows, **columns):
    records = [dict(zip(("prompt", "chosen", "rejected"), row, strict=True)) for row in rows]
    return Preferences.from_records(records).with_columns(**columns)


def test_prompt_and_responses_join_without_blank_and_end_in_eos(tokenizer):
    tokens = tokenise_pairs(pairs(("the cat", " sat", " ran far")), tokenizer)
    prompt, chosen, rejected = (ids.tolist() for ids in tokens.rows(0))
    assert tokenizer.decode(prompt) == "<s>the cat"
    assert tokenizer.decode(chosen) == " sat</s>"
    assert tokenizer.decode(rejected) == " ran far</s>"
    assert prompt + chosen == [*tokenizer("the cat sat")["input_ids"], tokenizer.eos_token_id]
    assert tokens.report["without_eos"] == 0


def test_bos_and_eos_that_the_text_names_are_not_doubled(tokenizer):
    tokens = tokenise_pairs(pairs(("<s>the cat", " sat</s>", " ran")), tokenizer)
    assert tokens.prompt[0].tolist().count(tokenizer.bos_token_id) == 1
    assert tokens.chosen[0].tolist().count(tokenizer.eos_token_id) == 1


def test_empty_prompt_is_bos(tokenizer):
    tokens = tokenise_pairs(pairs(("", "the cat", "a dog")), tokenizer)
    assert tokens.prompt[0].tolist() == [tokenizer.bos_token_id]
    tokenizer.bos_token = None
    tokenizer._tokenizer.post_processor = None
    with pytest.raises(DataError, match=r"row 0: prompt has no tokens"):
        tokenise_pairs(pairs(("", "the cat", "a dog")), tokenizer)


def test_conversations_go_through_the_template(tokenizer):
    tokenizer.chat_template = TEMPLATE
    user = [{"role": "user", "content": "is it red"}]
    answers = [[{"role": "assistant", "content": text}] for text in ("the cat", "a dog")]
    tokens = tokenise_pairs(pairs((user, *answers)), tokenizer)
    assert tokenizer.decode(tokens.prompt[0]) == "<|user|>is it red</s><|assistant|>"
    assert tokenizer.decode(tokens.chosen[0]) == "the cat</s>"
    assert tokens.report["boundary_mismatch"] == 0


def test_template_that_is_missing_or_refuses(tokenizer):
    user = [{"role": "user", "content": "is it red"}]
    answers = [[{"role": "assistant", "content": text}] for text in ("the cat", "a dog")]
    chat = pairs((user, *answers))
    with pytest.raises(IncompatibleError, match="no chat template"):
        tokenise_pairs(chat, tokenizer)
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(DataError, match=r"row 0: the chat template refuses .*must alternate"):
        tokenise_pairs(chat, tokenizer)


def test_ids_are_taken_as_given():
    tokens = tokenise_pairs(pairs(([5, 6], [7], [8, 9]), ([1], [2, 3], [4])), None)
    batch = tokens.batch([1, 0])
    assert batch.lengths.tolist() == [[1, 2, 1], [2, 1, 2]]
    assert batch.tokens.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_merge_across_the_boundary_is_cut_at_the_common_prefix(tokenizer):
    broken = pairs(("the ca", "t sat", "t ran"), *[("the cat", " sat", " ran")] * 3)
    alone = tokenizer("the ca")["input_ids"]
    together = tokenizer("the cat sat")["input_ids"]
    with pytest.warns(DataQualityWarning, match="1 have a prompt that is no token prefix"):
        tokens = tokenise_pairs(broken, tokenizer, max_boundary_share=0.5)
    assert tokens.report["boundary_mismatch"] == 1
    kept = tokens.prompt[0].tolist()
    assert kept == alone[: len(kept)]
    assert len(kept) < len(alone)
    assert kept + tokens.chosen[0].tolist() == [*together, tokenizer.eos_token_id]


def test_too_many_boundary_breaks_are_refused_with_one_shown(tokenizer):
    broken = pairs(("the ca", "t sat", "t ran"), *[("the cat", " sat", " ran")] * 3)
    with pytest.raises(DataError, match=r"1 of 4 rows \(25.0%, limit 1.0%\)") as caught:
        tokenise_pairs(broken, tokenizer)
    assert caught.value.rows == (0,)
    assert "row 0 the prompt ends in" in str(caught.value)
    assert len(str(caught.value)) < 700


def test_tokenizer_without_eos_is_refused(tokenizer):
    tokenizer.eos_token = None
    with pytest.raises(IncompatibleError, match=r"set tokenizer.eos_token, or pass append_eos"):
        tokenise_pairs(pairs(("the cat", " sat", " ran")), tokenizer)
    tokens = tokenise_pairs(pairs(("the cat", " sat", " ran")), tokenizer, append_eos=False)
    assert tokenizer.decode(tokens.chosen[0]) == " sat"
    assert tokens.report["without_eos"] == 1


def test_texts_without_a_tokenizer_are_refused():
    with pytest.raises(IncompatibleError, match="need a transformers tokenizer"):
        tokenise_pairs(pairs(("the cat", " sat", " ran")), None)


def test_mixed_kinds_are_refused(tokenizer):
    with pytest.raises(DataError, match=r"row 0: prompt and responses are of different kinds"):
        tokenise_pairs(pairs(("the cat", [1, 2], [3])), tokenizer)


def test_identical_responses_are_dropped_and_counted(tokenizer):
    twice = pairs(("the cat", " sat", " sat"), ("a dog", " ran", " sat"))
    with pytest.warns(DataQualityWarning, match="1 were dropped because both responses"):
        tokens = tokenise_pairs(twice, tokenizer)
    assert tokens.kept.tolist() == [1]
    assert tokens.report["dropped_identical"] == 1
    with (
        pytest.warns(DataQualityWarning),
        pytest.raises(DataError, match="no row is left"),
    ):
        tokenise_pairs(twice.select([0]), tokenizer)


def test_truncation_error_drop_and_left_prompt():
    long = pairs(([0, 1, 2, 3, 4, 5], [6, 7], [8]), ([1], [2], [3]), ([1], [2] * 9, [3]))
    with pytest.raises(DataError, match=r"2 of 3 rows .* max_length=5") as caught:
        tokenise_pairs(long, None, max_length=5)
    assert caught.value.rows == (0, 2)
    with pytest.warns(DataQualityWarning, match="2 were dropped as longer"):
        dropped = tokenise_pairs(long, None, max_length=5, truncation="drop")
    assert dropped.kept.tolist() == [1]
    with pytest.warns(DataQualityWarning, match="1 lost the oldest tokens"):
        cut = tokenise_pairs(long, None, max_length=5, truncation="left_prompt")
    # The longest response decides, so that both have the same prompt.
    assert [ids.tolist() for ids in cut.rows(0)] == [[3, 4, 5], [6, 7], [8]]
    assert cut.kept.tolist() == [0, 1]
    assert (cut.report["truncated"], cut.report["dropped_too_long"]) == (1, 1)
    with pytest.raises(ParameterError, match="truncation must be one of"):
        tokenise_pairs(long, None, truncation="right")


def test_left_truncation_keeps_bos(tokenizer):
    one = pairs(("the cat sat on the mat", " red", " blue"))
    full = tokenise_pairs(one, tokenizer)
    limit = full.report["longest"] - 2
    with pytest.warns(DataQualityWarning, match="oldest"):
        cut = tokenise_pairs(one, tokenizer, max_length=limit, truncation="left_prompt")
    assert cut.prompt[0].tolist() == [full.prompt[0][0], *full.prompt[0][3:]]
    assert cut.report["longest"] == limit


def test_hashes_know_content_and_boundaries():
    first = tokenise_pairs(pairs(([1, 2], [3], [4]), ([5], [6], [7])), None)
    second = tokenise_pairs(pairs(([5], [6], [7]), ([1], [2, 3], [4])), None)
    assert first.hashes()[1] == second.hashes()[0]
    assert first.hashes()[0] != second.hashes()[1]
    assert first.fingerprint() != second.fingerprint()


def test_rows_keep_their_pairs(tokenizer):
    data = pairs(("the cat", " sat", " sat"), ("a dog", " ran", " sat"), group=("x", "y"))
    with pytest.warns(DataQualityWarning):
        tokens = tokenise_pairs(data, tokenizer)
    assert data.select(tokens.kept).group == ("y",)
    assert tokens.sizes().tolist() == [sum(len(part) for part in tokens.rows(0))]


def test_examples_for_imitation(tokenizer):
    examples = [("the cat", " sat"), ("", "a dog ran")]
    completion = tokenise_texts(examples, tokenizer)
    assert tokenizer.decode(completion.target[0]) == " sat</s>"
    assert tokenizer.decode(completion.target[1]) == "a dog ran</s>"
    whole = tokenise_texts(examples, tokenizer, loss_on="all")
    assert whole.context[0].tolist() == [tokenizer.bos_token_id]
    assert tokenizer.decode(whole.target[0]) == "the cat sat</s>"
    joined = [np.concatenate(part.rows(0)).tolist() for part in (completion, whole)]
    assert joined[0] == joined[1]
    with pytest.raises(DataError, match="no examples"):
        tokenise_texts([], tokenizer)
