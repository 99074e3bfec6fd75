"""What the tests of push and submit send: a kernel's folder and a manifest."""

import hashlib
import json

from tests.kaggle_dataset.service import RefusedError

REF = "alice/dfdc-ensemble"
OUTPUT = b"filename,label\na.mp4,0.25\nb.mp4,0.75\nc.mp4,0.625\n"
# Long: on a busy machine the client takes seconds to start. Only tests of the deadline ever come to it.
QUICK = {"poll": 0.05, "deadline": 300}


def write_kernel(folder, **changes):
    """A folder as `kaggle kernels push` takes it."""
    folder.mkdir(parents=True)
    values = {
        "id": REF,
        "title": "DFDC Ensemble",
        "code_file": "start.py",
        "language": "python",
        "kernel_type": "script",
        "enable_internet": False,
        "dataset_sources": [],
        "competition_sources": ["deepfake-detection-challenge"],
    }
    (folder / "kernel-metadata.json").write_text(json.dumps({**values, **changes}))
    (folder / "start.py").write_text("print('predicting')\n")
    return folder


def write_manifest(folder, **blend):
    """A dataset's folder with what a submission is described by; returns its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(blend or {"expected_log_loss": {"value": 0.42439, "low": 0.399573, "high": 0.450145}})
    (folder / "blend.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    values = {
        "files": [{"name": "blend.json", "bytes": len(text), "sha256": digest, "path": "models/weights/blend.json"}],
        "blend": {"members": ["lite0_eyes", "lite0_tight"], "expected_log_loss": 0.42439},
    }
    (folder / "manifest.json").write_text(json.dumps(values))
    return folder / "manifest.json"


def answer_pulls(service):
    """Teach the stand-in to show a kernel's latest source, as `kaggle kernels pull` asks: a version has none."""

    def on_get_kernel(ask, _):
        slug, _, version = ask["kernelSlug"].partition("/")
        if version:
            raise RefusedError(403, "Permission 'kernels.get' was denied")
        saved = service._kernel(ask)["versions"][-1]
        blob = {"source": saved["text"], "language": "python", "kernelType": "script", "slug": slug}
        return {"blob": blob, "metadata": {"ref": f"{ask['userName']}/{slug}"}}

    service.on_get_kernel = on_get_kernel
