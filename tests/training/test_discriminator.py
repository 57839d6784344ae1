import torch
import torch.nn.functional as F

from training.discriminator import Discriminator, adversarial_loss
from training.optimizer import build_optimizers


def made_of(pixels: torch.Tensor) -> torch.Tensor:
    """A soft copy, as a leaf that gradients reach."""
    return F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False).requires_grad_()


def test_it_learns_to_tell_pictures_from_soft_copies() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator()
    optimizers = build_optimizers(discriminator, lr=2e-3)

    def pictures() -> torch.Tensor:
        return torch.rand(4, 3, 12, 12).repeat_interleave(3, 2).repeat_interleave(3, 3) * 2 - 1

    for _ in range(40):
        pixels = pictures()
        output = made_of(pixels)
        adversarial_loss(discriminator, output, pixels, F.l1_loss(output, pixels), 0.5)[0].backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    new = pictures()
    with torch.no_grad():
        assert discriminator(new).mean() > 0.2
        assert discriminator(made_of(new)).mean() < -0.2


def test_its_judgement_pulls_with_its_share_and_teaches_itself_nothing() -> None:
    torch.manual_seed(0)
    discriminator, pixels = Discriminator(), torch.rand(2, 3, 32, 32) * 2 - 1
    output = made_of(pixels)
    reconstruction = F.mse_loss(output, pixels)
    (pulled,) = torch.autograd.grad(reconstruction, output, retain_graph=True)
    loss, figures = adversarial_loss(discriminator, output, pixels, reconstruction, 0.5)
    assert torch.allclose(loss, reconstruction + figures["told_apart"])
    loss.backward()
    assert output.grad is not None
    pushed = output.grad - pulled
    assert torch.allclose(pushed.norm(), 0.5 * pulled.norm(), rtol=1e-3)
    with torch.no_grad():  # a step that way, and it is taken for a picture rather than before
        assert discriminator(output - 0.1 * pushed / pushed.abs().max()).mean() > discriminator(output).mean()
    taught = [p.grad.clone() for p in discriminator.parameters() if p.grad is not None]
    discriminator.zero_grad()
    (F.relu(1 - discriminator(pixels)).mean() + F.relu(1 + discriminator(output.detach())).mean()).backward()
    assert len(taught) == len(list(discriminator.parameters()))
    for had, p in zip(taught, discriminator.parameters(), strict=True):
        assert p.grad is not None
        assert torch.allclose(had, p.grad, atol=1e-6)
