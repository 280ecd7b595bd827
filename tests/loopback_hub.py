# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A Hugging Face Hub on 127.0.0.1, in memory: what pushing, pulling and pinning a model asks of the real one.

Written for these tests because the local Hubs on PyPI do not serve: `olah` mirrors and takes no pushes, and
`hf-local-hub` is a client of a server that it does not contain. Its connections can be made to break off.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK


TOKEN = "hf_loopback"
# As in the .gitattributes of a new model repository, of which these endings are some.
LFS_FILES = (".safetensors", ".bin", ".pth", ".onnx")
LICENSES = ("apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "other", "unknown")
REPOSITORY_ID = r"(?P<repo_id>[\w.-]+/[\w.-]+)"


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit."""

    content: bytes = field(repr=False)
    is_lfs: bool

    @property
    def oid(self) -> str:
        """SHA-256 of an LFS file, otherwise git's hash of a blob."""
        if self.is_lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0%s" % (len(self.content), self.content)).hexdigest()


@dataclass(frozen=True)
class Commit:
    """The files of a repository at one time, and what was said about them."""

    message: str
    files: dict[str, StoredFile]


@dataclass
class Repository:
    """Its commits by hash, and what its branches point to."""

    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def add_commit(self, branch: str, message: str, files: dict[str, StoredFile]) -> str:
        """Makes a commit with these files the newest of a branch and returns its hash."""
        listing = json.dumps([len(self.commits), branch, message, sorted(files)])
        oid = hashlib.sha1(listing.encode()).hexdigest()
        self.commits[oid] = Commit(message, files)
        self.branches[branch] = oid
        return oid

    def history(self, branch: str = "main") -> list[str]:
        """Messages of all commits up to that of the branch, oldest first (the tests make no forks that matter)."""
        oids = list(self.commits)
        return [self.commits[oid].message for oid in oids[: oids.index(self.branches[branch]) + 1]]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Contents of all files of a branch or commit."""
        files = self.commits[self.branches.get(revision, revision)].files
        return {path: file.content for path, file in files.items()}


@dataclass
class Fault:
    """Connections to break off: those with this method and this part of a path, after some bytes of the body."""

    method: str
    path: str
    after: int
    times: int


class HubError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str, code: str | None = None, **details: str) -> None:
        self.status = status
        self.content = json.dumps({"error": message, **details}).encode()
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}


class LoopbackHub:
    """The server, and what it holds.

    Attributes:
        endpoint (`str`): Its address, for `HF_ENDPOINT`.
        repositories (`dict[str, Repository]`): By `owner/name`.
        objects (`dict[str, bytes]`): LFS files by SHA-256, also of pushes that never came to a commit.
        collections (`dict[str, dict]`): What is said about each, by its slug.
        requests (`list[str]`): Method, path and range of every request, in order.
        faults (`list[Fault]`): Connections that are going to break.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.hub = self  # type: ignore[attr-defined]
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def break_off(self, method: str, path: str, *, after: int = 0, times: int = 1) -> None:
        """The next `times` requests of `method` whose path contains `path` end after `after` bytes of the body."""
        self.faults.append(Fault(method, path, after, times))

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault that hits a request, which is then used up by one."""
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None


@contextmanager
def serve() -> Iterator[LoopbackHub]:
    """A Hub that runs as long as the block."""
    hub = LoopbackHub()
    thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()


def metadata_errors(card: str) -> list[str]:
    """What the Hub refuses in the header of a model card (its documented rules, as far as this package's cards go)."""
    match = REGEX_YAML_BLOCK.search(card)
    try:
        data = yaml.safe_load(match.group(2)) if match else {}
    except yaml.YAMLError as error:
        return [f"invalid YAML: {error}"]
    if not isinstance(data, dict):
        return ["the metadata must be an object"]
    errors = []
    for key in ("library_name", "pipeline_tag", "license_name", "license_link"):
        if not isinstance(data.get(key, ""), str):
            errors.append(f'"{key}" must be a string')
    for key in ("tags", "metrics", "base_model", "datasets"):
        value = data.get(key, [])
        if not all(isinstance(item, str) and item for item in (value if isinstance(value, list) else [value])):
            errors.append(f'"{key}" must be an array of strings')
    if data.get("license", "other") not in LICENSES:
        errors.append('"license" must be one of the list of licenses')
    if data.get("license") == "other" and not data.get("license_name"):
        errors.append('"license_name" is required where "license" is "other"')
    for model in data.get("model-index", []):
        if not isinstance(model.get("name"), str) or not model["name"]:
            errors.append('"model-index[0].name" is required')
        for result in model.get("results", []):
            for part in ("task", "dataset"):
                if not isinstance(result.get(part, {}).get("type"), str):
                    errors.append(f'"model-index[0].results[0].{part}.type" is required')
            if not isinstance(result.get("dataset", {}).get("name"), str):
                errors.append('"model-index[0].results[0].dataset.name" is required')
            for metric in result.get("metrics", []):
                if not isinstance(metric.get("type"), str) or not isinstance(metric.get("value"), int | float):
                    errors.append('"model-index[0].results[0].metrics[0]" needs a type and a value')
    return errors


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> LoopbackHub:
        return self.server.hub  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error; `LoopbackHub.requests` has it."""

    def handle_request(self) -> None:
        self.path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        self.commit_oid = ""
        self.fault: Fault | None = self.hub.fault(self.command, self.path)
        body = self.read_body()
        if body is None:
            return
        try:
            for method, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, self.path)
                if match and self.command in method.split():
                    with self.hub.lock:
                        reply = answer(self, body=body, **match.groupdict())
                    break
            else:
                raise HubError(404, "Sorry, we can't find the page you are looking for.")
        except HubError as error:
            if self.commit_oid:
                error.headers["X-Repo-Commit"] = self.commit_oid
            return self.send(error.status, error.content, error.headers)
        if isinstance(reply, StoredFile):
            return self.send_file(reply)
        self.send(200, json.dumps(reply).encode(), {"Content-Type": "application/json"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def read_body(self) -> bytes | None:
        """The body of the request; `None` where the connection breaks in the middle of it."""
        if self.command in ("POST", "PUT") and self.fault is not None:
            self.rfile.read(self.fault.after)
            return self.hang_up()
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.command == "GET" and self.fault is not None:
            self.wfile.write(content[: self.fault.after])
            return self.hang_up()
        self.wfile.write(content)

    def send_file(self, file: StoredFile) -> None:
        headers = {"ETag": f'"{file.oid}"', "X-Repo-Commit": self.commit_oid, "Accept-Ranges": "bytes"}
        if file.is_lfs:
            headers |= {"X-Linked-ETag": f'"{file.oid}"', "X-Linked-Size": str(len(file.content))}
        if self.command == "HEAD":
            return self.send(200, b"", {**headers, "Content-Length": str(len(file.content))})
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return self.send(200, file.content, headers)
        first, last = int(wanted[1]), min(int(wanted[2] or len(file.content)), len(file.content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(file.content)}"
        self.send(206, file.content[first : last + 1], headers)

    # Who asks, and for what

    def check_token(self, required: bool) -> bool:
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            raise HubError(401, "Invalid credentials in Authorization header")
        if required and given is None:
            raise HubError(401, "Invalid username or password.")
        return given is not None

    def repository(self, repo_id: str, write: bool = False) -> Repository:
        known = self.check_token(required=write)
        repository = self.hub.repositories.get(repo_id)
        # Like the real one, it does not tell strangers which private repositories there are.
        if repository is None or (repository.private and not known):
            raise HubError(404 if known else 401, "Repository not found", "RepoNotFound")
        return repository

    def commit(self, repo_id: str, revision: str) -> Commit:
        repository = self.repository(repo_id)
        oid = repository.branches.get(revision, revision)
        if oid not in repository.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        self.commit_oid = oid
        return repository.commits[oid]

    # The answers, one function for each entry of ROUTES

    def whoami(self, body: bytes) -> dict[str, Any]:
        self.check_token(required=True)
        return {"type": "user", "name": "me", "orgs": [{"name": "us"}]}

    def create_collection(self, body: bytes) -> dict[str, Any]:
        self.check_token(required=True)
        wanted = json.loads(body)
        slug = f"{wanted['namespace']}/{wanted['title'].lower()}-0123456789abcdef01234567"
        if slug in self.hub.collections:
            raise HubError(409, "This collection exists already", slug=slug)
        known = {"slug": slug, "owner": {"name": wanted["namespace"]}, "items": [], "position": 0, "upvotes": 0}
        self.hub.collections[slug] = {**wanted, **known, "theme": "blue", "lastUpdated": "2026-01-01T00:00:00.000Z"}
        return self.hub.collections[slug]

    def collection(self, body: bytes, slug: str) -> dict[str, Any]:
        if slug not in self.hub.collections:
            raise HubError(404, "There is no such collection")
        return self.hub.collections[slug]

    def add_to_collection(self, body: bytes, slug: str) -> dict[str, Any]:
        self.check_token(required=True)
        item, items = json.loads(body)["item"], self.collection(body, slug)["items"]
        if item["id"] in [present["id"] for present in items]:
            raise HubError(409, "The item is in the collection already")
        self.repository(item["id"])
        items.append({**item, "_id": str(len(items)), "position": len(items)})
        return self.hub.collections[slug]

    def create(self, body: bytes) -> dict[str, Any]:
        self.check_token(required=True)
        wanted = json.loads(body)
        repo_id = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        url = f"{self.hub.endpoint}/{repo_id}"
        if repo_id in self.hub.repositories:
            raise HubError(409, "You already created this model repo", url=url)
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.hub.repositories[repo_id] = Repository(private)
        self.hub.repositories[repo_id].add_commit("main", "initial commit", {})
        return {"name": repo_id, "url": url}

    def validate_yaml(self, body: bytes) -> dict[str, Any]:
        errors = metadata_errors(json.loads(body)["content"])
        if errors:
            raise HubError(400, "; ".join(errors))
        return {"errors": [], "warnings": []}

    def preupload(self, body: bytes, repo_id: str, revision: str) -> dict[str, Any]:
        self.repository(repo_id, write=True)
        present = self.commit(repo_id, revision).files
        answers = []
        for file in json.loads(body)["files"]:
            mode = "lfs" if file["path"].endswith(LFS_FILES) else "regular"
            oid = present[file["path"]].oid if file["path"] in present else None
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    def lfs_batch(self, body: bytes, repo_id: str) -> dict[str, Any]:
        self.repository(repo_id, write=True)
        objects = json.loads(body)["objects"]
        for item in objects:
            if item["oid"] not in self.hub.objects:
                item["actions"] = {
                    "upload": {"href": f"{self.hub.endpoint}/lfs/{item['oid']}"},
                    "verify": {"href": f"{self.hub.endpoint}/{repo_id}.git/info/lfs/objects/verify"},
                }
        return {"transfer": "basic", "objects": objects}

    def lfs_put(self, body: bytes, oid: str) -> dict[str, Any]:
        if hashlib.sha256(body).hexdigest() != oid:
            raise HubError(400, "The content does not match its hash.")
        self.hub.objects[oid] = body
        return {}

    def lfs_verify(self, body: bytes, repo_id: str) -> dict[str, Any]:
        self.repository(repo_id, write=True)
        item = json.loads(body)
        if len(self.hub.objects.get(item["oid"], b"")) != item["size"]:
            raise HubError(404, "The object is not here or not whole.")
        return {}

    def branch(self, body: bytes, repo_id: str, revision: str) -> dict[str, Any]:
        repository = self.repository(repo_id, write=True)
        if revision in repository.branches:
            raise HubError(409, "Reference already exists")
        start = json.loads(body).get("startingPoint", "main")
        repository.branches[revision] = repository.branches.get(start, start)
        return {}

    def add_commit(self, body: bytes, repo_id: str, revision: str) -> dict[str, Any]:
        repository = self.repository(repo_id, write=True)
        files = dict(self.commit(repo_id, revision).files)
        header, *operations = [json.loads(line) for line in body.splitlines()]
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = StoredFile(base64.b64decode(value["content"]), is_lfs=False)
            elif operation["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise HubError(400, f"LFS object {value['oid']} of {value['path']} was never uploaded.")
                files[value["path"]] = StoredFile(self.hub.objects[value["oid"]], is_lfs=True)
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
            else:
                raise HubError(400, f"Unknown operation {operation['key']}")
        oid = repository.add_commit(revision, header["value"]["summary"], files)
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.endpoint}/{repo_id}/commit/{oid}"}

    def info(self, body: bytes, repo_id: str, revision: str | None = None) -> dict[str, Any]:
        commit = self.commit(repo_id, revision or "main")
        return {
            "id": repo_id,
            "modelId": repo_id,
            "sha": self.commit_oid,
            "private": self.hub.repositories[repo_id].private,
            "tags": [],
            "siblings": [{"rfilename": path} for path in commit.files],
        }

    def tree(self, body: bytes, repo_id: str, revision: str, folder: str | None = None) -> list[dict[str, Any]]:
        files = self.commit(repo_id, revision).files
        inside = {path: file for path, file in files.items() if path.startswith(f"{folder}/" if folder else "")}
        if folder and not inside:
            raise HubError(404, f"{folder} does not exist", "EntryNotFound")
        listing: list[dict[str, Any]] = []
        for path, file in inside.items():
            listing.append({"type": "file", "path": path, "size": len(file.content), "oid": file.oid})
            if file.is_lfs:
                listing[-1]["lfs"] = {"oid": file.oid, "size": len(file.content), "pointerSize": 134}
        return listing

    def resolve(self, body: bytes, repo_id: str, revision: str, path: str) -> StoredFile:
        commit = self.commit(repo_id, revision)
        if path not in commit.files:
            raise HubError(404, "Entry not found", "EntryNotFound")
        return commit.files[path]


ROUTES = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/collections", Handler.create_collection),
    ("GET", r"/api/collections/(?P<slug>[\w.-]+/[\w.-]+)", Handler.collection),
    ("POST", r"/api/collections/(?P<slug>[\w.-]+/[\w.-]+)/items", Handler.add_to_collection),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("POST", rf"/api/models/{REPOSITORY_ID}/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", rf"/{REPOSITORY_ID}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("POST", rf"/{REPOSITORY_ID}\.git/info/lfs/objects/verify", Handler.lfs_verify),
    ("PUT", r"/lfs/(?P<oid>\w+)", Handler.lfs_put),
    ("POST", rf"/api/models/{REPOSITORY_ID}/branch/(?P<revision>.+)", Handler.branch),
    ("POST", rf"/api/models/{REPOSITORY_ID}/commit/(?P<revision>.+)", Handler.add_commit),
    ("GET", rf"/api/models/{REPOSITORY_ID}(/revision/(?P<revision>.+))?", Handler.info),
    ("GET", rf"/api/models/{REPOSITORY_ID}/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?", Handler.tree),
    ("GET HEAD", rf"/(spaces/)?{REPOSITORY_ID}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]
