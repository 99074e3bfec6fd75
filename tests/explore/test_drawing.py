"""What is drawn is where it should be, in the colour of its detector, at any size of the picture."""

import numpy as np
import pandas as pd
import pytest

from explore.detectors import DETECTORS
from explore.drawing import COLOURS, contact_sheet, draw_boxes, draw_close, draw_points

HD, SMALL, TALL = (1080, 1920), (360, 640), (864, 480)


def rows(*boxes, **more):
    return pd.DataFrame([(name, *box) for name, box in boxes], columns=["detector", "x0", "y0", "x1", "y1"]).assign(
        **more
    )


def grey(shape, value=128):
    return np.full((*shape, 3), value, dtype=np.uint8)


def is_colour(image, name):
    return (image == COLOURS[name]).all(axis=2)


def test_every_detector_has_a_colour_of_its_own():
    mine = [COLOURS[name] for name in (*DETECTORS, "vote")]
    assert len(set(mine)) == len(mine)


@pytest.mark.parametrize("shape", [HD, SMALL, TALL])
@pytest.mark.parametrize("name", list(DETECTORS))
def test_the_colour_lies_on_the_edge_of_the_box_and_nowhere_else(shape, name):
    height, width = shape
    image = grey(shape)
    x0, y0, x1, y1 = width * 0.25, height * 0.25, width * 0.75, height * 0.75
    out = draw_boxes(image, rows((name, (x0, y0, x1, y1))))[:height]
    y, x = np.nonzero(is_colour(out, name))
    thick = max(height, width) / 640 * 2 + 1
    off = np.min([np.abs(x - x0), np.abs(x - x1), np.abs(y - y0), np.abs(y - y1)], axis=0)
    assert len(x)
    assert off.max() <= thick
    assert abs(x.min() - x0) <= thick and abs(y.max() - y1) <= thick * 8  # a dash may end before the corner
    assert (image == 128).all()  # the picture that was given is not touched


@pytest.mark.parametrize("shape", [HD, SMALL, TALL, (64, 96)])
def test_the_legend_is_below_and_counts_the_boxes(shape):
    names = list(DETECTORS)
    drawn = rows(("haar", (5, 5, 30, 30)), ("haar", (20, 20, 50, 50)))
    out = draw_boxes(grey(shape), drawn, names)
    legend = out[shape[0] :]
    assert out.shape[1] == shape[1]
    assert 0.02 * shape[0] < len(legend) < max(0.35 * shape[0], 200)
    for name in names if shape != (64, 96) else names[:1]:
        assert is_colour(legend, name).any(), name
    other = draw_boxes(grey(shape), drawn.iloc[:1], names)[shape[0] :]
    assert not np.array_equal(legend, other)


def test_without_names_there_is_no_legend():
    assert draw_boxes(grey(SMALL), rows(), []).shape == (360, 640, 3)


@pytest.mark.parametrize("box", [(0, 0, 40, 40), (600, 340, 640, 360), (-50, -50, 700, 400)])
def test_notes_stay_in_the_picture(box):
    noted = draw_boxes(grey(SMALL), rows(("mtcnn", box), note="0.93"))[:360]
    plain = draw_boxes(grey(SMALL), rows(("mtcnn", box)))[:360]
    assert is_colour(noted, "mtcnn").sum() > is_colour(plain, "mtcnn").sum() + 100
    other = draw_boxes(grey(SMALL), rows(("mtcnn", box), note="0.39"))[:360]
    assert not np.array_equal(noted, other)  # the words themselves are on it


def test_a_close_look_keeps_the_box_in_the_middle():
    image = grey(HD)
    image[500:600, 900:1000] = 250
    out = draw_close(image, rows(("haar", (900, 500, 1000, 600))), (900, 500, 1000, 600), side=200, times=4)
    assert out.shape == (200, 200, 3)
    y, x = np.nonzero(is_colour(out, "haar"))
    np.testing.assert_allclose([x.min(), y.min(), x.max(), y.max()], [75, 75, 125, 125], atol=2)
    assert (out[85:115, 85:115] == 250).all()


def test_points_lie_where_they_are():
    points = {"mtcnn5": np.array([[100, 50], [300, 200], [np.nan, np.nan]], dtype=np.float32)}
    out = draw_points(grey(SMALL), points)
    assert is_colour(out, "mtcnn5")[50, 100] and is_colour(out, "mtcnn5")[200, 300]
    assert out.shape[0] > 360
    assert is_colour(out[360:], "mtcnn5").any()


def test_points_of_a_face_are_drawn_close_to():
    points = {"mtcnn5": np.array([[950, 550]], dtype=np.float32)}
    out = draw_points(grey(HD), points, (900, 500, 1000, 600), side=480)
    assert out.shape[1] == 480
    y, x = np.nonzero(is_colour(out[:480], "mtcnn5"))
    np.testing.assert_allclose([x.mean(), y.mean()], 240, atol=2)


def test_a_sheet_holds_every_picture_whole():
    pictures = [
        grey(shape, value) for shape, value in ((HD, 10), (TALL, 60), (SMALL, 110), ((90, 160), 160), (HD, 210))
    ]
    out = contact_sheet(pictures, ["a", "b", "a caption that is much longer than its cell is wide " * 3, "d", "e"], 3)
    assert out.shape == (2 * (180 + 16), 3 * 320, 3)
    for number, value in enumerate((10, 60, 110, 160, 210)):
        cell = out[number // 3 * 196 :][:180, number % 3 * 320 :][:, :320]
        assert (cell == value).all(axis=2).sum() > 0.3 * 180 * 320
    assert (out[196:, 640:] == 255).all()
    assert (contact_sheet([grey((100, 1000), 50)], [""], 1)[90, 160] == 50).all()  # in the middle of its cell


@pytest.mark.parametrize(("count", "captions", "columns"), [(0, [], 4), (2, ["a"], 4), (1, ["a"], 0)])
def test_a_sheet_of_nothing_is_refused(count, captions, columns):
    with pytest.raises(ValueError, match="sheet"):
        contact_sheet([grey(SMALL)] * count, captions, columns)
