"""The page of what the data audit finds in public sets says what the audit finds today."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "data_checks_results.md"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
        import check_datasets
    return check_datasets


def slow(*names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize(
    "name",
    [
        "hhh_alignment",
        "llmbar",
        *slow("hh_rlhf_harmless", "pandalm_annotators", "alpaca_eval_pool", "multipico"),
    ],
)
def test_the_page_is_up_to_date(script, name):
    tokenizer = script.smollm2_tokenizer()
    if tokenizer is None or not (script.SHARED / name).exists():
        pytest.skip(f"the set {name} and a tokenizer are not beside the repository")
    lines = script.section(script.audited(name, tokenizer))
    assert "\n".join(lines).strip() in PAGE.read_text(encoding="utf-8")
