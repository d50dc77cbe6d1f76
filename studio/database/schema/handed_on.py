"""The migration of the checkpoint that a person chose for a run to hand on. Its owner is `models.checkpoints`."""

STATEMENTS = (
    """
CREATE TABLE handed_on (                -- checkpoints
    run_id INTEGER PRIMARY KEY REFERENCES runs(id),
    checkpoint_id INTEGER NOT NULL REFERENCES checkpoints(id),
    changed_at TEXT NOT NULL
) STRICT""",
    """
CREATE TRIGGER handed_on_of_its_run BEFORE INSERT ON handed_on
WHEN NOT EXISTS (SELECT 1 FROM checkpoints WHERE id = NEW.checkpoint_id AND run_id = NEW.run_id)
BEGIN SELECT RAISE(ABORT, 'handed_on names a checkpoint of another run'); END""",
)
