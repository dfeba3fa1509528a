from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from flow_tools import SMALL, one_thread  # noqa: E402, F401
from hrinet.networks.flow_net import FlowNet  # noqa: E402
from hrinet.train.flow.optimizer import Muon, orthogonalized  # noqa: E402


def stepped(network, optimizer, *, steps: int) -> None:
    """Steps along gradients that depend on nothing but their number."""
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def is_kernel(name: str, parameter) -> bool:
    last = ("motion_out", "out", "error_in", "error_out")
    return parameter.ndim == 4 and name.rsplit(".", 2)[-2] not in last


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (12, 12), (1, 30)])
def test_singular_values_become_alike(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    u2, s2, v2 = torch.linalg.svd(orthogonalized(matrix), full_matrices=False)
    assert s.max() / s.min() > 1.5 or min(shape) == 1
    assert 0.6 < s2.min() <= s2.max() < 1.3
    # The same directions: the nearest orthogonal matrix is u @ v, and this is not far from it.
    torch.testing.assert_close(u2 @ v2, u @ v, atol=0.05, rtol=0)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
def test_kernels_go_as_by_the_muon_of_pytorch():
    torch.manual_seed(2)
    network = FlowNet(SMALL)
    flat = {
        name: torch.nn.Parameter(parameter.detach().flatten(1).clone())
        for name, parameter in network.named_parameters()
        if is_kernel(name, parameter)
    }
    settings = {"lr": 1e-2, "weight_decay": 0.1}
    theirs = torch.optim.Muon(
        flat.values(), **settings, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    before = {name: parameter.detach().clone() for name, parameter in flat.items()}
    ours = Muon(network, **settings)
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for name, parameter in network.named_parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            if name in flat:
                flat[name].grad = parameter.grad.flatten(1)
        ours.step()
        theirs.step()
    for name, parameter in network.named_parameters():
        if name in flat:
            moved = flat[name] - before[name]
            # Theirs iterates in bfloat16.
            off = (parameter.detach().flatten(1) - flat[name]).norm() / moved.norm()
            assert off < 0.05, name


def test_the_rest_goes_as_by_adamw():
    torch.manual_seed(2)
    one, other = FlowNet(SMALL), FlowNet(SMALL)
    other.load_state_dict(one.state_dict())
    settings = {"lr": 1e-2, "weight_decay": 0.1}
    stepped(one, Muon(one, **settings), steps=4)
    stepped(other, torch.optim.AdamW(other.parameters(), **settings), steps=4)
    differ = {
        name: not torch.allclose(a, b, atol=1e-6)
        for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True)
    }
    assert differ == {name: is_kernel(name, p) for name, p in one.named_parameters()}
    assert differ["decoder.blocks.0.first.weight"]
    assert not differ["decoder.out.weight"]


def test_updates_are_as_large_as_those_of_adamw():
    network = FlowNet(SMALL)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    stepped(network, Muon(network, lr=1e-3, weight_decay=0.0), steps=1)
    for name, parameter in network.named_parameters():
        if is_kernel(name, parameter):
            update = (parameter.detach() - before[name]).square().mean().sqrt() / 1e-3
            assert 0.1 < update < 0.3, name


def test_without_gradients_nothing_moves_and_closures_are_refused():
    network = FlowNet(SMALL)
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = Muon(network, lr=1e-3, weight_decay=0.1)
    optimizer.step()
    assert all(map(torch.equal, before, network.parameters()))
    with pytest.raises(TypeError, match="no closure"):
        optimizer.step(lambda: 0.0)
