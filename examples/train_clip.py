"""Train a small dual encoder on what `pairloom run examples/pairs prepared` made; resumes after a kill.

Run `python examples/train_clip.py prepared model`, or the same with `torchrun --nproc-per-node 2` in place of `python`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pairloom import Letterbox
from pairloom.torch import Augment, Batching, Choice, Machine, PairLoader

SCALE, WORDS = 15.0, 8192  # of the cosines, as CLIP's begins; rows that the 49,408 token ids share, to keep checkpoints small


class DualEncoder(nn.Module):
    """A small convolutional image tower that knows its padding, and a bag of tokens; both end in unit vectors of `size`."""

    def __init__(self, size: int = 96) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width in widths[1:])
        self.image, self.text = nn.Linear(widths[-1], size), nn.Linear(size, size)
        self.tokens = nn.Embedding(WORDS, size)

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The two embeddings of B pairs, (B, size) each."""
        mask = batch["pixel_mask"][:, None].float()
        x = batch["pixel_values"] * mask
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x)))
        mask = F.adaptive_avg_pool2d(mask, x.shape[-2:]) + 1e-6
        pooled = (x * mask).sum((2, 3)) / mask.sum((2, 3))
        words = batch["attention_mask"][..., None].float()
        bag = (self.tokens(batch["input_ids"] % WORDS) * words).sum(1) / words.sum(1)
        return F.normalize(self.image(pooled), dim=-1), F.normalize(self.text(bag), dim=-1)


def everyone(own: Tensor) -> Tensor:
    """The rows of all ranks, rank by rank, with gradients to this rank's own."""
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own.detach())
    parts[dist.get_rank()] = own
    return torch.cat(parts)


def contrastive(image: Tensor, text: Tensor) -> Tensor:
    """CLIP's loss over the pairs of all ranks; its gradients are those of this rank's rows, to be summed."""
    image, text = (everyone(one) if dist.is_initialized() else one for one in (image, text))
    logits = SCALE * image @ text.T
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@torch.inference_mode()
def recall(model: DualEncoder, loader: PairLoader, device: torch.device) -> float:
    """R@1 from text to image among all pairs of the set."""
    model.eval()
    images, texts = zip(*(model(to(batch, device)) for batch in loader), strict=True)
    model.train()
    best = (torch.cat(texts) @ torch.cat(images).T).argmax(1)
    return float((best == torch.arange(len(best), device=device)).float().mean())


def to(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The batch with its tensors on the device."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def save(folder: Path, model: DualEncoder, optimizer: torch.optim.Optimizer, loader: PairLoader) -> None:
    """Weights, optimizer and the loader's place in one file, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    state = optimizer.state_dict()["state"].items()
    moments = {f"optimizer.{number}.{name}": value for number, one in state for name, value in one.items()}
    place = {"loader": json.dumps(loader.state_dict())}
    save_file({**model.state_dict(), **moments}, folder / "model.part", metadata=place)
    (folder / "model.part").replace(folder / "model.safetensors")


def resume(folder: Path, model: DualEncoder, optimizer: torch.optim.Optimizer, loader: PairLoader) -> None:
    """Go on where `save` was called last, if it was."""
    if not (path := folder / "model.safetensors").exists():
        return
    with safe_open(path, "pt") as file:
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it's no dictionary
        loader.load_state_dict(json.loads(file.metadata()["loader"]))
    state: dict[int, dict[str, Tensor]] = {}
    for name in [name for name in held if name.startswith("optimizer.")]:
        state.setdefault(int(name.split(".")[1]), {})[name.split(".")[2]] = held.pop(name)
    model.load_state_dict(held)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pairs")
    parser.add_argument("model", type=Path)
    for name, default in (("epochs", 30), ("batch-size", 32), ("workers", 0), ("size", 64), ("save-every", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    gpu = torch.cuda.is_available()
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("nccl" if gpu else "gloo")
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if gpu else torch.device("cpu")
    torch.manual_seed(0)  # the same weights on every rank
    model = DualEncoder().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    view, changes = Letterbox(options.size), Augment(0.8, brightness=0.2, contrast=0.2)
    loader = PairLoader(options.pairs, options.batch_size // ranks, image=view, augment=changes,
                        choice=Choice(whole=2, run=1, sentence=1), machine=Machine(options.workers, pin_memory=gpu))  # fmt: skip
    still = Batching(options.batch_size, shuffle=False, remainder="short")
    test = PairLoader(options.pairs, still, image=view, machine=Machine(rank=0, ranks=1))
    resume(options.model, model, optimizer, loader)
    while loader.epoch < options.epochs:
        for batch in loader:
            loss = contrastive(*model(to(batch, device)))
            optimizer.zero_grad()
            loss.backward()
            for parameter in model.parameters() if ranks > 1 else ():
                dist.all_reduce(parameter.grad)
            optimizer.step()
            if rank == 0 and loader.step % options.save_every == 0:
                save(options.model, model, optimizer, loader)
        if rank == 0 and (loader.epoch % 10 == 0 or loader.epoch >= options.epochs):
            found = recall(model, test, device)
            print(f"epoch {loader.epoch}: loss {loss:.3f}, R@1 {found:.3f} of {len(test.index)} pairs", flush=True)
    if rank == 0:
        save(options.model, model, optimizer, loader)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
