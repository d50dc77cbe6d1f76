"""The doctor: real checks in a real child process, and a next step with every warning and problem."""

import pytest

from studio import doctor
from studio.cli import main
from studio.database import connection
from studio.workspace import Workspace

GIB = doctor.GIB
FACTS = {"torch": "2.13.0", "devices": [], "nf4_device": "cpu", "nf4_deviation": 0.09, "nf4_error": ""}


@pytest.mark.timeout(900)
def test_this_machine_is_examined_for_real(tmp_path, capsys):
    code = main(["doctor", "--workspace", str(tmp_path)])
    out = capsys.readouterr().out
    assert code == 0, out
    for name in ("Python", "torch", "4-bit        NF4 multiplication on", "workspace", "database", "disk"):
        assert name in out
    assert not list(tmp_path.glob("runs/*"))


def test_every_finding_that_is_not_ok_has_a_next_step():
    crowded = {"name": "H200", "free": 10 * GIB, "total": 139 * GIB}
    roomy = {"name": "H200", "free": 130 * GIB, "total": 139 * GIB}
    found = doctor.torch_checks(FACTS | {"devices": [crowded, roomy], "nf4_error": "ImportError: no bitsandbytes"})
    assert [check.level for check in found] == ["ok", "warning", "ok", "warning"]
    assert found[1].text == "H200, 10.0 of 139.0 GiB free"
    assert all(check.next_step for check in found if check.level != "ok")
    assert doctor.torch_checks(FACTS)[1].level == "warning"


def test_a_torch_that_does_not_load_is_a_problem_and_hides_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.12 is missing')")
    monkeypatch.setattr(doctor.children, "CODE", f"{tmp_path}:{doctor.children.CODE}")
    found = doctor.examine(tmp_path / "workspace")
    torch = next(check for check in found if check.name == "torch")
    assert (torch.level, torch.text) == ("problem", "does not work: ImportError: libcudart.so.12 is missing")
    assert {"workspace", "database", "folders", "disk"} <= {check.name for check in found if check.level == "ok"}


def test_a_damaged_database_is_a_problem_with_a_next_step(tmp_path):
    ws = Workspace.open(tmp_path)
    raw = bytearray(ws.database.read_bytes())
    raw[4096 : 4096 * 3] = b"\xff" * 8192
    ws.database.write_bytes(raw)
    assert connection.quick_check(ws.database) != "ok"
    check = doctor._database(ws)
    assert check.level == "problem"
    assert "restore it from a backup" in check.line


def test_little_disk_is_said_before_it_is_full(tmp_path, monkeypatch):
    ws = Workspace.open(tmp_path)
    usage = doctor.shutil.disk_usage(tmp_path)
    levels = []
    for free_gib in (0.5, 5, 50):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, free=free_gib: usage._replace(free=int(free * GIB)))
        levels.append(doctor._disk(ws).level)
    assert levels == ["problem", "warning", "ok"]


def test_a_missing_chromium_is_a_warning_only(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    assert (doctor._chromium().level, bool(doctor._chromium().next_step)) == ("warning", True)


def test_a_workspace_that_cannot_be_opened_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("")
    assert [check.level for check in doctor._workspace(tmp_path / "file")] == ["problem"]
