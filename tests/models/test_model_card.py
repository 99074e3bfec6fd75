"""The pages say of the shipped members and blends what their files say."""

from pathlib import Path

import pytest

from benchmarks.members import card_row
from ensemble.blend import ANY_FILE, FILE, Blend
from models.checkpoint import WEIGHTS_DIR, find_cards

ROOT = Path(__file__).resolve().parents[2]
PAGE, README = ROOT / "models" / "README.md", ROOT / "README.md"


@pytest.mark.parametrize("card", find_cards(), ids=lambda card: card.name)
def test_a_members_row_is_that_of_its_card(card):
    assert f"| {' | '.join(card_row(card))} |" in PAGE.read_text()


@pytest.mark.parametrize("name", [FILE, ANY_FILE])
def test_weights_and_clip_are_those_of_the_blend(name):
    blend = Blend.read(WEIGHTS_DIR / name)
    (head,) = [line for line in PAGE.read_text().splitlines() if line.startswith("| | temperature | clip |")]
    (row,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{name}` (")]
    names, cells = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in (head, row))
    assert cells[1:3] == [f"{blend.mix.temperature:.2f}", f"{blend.clip[0]:.3f} to {blend.clip[1]:.3f}"]
    assert names[3:] == [card.name for card in find_cards()]
    told = {member: float(cell) for member, cell in zip(names[3:], cells[3:], strict=True) if cell != "-"}
    weights = {m: 0.0 if w < 0.001 else w for m, w in zip(blend.members, blend.mix.weights, strict=True)}
    assert told == pytest.approx(weights, abs=0.0005)


def test_expected_losses_and_error_rates_are_those_of_the_blends():
    loss = Blend.read(WEIGHTS_DIR / FILE).facts.expected_log_loss
    for page in (PAGE, README):
        assert f"{loss.value:.3f}" in page.read_text() and f"[{loss.low:.3f}, {loss.high:.3f}]" in page.read_text()
    rates = Blend.read(WEIGHTS_DIR / ANY_FILE).facts.rates
    assert f"**Likely fake** begins at {rates.fake_from:.2f}" in README.read_text()
    for source, of in rates.sources.items():
        alarms, misses = (
            f"{100 * rate.value:.0f} of 100 [{100 * rate.low:.0f}, {100 * rate.high:.0f}] ({rate.videos})"
            for rate in (of.false_alarms, of.misses)
        )
        assert f"| `{ANY_FILE}`, {source} | {rates.fake_from:.2f} | {alarms} | {misses} |" in PAGE.read_text()
