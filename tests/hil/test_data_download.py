"""Opening an address: https, file and this machine alone; every failure is one sentence."""

import socket
import time

import pytest

from hil.errors import RequestError
from hil.training.data.download import check_url, opened_url


def respond(status, **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(handler.path.encode())

    return answer


def read(url, timeout_s=0.3):
    with opened_url(url, timeout_s=timeout_s) as source:
        content = b""
        while chunk := source.read1(5):
            content += chunk
        return content


def test_a_server_of_this_machine_and_a_file_are_read(tmp_path, local_server):
    assert read(local_server(respond(200)) + "some/where") == b"/some/where"
    (tmp_path / "a file").write_bytes(b"content")
    assert read((tmp_path / "a file").as_uri()) == b"content"


def test_a_redirection_to_an_allowed_place_is_followed(local_server):
    final = local_server(respond(200))
    assert read(local_server(respond(302, Location=final + "there"))) == b"/there"


@pytest.mark.parametrize("to", ["http://example.org/", "ftp://127.0.0.1/x", "file:///etc/hostname"])
def test_a_redirection_elsewhere_is_refused(local_server, to):
    url = local_server(respond(302, Location=to))
    with pytest.raises(RequestError, match=r"not fetched from|not allowed"):
        read(url)


def test_redirections_in_a_circle_end(local_server):
    with pytest.raises(RequestError, match="answers 302"):
        read(local_server(respond(302, Location="/")))


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_an_error_status_is_told(local_server, status):
    with pytest.raises(RequestError, match=f"answers {status} "):
        read(local_server(respond(status)))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda handler: handler.wfile.write(b"no answer at all\r\n"), "broke off"),
        (lambda _handler: None, "broke off|cannot be reached"),
        (lambda _handler: time.sleep(0.6), "did not answer within 0.3 s"),
    ],
    ids=["junk", "hangs up", "silent"],
)
def test_a_server_that_does_not_speak_http_is_told(local_server, answer, sentence):
    with pytest.raises(RequestError, match=sentence):
        read(local_server(answer))


def test_a_server_that_falls_silent_in_the_middle_is_told(local_server):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"half")
        time.sleep(0.6)

    with pytest.raises(RequestError, match=r"did not answer within 0\.3 s"):
        read(local_server(answer))


def test_nothing_there_is_told(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RequestError, match=r"cannot be reached .*refused"):
        read(f"http://127.0.0.1:{port}/")
    with pytest.raises(RequestError, match="cannot be reached"):
        read((tmp_path / "gone").as_uri())


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a",
        "http://10.0.0.1/a",
        "ftp://example.org/a",
        "data:,x",
        "/etc/hostname",
        "file:x/a",
        "file://other.host/a",
        "https:///a",
        "https://[::1/a",
        "",
    ],
)
def test_other_kinds_of_address_are_refused(url):
    with pytest.raises(RequestError, match=r"is not fetched from; give https|is not one"):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["https://example.org/a", "file:///a", "http://localhost:8000/", "http://[::1]/a"]
)
def test_these_kinds_of_address_are_taken(url):
    check_url(url)
