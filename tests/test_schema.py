"""The schema as one can read it is the schema that a workspace gets, new or made by an earlier version."""

from pathlib import Path

from studio.database import migrations
from studio.workspace import Workspace

FILE = Path(migrations.__file__).with_name("schema.sql")


def test_the_schema_file_is_what_a_new_workspace_has(tmp_path):
    with Workspace.open(tmp_path / "studio").read() as db:
        present = migrations.present(db)
    assert FILE.read_text(encoding="utf-8") == present, (
        "write it again: python -m studio.database.migrations > studio/database/schema.sql"
    )
