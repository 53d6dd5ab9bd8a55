"""A small convolutional network for single frames."""

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Logits (B, K) from grey clips (B, T, H, W) in [0, 1]."""

    def __init__(self, num_outputs: int = 4, *, width: int = 8) -> None:
        super().__init__()
        self.num_features = width
        self.trunk = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(width, num_outputs)

    def features(self, clips: Tensor) -> Tensor:
        frames = clips.flatten(0, 1).unsqueeze(1)
        return self.trunk(frames).unflatten(0, clips.shape[:2]).mean(dim=1)

    def forward(self, clips: Tensor) -> Tensor:
        return self.head(self.features(clips))
