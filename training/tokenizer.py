"""Trains the tokenizer: reconstruction of rendered scenes, and of photographs when a folder of them is given."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import ModelConfig
from model.tokenizer import Tokenizer
from training.datasets import PicturePool, held_out_scenes, split_photos, to_float
from training.loop import RunSettings, Trainer
from training.sheets import save_sheet


@dataclass(frozen=True)
class TokenizerRecipe:
    """What the tokenizer sees and is judged by."""

    batch: int = 24
    crop_px: int = 96
    photo_share: float = 0.2
    pictures: int = 128  # rendered pictures that crops are cut from at any time
    squared: float = 4.0  # weight of the squared error beside the absolute one
    gradient: float = 1.0  # weight of the error of horizontal and vertical differences: keeps edges and stars
    detail: float = 1.0  # weight of the error of how much of such difference there is around each place


def reconstruction_loss(output: Tensor, target: Tensor, recipe: TokenizerRecipe) -> Tensor:
    """Absolute + squared error of pixels, + absolute error of differences between neighbouring pixels, + absolute error
    of their mean strength in 4x4 windows.

    The last one asks for as much detail as there was, a little out of place if need be: where the others are content
    with a blur (a star, a far tree), it is not.
    """
    loss = F.l1_loss(output, target) + recipe.squared * F.mse_loss(output, target)
    for axis in (-1, -2):
        drawn, wanted = output.diff(dim=axis), target.diff(dim=axis)
        loss = loss + recipe.gradient * F.l1_loss(drawn, wanted)
        strength = F.l1_loss(F.avg_pool2d(drawn.abs(), 4, 2), F.avg_pool2d(wanted.abs(), 4, 2))
        loss = loss + recipe.detail * strength
    return loss


def psnr(output: Tensor, target: Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB; both [N, 3, H, W] in [-1, 1]."""
    error = (output.clamp(-1, 1) - target).square().flatten(1).mean(1).clamp_min(1e-10)
    return float((10 * torch.log10(4 / error)).mean())


def sharpness(output: Tensor, target: Tensor) -> float:
    """Mean gradient magnitude of the output over that of the target: 1 = edges as strong as they were, 0 = gone."""

    def strength(x: Tensor) -> Tensor:
        across, down = x.diff(dim=-1)[..., :-1, :], x.diff(dim=-2)[..., :-1]
        return (across.square() + down.square()).sqrt().mean()

    return float(strength(output) / strength(target))


def reconstruct(tokenizer: Tokenizer, pixels: Tensor) -> Tensor:
    """Encode and decode pictures one by one; sides are cropped to multiples of 8."""
    return torch.cat([tokenizer.decode(tokenizer.encode(p[None])) for p in pixels])


def crop_to_multiple(picture: Tensor, of: int) -> Tensor:
    """[3, H, W] -> the top left part whose sides are multiples of `of`."""
    return picture[:, : picture.shape[1] // of * of, : picture.shape[2] // of * of]


def train_tokenizer(
    config: ModelConfig,
    settings: RunSettings,
    recipe: TokenizerRecipe,
    photos: Path | None,
    device: torch.device,
    seed: int = 0,
) -> Tokenizer:
    """Returns the tokenizer with averaged weights, in evaluation mode; its run is kept in settings.folder."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer(config.tokenizer).to(device, memory_format=torch.channels_last)
    tokenizer.adamw = {"encoder.stem", "decoder.head"}  # type: ignore[assignment]
    trainer = Trainer(tokenizer, settings)
    train_photos, test_photos = split_photos(photos) if photos else ({}, {})
    pool = PicturePool(seed + trainer.step, device, list(train_photos.values()), recipe.photo_share, recipe.pictures)
    scenes = held_out_scenes(16, 256, 256, device)
    test = [to_float(crop_to_multiple(p, 8)).to(device) for p in list(test_photos.values())[:16]]

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        if step % 4 == 0:
            pool.renew(2)
        pixels = pool.crops(recipe.batch, recipe.crop_px)
        output = tokenizer(pixels)
        return reconstruction_loss(output, pixels, recipe), {"train_psnr": psnr(output.detach(), pixels)}

    def evaluate() -> dict[str, float]:
        output = reconstruct(tokenizer, scenes)
        figures = {"scene_psnr": psnr(output, scenes), "sharpness": sharpness(output, scenes)}
        if test:
            figures["photo_psnr"] = sum(psnr(reconstruct(tokenizer, p[None]), p[None]) for p in test) / len(test)
        tokens = tokenizer.encode(scenes)
        figures["codes_used"] = tokens.unique().numel() / config.tokenizer.codebook_size
        return figures

    def sample(path: Path) -> None:
        originals = scenes[:6]
        save_sheet(torch.cat([originals, reconstruct(tokenizer, originals)]), path, columns=6)

    trainer.run(loss, evaluate, sample)
    tokenizer.load_state_dict(trainer.averaged())
    return tokenizer.eval()
