"""The Nearby Context Pool: states of finished patches that later patches still look at. A patch is a page.

One preallocated tensor holds all pages, [L, pages, 2, H, M, d]; a patch's context is a list of page numbers. Add takes
a page, Remove gives it back at the patch's last use, Select copies the pages a patch looks at into place (paper.md
1.4-1.6).
"""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from model.config import TransformerConfig
from model.position import rotary_angles, rotate


class NearbyContextPool:
    """Pages of keys and values by key (any hashable name of a patch). Stored in 16 bits, read in 32."""

    def __init__(self, config: TransformerConfig, pages: int, device: torch.device) -> None:
        self.config = config
        shape = (config.depth, pages, 2, config.heads, config.tokens_per_patch, config.head_dim)
        self.storage = torch.empty(shape, dtype=torch.float16, device=device)  # the system commits a page at first use
        self._free = list(range(pages - 1, -1, -1))
        self._pages: dict[Hashable, int] = {}
        self.high_water = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._pages

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def page_bytes(self) -> int:
        return self.storage[:, 0].numel() * self.storage.element_size()

    def add(self, key: Hashable, keys: Tensor, values: Tensor) -> None:
        """Keep a finished patch's keys and values [L, H, M, d].

        Raises MemoryError when no page is free, KeyError when the key is already there.
        """
        self.require(1)
        if key in self._pages:
            raise KeyError(f"{key} is already in the pool")
        page = self._free.pop()
        self._pages[key] = page
        self.storage[:, page, 0] = keys
        self.storage[:, page, 1] = values
        self.high_water = max(self.high_water, len(self._pages))

    def require(self, pages: int) -> None:
        """Raise MemoryError unless so many pages are free."""
        if pages > len(self._free):
            raise MemoryError(f"{pages} pages wanted, {len(self._free)} of {self.storage.shape[1]} are free")

    def remove(self, key: Hashable) -> None:
        """Forget a patch; its page is free at once. Raises KeyError when it is not there."""
        self._free.append(self._pages.pop(key))

    def select(
        self, contexts: Sequence[Sequence[tuple[Hashable, tuple[int, int, int]]]], slots: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The context of each row: (key, signed offset in patches) of its nearby patches, at most `slots`.

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
        present = present.to(device)
        # [L, R, slots, 2, H, M, d]; an empty slot reads zeros, never what an unused page happens to hold
        pages = self.storage[:, table.to(device)].float()
        pages = torch.where(present[None, :, :, None, None, None, None], pages, torch.zeros((), device=device))
        tokens = torch.tensor([1, self.config.patch_tokens, self.config.patch_tokens])  # a patch is one frame deep
        turn = rotary_angles((offsets * tokens).to(device), self.config.head_dim)
        keys = rotate(pages[:, :, :, 0], turn[:, :, None, None])
        keys, values = (t.transpose(2, 3).flatten(3, 4) for t in (keys, pages[:, :, :, 1]))
        return keys, values, present.repeat_interleave(self.config.tokens_per_patch, 1)
