"""What is known of GPUs when their driver is missing, fails, hangs or does not tell everything."""

import threading

import pynvml

from studio.runs import gpus
from tests.support import driver


def knows_nothing():
    return (gpus.count(), gpus.memories(), gpus.holders(), gpus.usage({1})) == (0, [], [], "")


def test_the_stand_in_answers_what_the_library_can_be_asked():
    asked = [name for name in vars(driver.Driver) if name.startswith("nvml")]
    assert [name for name in asked if not hasattr(pynvml, name)] == []


def test_without_a_driver_there_is_no_gpu_but_one_of_another_maker_may_be_used(monkeypatch, tmp_path):
    driver.use(monkeypatch, driver.Missing())
    monkeypatch.setattr(gpus, "DEVICES", ())
    assert knows_nothing()
    assert not gpus.may_be_there()
    monkeypatch.setattr(gpus, "DEVICES", (str(tmp_path),))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert gpus.count() == 0, "nobody knows whether there are two"
    assert gpus.can_be_used()


def test_a_driver_that_fails_has_no_gpu_to_use(monkeypatch, tmp_path):
    failing = driver.use(monkeypatch, driver.Driver(driver.SMALL))
    monkeypatch.setattr(gpus, "DEVICES", (str(tmp_path),))

    def fail():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    monkeypatch.setattr(failing, "nvmlInit", fail)
    assert knows_nothing()
    assert not gpus.can_be_used()


def test_a_driver_that_hangs_holds_nobody_up_and_is_asked_again_when_it_has_answered(monkeypatch):
    hanging = driver.use(monkeypatch, driver.Driver(driver.SMALL, driver.LARGE))
    hanging.hold("GPU-b", 7, "/usr/bin/blender", 10)
    assert [holder.gpu for holder in gpus.holders()] == [1]
    answer, asked = threading.Event(), hanging.questions
    count = hanging.nvmlDeviceGetCount
    monkeypatch.setattr(hanging, "nvmlDeviceGetCount", lambda: answer.wait(30) and count())
    monkeypatch.setattr(gpus, "TIMEOUT_S", 0.05)
    assert gpus.holders() == []
    (waiting,) = gpus._silent
    assert gpus.holders() == []
    assert hanging.questions == asked + 1, "one question at a time waits for it"
    answer.set()
    waiting.join(30)
    monkeypatch.setattr(gpus, "TIMEOUT_S", 30.0)
    assert [holder.gpu for holder in gpus.holders()] == [1]


def test_what_a_card_does_not_tell_is_left_out(monkeypatch):
    quiet = driver.use(monkeypatch, driver.Driver(driver.LARGE))
    quiet.hold("GPU-b", 7, "python", 2048)

    def refuse(*_):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    for name in ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates", "nvmlSystemGetProcessName"):
        monkeypatch.setattr(quiet, name, refuse)
    assert gpus.memories() == []
    assert gpus.usage({7}) == "GPU 0 ? % busy, 2.0 GiB"
    assert gpus.others(set()) == (
        "Other programs hold GPU memory: 2,048 MiB of GPU 0 by process 7 (?). End them, or choose another GPU with gpu."
    )
