"""The Gradio pages: one file per page, a form generated from the typed config, charts. No SQL and no tensors here."""
