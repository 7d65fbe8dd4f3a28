from __future__ import annotations

import pytest

from fleet.core.risk import forecast_risk, pert_quantiles
from fleet.core.schedule import Activity
from fleet.errors import InvalidPlan

PAIR = [Activity(id="a", days=5, uses={"agents": 1}), Activity(id="b", days=5, uses={"agents": 1})]
SPREADS = {"a": (3.0, 5.0, 12.0), "b": (3.0, 5.0, 12.0)}


@pytest.mark.parametrize("mode", [0, 0.2, 0.5, 1])
def test_quantiles_have_the_mean_of_pert(mode):
    found = pert_quantiles(mode)
    assert found == sorted(found)
    mean = sum(found) / len(found)
    assert mean == pytest.approx((4 * mode + 1) / 6, abs=0.01)


def test_a_sure_plan_has_no_spread():
    found = forecast_risk(PAIR, {}, runs=10)
    assert (found.p50, found.p80, found.p95) == (5, 5, 5)
    assert found.criticality == {"a": 1, "b": 1}


def test_the_later_of_two_is_later_than_each():
    one, two = forecast_risk(PAIR[:1], {"a": SPREADS["a"]}), forecast_risk(PAIR, SPREADS)
    assert 3 < one.p50 < one.p80 < one.p95 < 12
    assert one.p50 < two.p50
    assert two.criticality["a"] == pytest.approx(0.5, abs=0.05)
    assert two == forecast_risk(PAIR, SPREADS)
    assert two != forecast_risk(PAIR, SPREADS, seed=1)


def test_under_a_limit_durations_add_up():
    found = forecast_risk(PAIR, SPREADS, limits={"agents": 1})
    assert found.p50 == pytest.approx(2 * (3 + 20 + 12) / 6, abs=0.4)
    assert found.criticality == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    "spread", [(2, 1, 3), (-1, 0, 1), (0, 1, float("inf")), (0, float("nan"), 1)]
)
def test_a_spread_that_is_none_is_refused(spread):
    with pytest.raises(InvalidPlan, match="low <= likely <= high"):
        forecast_risk(PAIR, {"a": spread})
