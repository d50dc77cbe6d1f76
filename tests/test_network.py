"""The address that the page is served at, and the proxies of the person's environment, which it never meets."""

import os
import socket
import subprocess
import sys
import urllib.request

import pytest

from studio import doctor, redaction
from studio.cli import main
from studio.errors import ConfigError
from studio.network import address, proxies
from studio.workspace import Workspace
from tests.live_server import LiveServer, free_port

HOSTILE = {
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "garbage://x",
    "ALL_PROXY": "socks5://127.0.0.1:1080",
    "all_proxy": "socks://127.0.0.1:1080",
    "no_proxy": "fd00::/8,[::1],*.local",
    "SSL_CERT_FILE": "/nowhere.pem",
}


@pytest.fixture
def plain(monkeypatch):
    """An environment without proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in proxies.CERTIFICATES:
            monkeypatch.delenv(name)


def test_the_page_opens_whatever_proxies_and_certificates_the_environment_names(tmp_path):
    """All of them together: Gradio fails on each of them alone, when it is imported or when it starts."""
    server = LiveServer(Workspace.open(tmp_path / "ws"), tmp_path / "log", os.environ | HOSTILE)
    try:
        server.wait()
        plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with plain.open(server.url, timeout=60) as answer:
            assert b"<gradio-app" in answer.read()
        assert "Traceback" not in server.said
        assert "A proxy is set (ALL_PROXY, HTTPS_PROXY, all_proxy, http_proxy)" in server.said
        assert "no_proxy" in server.said
    finally:
        server.stop()


def test_children_keep_the_proxies_that_the_page_does_without(plain, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    with proxies.set_aside():
        assert "HTTPS_PROXY" not in os.environ
        asked = [sys.executable, "-c", "import os; print(os.environ['HTTPS_PROXY'])"]
        child = subprocess.run(asked, capture_output=True, text=True, check=True, env=redaction.child_environment())
        assert child.stdout.strip() == "http://proxy.example:3128"
    assert os.environ["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert redaction.KEPT == {}


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "http_proxy"])
def test_the_doctor_says_that_no_download_can_work_with_these_variables(plain, monkeypatch, name):
    monkeypatch.setenv(name, HOSTILE[name])
    [found] = doctor._proxy()
    assert found.level == "warning"
    assert "no model or data set can be downloaded" in found.line


def test_the_doctor_names_a_proxy_that_works_and_is_silent_without(plain, monkeypatch):
    assert doctor._proxy() == []
    monkeypatch.setenv("http_proxy", "http://someone:s3cret-words@proxy.example:3128")
    [found] = doctor._proxy()
    assert (found.level, found.text.partition(":")[0]) == ("ok", "http_proxy")
    assert "s3cret" not in found.line


@pytest.mark.parametrize(
    ("host", "url", "is_loopback"),
    [
        ("127.0.0.1", "http://127.0.0.1:7860/", True),
        ("127.0.0.2", "http://127.0.0.2:7860/", True),
        ("::1", "http://[::1]:7860/", True),
        ("[::1]", "http://[::1]:7860/", True),
        ("0:0:0:0:0:0:0:1", "http://[::1]:7860/", True),
        ("::ffff:127.0.0.1", "http://127.0.0.1:7860/", True),
        ("localhost", "http://localhost:7860/", True),
        (" LocalHost. ", "http://localhost:7860/", True),
        ("0.0.0.0", "http://localhost:7860/", False),
        ("::", "http://[::1]:7860/", False),
        ("192.0.2.7", "http://192.0.2.7:7860/", False),
        ("fe80::1", "http://[fe80::1]:7860/", False),
        (socket.gethostname(), f"http://{socket.gethostname().lower()}:7860/", False),
    ],
    ids=lambda value: (
        None if isinstance(value, bool) else value.strip() if value.strip() != socket.gethostname() else "own-name"
    ),
)
def test_every_form_of_an_address_leads_to_one_that_a_browser_opens(host, url, is_loopback):
    found = address.parse(host, 7860)
    assert (found.url if socket.gethostname() not in host else url, found.is_loopback) == (url, is_loopback)


@pytest.mark.parametrize(
    ("host", "word"),
    [
        ("", "is not an address"),
        ("http://localhost", "is not an address"),
        ("fe80::1%lo", "is not an address"),
        ("a b", "is not an address"),
        ("localhost:7860", "--host localhost --port 7860"),
        ("nosuch.invalid", "knows no address"),
        ("x" * 300, "knows no address"),
    ],
    ids=["empty", "url", "zone", "blank", "port", "unknown", "long"],
)
def test_what_is_no_address_of_a_host_is_refused_with_a_sentence(host, word):
    with pytest.raises(ConfigError, match=word):
        address.parse(host, 7860)


def test_a_port_or_an_address_that_cannot_be_used_is_told_apart(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", "::1"):  # Gradio looks at 127.0.0.1 for either
            assert main(["ui", "--workspace", str(tmp_path), "--no-browser", "--host", host, "--port", str(port)]) == 1
            assert f"Port {port} of {host} cannot be used: Address already in use" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="not an address of this machine"):
        address.check_free(address.parse("192.0.2.7", free_port()))


def test_names_are_taken_as_a_browser_sends_them():
    assert address.name(" https://Studio.Example.org:8443/ ") == "studio.example.org"
    assert address.name("bücher.example") == "xn--bcher-kva.example"
    for text in ("", "a/b", "a b", "*"):
        with pytest.raises(ConfigError, match="is not a name"):
            address.name(text)
