from __future__ import annotations

import math
from dataclasses import fields

import pytest

pytest.importorskip("yaml")

from hrinet.errors import RequestError
from hrinet.train.config import TrainConfig
from hrinet.train.fields import with_given
from hrinet.train.flow.config import FlowTrainConfig

KINDS = (TrainConfig, FlowTrainConfig)
NUMBERS = [
    (kind, field.name)
    for kind in KINDS
    for field in fields(kind)
    if field.type in ("float", "float | None")
]


def test_there_are_numbers_to_look_at():
    names = {(kind, name) for kind, name in NUMBERS}
    assert {(kind, "max_minutes") for kind in KINDS} <= names
    assert len(names) > 25


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_a_number_that_is_not_finite_is_refused(kind, name, value):
    with pytest.raises(RequestError, match=rf"^{name} is -?(inf|nan), expected a finite number$"):
        kind(**{name: value})


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_cannot_set_one_either(kind):
    with pytest.raises(RequestError, match="max_minutes is inf"):
        with_given(kind(), {"max_minutes": math.inf})
    assert with_given(kind(), {"max_minutes": 5.0}).max_minutes == 5
    assert with_given(kind(), {"max_minutes": None}).max_minutes is None


def test_pairs_of_numbers_are_looked_at_too():
    with pytest.raises(RequestError, match=r"adam_betas is .*, expected a finite number"):
        TrainConfig(adam_betas=(0.9, math.nan))
