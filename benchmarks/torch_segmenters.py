"""PyTorch's side of segmenters_speed.py, a process of its own: it reads `train N` or `predict N`, and answers times."""

import resource
import sys
import time
from collections.abc import Callable

import torch


def network(name: str, classes: int) -> torch.nn.Module:
    """Returns a segmenter of torchvision or segmentation_models_pytorch."""
    if name == "deeplab_v3":
        from torchvision.models.segmentation import deeplabv3_resnet50

        return deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=classes, aux_loss=False)
    from segmentation_models_pytorch import Unet

    return Unet("resnet34", encoder_weights=None, classes=classes)


def logits_of(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Returns logits (B, K, H, W)."""
    outputs = model(images)
    return outputs["out"] if isinstance(outputs, dict) else outputs


def actions(name: str, side: int, batch: int, classes: int) -> dict[str, Callable[[], None]]:
    """Returns a training step and a prediction on random images, in channels last."""
    model = network(name, classes).to(memory_format=torch.channels_last)
    optimizer, loss = torch.optim.AdamW(model.parameters(), 1e-3), torch.nn.CrossEntropyLoss()
    images = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(0, classes, (batch, side, side))
    counts = torch.zeros(classes * classes, dtype=torch.long)

    def train() -> None:
        model.train()
        optimizer.zero_grad()
        logits = logits_of(model, images)
        loss(logits, labels).backward()
        optimizer.step()
        counts.add_(torch.bincount((labels * classes + logits.argmax(1)).flatten(), minlength=classes * classes))

    def predict() -> None:
        model.eval()
        with torch.inference_mode():
            logits_of(model, images).softmax(1)

    return {"train": train, "predict": predict}


def main() -> None:
    """Answers each line with the wall and processor seconds of so many calls."""
    name, *numbers = sys.argv[1:]
    side, batch, classes, threads = map(int, numbers)
    torch.set_num_threads(threads)
    known = actions(name, side, batch, classes)
    for line in sys.stdin:
        action, count = line.split()
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        for _ in range(int(count)):
            known[action]()
        after = resource.getrusage(resource.RUSAGE_SELF)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(time.perf_counter() - started, spent, flush=True)


if __name__ == "__main__":
    main()
