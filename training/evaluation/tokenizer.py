"""The tokenizer's part of the evaluation, and the same for a folder of anyone's pictures."""

from dataclasses import dataclass
from pathlib import Path

from PIL import UnidentifiedImageError
from tqdm import tqdm

from model.generate import Model
from training.evaluation.rows import Part
from training.evaluation.setting import Setting
from training.evaluation.stars import measure_stars
from training.evaluation.survival import Survey, survive
from training.folders import FolderData, decode, find_items

PHOTO_SIDE_MAX = 640  # px; larger photographs are shrunk, as they were for training


def measure(setting: Setting) -> Part:
    """Held-out scenes, photographs of held-out sources, and stars."""
    model = setting.model
    scenes, _ = setting.rendered(setting.counts.share(5, 4), 256, 256, 10_000)
    sets = {"scenes": list(scenes)}
    if setting.photos is not None:
        held_out = FolderData(setting.photos, PHOTO_SIDE_MAX).split(held_out=True)
        sets["photos"] = [picture for _, picture in held_out]
    part = Part()
    for kind, pictures in sets.items():
        survey = Survey(kind, model.config.tokenizer.codebook_size)
        for picture in tqdm(pictures, desc=f"tokenizer, {kind}", unit="picture", dynamic_ncols=True):
            survey.add(survive(model.tokenizer, kind, picture, model.device))
        if survey.pictures:
            part.rows += survey.rows()
            part.figures += survey.figures()
    part.rows += measure_stars(model.tokenizer, setting.counts.share(20, 4), model.device)
    return part


@dataclass(frozen=True)
class Skipped:
    """A file that could not be measured, and why."""

    file: str
    reason: str


def measure_folder(model: Model, folder: Path) -> tuple[Survey, list[Skipped]]:
    """All pictures below a folder, of any size. One that is broken, too small or too large is named, not fatal.

    Raises DataError when there is no such folder.
    """
    survey, skipped = Survey("pictures", model.config.tokenizer.codebook_size), []
    for item in tqdm(find_items(folder), desc="tokenizer", unit="picture", dynamic_ncols=True):
        try:
            survey.add(survive(model.tokenizer, item.name, decode(item.read()), model.device))
        except UnidentifiedImageError:
            skipped.append(Skipped(item.name, "not a picture that can be read"))
        except Exception as error:  # broken bytes make Pillow raise errors of many kinds
            skipped.append(Skipped(item.name, str(error) or type(error).__name__))
    return survey, skipped
