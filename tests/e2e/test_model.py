"""Random histories against the model of tests/model/, over sockets: ours and the real 3.5.1 answer alike, field by field, but for what docs/DIFFERENCES.md names."""
import os, sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "model"))
from run import play        # noqa: E402


@pytest.mark.parametrize("against, ops", [("ours", 30000), ("real", 10000)])
def test_random_histories_are_answered_as_the_model_says(against, ops):
    status, text = play(against, "--ops", str(ops), "--seed", "1", limit_s=300)
    assert status == 0, text
