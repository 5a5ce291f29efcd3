"""A server on this machine that speaks the protocol of the Hugging Face hub, as far as reading goes."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Hub(ThreadingHTTPServer):
    """Serves root/models/<owner>/<name>/<revision> and root/datasets/... as repositories; main is the last revision."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root, self.asked = root, []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commits(self, kind: str, name: str) -> dict[str, Path]:
        """Every revision's folder by the hash that stands for its commit, and by its name."""
        folders = sorted((self.root / kind / name).glob("*"))
        named = {folder.name: folder for folder in folders}
        return named | {sha(folder.name): folder for folder in folders} | {"main": folders[-1]} if folders else {}


def sha(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        if found := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+?)(?:/revision/([^/]+))?", path):
            return self.info(found[1], found[2], found[3] or "main")
        if found := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)/?(.*)", path):
            return self.tree(*found.groups())
        if found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.file("datasets" if found[1] else "models", found[2], found[3], found[4])
        return self.answer(404, b"{}")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        found = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/paths-info/([^/]+)", unquote(self.path))
        folder = found and self.server.commits(found[1], found[2]).get(found[3])
        if not folder:
            return self.answer(404, b"{}")
        wanted = json.loads(asked)["paths"] if asked.startswith("{") else re.findall(r"paths=([^&]+)", unquote(asked))
        return self.json([entry(folder, folder / path) for path in wanted if (folder / path).exists()])

    def info(self, kind: str, name: str, revision: str) -> None:
        folder = self.server.commits(kind, name).get(revision)
        if folder is None:
            return self.missing(name)
        files = [{"rfilename": str(file.relative_to(folder))} for file in files_of(folder)]
        self.json({"id": name, "sha": sha(folder.name), "siblings": files, "private": False, "tags": []})

    def tree(self, kind: str, name: str, revision: str, below: str) -> None:
        folder = self.server.commits(kind, name).get(revision)
        if folder is None:
            return self.missing(name)
        if not (folder / below).is_dir():
            return self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        self.json([entry(folder, path) for path in sorted((folder / below).iterdir())])

    def file(self, kind: str, name: str, revision: str, path: str) -> None:
        folder = self.server.commits(kind, name).get(revision)
        if folder is None:
            return self.missing(name)
        if not (folder / path).is_file():
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha(folder.name)})
        content = (folder / path).read_bytes()
        headers = {"ETag": f'"{sha(content.hex())}"', "X-Repo-Commit": sha(folder.name), "Accept-Ranges": "bytes"}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part:
            first, last = int(part[1]), int(part[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return self.answer(206, content[first : last + 1], headers)
        self.answer(200, content, headers)

    def missing(self, name: str) -> None:
        known = any((self.server.root / kind / name).is_dir() for kind in ("models", "datasets"))
        self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"})

    def json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(self, code: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def entry(folder: Path, path: Path) -> dict[str, object]:
    name = str(path.relative_to(folder))
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": sha(name), "size": 0}
    return {"type": "file", "path": name, "oid": sha(path.read_bytes().hex()), "size": path.stat().st_size}


@contextmanager
def serving(root: Path) -> Iterator[Hub]:
    """The time in which the repositories below `root` can be fetched from `hub.url` (HF_ENDPOINT)."""
    hub = Hub(root)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
