"""A patch discriminator: tells pictures from reconstructions, place by place.

Where an edge may be here or a pixel further, losses on pixels are content with a blur; it is not. Sources: Isola et
al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017); the balance by gradients is that of
Esser et al., "Taming Transformers for High-Resolution Image Synthesis" (2021), taken at the pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

WIDTHS = (32, 64, 128)  # each halves the side: a judgement sees 24x24 pixels, and through the norms how all are
GROUPS = 8  # of channels that are normalised together
# How many times as strong as pixels their difference from what is around them is shown: that is where a reconstruction
# differs, and without it nothing was learned in a hundred steps.
DETAIL = 8.0
HEARD_AFTER = 100  # steps until it pulls with all its share: it has to learn first


class Discriminator(nn.Module):
    """Pixels [B, 3, H, W] in [-1, 1] -> judgements [B, 1, H/8, W/8]: above 0 a picture, below 0 a reconstruction."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((6, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(before, width, 4, 2, 1), nn.GroupNorm(GROUPS, width), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(WIDTHS[-1], 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        around = F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)
        shown = torch.cat([pixels, DETAIL * (pixels - around)], 1)
        return self.layers(shown.contiguous(memory_format=torch.channels_last))


def adversarial_loss(
    discriminator: Discriminator, output: Tensor, pixels: Tensor, reconstruction: Tensor, share: float
) -> tuple[Tensor, dict[str, float]]:
    """The discriminator's hinge loss, and for whoever made `output` its reconstruction loss with, besides, the
    discriminator's judgement: of `share` times the former's gradient at the pixels.

    output, pixels: [B, 3, H, W], what was made of which.  reconstruction: scalar, a function of output.
    Returns a scalar whose gradient is that of both, and figures. Its value has the judgement left out.
    """
    told_apart = F.relu(1 - discriminator(pixels)).mean() + F.relu(1 + discriminator(output.detach())).mean()
    still = {name: p.detach() for name, p in discriminator.named_parameters()}
    judgement = -functional_call(discriminator, still, output).mean()
    (pulled,) = torch.autograd.grad(reconstruction, output, retain_graph=True)
    (pushed,) = torch.autograd.grad(judgement, output)
    balanced = share * pulled.norm() / pushed.norm().clamp_min(1e-12) * pushed
    carried = (output * balanced).sum()
    loss = reconstruction + told_apart + carried - carried.detach()
    return loss, {"told_apart": float(told_apart.detach()), "judgement": float(judgement.detach())}
