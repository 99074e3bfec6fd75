"""Boxes, points and sheets of small frames: drawn in proportion to the picture, so that they read at any width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.crop import CropSpec, Image, cut, reach

Colour = tuple[int, int, int]

# The palette of Okabe and Ito (2008), told apart by the colour-blind too; RGB.
ORANGE, SKY, GREEN, YELLOW = (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)
BLUE, VERMILION, PURPLE, BLACK, WHITE = (0, 114, 178), (213, 94, 0), (204, 121, 167), (0, 0, 0), (255, 255, 255)
COLOURS: dict[str, Colour] = {
    "haar": VERMILION,
    "mtcnn": YELLOW,
    "blazeface_front": PURPLE,
    "blazeface_back": SKY,
    "blazeface_back_tiles": BLUE,
    "cascade": GREEN,
    "dlib_hog": ORANGE,
    "vote": WHITE,
    "mtcnn5": YELLOW,
    "blazeface6": SKY,
    "mesh468": WHITE,
    "dlib68": ORANGE,
}
# Dash and gap in units (see _unit); boxes that lie on one another then show through each other. Others are solid.
DASHES: dict[str, tuple[float, float]] = {
    "mtcnn": (9, 8),
    "blazeface_front": (3, 5),
    "blazeface_back_tiles": (6, 10),
    "cascade": (2, 6),
    "dlib_hog": (12, 6),
}
GREY = (120, 120, 120)  # what has no colour of its own
FONT = cv2.FONT_HERSHEY_SIMPLEX
CELL = (320, 180)  # pixels, of a contact sheet


def draw_boxes(image: Image, rows: pd.DataFrame, names: Sequence[str] | None = None) -> Image:
    """Draw boxes on a picture, and below it a legend with the number of boxes of each detector.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        rows: columns detector, x0, y0, x1, y1 in pixels; a column `note` is written above its box.
        names: the detectors in picture and legend; None: those of the rows.

    Returns:
        (H + legend, W, 3) uint8 RGB.
    """
    names = list(dict.fromkeys(rows["detector"])) if names is None else names
    counts = rows["detector"].value_counts()
    out, unit = _boxed(image, rows, names), _unit(image)
    return np.concatenate([out, _legend({name: f"{name} {counts.get(name, 0)}" for name in names}, out.shape[1], unit)])


def draw_close(image: Image, rows: pd.DataFrame, box: Sequence[float], side: int = 240, times: float = 4) -> Image:
    """Draw what lies around one box, without a legend.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        rows: as for `draw_boxes`.
        box: x0, y0, x1, y1 in pixels.
        side: of the square picture, in pixels.
        times: how many sides of the box the picture shows.

    Returns:
        (side, side, 3) uint8 RGB.
    """
    view, scale, corner = _close_up(image, box, side, (times - 1) / 2)
    moved = rows.copy()
    moved[["x0", "x1"]] = (rows[["x0", "x1"]] - corner[0]) * scale
    moved[["y0", "y1"]] = (rows[["y0", "y1"]] - corner[1]) * scale
    return _boxed(view, moved, list(dict.fromkeys(rows["detector"])))


def _close_up(image: Image, box: Sequence[float], side: int, margin: float) -> tuple[Image, float, tuple[int, int]]:
    """A square around a box, how many of its pixels are one of the image's, and where its corner lies there."""
    spec, corners = CropSpec("close-up", size=side, margin=margin), np.array(box, dtype=np.float32)
    left, top, right, _ = reach(corners, spec)
    return cut(image, corners, spec), side / (right - left), (left, top)


def draw_points(
    image: Image, points: Mapping[str, NDArray[np.floating]], box: Sequence[float] | None = None, side: int = 480
) -> Image:
    """Draw sets of points on a picture, as circles, or dots where a set is dense, and a legend below.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        points: (N, 2) pixels by the name of the set.
        box: x0, y0, x1, y1 in pixels: the picture is a square around it, with 0.3 of the box on each side. None: all of
            the image.
        side: of that square, in pixels.

    Returns:
        The picture with its legend, uint8 RGB.
    """
    out, scale, corner = (image.copy(), 1.0, (0, 0)) if box is None else _close_up(image, box, side, 0.3)
    unit = _unit(out)
    for name, xy in sorted(points.items(), key=lambda item: -len(item[1])):
        radius = _radius(len(xy)) * unit
        for point_x, point_y in (np.asarray(xy, dtype=np.float64) - corner) * scale:
            if math.isfinite(point_x) and math.isfinite(point_y):
                _dot(out, point_x, point_y, radius, name)
    radii = {name: _radius(len(xy)) for name, xy in points.items()}
    return np.concatenate([out, _legend({name: name for name in points}, out.shape[1], unit, radii)])


def contact_sheet(
    images: Sequence[Image], captions: Sequence[str], columns: int = 4, cell: tuple[int, int] = CELL
) -> Image:
    """Put small pictures into rows, each whole in a cell with its caption below.

    Args:
        images: (H, W, 3) uint8 RGB each, of any size.
        captions: one for each picture.
        columns: pictures in a row.
        cell: width and height of a cell in pixels.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: there are no pictures, or not as many captions.
    """
    if not images or len(images) != len(captions) or columns < 1:
        raise ValueError(f"a sheet of {len(images)} pictures, {len(captions)} captions and {columns} columns")
    unit = max(1.0, cell[0] / 320)
    strip = round(16 * unit)
    cells = [_cell(image, caption, cell, strip, unit) for image, caption in zip(images, captions, strict=True)]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    return np.concatenate([np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)])


def _cell(image: Image, caption: str, cell: tuple[int, int], strip: int, unit: float) -> Image:
    scale = min(cell[0] / image.shape[1], cell[1] / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    out = np.full((cell[1] + strip, cell[0], 3), 255, dtype=np.uint8)
    left, top = (cell[0] - size[0]) // 2, (cell[1] - size[1]) // 2
    out[: cell[1]] = 235
    out[top : top + size[1], left : left + size[0]] = small
    while caption and _text_size(caption, unit)[0] > cell[0] - 6 * unit:
        caption = caption[:-1]
    _text(out, caption, 3 * unit, cell[1] + 12 * unit, unit, BLACK)
    return out


def _unit(image: Image) -> float:
    """Pixels of the picture that are about one pixel where it is shown 640 wide; a small one is shown as it is."""
    return max(1.0, float(max(image.shape[:2])) / 640)


def _boxed(image: Image, rows: pd.DataFrame, names: Sequence[str]) -> Image:
    out, unit = image.copy(), _unit(image)
    mine = [(name, row) for name in names for row in rows[rows["detector"] == name].itertuples()]
    # A dark line below all makes the colours readable on skin and on a white wall alike.
    for dark in (True, False):
        for name, row in mine:
            _rectangle(out, (float(row.x0), float(row.y0), float(row.x1), float(row.y1)), name, unit, dark)
    for name, row in mine:
        if (note := str(getattr(row, "note", ""))) not in ("", "nan"):
            _tag(out, note, float(row.x0), float(row.y0) - 4 * unit, unit, COLOURS.get(name, GREY))
    return out


def _rectangle(image: Image, box: tuple[float, float, float, float], name: str, unit: float, dark: bool) -> None:
    x0, y0, x1, y1 = box
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    for begin, end in pairwise(corners):
        _line(image, begin, end, name, unit, dark)


def _line(
    image: Image, begin: tuple[float, float], end: tuple[float, float], name: str, unit: float, dark: bool
) -> None:
    """A level or upright line in a detector's dashes: its colour, or the dark rim that lies below."""
    dash = DASHES.get(name)
    width = max(2, round(1.4 * unit))
    colour, width = (BLACK, width + 2 * max(1, round(0.4 * unit))) if dark else (COLOURS.get(name, GREY), width)
    length = math.dist(begin, end)
    period = (dash[0] + dash[1]) * unit if dash else max(length, 1.0)
    drawn = dash[0] * unit if dash else period
    for start in np.arange(0, length, period):
        part = [start / length, min(1.0, (start + drawn) / length)]
        (ax, ay), (bx, by) = [
            (round(begin[0] + t * (end[0] - begin[0])), round(begin[1] + t * (end[1] - begin[1]))) for t in part
        ]
        cv2.line(image, (ax, ay), (bx, by), colour, width)  # not smoothed: a thin line would lose its colour


def _radius(count: int) -> float:
    """Of the points of a set, in units: dots where they are so many that circles would hide the face."""
    return 0.9 if count > 100 else 3.0


def _dot(image: Image, x: float, y: float, radius: float, name: str) -> None:
    # Sixteenths of a pixel, so that dots of a small face do not snap to a grid.
    centre, fine = (round(x * 16), round(y * 16)), 4
    cv2.circle(image, centre, round((radius + max(0.5, radius / 3)) * 16), BLACK, -1, cv2.LINE_AA, fine)
    cv2.circle(image, centre, round(radius * 16), COLOURS.get(name, GREY), -1, cv2.LINE_AA, fine)


def _legend(labels: Mapping[str, str], width: int, unit: float, radii: Mapping[str, float] | None = None) -> Image:
    """A white strip of the given width: a sample of each line, or dot, with its label, in as many rows as it takes."""
    if not labels:
        return np.zeros((0, width, 3), dtype=np.uint8)
    unit = min(unit, max(width / 360, 0.5))  # a portrait picture is narrower than its unit says
    step, places, x, y = round(20 * unit), [], 6 * unit, 14 * unit
    for name, label in labels.items():
        wide = 34 * unit + _text_size(label, unit)[0]
        if x + wide > width and x > 6 * unit:
            x, y = 6 * unit, y + step
        places.append((name, label, x, y))
        x += wide
    strip = np.full((round(y + 8 * unit), width, 3), 255, dtype=np.uint8)
    for name, label, left, base in places:
        at = base - 4 * unit
        _text(strip, label, left + 25 * unit, base, unit, BLACK)
        if radii:
            _dot(strip, left + 16 * unit, at, radii[name] * unit, name)
            continue
        for dark in (True, False):
            _line(strip, (left, at), (left + 20 * unit, at), name, unit, dark)
    return strip


def _text_size(words: str, unit: float) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(words, FONT, 0.42 * unit, max(1, round(unit)))
    return width, height


def _text(image: Image, words: str, x: float, y: float, unit: float, colour: Colour) -> None:
    cv2.putText(image, words, (round(x), round(y)), FONT, 0.42 * unit, colour, max(1, round(unit)), cv2.LINE_AA)


def _tag(image: Image, words: str, x: float, y: float, unit: float, colour: Colour) -> None:
    """Words on a patch of their own, moved into the picture."""
    width, height = _text_size(words, unit)
    x = min(max(x, 0), max(0, image.shape[1] - width - 4 * unit))
    y = min(max(y, height + 4 * unit), image.shape[0] - 2 * unit)
    low, high = (round(x), round(y - height - 3 * unit)), (round(x + width + 4 * unit), round(y + 2 * unit))
    cv2.rectangle(image, low, high, colour, -1)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 110
    _text(image, words, x + 2 * unit, y - 0.5 * unit, unit, BLACK if bright else WHITE)
