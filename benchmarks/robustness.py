#!/usr/bin/env python3
"""AUC and log loss of the members and their blend on labelled videos, as they are and degraded.

python benchmarks/robustness.py VIDEOS --labels LABELS.csv [--members FOLDER] [--by source]

Each degradation is written as real video (H.264 of the first frames) and goes through `dfdc predict` like any other:

    as is       the first frames again, stored losslessly
    half size   half the width and height, stored losslessly
    jpeg 50     each frame through JPEG at quality 50, stored losslessly
    crf 35      H.264 at a constant rate factor of 35
    both        half size and then CRF 35, as a video that was sent on

LABELS.csv has filename, label and perhaps a column to split the fakes by (--by): each kind of fake is then held
against all reals. Prints a table; --output writes it as CSV too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import av
import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from common.files import atomic_path, write_text
from common.labels import read_labels
from ensemble.metrics import auc, log_loss_balanced, sigmoid
from train.augment.degrade import through_jpeg

Image = NDArray[np.uint8]
ROOT = Path(__file__).resolve().parent.parent
LOSSLESS = {"qp": "0", "preset": "ultrafast"}


def _half(image: Image) -> Image:
    size = image.shape[1] // 4 * 2, image.shape[0] // 4 * 2
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


DEGRADATIONS: dict[str, tuple[Callable[[Image], Image], dict[str, str]]] = {
    "as is": (lambda image: image, LOSSLESS),
    "half size": (_half, LOSSLESS),
    "jpeg 50": (lambda image: through_jpeg(image, 50), LOSSLESS),
    "crf 35": (lambda image: image, {"crf": "35", "preset": "medium"}),
    "both": (_half, {"crf": "35", "preset": "medium"}),
}


def read_frames(path: Path, count: int) -> Iterator[Image]:
    """The first `count` frames of a video, (H, W, 3) uint8 RGB with even sides."""
    with av.open(str(path)) as container:
        for frame in islice(container.decode(video=0), count):
            image = frame.to_ndarray(format="rgb24")
            yield np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])


def write_video(target: Path, images: Iterable[Image], options: dict[str, str]) -> None:
    """Encode (H, W, 3) uint8 RGB frames as H.264, 25 a second, whole or not at all."""
    with atomic_path(target) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={**options, "threads": "1"})
        for number, image in enumerate(images):
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def predict(folder: Path, members: Path, frames: int) -> tuple[pd.DataFrame, pd.Series]:
    """`dfdc predict` on a folder: every member's logit of every face, and the blend's prob_fake by filename."""
    with tempfile.TemporaryDirectory() as work:
        out, table = Path(work) / "submission.csv", Path(work) / "probabilities.csv"
        command = [sys.executable, str(ROOT / "dfdc.py"), "predict", str(folder), "-o", str(out)]
        command += ["--probabilities", str(table), "--members", str(members), "--frames", str(frames)]
        subprocess.run([*command, "--max-fallback", "1"], check=True, stdout=subprocess.DEVNULL)
        return pd.read_csv(table), pd.read_csv(out).set_index("filename")["label"]


def score(table: pd.DataFrame, blend: pd.Series, labels: pd.DataFrame, by: str | None) -> pd.DataFrame:
    """AUC and log loss (classes half each) per member and of the blend, over videos with a scored face."""
    faces = table[table["logit"].notna()]
    means = faces.groupby(["member", "filename"])["logit"].mean().unstack("member")
    prob = means.apply(sigmoid).assign(blend=blend.reindex(means.index))
    known = labels.set_index("filename").reindex(prob.index)
    target = known["target"].to_numpy(dtype=np.float64)
    rows = []
    for name in prob:
        values = prob[name].to_numpy()
        row = {"scored by": name, "videos": len(values), "AUC": auc(target, values)}
        row["log loss"] = log_loss_balanced(target, values)
        for kind, some in known[target == 1].groupby(by) if by else ():
            here = (target == 0) | known.index.isin(some.index)
            row[f"AUC {kind}"] = auc(target[here], values[here])
        rows.append(row)
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the degraded videos, predict, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="a folder of videos")
    parser.add_argument("--labels", type=Path, required=True, help="CSV filename,label")
    parser.add_argument("--members", type=Path, default=ROOT / "models" / "weights")
    parser.add_argument("--by", help="a column of the labels: AUC of each kind of fake against all reals")
    parser.add_argument("--only", help="use labelled videos whose name begins with this", default="")
    parser.add_argument("--length", type=int, default=100, help="frames of each video that are written again")
    parser.add_argument("--frames", type=int, default=16, help="frames that are scored")
    parser.add_argument("-o", "--output", type=Path, help="also write the table as CSV")
    options = parser.parse_args(arguments)
    labels = read_labels(options.labels)
    labels = labels[labels["target"].notna() & labels["filename"].str.startswith(options.only)]
    if missing := [name for name in labels["filename"] if not (options.videos / name).is_file()]:
        parser.error(f"{len(missing)} labelled videos are not in {options.videos}, the first is {missing[0]}")
    tables = []
    for name, (change, encoding) in DEGRADATIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            for filename in tqdm(labels["filename"], desc=name, unit="video"):
                images = map(change, read_frames(options.videos / filename, options.length))
                write_video(Path(folder) / filename, images, encoding)
            tables.append(score(*predict(Path(folder), options.members, options.frames), labels, options.by))
            tables[-1].insert(0, "degradation", name)
    result = pd.concat(tables, ignore_index=True).round(3)
    print(result.to_string(index=False))
    if options.output:
        write_text(options.output, result.to_csv(index=False))


if __name__ == "__main__":
    main()
