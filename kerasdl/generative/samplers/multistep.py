"""Multistep samplers: DPM-Solver++ and UniPC, which reuse the predictions of the steps before.

Both solve the equation of the predicted data in l = log(alpha / sigma), with h the length of a step in l.
The first steps, and the last one to clean data, where h is infinite, are of the order that they can have.

Deviations: the authors' step of order 3 has half of the quadratic term, which leaves it at order 2; here it is whole.
"""

import dataclasses

import numpy as np

from kerasdl.core import checks

from .linear_steps import LinearSteps
from .plans import SamplingPlan


def possible_orders(plan: SamplingPlan, order: int) -> np.ndarray:
    """Returns the order of each step: no more than the evaluations with noise and data so far; 1 for the last step.

    A plan of fewer than 15 steps ends with a step of order 2 at most before that, as in the authors' code.
    """
    levels = plan.log_ratios
    finite = np.isfinite(levels)
    orders, run = [], 0
    for step in range(plan.steps):
        run = run + 1 if finite[step] else 0
        orders.append(max(1, min(order, run)) if finite[step + 1] and finite[step] else 1)
        if plan.steps < 15 and step == plan.steps - 2:
            orders[-1] = min(2, orders[-1])
    return np.array(orders)


def exact_part(plan: SamplingPlan) -> tuple[np.ndarray, np.ndarray]:
    """Returns sigma' / sigma and h of each step."""
    with np.errstate(invalid="ignore"):
        return plan.sigmas[1:] / plan.sigmas[:-1], np.diff(plan.log_ratios)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPMSolver:
    """DPM-Solver++ of orders 1 to 3, multistep, on the predicted data.

    Source: https://arxiv.org/abs/2211.01095, algorithm 2, and its appendix for order 3.

    Raises:
        ArgumentError: the order is none of 1, 2, 3.

    Example:
        >>> DPMSolver(order=3).order
        3
    """

    order: int = 2
    """1, which is DDIM, 2 or 3. With guidance 2 is steadier than 3."""

    def __post_init__(self):
        checks.one_of("order", self.order, (1, 2, 3))

    def linear_steps(self, plan: SamplingPlan) -> LinearSteps:
        """Returns the coefficients of the steps of a plan."""
        of_x, lengths = exact_part(plan)
        of_data = np.zeros((plan.steps, self.order))
        for step, order in enumerate(possible_orders(plan, self.order)):
            h, alpha = lengths[step], plan.alphas[step + 1]
            first = -alpha * np.expm1(-h)
            if order == 1:
                of_data[step, 0] = first
                continue
            ratio = lengths[step - 1] / h
            if order == 2:
                of_data[step, :2] = first * np.array([1 + 0.5 / ratio, -0.5 / ratio])
                continue
            further = lengths[step - 2] / h
            newer = np.array([1, -1, 0]) / ratio
            older = np.array([0, 1, -1]) / further
            slope = newer + ratio / (ratio + further) * (newer - older)
            curve = (newer - older) / (ratio + further)
            of_data[step, :3] = (
                first * np.array([1, 0, 0])
                + alpha * (np.expm1(-h) / h + 1) * slope
                - 2 * alpha * ((np.expm1(-h) + h) / h**2 - 0.5) * curve
            )
        return LinearSteps(of_x, of_data, np.zeros(plan.steps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniPC:
    """UniPC of orders 1 to 3: a predictor, and a corrector that costs no evaluation, of one order more.

    Source: https://arxiv.org/abs/2302.04867, algorithms 1 and 2, for predicted data with B(h) = exp(h) - 1.

    Raises:
        ArgumentError: the order is none of 1, 2, 3.

    Example:
        >>> UniPC(order=3).order
        3
    """

    order: int = 2
    """1, 2 or 3, of the predictor."""

    def __post_init__(self):
        checks.one_of("order", self.order, (1, 2, 3))

    def linear_steps(self, plan: SamplingPlan) -> LinearSteps:
        """Returns the coefficients of the steps of a plan."""
        of_x, lengths = exact_part(plan)
        orders = possible_orders(plan, self.order)
        of_data = np.zeros((plan.steps, self.order))
        corrected_x, corrected_data = np.zeros(plan.steps), np.zeros((plan.steps, self.order + 1))
        for step, order in enumerate(orders):
            alpha, h = plan.alphas[step + 1], lengths[step]
            places = [(plan.log_ratios[step - j] - plan.log_ratios[step]) / h for j in range(1, order)]
            of_data[step, :order] = _unified(alpha, h, places, order)
            if step + 1 < plan.steps:  # the corrector of this step, before the next
                corrected_x[step + 1] = of_x[step]
                corrected_data[step + 1, : order + 1] = _unified(alpha, h, places, order, corrects=True)
        return LinearSteps(of_x, of_data, np.zeros(plan.steps), corrected_x, corrected_data)


def _unified(alpha: float, h: float, places: list[float], order: int, corrects: bool = False) -> np.ndarray:
    """Returns the coefficients of the predictions at the places (in steps of h from the newest), the newest first.

    A corrector has that at place 1, the end of the step, before them.
    """
    shrink = np.expm1(-h)
    if not np.isfinite(h):  # from pure noise, or to clean data: the predicted data are the end
        return np.array([0.0, alpha, *([0.0] * (order - 1))]) if corrects else np.array([alpha, *([0.0] * (order - 1))])
    ends = [*places, 1.0] if corrects else places
    sides, part, factorial = [], shrink / -h - 1, 1.0
    for power in range(1, len(ends) + 1):
        sides.append(part * factorial / shrink)
        factorial *= power + 1
        part = part / -h - 1 / factorial
    matrix = np.array([np.power(ends, power) for power in range(len(ends))]).reshape(len(ends), len(ends))
    weights = np.linalg.solve(matrix, sides) if ends else np.zeros(0)
    if len(ends) == 1:
        weights = np.array([0.5])  # as the paper has it for one place, exact to the order
    slopes = -alpha * shrink * weights / np.array(ends or [1.0])[: len(ends)]
    newest = -alpha * shrink - slopes.sum()
    return np.array([slopes[-1], newest, *slopes[:-1]]) if corrects else np.array([newest, *slopes])
