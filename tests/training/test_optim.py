"""Adam equals torch's bit for bit, without the imports of torch's compiler."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from lus_ray.nets import SifaSegmenter
from lus_ray.tasks import Sifa
from lus_ray.training import optim
from lus_ray.training.optim import Adam
from lus_ray.training.recipe import Recipe

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


BETAS = (0.5, 0.999)


def make_sifa(**settings):
    return Sifa(net=partial(SifaSegmenter, width=1), num_units=1, **settings)


def tf1_step(gradient, power_1, power_2, first, second):
    """An update at rate 1 by the formula of tf.train.AdamOptimizer, and its new moments."""
    first = BETAS[0] * first + (1 - BETAS[0]) * gradient
    second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
    rate = (1 - power_2) ** 0.5 / (1 - power_1)
    return -rate * first / second**0.5, first, second


def test_networks_of_one_tf1_optimizer_share_the_powers_of_beta():
    weights = [nn.Parameter(torch.zeros((), dtype=torch.float64)) for _ in range(3)]
    optimizers = [
        Adam([weight], lr=1.0, betas=BETAS, eps=0.0, turn=(number, 3))
        for number, weight in enumerate(weights)
    ]
    expected, moments, powers = [0.0] * 3, [(0.0, 0.0)] * 3, BETAS
    for step in range(4):
        for number, (weight, optimizer) in enumerate(zip(weights, optimizers, strict=True)):
            gradient = 1.0 + number - 0.3 * step
            weight.grad = torch.tensor(gradient, dtype=torch.float64)
            optimizer.step()
            change, *moments[number] = tf1_step(gradient, *powers, *moments[number])
            expected[number] += change
            powers = (powers[0] * BETAS[0], powers[1] * BETAS[1])
    assert [weight.item() for weight in weights] == pytest.approx(expected, rel=1e-6)


def test_shared_powers_make_step_100_twice_as_long():
    lengths = []
    for turn in ((0, 1), (0, 5)):
        weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
        optimizer = Adam([weight], lr=1.0, betas=BETAS, turn=turn)
        for number in range(100):
            weight.grad = torch.tensor(float(number == 99), dtype=torch.float64)
            before = weight.item()
            optimizer.step()
        lengths.append(abs(weight.item() - before))
    assert lengths[1] / lengths[0] == pytest.approx(2.0, abs=0.05)


def test_a_resumed_optimizer_continues_the_shared_powers():
    weight = nn.Parameter(torch.zeros(2))
    optimizer = Adam([weight], turn=(1, 5))
    weight.grad = torch.ones(2)
    optimizer.step()
    resumed = Adam([weight], turn=(1, 5))
    resumed.load_state_dict(optimizer.state_dict())
    resumed.step()
    assert resumed.state[weight]["step"] == 1 + 5 + 5


@pytest.mark.parametrize(
    ("settings", "turns"),
    [
        ({}, [(0, 1)] * 6),
        ({"tf1_shared_adam_powers": True}, [(0, 5), (1, 5), (0, 1), (2, 5), (3, 5), (4, 5)]),
    ],
)
def test_all_networks_of_sifa_but_the_segmenter_share_powers(settings, turns):
    task = make_sifa(**settings)
    got = [task.adam_settings(network).get("turn", (0, 1)) for network in task.networks]
    assert got == turns


def test_the_segmenters_rate_falls_by_a_tenth_with_every_tenth_of_training():
    task, recipe = make_sifa(), Recipe(epochs=20, batch=1, lr=1.0, decay=0.9)
    rates = {}
    for network in ("net", "translator"):
        optimizer = optim.build_adam(task, network, recipe)
        schedule = optim.build_schedule(optimizer, task, network, recipe)
        rates[network] = []
        for _ in range(recipe.epochs):
            rates[network].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule(0.5)
    assert rates["net"] == pytest.approx([0.9 ** (epoch // 2) for epoch in range(20)])
    assert rates["translator"] == pytest.approx([0.2] * 20)
