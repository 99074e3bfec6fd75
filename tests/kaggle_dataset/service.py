"""What Kaggle's servers would do, as far as the `kaggle` client asks them: datasets, kernels, submissions, in a folder.

Modelled on the client's own schema (kagglesdk 0.1.37), not on the live service. `stand_in.py` puts it on a port.
"""

import os
import re
import shutil
import threading
import time
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from common.files import sha256_of


class RefusedError(Exception):
    """An error that the client gets as a JSON body: {"code": status, "message": ...}."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """Something that goes wrong with requests; taken out of the list when its times are used up."""

    match: str  # a regular expression, searched in "METHOD /path"
    times: int = 1  # -1: for ever
    skip: int = 0  # so many matching requests pass first
    status: int = 0  # answer this; 200 with a body of its own is possible
    body: dict | str | None = None  # a str is sent as text/html
    headers: dict = field(default_factory=dict)
    delay: float = 0  # seconds before anything else
    drop: bool = False  # close the connection without an answer
    after: bool = False  # first act on the request, then fail: the answer is lost
    cut_after: int | None = None  # uploads: close the connection after so many bytes
    stall_after: int | None = None  # uploads: wait `delay` seconds after so many bytes
    begun: threading.Event = field(default_factory=threading.Event)  # set when the delay begins

    def wait(self) -> None:
        """Let the delay pass."""
        self.begun.set()
        time.sleep(self.delay)


@dataclass
class Options:
    """How this Kaggle behaves."""

    dataset_polls: int = 0  # so many looks see a new version as not ready
    hidden_polls: int = 0  # so many looks at a new dataset are answered with 403, as the real one does
    unknown_dataset_status: int = 404  # or 403
    dataset_ends: str = "READY"  # or FAILED
    lost_files: tuple = ()  # names that vanish when a version is made
    kernel_script: tuple = ("QUEUED", "RUNNING", "COMPLETE")  # a look at the session each; the last one stays
    failure_message: str = ""  # of a kernel that ends in ERROR
    kernel_log: str = '[{"stream_name":"stdout","time":1.0,"data":"done\\n"}]'
    invalid_sources: tuple = ()  # dataset or competition sources that are not attached
    allowed_now: int = 5  # submissions left today
    submission_polls: int = 1  # so many looks see a submission as PENDING
    submission_ends: str = "COMPLETE"  # or ERROR
    scores: tuple = ("0.42", "0.43")  # public, private
    page_size_cap: int = 200
    persist_multiple: int = 1  # a cut upload keeps a multiple of this; 262144 at Google


class Service:
    """State of the stand-in. Everything is plain data that a test may read and change."""

    def __init__(self, root: Path, user: str = "alice", token: str = "KGAT_stand-in-token") -> None:  # noqa: S107
        self.root, self.user, self.token = root, user, token
        self.options, self.lock = Options(), threading.RLock()
        self.faults: list[Fault] = []
        self.log: list[dict] = []  # of every request: method, path, json or received, status
        self.blobs: dict[str, dict] = {}  # token -> name, size, have, done
        self.datasets: dict[str, dict] = {}  # ref -> title, versions [{notes, files}], polls, hidden
        self.kernels: dict[str, dict] = {}  # ref -> versions [what SaveKernel was sent], script
        self.submissions: list[dict] = []
        self.outputs = {"submission.csv": b"filename,label\na.mp4,0.5\n"}
        (root / "blobs").mkdir(parents=True, exist_ok=True)

    def take_fault(self, what: str, after: bool) -> Fault | None:
        """The next fault for this request, counted."""
        with self.lock:
            for fault in self.faults:
                if fault.after != after or fault.times == 0 or not re.search(fault.match, what):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def answer(self, name: str, ask: dict, base: str) -> dict:
        """Answer one call. name: as in the URL. base: where uploads and outputs of this server are reached."""
        method = getattr(self, "on_" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(), None)
        if method is None:
            raise RefusedError(404, f"no such method: {name}")
        with self.lock:
            return method(ask, base)

    def stored(self, ref: str, version: int) -> Path:
        """The folder with the bytes that were sent for a version."""
        return self.root / "datasets" / ref / str(version) / "raw"

    def publish(self, ref: str, files: dict[str, bytes]) -> None:
        """Make a dataset, or its next version, without the client."""
        with self.lock:
            tokens = []
            for name, data in files.items():
                token = self.on_start_blob_upload({"name": name, "contentLength": len(data)}, "")["token"]
                (self.root / "blobs" / token).write_bytes(data)
                self.blobs[token] |= {"have": len(data), "done": True}
                tokens.append({"token": token})
            dataset = {"ref": ref, "title": ref, "private": True, "versions": [], "polls": 0, "hidden": 0}
            self._add_version(self.datasets.setdefault(ref, dataset), tokens, "")

    def on_introspect_token(self, ask: dict, _: str) -> dict:
        return {"active": True, "username": self.user} if ask.get("token") == self.token else {"active": False}

    def on_start_blob_upload(self, ask: dict, base: str) -> dict:
        token = f"blob{len(self.blobs):04d}-{os.urandom(6).hex()}"
        self.blobs[token] = {"name": ask["name"], "size": int(ask.get("contentLength", 0)), "have": 0, "done": False}
        (self.root / "blobs" / token).touch()
        return {"token": token, "createUrl": f"{base}/upload/{token}"}

    def on_get_dataset_status(self, ask: dict, _: str) -> dict:
        dataset = self._dataset(ask, self.options.unknown_dataset_status)
        if dataset["hidden"]:
            dataset["hidden"] -= 1
            raise RefusedError(403, "Permission 'datasets.get' was denied")
        if dataset["polls"]:
            dataset["polls"] -= 1
            return {"status": "BLOBS_RECEIVED"}
        return {"status": self.options.dataset_ends}

    def on_get_dataset(self, ask: dict, _: str) -> dict:
        dataset = self._dataset(ask)
        made = len(dataset["versions"])
        current = made - 1 if dataset["polls"] and made > 1 else made
        return {"id": 1, "ref": dataset["ref"], "title": dataset["title"], "currentVersionNumber": current}

    def on_get_dataset_metadata(self, ask: dict, _: str) -> dict:
        return {"info": {"title": self._dataset(ask)["title"], "licenses": [{"name": "CC0-1.0"}]}}

    def on_create_dataset(self, ask: dict, _: str) -> dict:
        ref = f"{ask.get('ownerSlug')}/{ask.get('slug')}"
        if ask.get("ownerSlug") != self.user:
            raise RefusedError(403, "Permission 'datasets.create' was denied")
        if ref in self.datasets:
            return {"status": "error", "error": f'The requested title "{ask["title"]}" is already in use by a dataset.'}
        dataset = {
            "ref": ref,
            "title": ask["title"],
            "private": ask.get("isPrivate", False),
            "versions": [],
            "polls": 0,
        }
        answer = self._add_version(dataset, ask.get("files"), "")
        if answer["status"] == "ok":
            self.datasets[ref] = {**dataset, "polls": self.options.dataset_polls, "hidden": self.options.hidden_polls}
        return answer

    def on_create_dataset_version(self, ask: dict, _: str) -> dict:
        dataset = self._dataset(ask)
        if dataset["polls"] or dataset["hidden"]:
            raise RefusedError(403, "Permission 'datasets.update' was denied")
        body = ask.get("body") or {}
        answer = self._add_version(dataset, body.get("files"), body.get("versionNotes"))
        dataset["polls"] = self.options.dataset_polls
        return answer

    def on_list_dataset_files(self, ask: dict, _: str) -> dict:
        files = self._version(ask)["files"]
        page, following = self._page(sorted(files), ask)
        date = "2026-01-02T03:04:05.678Z"
        listed = [{"name": name, "totalBytes": files[name]["bytes"], "creationDate": date} for name in page]
        return {"datasetFiles": listed, "nextPageToken": following}

    def on_download_dataset(self, ask: dict, base: str) -> dict:
        version = self._version(ask)
        if ask.get("fileName") not in version["files"]:
            raise RefusedError(404, "File not found")
        return {"redirect": f"{base}/download/{self._ref(ask)}/{version['number']}/{ask['fileName']}"}

    def on_save_kernel(self, ask: dict, _: str) -> dict:
        ref = ask.get("slug") or ""
        if ref.split("/")[0] != self.user:
            raise RefusedError(403, "Permission 'kernels.update' was denied")
        kernel = self.kernels.setdefault(ref, {"versions": []})
        kernel["versions"].append(ask)
        kernel["script"] = list(self.options.kernel_script)
        answer = {"ref": f"/code/{ref}", "url": f"https://www.kaggle.com/code/{ref}", "kernelId": 7}
        bad = {source for source in ask.get("datasetDataSources", []) if source not in self.datasets}
        bad |= set(self.options.invalid_sources)
        answer["invalidDatasetSources"] = sorted(bad & set(ask.get("datasetDataSources", [])))
        answer["invalidCompetitionSources"] = sorted(bad & set(ask.get("competitionDataSources", [])))
        return {**answer, "versionNumber": len(kernel["versions"])}

    def on_get_kernel_session_status(self, ask: dict, _: str) -> dict:
        script = self._kernel(ask)["script"]
        status = script.pop(0) if len(script) > 1 else script[0]
        told = self.options.failure_message if status == "ERROR" else ""
        return {"status": status, **({"failureMessage": told} if told else {})}

    def on_list_kernel_session_output(self, ask: dict, base: str) -> dict:
        self._kernel(ask)
        page, following = self._page(sorted(self.outputs), ask)
        files = [{"fileName": name, "url": f"{base}/output/{name}"} for name in page]
        return {"files": files, "log": self.options.kernel_log, "nextPageToken": following}

    def on_create_code_submission(self, ask: dict, _: str) -> dict:
        kernel = self.kernels.get(f"{ask.get('kernelOwner')}/{ask.get('kernelSlug')}")
        if not kernel or not 1 <= ask.get("kernelVersion", 0) <= len(kernel["versions"]):
            raise RefusedError(404, "Notebook version not found")
        if self.options.allowed_now <= 0:
            raise RefusedError(400, "You have reached the maximum number of submissions for today")
        self.options.allowed_now -= 1
        date = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
        submission = {"ref": 1000 + len(self.submissions), "date": date, "polls": self.options.submission_polls}
        submission |= {"fileName": ask.get("fileName"), "description": ask.get("submissionDescription")}
        self.submissions.append({**submission, "kernelVersion": ask["kernelVersion"]})
        return {"message": f"Successfully submitted to {ask['competitionName']}", "ref": submission["ref"]}

    def on_get_submission_limits(self, _ask: dict, _: str) -> dict:
        done = len(self.submissions)
        return {"numToday": done, "numTotal": done, "numAllowedNow": self.options.allowed_now}

    def on_list_submissions(self, _ask: dict, _: str) -> dict:
        rows = []
        for entry in reversed(self.submissions):
            row = {key: entry[key] for key in ("ref", "date", "fileName", "description")}
            if entry["polls"]:
                entry["polls"] -= 1
                row["status"] = "PENDING"
            else:
                row["status"] = self.options.submission_ends
                if row["status"] == "COMPLETE":
                    row["publicScore"], row["privateScore"] = self.options.scores
            rows.append(row)
        return {"submissions": rows, "nextPageToken": ""}

    def _ref(self, ask: dict) -> str:
        return f"{ask.get('ownerSlug')}/{ask.get('datasetSlug')}"

    def _dataset(self, ask: dict, status: int = 404) -> dict:
        if self._ref(ask) not in self.datasets:
            raise RefusedError(status, "Dataset not found" if status == 404 else "Permission 'datasets.get' was denied")
        return self.datasets[self._ref(ask)]

    def _version(self, ask: dict) -> dict:
        versions = self._dataset(ask)["versions"]
        number = ask.get("datasetVersionNumber") or len(versions)
        if not 1 <= number <= len(versions):
            raise RefusedError(404, "Dataset version not found")
        return versions[number - 1]

    def _kernel(self, ask: dict) -> dict:
        ref = f"{ask.get('userName')}/{ask.get('kernelSlug')}"
        if ref not in self.kernels:
            raise RefusedError(403, "Permission 'kernels.get' was denied")
        return self.kernels[ref]

    def _page(self, names: list[str], ask: dict) -> tuple[list[str], str]:
        """One page of the names, and the token of the next."""
        start = int(ask.get("pageToken") or 0)
        end = start + min(ask.get("pageSize") or 20, self.options.page_size_cap)
        return names[start:end], str(end) if end < len(names) else ""

    def _add_version(self, dataset: dict, files: list[dict] | None, notes: str | None) -> dict:
        """Keep the uploaded bytes as the next version; archives are also laid open, as Kaggle does."""
        blobs = [(file.get("token"), self.blobs.get(file.get("token"))) for file in files or []]
        if any(blob is None or not blob["done"] for _, blob in blobs):
            raise RefusedError(400, "unknown or unfinished file token")
        if not blobs:
            return {"status": "error", "error": "At least one file is required"}
        number = len(dataset["versions"]) + 1
        raw = self.stored(dataset["ref"], number)
        raw.mkdir(parents=True)
        for token, blob in blobs:
            if blob["name"] not in self.options.lost_files:
                shutil.copyfile(self.root / "blobs" / token, raw / blob["name"])
        mounted = _mount(raw, raw.with_name("mounted"))
        found = {p.relative_to(mounted).as_posix(): p for p in mounted.rglob("*") if p.is_file()}
        listing = {name: {"bytes": p.stat().st_size, "sha256": sha256_of(p)} for name, p in found.items()}
        dataset["versions"].append({"number": number, "notes": notes, "files": listing})
        ref = dataset["ref"]
        return {"ref": f"/{ref}", "url": f"https://www.kaggle.com/datasets/{ref}", "status": "ok", "error": ""}


def _mount(raw: Path, mounted: Path) -> Path:
    """The version as a kernel sees it: zip archives, whatever they are called at the end, are folders."""
    for path in raw.iterdir():
        if path.suffix in {".zip", ".whl"} and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(mounted / path.stem)
        else:
            mounted.mkdir(exist_ok=True)
            shutil.copyfile(path, mounted / path.name)
    return mounted
