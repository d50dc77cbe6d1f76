"""Rebuilds the starter kit in ``assets/starter``: the text, the tokenizer, the model, the prompts and the demonstrations.

    python -m assets.build_starter              everything
    python -m assets.build_starter --data-only  only prompts.jsonl and demonstrations.jsonl

Everything is written by this package from one seed; nothing is read from outside. The files are: facts in tables
(``world``, ``words``, ``chores``, ``letters``), what is asked and what a good answer holds (``tasks``,
``families_facts``, ``families_texts``), how an answer is put (``styles``), stories (``stories``), the data files
(``data``), the text the model reads (``corpus``), the ``tokenizer``, the training (``pretrain``, ``build``), what the
model can do (``measure``) and the ``card``.
"""

SEED = 20
