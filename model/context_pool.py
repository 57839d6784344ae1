"""The Nearby Context Pool: states of finished patches that later patches still look at. A patch is a page.

One preallocated tensor holds all pages; a patch's context is a list of page numbers. Add takes a page, Remove gives it
back at the patch's last use, Select names the pages a patch looks at (paper.md 1.4-1.6). Native code reads and writes
pages where they are; PyTorch gets copies.
"""

import contextlib
import mmap
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from model.config import TransformerConfig
from model.position import rotary_angles, rotate

Offset = tuple[int, int, int]  # in patches: frames, rows, columns, each signed


class NearbyContextPool:
    """Pages of keys and values by key (any hashable name of a patch). Stored in 16 bits, read in 32."""

    def __init__(self, config: TransformerConfig, pages: int, device: torch.device) -> None:
        self.config = config
        heads, tokens, dim = config.heads, config.tokens_per_patch, config.head_dim
        shape = (config.depth, pages, 2, heads * tokens * dim)
        if device.type == "cpu":
            self.storage = large_pages(config.depth * pages * 2 * heads * tokens * dim).view(shape)
        else:
            self.storage = torch.empty(shape, dtype=torch.float16, device=device)
        # Keys lie across, so that products with them read memory from front to back.
        self.keys = self.storage[:, :, 0].unflatten(2, (heads, dim, tokens))
        self.values = self.storage[:, :, 1].unflatten(2, (heads, tokens, dim))
        self._free = list(range(pages - 1, -1, -1))
        self._pages: dict[Hashable, int] = {}
        self.high_water = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._pages

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def page_bytes(self) -> int:
        return self.storage[:, 0].numel() * self.storage.element_size()

    def take(self, keys: Sequence[Hashable]) -> list[int]:
        """Pages for these patches, whose states the caller writes; all of them or none.

        Raises MemoryError when too few are free, KeyError when one of the patches is already there.
        """
        if len(keys) > len(self._free):
            raise MemoryError(f"{len(keys)} pages wanted, {len(self._free)} of {self.storage.shape[1]} are free")
        if known := [key for i, key in enumerate(keys) if key in self._pages or key in keys[:i]]:
            raise KeyError(f"{known[0]} is already in the pool")
        pages = [self._free.pop() for _ in keys]
        self._pages.update(zip(keys, pages, strict=True))
        self.high_water = max(self.high_water, len(self._pages))
        return pages

    def write(self, page: int, keys: Tensor, values: Tensor) -> None:
        """Fill a page with keys and values [L, H, M, d]."""
        self.keys[:, page], self.values[:, page] = keys.transpose(2, 3), values

    def page(self, key: Hashable) -> int:
        """Where a patch's states are. Raises KeyError when it is not there."""
        return self._pages[key]

    def remove(self, key: Hashable) -> None:
        """Forget a patch; its page is free at once. Raises KeyError when it is not there."""
        self._free.append(self._pages.pop(key))

    def select(
        self, contexts: Sequence[Sequence[tuple[Hashable, Offset]]], slots: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The context of each row: (key, offset) of its nearby patches, at most `slots`.

        Returns keys and values [L, R, H, slots * M, d] float32, keys turned to their offsets, and a mask [R, slots *
        M] bool.
        Raises KeyError for a patch that is not in the pool.
        """
        rows, device = len(contexts), self.storage.device
        table = torch.zeros(rows, slots, dtype=torch.long)
        offsets = torch.zeros(rows, slots, 3)
        present = torch.zeros(rows, slots, dtype=torch.bool)
        for row, context in enumerate(contexts):
            for slot, (key, offset) in enumerate(context):
                table[row, slot] = self._pages[key]
                offsets[row, slot] = torch.tensor(offset, dtype=torch.float32)
                present[row, slot] = True
        table, present = table.to(device), present.to(device)
        tokens = torch.tensor([1, self.config.patch_tokens, self.config.patch_tokens])  # a patch is one frame deep
        turn = rotary_angles((offsets * tokens).to(device), self.config.head_dim)
        # [L, R, slots, H, M, d]; an empty slot reads zeros, never what an unused page happens to hold
        keys, values = (
            torch.where(present[None, :, :, None, None, None], pages[:, table].float(), torch.zeros((), device=device))
            for pages in (self.keys, self.values)
        )
        keys = rotate(keys.transpose(-1, -2), turn[:, :, None, None])
        keys, values = (t.transpose(2, 3).flatten(3, 4) for t in (keys, values))
        return keys, values, present.repeat_interleave(self.config.tokens_per_patch, 1)


def large_pages(numbers: int) -> Tensor:
    """Room for float16 numbers, zeros at first, in large pages where the system has them: reading is up to twice as
    fast. The system commits memory at first use.
    """
    memory = mmap.mmap(-1, max(1, numbers) * torch.float16.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(AttributeError, OSError):  # a system that knows no large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float16, count=numbers)
