"""``CheckpointConfig``: which policy holds, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from msckpt_jax import CheckpointConfig

POLICIES = ("save_checkpoint_steps", "save_checkpoint_seconds", "keep_checkpoint_max",
            "keep_checkpoint_per_n_minutes")  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), (1, None, 5, None)),
        ((32,), (32, None, 5, None)),
        ((32, None, 10), (32, None, 10, None)),
        ((32, 30, 10, 3), (32, None, 10, None)),  # both given: the first of a kind wins
        ((0, 30, 0, 3), (None, 30, None, 3)),
        ((None, 30, None, 3), (None, 30, None, 3)),
        ((0, 0, 7), (None, None, 7, None)),  # the last step only
        ((1, 0, 0), (1, None, 1, None)),
        ((1, 0, None), (1, None, None, None)),
        ({"save_checkpoint_seconds": 30}, (None, 30, 5, None)),
        ({"keep_checkpoint_per_n_minutes": 3}, (1, None, None, 3)),
        # the tutorial's own line for the policy by time
        (
            {"save_checkpoint_seconds": 30, "keep_checkpoint_per_n_minutes": 3},
            (None, 30, None, 3),
        ),
        # given, though equal to the defaults
        ((1, 30, 5, 3), (1, None, 5, None)),
    ],
)
def test_policy(given: Any, expected: tuple) -> None:
    config = CheckpointConfig(**given) if isinstance(given, dict) else CheckpointConfig(*given)
    policy = config.get_checkpoint_policy()
    assert tuple(policy[name] for name in POLICIES) == expected
    assert policy["saved_network"] is None


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        (dict.fromkeys(POLICIES, 0), ValueError, "all None or 0"),
        (dict.fromkeys(POLICIES), ValueError, "all None or 0"),
        ({"save_checkpoint_steps": -1}, ValueError, "save_checkpoint_steps must be 0 or more"),
        ({"save_checkpoint_steps": 1.0}, TypeError, "int or None, not float"),
        ({"save_checkpoint_seconds": True}, TypeError, "int or None, not bool"),
        ({"keep_checkpoint_max": "5"}, TypeError, "int or None, not str"),
        ({"keep_checkpoint_per_n_minutes": -2}, ValueError, "not -2"),
        ({"keep_every": "1000"}, TypeError, "a number of steps, a datetime.timedelta, or a seq"),
        ({"keep_every": [5, True]}, TypeError, "not True"),
        ({"keep_every": 0}, ValueError, "keep_every must be more than 0, not 0"),
        ({"keep_every": timedelta(0)}, ValueError, "keep_every must be more than 0"),
        ({"keep_earlier_runs": 1}, TypeError, "keep_earlier_runs must be bool"),
        ({"stale_seconds": "1"}, TypeError, "stale_seconds must be a number of seconds, not str"),
        ({"stale_seconds": 0}, ValueError, "stale_seconds must be more than 0, not 0"),
        ({"integrated_save": 1}, TypeError, "integrated_save must be bool"),
        ({"exception_save": None}, TypeError, "exception_save must be bool"),
        ({"remove_redundancy": "yes"}, TypeError, "remove_redundancy must be bool"),
        ({"async_save": "fork"}, ValueError, "'thread' or 'process'"),
        ({"saved_network": {"w": np.ones(1)}}, TypeError, "does not change with training"),
        ({"append_info": "epoch_num"}, TypeError, "must be a list"),
        ({"append_info": ["epoch"]}, ValueError, "epoch_num and step_num, not 'epoch'"),
        ({"append_info": [3]}, TypeError, "str and dict, not int"),
        ({"append_info": [{1: 2}]}, TypeError, "keys must be str"),
        ({"append_info": [{"a": object()}]}, TypeError, "is a object"),
        ({"enc_key": b"short"}, ValueError, "enc_key"),
        ({"enc_key": bytes(16), "crc_check": True}, ValueError, "crc_check"),
        ({"enc_key": bytes(16), "format": "safetensors"}, ValueError, "safetensors"),
        ({"format": "foo"}, ValueError, "ckpt, safetensors"),
        ({"keep_best": ("loss", "min")}, TypeError, "must be like"),
        ({"keep_best": ("loss", "low", 3)}, ValueError, "'min' or 'max', not 'low'"),
        ({"keep_best": ("loss", "min", 0)}, ValueError, "1 or more"),
        ({"keep_best": (1, "min", 3)}, TypeError, "must be str"),
        ({"keep_max": 3}, TypeError, r"no argument 'keep_max'; it has .*keep_checkpoint_max"),
        ({"append_dict": {}}, TypeError, "no argument 'append_dict'"),
    ],
)
def test_refused(kwargs: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        CheckpointConfig(**kwargs)


def test_append_info_is_read_when_it_is_saved() -> None:
    rates = {"lr": 0.1, "epoch_num": 3}
    config = CheckpointConfig(append_info=["epoch_num", "step_num", rates])
    assert config.append_dict == {"epoch_num": 3, "step_num": 0, "lr": 0.1}
    rates["lr"] = 0.01
    assert config.append_values(2, 7) == {"epoch_num": 5, "step_num": 7, "lr": 0.01}
    assert config.append_values(2, 7) == {"epoch_num": 5, "step_num": 7, "lr": 0.01}
    assert CheckpointConfig(append_info=[]).append_dict is None


def test_further_arguments_go_to_save_checkpoint() -> None:
    options = CheckpointConfig(durable=False, threads=2, remove_redundancy=True).save_options
    assert options["durable"] is False
    assert options["threads"] == 2
    assert options["integrated_save"] is False
