"""Adam equals torch's bit for bit, without the imports of torch's compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from lus_ray.training.optim import Adam

NUM_STEPS = 5


def train(kind, **settings):
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
    ("reference", "decoupled"), [(torch.optim.Adam, False), (torch.optim.AdamW, True)]
)
def test_parameters_and_state_are_those_of_torch(reference, decoupled):
    parameters, optimizer = train(Adam, decoupled_weight_decay=decoupled)
    expected, torch_optimizer = train(reference)
    assert all(torch.equal(p, q) for p, q in zip(parameters, expected, strict=True))
    state, torch_state = optimizer.state_dict(), torch_optimizer.state_dict()
    assert state["param_groups"] == torch_state["param_groups"]
    for number, values in torch_state["state"].items():
        assert all(torch.equal(state["state"][number][name], values[name]) for name in values)


@pytest.mark.slow
def test_a_training_process_never_imports_the_compiler():
    script = """
import sys, torch
from lus_ray.training.optim import Adam
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
