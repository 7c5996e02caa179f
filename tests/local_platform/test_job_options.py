"""How many shots a job's options mean, by the rules of the client's documentation."""

from __future__ import annotations

from typing import Any

import pytest

from session_block.local_platform.execution import job_options

BOTH = {"num_randomizations": 4, "shots_per_randomization": 25}


@pytest.mark.parametrize(
    ("twirling", "shots"),
    [
        ({}, 7),
        (BOTH, 7),
        ({**BOTH, "enable_gates": True}, 100),
        ({**BOTH, "enable_measure": True}, 100),
        ({**BOTH, "enable_gates": False, "enable_measure": False}, 7),
        ({**BOTH, "enable_gates": True, "num_randomizations": "auto"}, 7),
        ({"enable_gates": True, "num_randomizations": 4}, 7),
    ],
    ids=str,
)
def test_shots_of_a_sampler(twirling: dict[str, Any], shots: int) -> None:
    """Two numbers of an enabled twirling come before the default, one alone does not."""
    assert job_options.sampler_shots({"default_shots": 7, "twirling": twirling}) == shots
    without = job_options.sampler_shots({"twirling": twirling})
    assert without == (shots if shots == 100 else 4096)


@pytest.mark.parametrize(
    ("options", "precision", "accuracy"),
    [
        ({}, None, (0.015625, 4096)),
        ({"default_precision": 0.1}, None, (0.1, 100)),
        ({"default_precision": 0.1, "default_shots": 70}, None, (70**-0.5, 70)),
        ({"default_shots": 7}, None, (0.125, 64)),
        ({"default_shots": 7, "twirling": BOTH}, None, (0.1, 100)),
        ({"default_shots": 7, "twirling": BOTH, "resilience_level": 2}, None, (0.1, 100)),
        ({"default_shots": 7, "twirling": BOTH, "resilience_level": 0}, None, (7**-0.5, 7)),
        (
            {"default_precision": 0.5, "twirling": {**BOTH, "enable_measure": False}},
            None,
            (0.5, 64),
        ),
        ({"default_shots": 7, "twirling": {**BOTH, "enable_gates": True}}, 0.25, (0.25, 64)),
        ({"resilience_level": 0}, 0.25, (0.25, 16)),
    ],
    ids=str,
)
def test_accuracy_of_an_estimator(
    options: dict[str, Any], precision: float | None, accuracy: tuple[float, int]
) -> None:
    """A PUB's precision is obeyed; else twirling, shots and precision count in this order.

    At resilience level 1, which is the default, fewer shots than 64 are 64.
    """
    assert job_options.estimator_accuracy(precision, options) == pytest.approx(accuracy)
