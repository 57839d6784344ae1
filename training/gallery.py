"""The uncurated gallery: fixed prompts, seeds from 0 on, whatever comes out.

python -m training.gallery --weights checkpoints/tiny --out docs/gallery
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from model.loader import load
from training.device import pick_device
from training.evaluation.pictures import Gallery

# Prompt, width, height; the seed is the place in this list. Written once, before any of the pictures was seen.
ENTRIES: tuple[tuple[str | None, int, int], ...] = (
    ("snowy mountains at sunset with a lake", 512, 256),
    ("starry night over dark firs, crescent moon", 512, 256),
    ("dunes at dawn, hazy", 512, 256),
    ("green hills under a blue sky with white clouds", 512, 256),
    ("autumn forest by a lake in morning mist", 512, 256),
    ("the sea at noon, a few clouds", 512, 256),
    ("a pink dusk over misty mountains", 512, 256),
    ("winter forest under the full moon", 512, 256),
    ("a calm tarn among firs", 512, 256),
    ("peaks under fresh powder", 512, 256),
    ("sunset over the ocean, a round sun", 512, 256),
    ("a meadow in spring", 512, 256),
    ("broadleaf trees in autumn colours by a lake", 256, 256),
    ("mountain ridges in layers of fog at daybreak", 256, 256),
    ("a desert at night with many stars", 256, 256),
    ("rolling hills at golden hour", 256, 256),
    ("pine forest in winter, snow, clear sky", 256, 512),
    ("mountains at dusk, a thin moon", 256, 512),
    ("rolling dunes under a full moon", 1024, 256),
    ("alpine mountains on a bright morning with firs", 1024, 256),
    ("a seascape at twilight", 1024, 256),
    ("misty forest at dawn", 512, 512),
    (None, 512, 256),
    (None, 512, 256),
    (None, 512, 256),
)


def request(seed: int) -> dict[str, Any]:
    """What a server is asked for to draw the picture of that seed, byte for byte on the same kind of machine."""
    prompt, width, height = ENTRIES[seed]
    told = {} if prompt is None else {"prompt": prompt}
    return {**told, "width": width, "height": height, "seed": seed}


def main(
    weights: Annotated[Path, typer.Option(help="Folder of weights.")] = Path("checkpoints/tiny"),
    out: Annotated[Path, typer.Option(help="Folder to write pictures and README.md to.")] = Path("docs/gallery"),
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = as torch likes.")] = 0,
) -> None:
    """Draw every entry with the sampling that a request gets by default."""
    model = load(weights, pick_device(device, threads))
    out.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Gallery",
        "",
        f"Seeds 0 to {len(ENTRIES) - 1} of the shipped weights, none left out, drawn as a request is by default.",
        f"Made by `python -m training.gallery`, weights {model.config.name} {model.version}.",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        gallery = Gallery(model, Path(scratch))
        for seed, (prompt, width, height) in enumerate(ENTRIES):
            picture = gallery.draw(f"{seed}", [prompt], width, height, seed=seed)[0]
            name = f"{seed:02d}.webp"
            Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(out / name, quality=92, method=6)
            told = f"“{prompt}”" if prompt else "no prompt"
            lines += ["", f"![{told}]({name})", "", f"`{json.dumps(request(seed))}`"]
    (out / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
