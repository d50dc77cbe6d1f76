"""Nothing computes on a GPU without holding its lock: answers, merges, predictions and measurements, next to runs.

There is no GPU here; a stand-in for the driver tells of two.
"""

import importlib
import os
import threading
from pathlib import Path
from queue import Queue

import pytest

from modules.config import RewardConfig, SFTConfig
from studio.chat.protocol import Start
from studio.children import check_device
from studio.errors import ConfigError, RunError
from studio.preferences import prompts
from studio.runs import devices, gpus, memory_fit, queue, runs, turns
from studio.worker.borrowed_gpu import borrowed
from studio.workspace import Workspace
from tests.support import driver, stored
from tests.support.waiting import until
from tests.ui import filling

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ws(tmp_path):
    workspace = Workspace.open(tmp_path / "workspace")
    filling.add_texts(workspace)
    return workspace


@pytest.fixture
def two_gpus(monkeypatch):
    """A driver that knows two GPUs."""
    return driver.use(monkeypatch, driver.Driver(driver.SMALL, driver.LARGE))


def running(ws, gpu):
    """A run that works on a GPU, as its row says; its device is taken by the test."""
    run = runs.create(ws, SFTConfig(gpu=gpu))
    assert stored.written(ws, runs.begin, run.id, f"gpu{gpu}")
    return run


@pytest.fixture
def all_at_work(ws, two_gpus):
    """Both GPUs are held, each by a run; gives the sentence that says so."""
    first, second = running(ws, 0), running(ws, 1)
    with devices.taken(ws, first.config, []) as mine, devices.taken(ws, second.config, []) as other:
        assert (mine, other) == (("gpu0",), ("gpu1",))
        yield f"{first.name} works on GPU 0 and {second.name} works on GPU 1: try again when it has ended, or use the CPU"


def test_a_borrowed_gpu_is_the_device_of_a_run_and_the_only_one_that_is_seen(ws, two_gpus):
    with borrowed(ws) as device:
        assert device == "gpu0"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    with borrowed(ws, gpu=1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    with borrowed(ws), devices.taken(ws, SFTConfig(), []) as second, devices.taken(ws, SFTConfig(), []) as none:
        assert second == ()  # the stand-in shows one GPU here
        assert none == ()


def test_a_run_does_not_get_a_gpu_that_is_borrowed_and_gets_it_afterwards(ws, two_gpus):
    config = SFTConfig(gpu=0)
    before = os.environ.copy()
    with borrowed(ws, gpu=0):
        seen, os.environ["CUDA_VISIBLE_DEVICES"] = (
            os.environ["CUDA_VISIBLE_DEVICES"],
            "0,1",
        )  # the run's process sees both
        with devices.taken(ws, config, []) as mine:
            assert mine == ()
        os.environ["CUDA_VISIBLE_DEVICES"] = seen
    assert os.environ == before
    with devices.taken(ws, config, []) as mine:
        assert mine == ("gpu0",)


def test_a_gpu_that_nobody_uses_is_taken_first(ws, two_gpus):
    first = running(ws, 0)
    with devices.taken(ws, first.config, []), borrowed(ws) as device:
        assert device == "gpu1"


def test_where_all_gpus_are_at_work_it_is_refused_by_the_names_of_the_runs(ws, all_at_work):
    with pytest.raises(RunError) as refused, borrowed(ws):
        pass
    assert str(refused.value).startswith(all_at_work)


@pytest.mark.parametrize("has_gpus", [True, False], ids=["next to two busy GPUs", "without a GPU"])
def test_the_cpu_is_shared_with_runs(ws, request, monkeypatch, tmp_path, has_gpus):
    if has_gpus:
        request.getfixturevalue("all_at_work")
    else:
        driver.use(monkeypatch, driver.Missing())
        monkeypatch.setattr(gpus, "DEVICES", ())
    with devices.taken(ws, SFTConfig(device="cpu"), []), borrowed(ws, "cpu" if has_gpus else "auto") as device:
        assert device == "cpu"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "", "torch sees none"


def test_a_gpu_that_the_driver_does_not_tell_of_has_the_lock_of_its_runs(ws, monkeypatch, tmp_path):
    driver.use(monkeypatch, driver.Missing())
    monkeypatch.setattr(gpus, "DEVICES", (str(tmp_path),))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with devices.taken(ws, SFTConfig(), []) as mine:
        assert mine == ("cpu",)
        with pytest.raises(RunError, match="another task of the studio works on the GPU"), borrowed(ws):
            pass
    with borrowed(ws):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3", "torch goes on seeing it"


def test_a_patient_one_waits_for_a_gpu_that_no_waiting_run_could_use(ws, two_gpus, monkeypatch):
    monkeypatch.setattr("studio.worker.borrowed_gpu.POLL_S", 0.02)
    waiting = runs.create(ws, SFTConfig(gpu=0))
    with borrowed(ws, is_patient=True) as device:
        assert device == "gpu1"
    got, asked = [], threading.Event()
    real = devices.taken
    monkeypatch.setattr(devices, "taken", lambda *given: asked.set() or real(*given))

    def wait():
        with borrowed(ws, gpu=0, is_patient=True) as device:
            got.append(device)

    thread = threading.Thread(target=wait)
    thread.start()
    assert asked.wait(10)
    assert not got
    stored.written(ws, queue.pause, waiting.name)  # a run that is held lets others pass
    thread.join(10)
    assert got == ["gpu0"]


def test_an_answer_is_refused_while_runs_work_on_all_gpus(ws, all_at_work):
    resident = importlib.import_module("studio.worker.resident")
    with pytest.raises(RunError) as refused:
        resident.serve(ws, Start(root=str(ws.root), idle_s=60), Queue(), print)
    assert str(refused.value).startswith(all_at_work)


def test_a_chat_gives_its_gpu_to_a_waiting_run_of_another_workspace(ws, monkeypatch, tmp_path):
    driver.use(monkeypatch, driver.Driver(driver.SMALL))
    other = Workspace.open(tmp_path / "hiking")
    filling.add_texts(other)
    run = runs.hand_over(other, runs.create(other, SFTConfig()))
    resident = importlib.import_module("studio.worker.resident")
    (card,) = devices.cards(run.config)
    ended = threading.Thread(target=resident.serve, args=(ws, Start(root=str(ws.root), idle_s=600), Queue(), print))
    ended.start()
    until(lambda: stored.read(other, devices.other_workspace, "gpu0"), "the chat holds the GPU")
    assert devices.asked_for_by(ws, card) == ""
    assert turns.look(other) == []
    assert (devices.asked_for_by(ws, card), devices.asked_for_by(other, card)) == ("hiking", "")
    ended.join(60)
    assert not ended.is_alive()
    with devices.taken(other, run.config) as mine:
        assert mine == ("gpu0",)


def test_a_merge_is_refused_while_runs_work_on_all_gpus(ws, all_at_work, capsys):
    merge = importlib.import_module("studio.worker.merge")
    assert merge.main("nowhere", "nowhere", str(ws.root), "auto") == 1
    assert capsys.readouterr().err.startswith(all_at_work)


def test_predictions_asked_for_are_refused_while_runs_work_on_all_gpus(ws, all_at_work):
    predict = importlib.import_module("studio.worker.predict")
    run = filling.add_run(ws, SFTConfig())
    filling.add_pairs(
        ws, [row["id"] for row in stored.read(ws, prompts.list_prompts)][:1], filling.add_checkpoint(ws, run)
    )
    with ws.write() as db:
        db.execute(
            "UPDATE runs SET stage = 'reward', config = ? WHERE id = ?", [RewardConfig().model_dump_json(), run.id]
        )
    with pytest.raises(RunError) as refused:
        predict.reply({"root": str(ws.root), "is_patient": False})
    assert str(refused.value).startswith(all_at_work)
    assert not (ws.root / "device.lock").exists(), "a lock that nobody else takes"


def test_a_measurement_is_refused_while_runs_work_on_all_gpus(ws, all_at_work):
    probe = importlib.import_module("studio.worker.probe")
    request = {"root": str(ws.root), "stage": "sft", "config": SFTConfig().model_dump()}
    with pytest.raises(RunError) as refused:
        probe.reply(request)
    assert str(refused.value).startswith(all_at_work)


def test_the_doctor_opens_a_gpu_only_with_its_lock_and_none_that_a_run_works_on(ws, two_gpus, monkeypatch):
    doctor = importlib.import_module("studio.worker.doctor")
    opened = []

    def nf4(device):
        with devices.taken(ws, SFTConfig(), []) as left:
            opened.append((device, left))
        return {}

    monkeypatch.setattr(doctor, "nf4", nf4)
    monkeypatch.setattr(doctor.torch.cuda, "is_available", lambda: True)
    facts = doctor.facts(str(ws.root))
    assert facts["busy"] == ""
    assert opened == [("cuda", ())], "the one GPU that it sees is locked while it computes there"
    first, second = running(ws, 0), running(ws, 1)
    with devices.taken(ws, first.config, []), devices.taken(ws, second.config, []):
        facts = doctor.facts(str(ws.root))
    assert opened[1:] == [("cpu", ())]
    assert [each["name"] for each in facts["devices"]] == ["Small", "Large"], "the driver tells of them"
    assert facts["busy"].startswith(f"{first.name} works on GPU 0 and {second.name} works on GPU 1: ")


def test_every_process_that_loads_a_model_is_a_run_or_borrows():
    loading = ("Backbone.load(", "pick_device(", "load_model(", "training.build(")
    found = {path for path in (ROOT / "studio").rglob("*.py") if any(word in path.read_text() for word in loading)}
    runs_own = {ROOT / "studio" / "worker" / name for name in ("training.py", "sampling.py", "evaluating.py")}
    assert runs_own < found
    assert [path.name for path in sorted(found - runs_own) if "with borrowed(" not in path.read_text()] == []


def test_a_device_that_there_is_not_is_refused_before_a_process_is_started():
    assert check_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="device is tpu, but it can be auto"):
        check_device("tpu")


# Where a run would fit.


def test_the_estimate_is_made_for_the_gpu_that_the_run_would_get(two_gpus, monkeypatch):
    def place(**settings):
        return memory_fit.place_of(SFTConfig(**settings))

    assert (place().title, place().free) == ("GPU 0, Small", 6000 * 2**20)
    assert place(gpu=1).title == "GPU 1, Large"
    assert place(device="cpu").is_cpu
    assert place(devices=2).title == "GPU 0, Small", "all take a like share, so the one with the least decides"
    two_gpus.hold("GPU-a", 4242, "/usr/bin/blender", 2048)
    assert place().title == "GPU 1, Large", "one that another program uses is a run's last choice"
    assert place(gpu=0).title == "GPU 0, Small"


@pytest.mark.parametrize(
    ("given", "gpu", "title"),
    [
        ("1", -1, "Large"),
        ("1", 0, "Large"),
        ("1,0", 0, "GPU 0, Large"),
        ("1,0", 1, "GPU 1, Small"),
        ("GPU-b", -1, "Large"),
        ("", -1, "RAM"),
        ("-1", -1, "RAM"),
    ],
    ids=["one", "the first of one", "turned round", "the second", "by its uuid", "none", "switched off"],
)
def test_the_estimate_heeds_which_gpus_are_visible(two_gpus, monkeypatch, given, gpu, title):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert memory_fit.place_of(SFTConfig(gpu=gpu)).title == title
