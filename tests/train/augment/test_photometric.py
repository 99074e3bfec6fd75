"""How far each change of a face goes, and how often it is drawn."""

import cv2
import numpy as np
import pytest

from train.augment import degrade as degrading
from train.augment import photometric
from train.augment.degrade import DEGRADATIONS, degrade, overlay, quarter
from train.augment.photometric import augment

SIZE = 96
DRAWS = 400


def draw(change, image, draws=DRAWS):
    return [change(image, np.random.default_rng(seed)) for seed in range(draws)]


def assert_spans(values, low, high, slack):
    """All values lie in low..high, and they come within a tenth of the span of either end."""
    near = (high - low) / 10
    assert low - slack <= min(values) <= low + near + slack
    assert high - near - slack <= max(values) <= high + slack


def dots(image, channel):
    y, x = np.nonzero(image[..., channel] > 128)
    return np.array([x.mean(), y.mean()])


def test_shift_scale_and_rotation_stay_small():
    """Two dots, 80 pixels apart: their middle shifts, their distance scales, their line turns."""
    side = 201
    image = np.zeros((side, side, 3), np.uint8)
    cv2.circle(image, (60, 100), 5, (255, 0, 0), -1)
    cv2.circle(image, (140, 100), 5, (0, 255, 0), -1)
    left, right = (
        np.array([dots(out, channel) for out in draw(photometric.shift_scale_rotate, image)]) for channel in (0, 1)
    )
    line, moved = right - left, (left + right) / 2 - 100
    assert_spans(np.linalg.norm(line, axis=1) / 80, 0.88, 1.12, 0.01)
    assert_spans(np.degrees(np.arctan2(line[:, 1], line[:, 0])), -12, 12, 0.5)
    for axis in (0, 1):
        assert_spans(moved[:, axis] / side, -0.06, 0.06, 0.004)


def test_brightness_and_contrast_stay_in_their_range():
    """Two halves, 64 steps apart about the mean 128: nothing is clipped at either end."""
    image = np.full((SIZE, SIZE, 3), 96, np.uint8)
    image[:, SIZE // 2 :] = 160
    found = [(float(out[0, -1, 0]), float(out[0, 0, 0])) for out in draw(photometric.brightness_contrast, image)]
    bright, dark = np.array(found).T
    assert_spans((bright - dark) / 64, 0.75, 1.25, 0.02)
    assert_spans((bright + dark) / 2 - 128, -30, 30, 1)


def test_hue_and_saturation_stay_in_their_range():
    hsv = np.full((8, 8, 3), (90, 128, 200), np.uint8)
    image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    found = [cv2.cvtColor(out, cv2.COLOR_RGB2HSV)[0, 0] for out in draw(photometric.hue_saturation, image)]
    hue, saturation, value = np.array(found, dtype=float).T
    assert_spans(hue - 90, -10, 10, 1)
    assert_spans(saturation / 128, 0.7, 1.3, 0.02)
    assert np.abs(value - 200).max() <= 1


def test_hue_goes_round():
    """Red lies at both ends of the scale: turned back by a few steps it is pink, not the opposite."""
    image = np.full((8, 8, 3), (200, 40, 40), np.uint8)
    for out in draw(photometric.hue_saturation, image, 60):
        assert out[0, 0, 0] >= max(out[0, 0, 1:])


def test_blur_softens_an_edge_by_its_sigma():
    """The derivative of a softened step is the kernel: its spread is sigma."""
    image = np.zeros((9, SIZE, 3), np.uint8)
    image[:, SIZE // 2 :] = 255
    spreads = []
    for out in draw(photometric.blur, image):
        slope, place = np.diff(out[4, :, 0].astype(float)), np.arange(SIZE - 1)
        middle = (slope * place).sum() / slope.sum()
        spreads.append(np.sqrt((slope * (place - middle) ** 2).sum() / slope.sum()))
    assert_spans(spreads, 0.4, 1.6, 0.12)  # sigma 0.4 is rounded off in a kernel of three bytes


def test_noise_has_its_deviation_and_no_bias():
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    grain = [out.astype(float) - image for out in draw(photometric.noise, image, 120)]
    assert_spans([g.std() for g in grain], 2, 10, 0.3)
    assert max(abs(g.mean()) for g in grain) < 0.8  # the cast to bytes cuts off half a step


def test_down_up_shrinks_to_a_third_at_most(monkeypatch):
    sides, resize = [], cv2.resize

    def spying(image, size, **how):
        sides.append(size[0])
        return resize(image, size, **how)

    monkeypatch.setattr(photometric.cv2, "resize", spying)
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    outs = draw(photometric.down_up, image)
    assert set(sides[1::2]) == {SIZE}
    assert_spans(np.array(sides[::2]) / SIZE, 0.33, 0.95, 0.01)
    assert {out.shape for out in outs} == {(SIZE, SIZE, 3)}


def test_jpeg_draws_its_qualities(monkeypatch):
    qualities, encode = [], cv2.imencode

    def spying(ending, image, options):
        qualities.append(options[1])
        return encode(ending, image, options)

    monkeypatch.setattr(photometric.cv2, "imencode", spying)
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8), (48, 48))
    errors = [np.abs(out.astype(float) - image).mean() for out in draw(photometric.jpeg, image)]
    assert_spans(qualities, 40, 100, 0)
    assert np.corrcoef(qualities, errors)[0, 1] < -0.5
    assert max(errors) < 12  # the colours have not changed places: that would be 60 and more


def test_erase_takes_a_rectangle_of_its_area():
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    areas = []
    for out in draw(photometric.erase, image):
        y, x = np.nonzero((out != image).any(axis=2))
        box = (np.ptp(y) + 1) * (np.ptp(x) + 1)
        assert len(y) > 0.98 * box  # noise may hit the colour that was there
        areas.append(box / SIZE**2)
    assert_spans(areas, 0.02, 0.15, 0.01)


def test_keras_turns_as_far_as_the_tutorial_says():
    """The line between two dots turns by up to 40 degrees, and shear and unequal zooms add a little."""
    image = np.zeros((201, 201, 3), np.uint8)
    cv2.circle(image, (80, 100), 4, (255, 0, 0), -1)
    cv2.circle(image, (120, 100), 4, (0, 255, 0), -1)
    angles, lengths = [], []
    for out in draw(lambda crop, rng: augment(crop, rng, "keras"), image):
        line = dots(out, 1) - dots(out, 0)
        angles.append(np.degrees(np.arctan2(line[1], abs(line[0]))))
        lengths.append(np.linalg.norm(line) / 40)
    assert_spans(angles, -40, 40, 1 + np.degrees(np.arctan(0.2)))
    assert min(np.abs(angles).max(), 40) > 35
    assert_spans(lengths, 1 / 1.2, 1 / 0.8, 0.03)


RATES = {
    "shift_scale_rotate": 0.5,
    "brightness_contrast": 0.5,
    "hue_saturation": 0.3,
    "blur": 0.1,
    "noise": 0.15,
    "down_up": 0.25,
    "jpeg": 0.5,
}


def counted(monkeypatch, module, names):
    """Replace each change by one that changes nothing and counts itself."""
    calls = dict.fromkeys(names, 0)

    def counter(name):
        def change(image, rng):
            calls[name] += 1
            return image

        return change

    for name in names:
        monkeypatch.setattr(module, name, counter(name))
    return calls


@pytest.mark.parametrize("kind", ["standard", "strong"])
def test_each_change_is_drawn_at_its_rate(monkeypatch, kind):
    """2,000 draws: the standard error of a rate is 0.011 at most, the slack four of them."""
    names = [*RATES, "erase"] if kind == "strong" else list(RATES)
    calls = counted(monkeypatch, photometric, names)
    image = np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3)
    outs = draw(lambda crop, rng: augment(crop, rng, kind), image, 2000)
    for name, rate in (RATES | {"erase": 0.25}).items():
        if name in calls:
            assert calls[name] / 2000 == pytest.approx(rate, abs=0.045), name
    grey = [(out[..., 0] == out[..., 1]).all() and (out[..., 0] == out[..., 2]).all() for out in outs]
    colours = [o for o, g in zip(outs, grey, strict=True) if not g]
    mirrored = [np.array_equal(np.sort(o, axis=2), np.sort(image[:, ::-1], axis=2)) for o in colours]
    assert np.mean(mirrored) == pytest.approx(0.5, abs=0.05)
    assert np.mean(grey) == pytest.approx(0.15 if kind == "strong" else 0, abs=0.035)
    same = [np.array_equal(o, image[:, ::-1] if m else image) for o, m in zip(colours, mirrored, strict=True)]
    # Of the tenth whose channels are shuffled a sixth stays in order.
    assert 1 - np.mean(same) == pytest.approx(0.1 * 5 / 6 if kind == "strong" else 0, abs=0.03)


def test_none_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert all(np.array_equal(out, image) for out in draw(lambda c, rng: augment(c, rng, "none"), image, 20))


# --- degradations


def test_degrade_draws_each_degradation_a_third_of_the_time(monkeypatch):
    drawn = []
    for name in DEGRADATIONS:
        monkeypatch.setitem(DEGRADATIONS, name, lambda image, rng, name=name: drawn.append(name) or image)
    draw(degrade, np.zeros((8, 8, 3), np.uint8), 1200)
    assert len(drawn) == 1200
    for name in ("quarter size", "recompressed", "overlay"):
        assert drawn.count(name) / 1200 == pytest.approx(1 / 3, abs=0.06)


def test_quarter_keeps_a_quarter_of_the_detail():
    """Stripes of 2 pixels are gone, stripes of 16 pixels stay."""
    rng, rows = np.random.default_rng(0), np.arange(SIZE)
    for width, contrast in ((2, (0, 3)), (16, (230, 256))):
        stripes = np.where(rows // width % 2, 255, 0).astype(np.uint8)
        image = np.repeat(np.repeat(stripes[:, None, None], SIZE, 1), 3, 2)
        assert contrast[0] <= np.ptp(quarter(image, rng).astype(int)) < contrast[1]


def test_an_overlay_is_laid_on_by_its_share(monkeypatch):
    shares, add = [], cv2.addWeighted

    def spying(layer, share, image, rest, shift):
        shares.append(share)
        assert share + rest == pytest.approx(1)
        return add(layer, share, image, rest, shift)

    monkeypatch.setattr(degrading.cv2, "addWeighted", spying)
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    covered = np.array([(out != image).any(axis=2).mean() for out in draw(overlay, image)])
    assert_spans(shares, 0.4, 1.0, 0)
    assert (covered > 0).mean() > 0.9 and covered.max() < 0.6
