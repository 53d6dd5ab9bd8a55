"""SIFA: a segmenter of one domain learns another without its labels, in pictures and features.

Letters: N images, H rows, W columns, K classes, D features; A is the source, B the target.
Source: Chen et al. 2019 (AAAI), "Synergistic image and feature adaptation", and its code; version
2 is Chen et al. 2020 (IEEE TMI). Both as used for B-lines by Mason et al. 2021.

A translator makes A look like B; what it makes is segmented with the labels of A. One encoder
feeds the segmenter, and a decoder that brings B back to A. Three judges of patches say whether an
image is of B (`target_judge`), whether an image is of A (`source_judge`, whose second channel
tells an image brought back from one that came from B), and of which domain a mask is
(`mask_judge`). Version 2 has a second, deeper supervised mask and a judge of it.
Why some forwards are shared: between its updates a network gives the same images, so networks
after the translator see one set of translations, and those after the segmenter one set of codes
(the released code runs each again, with other masks of dropout).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.nets.patch_gan import PatchDiscriminator, SifaDecoder, SifaGenerator
from lus_ray.nets.sifa import SifaSegmenter
from lus_ray.tasks.image_pool import ImagePool
from lus_ray.tasks.losses import balanced_cross_entropy, one_hot, soft_dice
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.task import Batch, with_arguments

CYCLE = 10.0
"""Weight of what does not come back as it was, for translator and decoder; a tenth of it, and of
all that judges of images say, is what the segmenter descends."""
SHARE = 0.1
DEEP_MASK, DEEP_JUDGE = 0.1, 0.01
WARM = (0.25, 0.35)
"""The judge of masks counts from the first share of training on, in full from the second."""
COLLAPSED = 1e-4
"""A judge with a smaller loss is never wrong, and teaches its rival nothing more."""

VERSIONS: Mapping[int, dict[str, Any]] = {
    1: {"num_channels": 3, "deep": False},
    2: {"num_channels": 1, "deep": True, "dropout": 0.0},
}
"""What the segmenter of a version is built with."""

NETWORKS = ("translator", "target_judge", "net", "decoder", "source_judge", "mask_judge")
"""In the order in which they are updated; version 2 has `deep_judge` after them."""
JUDGED = ("target_judge", "source_judge", "source_twin", "mask_judge", "deep_judge")
"""Losses of judges; `source_twin` is that of the second channel of the judge of the source."""


Codes = tuple[Tensor, ...]
"""Latent maps (N, L, h, w), and in version 2 those of the deep head."""


@dataclass
class Shown:
    """A batch in [-1, 1], and what was made of it by networks that have had their turn."""

    batch: Batch | None = None
    source: Tensor = field(default_factory=lambda: torch.zeros(0))
    target: Tensor = field(default_factory=lambda: torch.zeros(0))
    as_target: Tensor | None = None
    codes: Sequence[Codes] | None = None


class Sifa(Segmentation):
    """Source clips have masks; target clips are `target_frames` and have nothing.

    `net` builds a `SifaSegmenter`, whose `width` scales all the other networks. `version` 2 sees
    grey images instead of three equal channels, has another segmenter (`deep`) with a judge of its
    own, no dropout and no warm-up, whatever `net` says of these. The rate and the `l2` of the
    recipe are those of the segmenter of version 1; all others, and in version 2 all, learn at
    `rate_of_judges` times the rate, and only segmenters have `l2`. Images run from -1 to 1.
    """

    def __init__(
        self,
        net: Callable[..., nn.Module] = SifaSegmenter,
        scheme: str = "bline",
        view: View = View(num_frames=1, num_samples=0),  # noqa: B008  (frozen)
        monitor: str = "dice",
        version: int = 1,
        rate_of_judges: float = 0.2,
        pool: int = 50,
        num_units: int = 9,
    ) -> None:
        if version not in VERSIONS:
            raise ArmError(f"Sifa: no version {version}; use 1 or 2")
        own = VERSIONS[version]
        built, channels = with_arguments(net, own), own["num_channels"]
        super().__init__(built, scheme, view, channels, centred=True, monitor=monitor)
        self.version, self.rate_of_judges = version, rate_of_judges
        latent, num_classes = self.net.out.in_channels, len(self.classes)
        width, wide = latent // 16, latent // 8
        self.translator = SifaGenerator(channels, width=width, num_units=num_units)
        self.decoder = SifaDecoder(latent, width=width)
        self.target_judge = PatchDiscriminator(width=wide)
        self.source_judge = PatchDiscriminator(num_outputs=2, width=wide)
        self.mask_judge = PatchDiscriminator(num_classes, width=wide)
        self.networks = NETWORKS
        if version == 2:
            self.deep_judge = PatchDiscriminator(num_classes, width=wide)
            self.networks = (*NETWORKS, "deep_judge")
        self.shown = Shown()
        self.pools = {"as_target": ImagePool(pool), "as_source": ImagePool(pool)}

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        """The loss of one network, and its parts by name.

        Raises:
            ArmError: the batch has no `target_frames`, or they are of another size.
        """
        if "target_frames" not in batch:
            raise ArmError("no target_frames in a batch; give the arm Rows(unlabelled=...)")
        source, target = batch["frames"], batch["target_frames"]
        if source.shape[-2:] != target.shape[-2:]:
            sizes = " and ".join("x".join(map(str, f.shape[-2:])) for f in (source, target))
            raise ArmError(f"Sifa: source and target frames of {sizes} pixels; give one view")
        if self.shown.batch is not batch:
            self.shown = Shown(batch, source * 2 - 1, target * 2 - 1)
        shown = self.shown
        if network == "translator":
            shown.as_target = shown.codes = None
            return self._translate(shown.source, shown.target)
        if network == "net":
            shown.codes = None
            return self._segment(shown, batch["masks"][:, 0].long())
        with torch.no_grad():
            as_target = self._made(shown)
            codes = self._encoded(shown) if network != "target_judge" else ()
        if network == "target_judge":
            made = self.pools["as_target"](as_target)
            return _judged(network, self.target_judge(shown.target), self.target_judge(made))
        if network == "decoder":
            return self._bring_back(shown, codes)
        if network == "source_judge":
            return self._judge_source(shown, codes)
        return self._judge_masks(shown, codes, network)

    def adam_settings(self, network: str) -> dict[str, Any]:
        """Rivals descend with little momentum; only the segmenter is kept small."""
        return {} if network == "net" else {"betas": (0.5, 0.999), "l2": 0.0}

    def lr_factor(self, parameter: str) -> float:
        """Factor on the rate of the recipe, which is that of the segmenter of version 1."""
        leads = self.version == 1 and parameter.startswith("net.")
        return 1.0 if leads else self.rate_of_judges

    def find_problem(self, losses: Mapping[str, float]) -> str:
        """A judge that is never wrong, once its rival listens to it."""
        for judge in JUDGED:
            if judge in ("mask_judge", "deep_judge") and not self.mask_weight():
                continue
            if losses.get(judge, 1.0) < COLLAPSED:
                return f"{judge} collapsed (loss {losses[judge]:.1e})"
        return ""

    def buffer_state(self) -> dict[str, Tensor]:
        """The images in the pools."""
        return {f"{n}.{k}": v for n, p in self.pools.items() for k, v in enumerate(p.images)}

    def load_buffer_state(self, state: Mapping[str, Tensor]) -> None:
        """Fill the pools again."""
        device = next(self.parameters()).device
        for name, pool in self.pools.items():
            own = {k: v for k, v in state.items() if k.startswith(f"{name}.")}
            pool.images = [own[f"{name}.{number}"].to(device) for number in range(len(own))]

    def mask_weight(self) -> float:
        """Weight of what judges of masks say: it grows over a part of training, or is constant."""
        if self.version == 2:
            return SHARE
        first, full = WARM
        return SHARE * min(1.0, max(0.0, (self.progress - first) / (full - first)))

    @torch.no_grad()
    def as_target(self, frames: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 1 H W"]:
        """Frames of the source in [0, 1] as the target would show them."""
        return (self._as_target(frames * 2 - 1).float() + 1) / 2

    @torch.no_grad()
    def translate_and_reconstruct(
        self, frames: Float[Tensor, "N 1 H W"], *, source: bool
    ) -> tuple[Float[Tensor, "N 1 H W"], Float[Tensor, "N 1 H W"]]:
        """Frames in [0, 1] as the other domain would show them, and brought back.

        `source` tells that they are of the source; those of the target go the other way.
        """
        images = frames * 2 - 1
        if source:
            other = self._as_target(images)
            back = self._as_source(other)
        else:
            other = self._as_source(images)
            back = self._as_target(other)
        return (other.float() + 1) / 2, (back.float() + 1) / 2

    def _translate(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Generator: images come back as they were, and deceive the judge of the target."""
        as_target = self._as_target(source)
        with torch.no_grad():
            as_source = self._as_source(target)
        cycle = l1_loss(self._as_source(as_target).float(), source)
        cycle = cycle + l1_loss(self._as_target(as_source).float(), target)
        deceit = _says(self.target_judge(as_target), real=True)
        parts = {"translator_cycle": cycle, "translator_deceit": deceit}
        return {**parts, "loss": CYCLE * cycle + deceit}

    def _bring_back(self, shown: "Shown", codes: Sequence[Codes]) -> dict[str, Tensor]:
        """Decoder: the same against the judge of the source, from codes that stay as they are."""
        cycle, as_source = self._cycle(shown, codes)
        deceit = _says(self.source_judge(as_source)[:, :1], real=True)
        parts = {"decoder_cycle": cycle, "decoder_deceit": deceit}
        return {**parts, "loss": CYCLE * cycle + deceit}

    def _segment(self, shown: "Shown", ids: Tensor) -> dict[str, Tensor]:
        """Encoder and segmenter: masks of translated images, and features of no domain."""
        with torch.no_grad():
            as_target = self._made(shown)
        size = (ids.shape[-2], ids.shape[-1])
        codes = [self._encode(images) for images in (as_target, shown.target)]
        cycle, as_source = self._cycle(shown, codes)
        said = self.source_judge(as_source)
        logits = self.net.decide(codes[0][0], size).float()
        truth = one_hot(ids, num_classes=len(self.classes))
        parts = {
            "cross_entropy": balanced_cross_entropy(logits, ids),
            "dice": soft_dice(logits.softmax(dim=1), truth),
            "net_cycle": cycle,
            "source_deceit": _says(said[:, :1], real=True),
            "source_alike": _says(said[:, 1:], real=True),
            "mask_deceit": _says(self.mask_judge(self.net.decide(codes[1][0], size)), real=True),
        }
        loss = parts["cross_entropy"] + parts["dice"] + SHARE * CYCLE * cycle
        loss = loss + SHARE * (parts["source_deceit"] + parts["source_alike"])
        loss = loss + self.mask_weight() * parts["mask_deceit"]
        if self.version == 2:
            deep = self.net.decide_deep(codes[0][1], size).float()
            parts["deep_cross_entropy"] = balanced_cross_entropy(deep, ids)
            parts["deep_dice"] = soft_dice(deep.softmax(dim=1), truth)
            said = self.deep_judge(self.net.decide_deep(codes[1][1], size))
            parts["deep_deceit"] = _says(said, real=True)
            loss = loss + DEEP_MASK * (parts["deep_cross_entropy"] + parts["deep_dice"])
            loss = loss + DEEP_JUDGE * parts["deep_deceit"]
        return {**parts, "loss": loss}

    def _judge_source(self, shown: "Shown", codes: Sequence[Codes]) -> dict[str, Tensor]:
        """Images of the source against those made so; and, apart, those brought back to it."""
        with torch.no_grad():
            made = self.pools["as_source"](self.decoder(codes[1][0], shown.target))
            back = self.decoder(codes[0][0], self._made(shown))
        said = self.source_judge(made)
        plain = _judged("source_judge", self.source_judge(shown.source)[:, :1], said[:, :1])
        alike = _judged("source_twin", self.source_judge(back)[:, 1:], said[:, 1:])
        return {**plain, **alike, "loss": plain["loss"] + alike["loss"]}

    def _judge_masks(
        self, shown: "Shown", codes: Sequence[Codes], network: str
    ) -> dict[str, Tensor]:
        """Masks of images made like the target against those of the target."""
        size = (shown.target.shape[-2], shown.target.shape[-1])
        deep = network == "deep_judge"
        decide = self.net.decide_deep if deep else self.net.decide
        with torch.no_grad():
            masks = [decide(code[int(deep)], size) for code in codes]
        judge = self.get_submodule(network)
        return _judged(network, judge(masks[0]), judge(masks[1]))

    def _cycle(self, shown: "Shown", codes: Sequence[Codes]) -> tuple[Tensor, Tensor]:
        """How far images are from what comes back of them, both ways; the target as source."""
        as_source = self.decoder(codes[1][0], shown.target)
        there = l1_loss(self.decoder(codes[0][0], self._made(shown)).float(), shown.source)
        return there + l1_loss(self._as_target(as_source).float(), shown.target), as_source

    def _made(self, shown: "Shown") -> Tensor:
        """The source as the target would show it: one forward until the translator changes."""
        if shown.as_target is None:
            with torch.no_grad():
                shown.as_target = self._as_target(shown.source)
        return shown.as_target

    def _encoded(self, shown: "Shown") -> Sequence[Codes]:
        """Codes of both: one forward until the segmenter changes, for the networks after it."""
        if shown.codes is None:
            shown.codes = [self._encode(images) for images in (self._made(shown), shown.target)]
        return shown.codes

    def _as_target(self, images: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 1 H W"]:
        return self.translator(self._input(images))

    def _as_source(self, images: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 1 H W"]:
        return self.decoder(self._encode(images)[0], images)

    def _encode(self, images: Float[Tensor, "N 1 H W"]) -> Codes:
        """The latent maps, and in version 2 those of the deep head."""
        code = self.net.encode(self._input(images))
        return code if isinstance(code, tuple) else (code,)

    def _input(self, images: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N C H W"]:
        repeated = images.expand(-1, self.channels, -1, -1)
        return repeated.contiguous(memory_format=torch.channels_last)


def _says(said: Tensor, *, real: bool) -> Tensor:
    """Squared distance of what a judge says from 1 (real) or 0 (Mao et al. 2017)."""
    return (said.float() - float(real)).square().mean()


def _judged(name: str, real: Tensor, made: Tensor) -> dict[str, Tensor]:
    loss = 0.5 * (_says(real, real=True) + _says(made, real=False))
    return {"loss": loss, name: loss}
