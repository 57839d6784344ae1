"""Trains the tokenizer: reconstruction of rendered scenes, of pictures of one's own, or of both."""

import copy
import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.tokenizer import Tokenizer, guide_from
from training.checkpoint import part_of
from training.datasets import PicturePool, held_out_scenes, to_float
from training.device import autocast, compile_on_gpu
from training.discriminator import HEARD_AFTER, Discriminator, adversarial_loss
from training.folders import FolderData
from training.loop import RunSettings, Trainer
from training.sheets import save_sheet

STARLESS = 0.05  # light of stars, of the whole range, below which a token shows none


@dataclass(frozen=True)
class TokenizerRecipe:
    """What the tokenizer sees and is judged by."""

    batch: int = 24
    crop_px: int = 96
    pictures_share: float = 0.2  # of the crops, for pictures of one's own beside the scenes; 1 = no scenes at all
    scales: tuple[float, ...] = (1.0,)  # that one's own pictures are seen at
    pictures: int = 128  # rendered pictures that crops are cut from at any time
    squared: float = 4.0  # weight of the squared error beside the absolute one
    gradient: float = 1.0  # weight of the error of horizontal and vertical differences: keeps edges and stars
    # Weight of the error of how much of such difference there is around each place. With 1 edges and textures come out
    # a fifth too soft, of photographs by half; with 12 from the first step on all else is learned late. So 12 is for a
    # decoder that goes on alone (docs/training.md).
    detail: float = 1.0
    # Weight of the absolute error at stars: few pixels, and the first that a blur takes away. Beside it a share of the
    # scenes is starry. For a tokenizer that goes on; 0 = stars count like all else.
    stars: float = 0.0
    starry_share: float = 0.3
    # Weight of how far tokens move from what they were when the tokenizer began, in squared levels; those with a star
    # may. Who reads tokens has then little to learn anew.
    keep: float = 0.0
    guided_share: float = 0.3  # of the crops, a part of whose pixels is given to the decoder
    # How strongly a discriminator pulls beside all else (training/discriminator.py); 0 = there is none.
    adversarial: float = 0.0
    frozen: tuple[str, ...] = ()  # parts that stay as they are: with "encoder", tokens keep their meaning


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


def star_loss(output: Tensor, target: Tensor, stars: Tensor) -> Tensor:
    """Absolute error of stars and the pixels around them, [B, 1, H, W] in [0, 1], as a part of all pixels' mean."""
    return ((output - target).abs() * F.max_pool2d(stars, 3, 1, 1)).mean()


def moved(latents: Tensor, before: Tensor, stars: Tensor, levels: Tensor) -> Tensor:
    """Mean square of how many levels latents [B, h, w, D] are from those before, in tokens without a star."""
    starless = F.max_pool2d(stars, stars.shape[-1] // latents.shape[2]) < STARLESS
    steps = (latents.tanh() - before.tanh()) * (levels - 1) / 2
    return (steps.square() * starless.permute(0, 2, 3, 1)).mean()


def psnr(output: Tensor, target: Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB; both [N, 3, H, W] in [-1, 1]."""
    error = (output.clamp(-1, 1) - target).square().flatten(1).mean(1).clamp_min(1e-10)
    return float((10 * torch.log10(4 / error)).mean())


def gradient_strength(pixels: Tensor) -> Tensor:
    """Mean gradient magnitude of [..., H, W], a scalar."""
    across, down = pixels.diff(dim=-1)[..., :-1, :], pixels.diff(dim=-2)[..., :-1]
    return (across.square() + down.square()).sqrt().mean()


def sharpness(output: Tensor, target: Tensor) -> float:
    """Mean gradient magnitude of the output over that of the target: 1 = edges as strong as they were, 0 = gone."""
    return float(gradient_strength(output) / gradient_strength(target).clamp_min(1e-6))


def reconstruct(tokenizer: Tokenizer, pixels: Tensor) -> Tensor:
    """Encode and decode pictures one by one; sides must be multiples of the tokenizer's factor."""
    return torch.cat([tokenizer.decode(tokenizer.encode(p[None])) for p in pixels])


def crop_to_multiple(picture: Tensor, of: int) -> Tensor:
    """[3, H, W] -> the top left part whose sides are multiples of `of`."""
    return picture[:, : picture.shape[1] // of * of, : picture.shape[2] // of * of]


class Crops:
    """Batches of crops, of scenes and of pictures of one's own: each crop is one of these with probability `share`."""

    def __init__(
        self, recipe: TokenizerRecipe, pictures: FolderData | None, share: float, device: torch.device, seed: int
    ) -> None:
        self._recipe, self._pictures, self._share, self._device = recipe, pictures, share, device
        self._random = random.Random(seed)
        starry = recipe.starry_share if recipe.stars else 0.0
        self._scenes = PicturePool(seed, device, recipe.pictures, starry) if share < 1 else None

    def next(self, step: int) -> tuple[Tensor, Tensor]:
        """[batch, 3, crop_px, crop_px] float32 in [-1, 1]; how much of each pixel is stars, as far as that is known,
        [batch, 1, crop_px, crop_px] in [0, 1].
        """
        count, side = self._recipe.batch, self._recipe.crop_px
        own = sum(self._random.random() < self._share for _ in range(count)) if self._scenes else count
        parts: list[Tensor] = []
        stars: list[Tensor] = []
        if own and self._pictures is not None:
            drawn = [self._pictures.random_crop(self._random, side, side, self._recipe.scales)[0] for _ in range(own)]
            parts.append(to_float(torch.stack(drawn).to(self._device)))
            stars.append(torch.zeros_like(parts[0][:, :1]))
        if self._scenes and own < count:
            if step % 4 == 0:
                self._scenes.renew(2)
            for each, of in zip((parts, stars), self._scenes.crops(count - own, side), strict=True):
                each.append(of)
        return torch.cat(parts), torch.cat(stars)


def some_given(pixels: Tensor, share: float, rng: random.Random) -> Tensor:
    """[B, H, W] bool: of a share of the pictures, a rectangle of pixels or all but one, as when a picture is extended
    or repaired.
    """
    given = torch.zeros(len(pixels), *pixels.shape[2:], dtype=torch.bool, device=pixels.device)
    for mask in given:
        if rng.random() < share:
            (top, bottom), (left, right) = (_part(side, rng) for side in mask.shape)
            mask[top:bottom, left:right] = True
            if rng.random() < 0.5:
                mask.logical_not_()
    return given


def _part(side: int, rng: random.Random) -> tuple[int, int]:
    """Where a part of a side begins and ends: often at one end of it."""
    start = max(0, rng.randrange(-side // 2, side * 3 // 4))
    return start, min(side, start + rng.randrange(side // 4, side))


def train_tokenizer(
    config: ModelConfig,
    settings: RunSettings,
    recipe: TokenizerRecipe,
    pictures: FolderData | None,
    device: torch.device,
    seed: int = 0,
    initial: dict[str, Tensor] | None = None,
) -> Tokenizer:
    """Returns the tokenizer with averaged weights, in evaluation mode; its run is kept in settings.folder.

    pictures: of one's own, as large a share of the crops as the recipe says; some are held out for the figures.
    initial: weights to begin with.
    Raises folders.DataError when there are too few of them.
    """
    share = recipe.pictures_share if pictures else 0.0
    own_train = pictures.split(held_out=False) if pictures else None
    own_test = pictures.split(held_out=True) if pictures else None
    torch.manual_seed(seed)
    tokenizer = Tokenizer(config.tokenizer)
    if initial is not None:
        tokenizer.load_state_dict(initial)
    tokenizer.to(device, memory_format=torch.channels_last)
    before = copy.deepcopy(tokenizer.encoder).requires_grad_(False) if recipe.keep and initial is not None else None
    for part in recipe.frozen:
        tokenizer.get_submodule(part).requires_grad_(False)
    trained = nn.ModuleDict({"tokenizer": tokenizer})
    trained.adamw = {"tokenizer.encoder.stem", "tokenizer.decoder.head"}  # type: ignore[assignment]
    if recipe.adversarial:
        trained["discriminator"] = Discriminator().to(device, memory_format=torch.channels_last)
    trainer = Trainer(trained, settings)
    compile_on_gpu(device, tokenizer)
    crops = Crops(recipe, own_train, share, device, seed + trainer.step)
    scenes = list(held_out_scenes(16, 256, 256, device)) if share < 1 else []
    test = held_out_pictures(own_test, config.tokenizer.factor, device) if own_test else []
    chooser, rng = random.Random(0), random.Random(seed + trainer.step)
    cut = [to_float(own_test.random_crop(chooser, 256, 256)[0]).to(device) for _ in range(6)] if own_test else []
    sheet = torch.stack((scenes or cut)[:6])

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        pixels, stars = crops.next(step)
        given = some_given(pixels, recipe.guided_share, rng)
        with autocast(device):
            output, latents = tokenizer(pixels, guide_from(pixels, given))
        output = torch.where(given[:, None], pixels, output.float())  # what is given is not drawn
        value, figures = reconstruction_loss(output, pixels, recipe), {"train_psnr": psnr(output.detach(), pixels)}
        if recipe.stars:
            value = value + recipe.stars * star_loss(output, pixels, stars)
        if before is not None:
            with torch.no_grad():
                kept = before(pixels).permute(0, 2, 3, 1)
            value = value + recipe.keep * moved(latents, kept, stars, tokenizer.quantizer.levels)
        if recipe.adversarial:
            share = recipe.adversarial * min(1.0, step / HEARD_AFTER)
            value, judged = adversarial_loss(trained["discriminator"], output, pixels, value, share)
            figures |= judged
        return value, figures

    def evaluate() -> dict[str, float]:
        figures = {}
        for name, originals in (("photo", test), ("scene", scenes)):  # the last ones count for the other figures
            if originals:
                tokens = [tokenizer.encode(p[None]) for p in originals]
                drawn = [tokenizer.decode(t) for t in tokens]
                pairs = [(d, p[None]) for d, p in zip(drawn, originals, strict=True)]
                figures[f"{name}_psnr"] = sum(psnr(d, p) for d, p in pairs) / len(pairs)
                strengths = torch.stack([torch.stack([gradient_strength(x) for x in pair]) for pair in pairs]).sum(0)
                figures["sharpness"] = float(strengths[0] / strengths[1].clamp_min(1e-6))
                used = torch.cat([t.flatten() for t in tokens]).unique().numel()
                figures["codes_used"] = used / config.tokenizer.codebook_size
        return figures

    def sample(path: Path) -> None:
        save_sheet(torch.cat([sheet, reconstruct(tokenizer, sheet)]), path, columns=len(sheet))

    trainer.run(loss, evaluate, sample)
    tokenizer.load_state_dict(part_of(trainer.averaged(), "tokenizer"))
    return tokenizer.eval()


def held_out_pictures(pictures: FolderData, factor: int, device: torch.device, most: int = 16) -> list[Tensor]:
    """The first pictures that are at least one token large, [3, H, W] in [-1, 1], sides cropped to multiples of it."""
    found: list[Tensor] = []
    for _, picture in pictures:
        cropped = crop_to_multiple(picture, factor)
        if cropped.numel():
            found.append(to_float(cropped).to(device))
        if len(found) == most:
            break
    return found
