"""Two processes train as one with twice the batch, and only the first one writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from training.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]
STEPS = 4

# Trains a small tokenizer on fixed noise: process `rank` of `size` takes its share of each batch of four. Then the
# first one does it again, alone.
PROGRAM = """
import os
import sys
from pathlib import Path
import torch
import training.optimizer
from model.config import PRESETS
from model.tokenizer import Tokenizer
from training.distributed import joined, own_seed, rank, size
from training.loop import RunSettings, Trainer

training.optimizer.has_bfloat16 = lambda device_type: False  # sums in another order differ by more there

def train(folder):
    with joined("cpu", threads=1):
        torch.manual_seed(own_seed(5))  # each process starts elsewhere, and is given the first one's weights
        model = Tokenizer(PRESETS["nano"].tokenizer)
        unused = torch.nn.Parameter(torch.ones(3))
        model.register_parameter("unused", unused)
        trainer = Trainer(model, RunSettings(folder, hours=1, max_steps={steps}, warmup_steps=1, sample_every=1000))

        def loss(step):
            noise = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(step)) * 2 - 1
            mine = noise.chunk(size())[rank()]
            value = (model(mine)[0] - mine).square().mean()
            if step == 0 and rank() == size() - 1:
                value = value + 1e-6 * unused.sum()  # took part in one process only
            return value, {{}}

        trainer.run(loss)
        torch.save(model.state_dict(), folder / f"rank-{{rank()}}.pt")

both, alone = map(Path, sys.argv[1:])
train(both)
if os.environ["RANK"] == "0":
    del os.environ["WORLD_SIZE"]
    train(alone)
"""


def torchrun(*words: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert ended.returncode == 0, ended.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_stay_equal_and_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(steps=STEPS))
    both, alone = tmp_path / "both", tmp_path / "alone"
    torchrun(program, both, alone)
    first, second = (torch.load(both / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    one = torch.load(alone / "rank-0.pt", weights_only=True)
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name  # bit for bit
        torch.testing.assert_close(weight, one[name], atol=1e-4, rtol=1e-3)  # sums in another order
    assert not torch.equal(first["unused"], torch.ones(3))
    saved = load_checkpoint(both)
    assert saved["step"] == STEPS
    assert all(torch.equal(saved["model"][name], first[name]) for name in first)


@pytest.mark.slow
def test_the_command_line_trains_under_torchrun_and_leaves_one_run(tmp_path: Path) -> None:
    run, pictures = tmp_path / "run", tmp_path / "pictures"
    pictures.mkdir()
    for i in range(2):
        Image.linear_gradient("L").rotate(90 * i).convert("RGB").save(pictures / f"{i}.png")
    options = ("--preset", "nano", "--steps", 2, "--batch", 2, "--device", "cpu", "--threads", 1, "--data", pictures)
    # Without "--", torchrun takes our --run for one of its own options (Python 3.11).
    torchrun("-m", "cli.main", "--", "train", "tokenizer", "--run", run, *options)
    assert sorted(file.name for file in run.iterdir()) == ["curve.png", "last.pt", "log.csv", "samples"]
    assert len(list((run / "samples").iterdir())) == 1
    assert load_checkpoint(run)["step"] == 2
