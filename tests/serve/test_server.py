"""A server as clients meet it: accept, follow, answer, refuse, survive."""

import contextlib
import http.client
import json
import socket
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from faces.decode.header import look
from serve.settings import Settings
from tests.media import write_video
from tests.serve.answers import events_of, problem
from tests.waiting import LIMIT, wait_until

MANY = 400_000  # pieces of 64 KiB: 26 GB
EVERYWHERE = "0.0.0.0"  # noqa: S104
TOKEN = "a-token-of-many-letters"  # noqa: S105


def test_a_video_is_accepted_followed_and_answered(server, clip):
    answer = server.send(clip)
    assert answer.status_code == 202
    video = answer.json()
    assert answer.headers["location"] == f"/v1/videos/{video['id']}"
    assert (video["name"], video["bytes"]) == (clip.name, clip.stat().st_size)
    with server.client() as client, client.stream("GET", f"/v1/videos/{video['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        states = [data for name, data in events_of(stream) if name == "video"]  # ends when the video is done
    assert states[-1]["state"] == "done"
    # Changes that come faster than they are sent are told as one, so that a busy server may leave one of the two out.
    assert {"decoding", "scoring"} & {each["stage"] for each in states}
    result = server.finished(video["id"])["result"]
    assert (result["status"], result["filename"]) == ("ok", clip.name)
    assert len(result["faces"]) == 4
    with server.client() as client:
        report = client.get(f"/v1/videos/{video['id']}/report")
        listed = client.get("/v1/videos").json()["videos"][0]
    assert report.text.count("<article") == 1
    assert f"<bdi>{clip.name}</bdi>" in report.text
    assert listed["id"] == video["id"] and "faces" not in listed["result"]


def test_the_numbers_are_those_of_the_command(server, clip, members):
    import dfdc

    result = server.finished(server.send(clip).json()["id"])["result"]
    assert result["prob_fake"] == round(dfdc.load(members, "cpu", frames=4).predict(clip).prob_fake, 6)


def test_a_video_without_a_face_does_not_wait_for_the_next(server, nobody):
    result = server.finished(server.send(nobody).json()["id"])["result"]
    assert (result["status"], result["prob_fake"]) == ("no_face", 0.5)


@pytest.mark.parametrize("name", ["../../../etc/passwd.mp4", "/etc/x.mp4", "..", "a\nb\x00<b>.mp4", "ü" * 400])
def test_a_name_is_shown_and_never_a_path(server, nobody, name):
    before = {path for path in server.log.parent.rglob("*") if "uploads" not in path.parts}
    boundary = "edge"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.replace("\n", "\n")
    body = head.replace("a\nb", "a\tb").encode() + nobody.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    with server.client() as client:
        kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
        answer = client.post("/v1/videos", content=body, headers=kind)
    assert answer.status_code == 202 or (answer.status_code == 400 and "\x00" in name), answer.text
    if answer.status_code == 202:
        shown = answer.json()["name"]
        assert len(shown) <= 255 and shown.isprintable()
        done = server.finished(answer.json()["id"])
        assert str(server.log.parent) not in json.dumps(done)
    assert {path for path in server.log.parent.rglob("*") if "uploads" not in path.parts} == before


def test_what_is_no_video_is_refused(server, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video\n" * 50)
    problem(server.send(text), 422, "is not a video that can be read")
    packed = tmp_path / "packed.mp4"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(50 << 20))
    problem(server.send(packed), 422, "is not a video that can be read")
    (tmp_path / "empty.mp4").touch()
    problem(server.send(tmp_path / "empty.mp4"), 422, "zero bytes")
    playlist = tmp_path / "list.mp4"
    playlist.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    write_video(tmp_path / "secret.mp4", 4)
    problem(server.send(playlist), 422, "the file")
    assert not list((server.log.parent / "data" / "uploads").glob("*.part"))


def test_a_playlist_is_refused_where_it_would_work(tmp_path):
    write_video(tmp_path / "secret.mp4", 4)
    playlist = tmp_path / "list"
    playlist.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    assert "is a playlist" in look(playlist)["reason"]


def test_what_is_too_large_is_refused_while_it_comes(server):
    sent = []

    def endless():
        yield b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
        while len(sent) < MANY:
            sent.append(1)
            yield bytes(1 << 16)

    with server.client() as client:
        kind = {"content-type": "multipart/form-data; boundary=edge"}
        # Suppressed: it was more than the server cared to read on, and it closed.
        with contextlib.suppress(httpx.WriteError, httpx.ReadError):
            problem(client.post("/v1/videos", content=endless(), headers=kind), 413, "larger than the limit of 3000000")
    assert len(sent) < MANY, "it read on for ever"
    # Where the length is told before, not a byte of it is waited for.
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=LIMIT)
    connection.putrequest("POST", "/v1/videos")
    connection.putheader("Content-Length", str(5 << 30))
    connection.putheader("Content-Type", "multipart/form-data; boundary=edge")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    assert not list((server.log.parent / "data" / "uploads").glob("*.part"))


def test_what_lasts_too_long_is_refused(server, tmp_path):
    long = write_video(tmp_path / "long.mp4", 8, times=[each * 20_000 for each in range(8)])
    problem(server.send(long), 422, "the limit is 60 s")


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        ({"content": b"x"}, 415, "no type"),
        ({"json": {"url": "https://example.org/a.mp4"}}, 403, "not fetched from 'example.org'"),
        ({"json": {"address": 1}}, 422, "no JSON with a url"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 422, "no JSON with a url"),
        ({"files": {"a": ("a", b"1"), "b": ("b", b"2")}}, 400, "more than one file"),
        ({"data": {"a": "1"}, "files": {"a": (None, b"1")}}, 400, "has no file"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=e"}}, 400, "no form"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "no boundary"),
    ],
)
def test_bodies_that_are_refused(server, options, status, told):
    with server.client() as client:
        problem(client.post("/v1/videos", **options), status, told)


def test_other_refusals_have_the_same_form(server):
    with server.client() as client:
        problem(client.get("/v1/videos/none"), 404, "there is no video 'none'")
        problem(client.get("/v1/videos?limit=0"), 422, "limit")
        problem(client.get("/nothing"), 404, "/nothing")
        problem(client.put("/v1/videos"), 405, "PUT")
        problem(client.get("/", headers={"host": "evil.example"}), 403, "not called 'evil.example'")
        problem(client.post("/v1/videos", headers={"origin": "http://evil.example"}), 403, "may not ask here")


@pytest.mark.slow
def test_a_token(start_server, nobody, tmp_path):
    with start_server(tmp_path, "--host", EVERYWHERE, DFDC_TOKEN=TOKEN) as server:
        port = server.address.rpartition(":")[2]
        server.address = f"http://127.0.0.1:{port}"
        with server.client() as client:
            assert client.get("/").status_code == 200
            assert client.get("/healthz").status_code == 200
            for path in ("/v1/videos", "/v1/events", "/metrics"):
                refused = client.get(path)
                problem(refused, 401, "a token is needed")
                assert refused.headers["www-authenticate"] == "Bearer"
            problem(server.send(nobody, headers={"authorization": "Bearer wrong"}), 401, "the token is wrong")
        known = {"authorization": f"Bearer {TOKEN}"}
        video = server.send(nobody, headers=known).json()
        assert server.finished(video["id"], headers=known)["result"]["status"] == "no_face"


def test_an_open_address_needs_a_token(tmp_path):
    with pytest.raises(ValueError, match=r"--host 0\.0\.0\.0 can be reached"):
        Settings(tmp_path, host=EVERYWHERE)
    with pytest.raises(ValueError, match="16 or more"):
        Settings(tmp_path, host=EVERYWHERE, token="short")  # noqa: S106
    assert Settings(tmp_path, host="::1").is_local


@pytest.mark.slow
def test_a_full_queue_says_when_to_come_again(start_server, clip, tmp_path):
    with start_server(tmp_path, "--max-queue", "2") as server:
        answers = [server.send(clip) for _ in range(4)]
        accepted = [each.json()["id"] for each in answers if each.status_code == 202]
        assert len(accepted) >= 2
        full = [each for each in answers if each.status_code != 202]
        assert full
        problem(full[0], 429, "2 videos wait already")
        assert int(full[0].headers["retry-after"]) > 0
        assert [server.finished(each)["state"] for each in accepted] == ["done"] * len(accepted)


@pytest.mark.slow
def test_uploads_are_deleted_and_results_stay(start_server, nobody, tmp_path):
    with start_server(tmp_path, "--keep", "0") as server:
        identity = server.send(nobody).json()["id"]
        server.finished(identity)
        uploads = tmp_path / "data" / "uploads"
        wait_until(lambda: not list(uploads.iterdir()), "the upload is deleted")
        kept = server.finished(identity)
        assert kept["result"]["status"] == "no_face" and not kept["has_file"]
        with server.client() as client:
            assert client.delete(f"/v1/videos/{identity}").status_code == 204
            problem(client.get(f"/v1/videos/{identity}"), 404, identity)
            problem(client.delete(f"/v1/videos/{identity}"), 404, identity)


def test_the_history_goes_on_page_by_page(server, nobody):
    sent = [server.send(nobody).json()["id"] for _ in range(3)]
    with server.client() as client:
        page = client.get("/v1/videos?limit=2").json()
        assert [each["id"] for each in page["videos"]] == sent[:0:-1]
        assert client.get(page["next"]).json()["videos"][0]["id"] == sent[0]


def test_a_video_is_fetched_from_an_allowed_host_only(start_server, nobody, tmp_path):
    class Videos(BaseHTTPRequestHandler):
        def do_GET(self):
            elsewhere = self.path == "/elsewhere"
            self.send_response(302 if elsewhere else 200 if self.path == "/a%20b.mp4" else 404)
            if elsewhere:
                self.send_header("Location", "http://localhost:1/a.mp4")
            self.end_headers()
            if not elsewhere:
                self.wfile.write(nobody.read_bytes())

        def log_message(self, *_):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Videos)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    at = f"127.0.0.1:{web.server_port}"
    try:
        with start_server(tmp_path, "--allow-host", at) as server, server.client() as client:
            answer = client.post("/v1/videos", json={"url": f"http://{at}/a%20b.mp4"})
            assert answer.status_code == 202 and answer.json()["name"] == "a b.mp4"
            problem(client.post("/v1/videos", json={"url": f"http://{at}/elsewhere"}), 403, "'localhost'")
            problem(client.post("/v1/videos", json={"url": f"http://{at}/gone"}), 502, "404")
            problem(client.post("/v1/videos", json={"url": "file:///etc/passwd"}), 422, "no address")
            problem(client.post("/v1/videos", json={"url": "http://127.0.0.1:1/"}), 403, "'127.0.0.1'")
    finally:
        web.shutdown()


@pytest.mark.slow
def test_slow_clients_are_sent_away(server):
    """One sends no request, one stops in the middle of an upload."""
    host, port = server.address.removeprefix("http://").split(":")
    began = time.monotonic()
    with socket.create_connection((host, int(port))) as silent, socket.create_connection((host, int(port))) as slow:
        slow.sendall(
            b"POST /v1/videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n"
            b"Content-Type: multipart/form-data; boundary=e\r\n\r\n--e\r\n"
        )
        for each in (silent, slow):
            each.settimeout(LIMIT)
        assert silent.recv(1) == b""
        assert b" 408 " in slow.recv(1 << 16).split(b"\r\n")[0]
    assert time.monotonic() - began > 15


def test_health_metrics_and_the_description(server, nobody):
    server.finished(server.send(nobody).json()["id"])
    with server.client() as client:
        health = client.get("/healthz").json()
        assert (health["status"], health["workers"]) == ("ok", [{"device": "cpu", "state": "ready"}])
        metrics = client.get("/metrics").text
        assert 'dfdc_videos_done_total{status="no_face"}' in metrics
        assert "process_resident_memory_bytes" in metrics
        paths = client.get("/openapi.json").json()["paths"]
        assert set(paths["/v1/videos"]) == {"get", "post"}
        described = client.get("/docs").text
        assert "POST /v1/videos<" in described and "cdn" not in described
        page = client.get("/")
        assert "http://" not in page.text.replace("http://www.w3.org", "") and "https://" not in page.text
        assert page.headers["x-frame-options"] == "DENY"


@pytest.mark.slow
def test_a_server_without_its_ensemble_ends_with_the_reason(start_server, tmp_path):
    (tmp_path / "none").mkdir()
    with start_server(tmp_path, "--members", str(tmp_path / "none")) as server:
        assert server.process.wait(LIMIT) == 1
    assert "holds no member" in server.log.read_text()
