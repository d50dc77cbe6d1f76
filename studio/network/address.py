"""Parses the address at which the studio listens, in any form, and gives the URL that opens it in a browser."""

import errno
import ipaddress
import socket
from dataclasses import dataclass

from studio.errors import ConfigError

_EXAMPLES = "127.0.0.1 (this machine only), ::1, 0.0.0.0 (all of its addresses), or a name or address of this machine"


@dataclass(frozen=True)
class Address:
    """A host in plain form: an address without brackets, or a name in lower case with its address."""

    host: str
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach it."""
        return self.ip.is_loopback and (self.host == "localhost" or self.host == str(self.ip))

    @property
    def server_name(self) -> str:
        """The host as Gradio wants it: an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def url(self) -> str:
        """The URL that opens it on this machine; a browser cannot open `0.0.0.0` or `::`."""
        if self.ip.is_unspecified:
            return f"http://{'localhost' if self.ip.version == 4 else '[::1]'}:{self.port}/"
        return f"http://{self.server_name}:{self.port}/"


def parse(host: str, port: int) -> Address:
    """Return the address that was typed.

    Raises:
        ConfigError: it is not an address, or not this machine's, or the port does not exist.
    """
    if not 1 <= port <= 65535:
        raise ConfigError(f"Port {port} does not exist. Choose one from 1024 to 65535 with --port.")
    name = host.strip().lower()
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    name = name.removesuffix(".")
    if not name or any(sign in name for sign in "/[]@%* "):
        raise ConfigError(f"--host {host!r} is not an address. Give {_EXAMPLES}.")
    try:
        ip = ipaddress.ip_address(name)
    except ValueError:
        return Address(name, _resolved(host, name), port)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return Address(str(ip), ip, port)


def name(text: str) -> str:
    """Return a name by which a proxy or a DNS entry reaches the studio, as a browser sends it.

    Raises:
        ConfigError: it is not a name.
    """
    plain = text.strip().lower().removesuffix("/")
    for scheme in ("http://", "https://"):
        plain = plain.removeprefix(scheme)
    plain = plain.rpartition(":")[0] if plain.rpartition(":")[2].isdigit() else plain
    try:
        plain = plain.removesuffix(".").encode("idna").decode()
    except UnicodeError:
        plain = ""
    if not plain or not all(sign.isalnum() or sign in "-._" for sign in plain):
        raise ConfigError(f"--name {text!r} is not a name. Give one without a path, such as studio.example.org.")
    return plain


def check_free(address: Address) -> None:
    """Refuse an address at which nothing can listen.

    Raises:
        ConfigError: the port is taken or reserved, or the address is not this machine's.
    """
    family = socket.AF_INET6 if address.ip.version == 6 else socket.AF_INET
    try:
        socket.create_server((str(address.ip), address.port), family=family).close()
        if address.ip.version == 6:  # Gradio checks there too, whatever the address
            socket.create_server(("127.0.0.1", address.port)).close()
    except OSError as error:
        raise _refusal(address, error) from error


def _another(port: int) -> str:
    other = port + 1 if port < 65535 else port - 1
    return f"Choose another with --port {other} (make run PORT={other})."


def _refusal(address: Address, error: OSError) -> ConfigError:
    where = f"Port {address.port} of {address.host}"
    if isinstance(error, PermissionError):
        return ConfigError(f"{where} may be used only by the system. Choose one from 1024 to 65535 with --port.")
    if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EINVAL):
        return ConfigError(f"{address.host} is not an address of this machine. Give --host {_EXAMPLES}.")
    return ConfigError(f"{where} cannot be used: {error.strerror}. {_another(address.port)}")


def _resolved(host: str, name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if ":" in name:
        before, _, after = name.rpartition(":")
        raise ConfigError(
            f"--host {host} holds a port. Write --host {before} --port {after}."
            if after.isdigit() and ":" not in before
            else f"--host {host!r} is not an address. Give {_EXAMPLES}."
        )
    try:
        known = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"This machine knows no address for --host {host}. Give {_EXAMPLES}.") from error
    known.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return ipaddress.ip_address(str(known[0][4][0]).partition("%")[0])
