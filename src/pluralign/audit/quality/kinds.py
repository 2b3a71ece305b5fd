"""The kinds of finding as data: title, why it matters, what to do."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """The words of a kind of finding."""

    title: str
    why: str
    remedy: str


_ENCODING = (
    "A tokenizer splits the wrong characters into rare tokens, and the model learns to write them."
)

KINDS: dict[str, Kind] = {
    # texts
    "blank": Kind(
        "Nothing to read",
        "A text without a visible character teaches nothing but its own absence.",
        "Remove the rows, or restore their text from the source.",
    ),
    "control_characters": Kind(
        "Control characters",
        "Control characters are invisible to raters but not to the model.",
        "Remove them, or find the step that put them in.",
    ),
    "bidi_controls": Kind(
        "Characters that reorder text",
        "Bidirectional controls make a text look different from what the model reads.",
        "Remove them unless the language needs them.",
    ),
    "mojibake": Kind(
        "Text decoded with the wrong encoding",
        "A tokenizer splits the wrong characters into rare tokens, and the model learns to write "
        "them.",
        "Read the source again as UTF-8, or undo it by encoding as cp1252 and decoding as UTF-8.",
    ),
    "replacement_characters": Kind(
        "Lost characters",
        "U+FFFD stands where a decoder lost a character; the original cannot be had from it.",
        "Read the source again with the right encoding.",
    ),
    "long_texts": Kind(
        "Extremely long texts",
        "A few very long texts set the memory of a batch and are the first to be truncated.",
        "Look whether they are what they should be; else drop them.",
    ),
    # pair and boundary
    "identical_responses": Kind(
        "Chosen equals rejected",
        "The margin of such a pair is zero whatever the model does; it only adds noise.",
        "Drop the rows (trainers here drop them with a warning).",
    ),
    "same_but_for_form": Kind(
        "Responses differ in form only",
        "Chosen and rejected are equal but for case, blanks and outer punctuation; the model "
        "learns that form unless format was what raters judged.",
        "Drop the rows unless format is the task.",
    ),
    "prompts_differ": Kind(
        "Chosen and rejected answer different prompts",
        "The texts part before the last turn, so the comparison is between two conversations.",
        "Give the prompt as a column of its own, or drop the rows.",
    ),
    "prompt_in_response": Kind(
        "A response starts with the prompt",
        "The prompt would be scored as if the model had answered it: twice in the context.",
        "Cut the prompt off the responses, or leave the prompt column out (implicit form).",
    ),
    "role_markers": Kind(
        "Role markers inside a response",
        "A response that contains the next turn teaches the model to speak for the user and "
        "never to stop.",
        "Cut the response at the marker, or give the pair as a conversation.",
    ),
    "whitespace_mismatch": Kind(
        "Only one response begins or ends with white space",
        "A blank that goes with the label is a shortcut that the model will take.",
        "Strip both responses, or give both the same leading blank.",
    ),
    # tokens
    "tokenizer_without_eos": Kind(
        "The tokenizer has no end-of-text token",
        "A model tuned on responses without an end does not learn to stop.",
        "Set tokenizer.eos_token.",
    ),
    "no_chat_template": Kind(
        "The tokenizer has no chat template",
        "Conversations cannot be turned into tokens without one.",
        "Set tokenizer.chat_template, or give the texts as strings.",
    ),
    "missing_eos": Kind(
        "Responses without an end-of-text token",
        "A model tuned on responses without an end does not learn to stop.",
        "End each response with the EOS token, or mend the chat template.",
    ),
    "double_bos": Kind(
        "Two begin-of-text tokens",
        "The text names BOS itself and the tokenizer adds another; the model has never seen two.",
        "Remove BOS from the texts, or tokenise with add_special_tokens=False.",
    ),
    "token_boundary": Kind(
        "Tokens merge across the end of the prompt",
        "The prompt's tokens are no prefix of prompt + response: scores then count tokens that "
        "belong to the prompt, or miss some of the response.",
        "Put the blank or line break between them into the response, or end prompts on a token "
        "boundary.",
    ),
    "truncation": Kind(
        "Longer than max_length",
        "What does not fit is lost: the oldest part of the prompt where it is cut from the left, "
        "whole pairs where they are dropped, the ends of responses where other tools cut there.",
        "Raise max_length if memory allows; else see that no group loses most of its pairs.",
    ),
    # repeats and labels
    "duplicates": Kind(
        "Exact duplicates",
        "A pair that is there twice counts twice, makes intervals too narrow and may sit on "
        "both sides of a split.",
        "Keep one copy of each.",
    ),
    "near_duplicates": Kind(
        "Near-duplicates",
        "Prompt and both responses are nearly those of another pair: the set holds fewer "
        "independent comparisons than rows. Texts from one template can look the same.",
        "Look at some; keep one of each, and never split them between training and evaluation.",
    ),
    "conflicting_votes": Kind(
        "The same pair with opposite labels",
        "Repeated votes that contradict each other are a free estimate of label noise; across "
        "people they may be honest disagreement, so the rate is an upper bound.",
        "Keep them; give the rate as flip_rate to rDPO, or aggregate votes into label_prob.",
    ),
    "outvoted": Kind(
        "Votes against the majority",
        "These labels contradict most other votes on the same pair: noise, or a minority view.",
        "Read some before deciding; a group's view is not noise.",
    ),
    "cyclic_preferences": Kind(
        "Preferences that run in a circle",
        "A over B, B over C and C over A for one prompt cannot come from one ranking: at least "
        "one label of each circle is flipped, or the choices are close.",
        "Look at the rows (the suspects first); a group with many circles has noisy labels.",
    ),
    "flipped_by_model": Kind(
        "Labels that a model believes flipped",
        "The posterior probability of a flip is above one half: noise, or a view that the model "
        "does not share.",
        "Read some of them by group before removing any; prefer rDPO with the estimated rate.",
    ),
    "length_bias": Kind(
        "How often the longer response wins",
        "A model can reach this accuracy by length alone; an audit must beat it to mean anything.",
        "Compare length-normalised and plain ranking accuracy; balance lengths, or use a "
        "length-normalised objective.",
    ),
    "position_bias": Kind(
        "The position of the chosen response",
        "Raters or the collection prefer a position; the label then partly says who came first.",
        "Show pairs in both orders, or weight the orders equally.",
    ),
    "ties": Kind(
        "Ties",
        "A label probability of one half says that the rater saw no difference; as a hard label "
        "it is noise.",
        "Use an objective that reads label_prob or ties.",
    ),
    "label_below_half": Kind(
        "The label contradicts its own probability",
        "label_prob below one half says that the rejected response is preferred.",
        "Swap chosen and rejected and use 1 - label_prob, if that is what was meant.",
    ),
    "zero_weights": Kind(
        "Weight zero",
        "These pairs take time and change nothing.",
        "Drop them, or mend the weights.",
    ),
    # groups and people
    "no_groups": Kind(
        "No groups",
        "Without a group column only the average can be reported, not whom a model serves.",
        "Name the column that says who the rater is or whom a pair affects.",
    ),
    "one_group": Kind(
        "One group only",
        "A group column with one value compares nothing.",
        "Check that the right column was named.",
    ),
    "missing_groups": Kind(
        "Missing group labels",
        "People without a label form a group that is none; their results mean little.",
        "Fill them in from the source, or leave the rows out of reports by group.",
    ),
    "tiny_groups": Kind(
        "Groups of fewer than 10 pairs",
        "Results of so small a group are mostly luck; its interval is wider than any finding.",
        "Merge groups beforehand, gather more pairs, or read only the shrunken estimates.",
    ),
    "group_resolution": Kind(
        "What the groups can resolve",
        "Gaps smaller than the minimum detectable one will mostly go unseen, and those seen are "
        "exaggerated. Pairs that share a prompt resolve less.",
        "Plan for more pairs in the smallest group before claiming that a gap is absent.",
    ),
    "agreement": Kind(
        "Agreement of annotators",
        "Krippendorff's alpha is 1 for perfect agreement and 0 for chance; no model can agree "
        "with people more than they do with each other.",
        "Below 0.667, report results against the spread of votes, not against one label.",
    ),
    # split
    "leaked_pairs": Kind(
        "Evaluation pairs that are in the training set",
        "Their results measure memory.",
        "Remove them from one side.",
    ),
    "leaked_prompts": Kind(
        "Evaluation prompts that are in the training set",
        "The model has seen preferences on this prompt; results there are too good.",
        "Split by prompt.",
    ),
    "leaked_near_prompts": Kind(
        "Evaluation prompts that are nearly in the training set",
        "Prompts that share most of their text leak as equal ones do, unless a template is all "
        "they share.",
        "Look at some; split by cluster of prompts.",
    ),
}
