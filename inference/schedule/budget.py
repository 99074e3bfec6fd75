"""A budget for a pipeline: from `--budget 9h` to a scheduler that knows what the blend's members take."""

from __future__ import annotations

from ensemble.blend import Blend
from inference.pipeline import Pipeline
from inference.schedule.duration import parse_duration
from inference.schedule.planner import Planner
from inference.schedule.plans import PRIOR_LOSS, make_plans
from inference.schedule.scheduler import BudgetScheduler


def make_scheduler(pipeline: Pipeline, videos: int, budget: str, reserve: str, started: float) -> BudgetScheduler:
    """Make the scheduler of a run that ends in time.

    Args:
        pipeline: its blend, frames and decoders are planned for.
        videos: to predict.
        budget: seconds as people write them: 9h, 90m.
        reserve: the end of the budget that is kept free for writing; so written too.
        started: of time.time(), when the budget began to run.

    Raises:
        ValueError: a duration is none, or the reserve leaves nothing of the budget.
    """
    seconds, kept = parse_duration(budget), parse_duration(reserve)
    if kept >= seconds:
        raise ValueError(f"--reserve {reserve} leaves nothing of --budget {budget}")
    return BudgetScheduler(make_planner(pipeline, videos, seconds, kept, started), again=True)


def make_planner(pipeline: Pipeline, videos: int, seconds: float, kept: float, started: float) -> Planner:
    """Make the planner of a pipeline.

    Args:
        pipeline: its blend, frames and decoders are planned for.
        videos: to predict.
        seconds: that they may take.
        kept: of them at the end, kept free for writing.
        started: when the seconds began, on the caller's clock.
    """
    blend = pipeline.blend
    plans = make_plans(
        pipeline.options.frames, len(blend.fallbacks), _shares(pipeline), _losses(blend), pipeline.options.tolerance
    )
    return Planner(plans, videos, seconds, kept, started, pipeline.decoders)


def _shares(pipeline: Pipeline) -> list[float]:
    """Seconds of the blend's members and of each fallback's, as shares of all members'; empty where not known."""
    seconds = {loaded.card.name: loaded.card.seconds_per_32_crops or 0.0 for loaded in pipeline.loaded_members}
    if not all(seconds.values()):
        return []
    fallbacks = [pipeline.blend.members, *(fallback.members for fallback in pipeline.blend.fallbacks)]
    return [sum(seconds[name] for name in fallback) / sum(seconds.values()) for fallback in fallbacks]


def _losses(blend: Blend) -> list[float]:
    """Expected log loss of the blend and of each fallback; empty where not known, or not below the prior's."""
    whole = blend.expected_log_loss
    losses = [] if whole is None else [float(whole), *(fallback.log_loss for fallback in blend.fallbacks)]
    return losses if all(loss < PRIOR_LOSS for loss in losses) else []
