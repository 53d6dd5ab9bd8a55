"""Adam as torch has it, bit for bit, and without what torch imports for its compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from lus_ray.training.optim import Adam

NUM_STEPS = 5


def stepped(kind, **settings):
    """The parameters of a small network after a few steps, and the optimizer."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = kind(net.parameters(), lr=0.01, betas=(0.5, 0.999), weight_decay=0.1, **settings)
    for _ in range(NUM_STEPS):
        optimizer.zero_grad()
        net(torch.randn(3, 6)).square().sum().backward()
        optimizer.step()
    return list(net.parameters()), optimizer


@pytest.mark.parametrize(
    ("theirs", "decoupled"), [(torch.optim.Adam, False), (torch.optim.AdamW, True)]
)
def test_parameters_after_some_steps_are_those_of_torch(theirs, decoupled):
    ours, optimizer = stepped(Adam, decoupled_weight_decay=decoupled)
    expected, other = stepped(theirs)
    assert all(torch.equal(one, two) for one, two in zip(ours, expected, strict=True))
    mine, its = optimizer.state_dict(), other.state_dict()
    assert mine["param_groups"] == its["param_groups"]
    for number, state in its["state"].items():
        assert all(torch.equal(mine["state"][number][name], state[name]) for name in state)


def test_a_state_that_was_kept_goes_on_in_another_optimizer():
    _, optimizer = stepped(Adam)
    _, again = stepped(Adam)
    again.load_state_dict(optimizer.state_dict())
    assert again.state_dict()["state"][0]["step"] == NUM_STEPS


def test_a_process_that_trains_never_imports_the_compiler():
    script = """
import sys, torch
from lus_ray.optimizers import Adam
weight = torch.nn.Parameter(torch.ones(2))
optimizer = Adam([weight])
weight.sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0).step()
print("torch._dynamo" in sys.modules, weight.tolist())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False [0.9990000128746033, 0.9990000128746033]\n", done.stderr
