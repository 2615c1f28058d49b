"""Pictures from elsewhere: nothing unless it was named, no address but the one looked at, no waiting for ever."""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hone.errors import RecipeError
from hone.server.fetching import MOST_BYTES, Hosts, fetched
from hone.server.pictures import Look
from hone.server.refusal import RefusedError
from hone.server.sources import Sources


def picture() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (40, 32), "red").save(made, "PNG")
    return made.getvalue()


class Answers(BaseHTTPRequestHandler):
    """A picture at /a.png, and at other paths what a bad host may say."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append((self.path, self.headers["Host"]))
        body = picture()
        kind = "text/html" if self.path == "/page" else "image/png"
        away = {"/away": 302, "/moved": 301, "/other": 303, "/again": 307, "/ever": 308}
        self.send_response(away.get(self.path, 404 if self.path == "/none" else 200))
        if self.path in away:
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/a.png")
        if self.path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", kind)
        if self.path == "/short":
            self.send_header("Content-Length", str(len(body) + 1))
        self.end_headers()
        try:
            while self.path == "/endless":
                self.wfile.write(b"x" * 65536)
            while self.path == "/slow":
                self.wfile.write(b"x")
                time.sleep(0.02)
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def host() -> Iterator[Any]:
    with serving() as server:
        yield server


@contextmanager
def serving() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def get(url: str, hosts: str, seconds: float = 10, most: int = MOST_BYTES) -> bytes:
    return fetched(url, Hosts.of(hosts), "here", until=time.monotonic() + seconds, most=most)


def refused(url: str, hosts: str, seconds: float = 10) -> RefusedError:
    with pytest.raises(RefusedError) as why:
        get(url, hosts, seconds)
    return why.value


def test_a_named_host_is_asked_once_and_its_picture_taken(host: Any) -> None:
    named = f"127.0.0.1:{host.server_port},127.0.0.1"
    assert get(f"HTTP://127.0.0.1:{host.server_port}/a.png?b=c#d", named) == picture()
    assert host.asked == [("/a.png?b=c", f"127.0.0.1:{host.server_port}")]
    look = Look("", Sources(hosts=Hosts.of(named)))
    assert look(f"http://127.0.0.1:{host.server_port}/a.png", "here").source == picture()


SPELT = (
    "127.0.0.1 127.1 2130706433 0x7f000001 0177.0.0.1 0.0.0.0 localhost localhost. LOCALHOST [::1] [::ffff:127.0.0.1] "
    "[::] [::ffff:7f00:1]"
)


@pytest.mark.parametrize("name", SPELT.split())
def test_this_machine_is_never_asked_however_it_is_spelt(host: Any, name: str) -> None:
    known = name.strip("[]").rstrip(".").lower()
    for hosts in ("", "*", f"{known}:{host.server_port}"):
        if known == "127.0.0.1" and ":" in hosts:
            continue  # so it is named
        why = refused(f"http://{name}:{host.server_port}/a.png", hosts)
        assert (why.status, why.code) in ((403, "media_not_allowed"), (400, None))
    assert host.asked == []


def test_only_public_addresses_are_safe_unless_they_are_named() -> None:
    private = (
        "10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 224.0.0.1 fe80::1%1 fd00::1 64:ff9b::a00:1 "
        "2002:7f00:1::1 ff02::1 ::ffff:10.0.0.1 255.255.255.255"
    )
    assert not any(Hosts.of("*").safe(one) for one in private.split())
    assert Hosts.of("*").safe("93.184.216.34") and Hosts.of("*").safe("2606:2800:220:1::1")
    assert Hosts.of("10.0.0.1").safe("10.0.0.1") and not Hosts.of("10.0.0.1").safe("10.0.0.2")
    assert Hosts.of("a.org").take("https", "a.org", 443) and not Hosts.of("a.org").take("https", "a.org", 8443)
    assert Hosts.of("a.org:8443").take("https", "a.org", 8443) and not Hosts.of("a.org").take("http", "b.a.org", 80)


def test_a_name_with_one_private_address_is_not_asked(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 80)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", host.server_port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_names: found)
    assert refused("http://two.org/a.png", "*").status == 403
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_names: found[1:])
    assert refused("http://two.org/a.png", "two.org").status == 403
    assert get("http://two.org/a.png", "two.org,127.0.0.1") == picture()  # at the address that was looked at
    assert host.asked == [("/a.png", "two.org")]


@pytest.mark.parametrize(
    ("path", "word"),
    [("/away", "302"), ("/moved", "301"), ("/other", "303"), ("/again", "307"), ("/ever", "308"), ("/none", "404"),
     ("/page", "no picture"), ("/packed", "no picture"), ("/endless", "too large"), ("/short", "ends before"),
     ("/slow", "too long")],
)  # fmt: skip
def test_a_bad_answer_is_refused_in_time(host: Any, path: str, word: str) -> None:
    here = f"127.0.0.1:{host.server_port}"
    began = time.monotonic()
    why = refused(f"http://{here}{path}", f"{here},127.0.0.1", 0.3 if path == "/slow" else 10)
    assert word in why.what and why.status == 400
    assert time.monotonic() - began < 9
    assert [one for one, _ in host.asked] == [path]


@pytest.mark.parametrize(
    "url", ["http://a@127.0.0.1/", "http://127.0.0.1\\@b/", "http:///a", "http://a b/", "http://[::1/"]
)
def test_an_address_that_can_be_read_in_two_ways_is_not_taken(url: str) -> None:
    assert refused(url, "*,127.0.0.1").status == 400


def test_a_host_that_is_not_there_or_speaks_no_tls_is_told_without_details(host: Any) -> None:
    here = f"127.0.0.1:{host.server_port}"
    assert refused(f"https://{here}/a.png", f"{here},127.0.0.1").what.endswith("does not answer as it should")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{taken.getsockname()[1]}"
        assert refused(f"http://{closed}/a.png", f"{closed},127.0.0.1").what.endswith("does not answer as it should")


def test_files_are_read_below_the_named_folder_alone(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "a b.png").write_bytes(picture())
    (tmp_path / "out.png").write_bytes(picture())
    (inside / "link.png").symlink_to(tmp_path / "out.png")
    os.mkfifo(inside / "pipe.png")
    look = Look("", Sources.of({"SAFE_MEDIA_PATH": str(inside)}))
    for good in ("a b.png", f"{inside}/a b.png", f"file://{inside}/a%20b.png"):
        assert look(good, "here").source == picture()
    cases = {
        "../out.png": 403, f"{tmp_path}/out.png": 403, "link.png": 403, "/proc/self/environ": 403, "/dev/zero": 403,
        "file:///etc/passwd": 403, "ftp://a/b.png": 403, "pipe.png": 400, "none.png": 400, ".": 400, "a\0b": 400,
        "": 400, "file://data:image/png;base64,aGk=": 400, "file://http://a/": 400,
    }  # fmt: skip
    for bad, status in cases.items():
        with pytest.raises(RefusedError) as why:
            look(bad, "here")
        assert (bad, why.value.status) == (bad, status)
        assert str(tmp_path) not in why.value.what
    with pytest.raises(RefusedError, match="too large"):
        look.sources.taken("a b.png", "here", until=0, most=10)


def test_nothing_is_allowed_unless_it_is_named(tmp_path: Path) -> None:
    assert Sources.of({}) == Sources() == Sources.of({"SAFE_MEDIA_PATH": str(tmp_path), "ALLOW_LOCAL_FILES": "0"})
    assert Sources.of({"API_MEDIA_HOSTS": " A.org, b.org:81 "}).hosts.named == {"a.org", "b.org:81"}
    with pytest.raises(RecipeError, match="SAFE_MEDIA_PATH names no folder"):
        Sources.of({"SAFE_MEDIA_PATH": str(tmp_path / "none")})


INWARD = (
    f"{SPELT} 0x7f.1 017700000001 127.0.0.2 [0:0:0:0:0:ffff:7f00:1] 10.0.0.1 192.168.1.1 169.254.169.254 [fd00::1] "
    "[64:ff9b::a00:1] metadata.google.internal pictures.example.evil.org evilpictures.example"
).split()
FORMS = (
    "http://{}:{}/a.png", "https://{}:{}/a.png", "HTTP://{}:{}/", "http://{}:{}/?a=http://pictures.example/a.png",
    "http://{}:{}#pictures.example", "ftp://{}:{}/a.png", "gopher://{}:{}/_a", "dict://{}:{}/a", "ldap://{}:{}/a",
)  # fmt: skip
ABROAD = [
    f"{before}{path}"
    for before in ("", "file://", "FILE://")
    for path in (
        "/etc/passwd", "/proc/self/environ", "/proc/self/fd/0", "/dev/zero", "/dev/stdin", "/home/a/.ssh/id_rsa",
        "/../etc/passwd", "//etc/passwd", "/etc/./passwd", "/%65tc/passwd",
    )
]  # fmt: skip
UPWARD = [f"{up * count}etc/passwd" for up in ("../", "./../", "..//", "in/../../") for count in (1, 3, 9)]


def test_no_way_leads_inward_and_all_are_refused_alike(host: Any, tmp_path: Path) -> None:
    """One host and one folder are named; hundreds of addresses that are neither get the same answer, unasked: one for
    addresses, one for files."""
    look = Look("", Sources(tmp_path.resolve(), Hosts.of("pictures.example")))
    addresses = [form.format(name, host.server_port) for name in INWARD for form in FORMS]
    addresses += [*ABROAD, *UPWARD]
    assert len(set(addresses)) > 250
    answers: dict[bool, set[Any]] = {True: set(), False: set()}
    for address in addresses:
        look.count = 0
        with pytest.raises(RefusedError) as why:
            look(address, "here")
        answers[address.lower().startswith("http")].add((why.value.status, why.value.code, why.value.what))
    assert [len(one) for one in answers.values()] == [1, 1], answers
    assert {told[:2] for one in answers.values() for told in one} == {(403, "media_not_allowed")}
    assert host.asked == []
