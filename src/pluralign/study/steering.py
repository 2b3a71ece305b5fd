"""Steering as a whole experiment: prompts in, two arms at equal cost, one record out.

A run leaves in its directory

- ``run.json``: where it comes from (:func:`pluralign.provenance.provenance`), the recipe and
  the prompts' hash; by it a restarted run is known to be the same one;
- ``selections.jsonl``: a line for each prompt and target with the full records of both arms,
  written and flushed to the disk batch by batch;
- ``coverage.jsonl``: a line for each target, if held-out prompts are diagnosed first;
- ``steering.json``: the results. All angles are degrees; those of neighbours are counted from
  the target (in two dimensions counter-clockwise, so the direction's own angle is the sum).
  What is not known is ``null``::

    {"kind": "steering", "title": text, "created": time,
     "attributes": [name of each of d], "trained": [[d numbers], ...] | null,
     "sampler": text, "scorer": text, "independent_scorer": text | null,
     "k": number, "spread": degrees, "confidence": level, "n_bootstrap": number,
     "targets": [{
       "angle": degrees | null (null unless d = 2), "direction": [d numbers],
       "scheme": "grid" | "offset" | "uniform" | "toward" | "target",
       "neighbours": [angles from the target], "n_prompts": number, "n_failed": number,
       "rps": {"mean", "low", "high"}, "baseline": {"mean", "low", "high"},
       "gain": {"value", "low", "high"},
       "wins": {"win", "tie", "loss", "rate", "low", "high"},
       "independent": {"rps", "baseline", "gain", "wins", "n", "correlation"} | null,
       "length": {"rps", "baseline"}, "generations": {"rps", "baseline"},
       "chosen_angles": {angle as text: times chosen},
       "neighbour_means": [{"angle", "mean", "se"}], "one_sided": sentence or "",
       "groups": [{"name", "n", "gain", "low", "high"}]}],
     "overall": {"rps", "baseline", "gain", "wins", "n_prompts", "independent", "generations"},
     "coverage_gain": [Coverage.to_json() of each target, or nothing],
     "examples": [{"prompt": text, "target": number of the target, "rps": text,
                   "baseline": text, "scores": {"rps", "baseline"}}],
     "provenance": the content of run.json}

``rate`` counts wins among prompts that are no ties, with Wilson's interval; ``low`` and
``high`` of means and gains come from a bootstrap over prompts; ``length`` is the mean number
of words of the chosen answers; ``independent`` judges the chosen answers by another scorer;
groups are those of the prompts, the one that gains least first, and empty if there is one.
"""
