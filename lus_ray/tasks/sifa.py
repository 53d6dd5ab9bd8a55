"""SIFA: a segmenter of one domain learns another domain without its labels.

Shapes: N images, H rows, W columns, K classes, L latent channels; A is the source, B the target.
Source: Chen et al. 2019 (AAAI), "Synergistic image and feature adaptation", and its code; version
2 is Chen et al. 2020 (IEEE TMI). Both as used for B-lines by Mason et al. 2021.

A generator (`translator`) makes A look like B; the translated images are segmented with the labels
of A. One encoder feeds the segmenter and a decoder, which translates B to A. Patch discriminators
(`..._judge`) separate real B from translated A (`target_judge`), real A from translated B
(`source_judge`; its second channel reconstructed from translated images), and masks of A from
masks of B (`mask_judge`). Version 2 has a second, deeper supervised mask with a discriminator.

Submodules and losses have the names of checkpoints and metrics.jsonl files since the first version.
Why some forwards are shared: between its updates a network gives the same images, so networks
after the generator share one set of translations, and those after the segmenter one set of codes.
(The released code runs each again, with other dropout masks.)
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
from lus_ray.tasks.task import Batch, GreyFrames, with_arguments

DEEP_MASK, DEEP_ADVERSARIAL = 0.1, 0.01
WARM_UP = (0.25, 0.35)
"""The adversarial loss of masks starts at the first share of training, in full from the second."""
COLLAPSED = 1e-4
"""A discriminator with a smaller loss is never wrong and gives its opponent no gradient."""

VERSIONS: Mapping[int, dict[str, Any]] = {
    1: {"num_channels": 3, "deep": False},
    2: {"num_channels": 1, "deep": True, "dropout": 0.0},
}
"""Arguments of a version's segmenter."""

NETWORKS = ("translator", "target_judge", "net", "decoder", "source_judge", "mask_judge")
"""In the order of their updates; version 2 has `deep_judge` after them."""
DISCRIMINATOR_LOSSES = ("target_judge", "source_judge", "source_twin", "mask_judge", "deep_judge")
"""`source_twin` is the loss of the cycle head: the second channel of `source_judge`."""

Codes = tuple[Tensor, ...]
"""Latent maps (N, L, h, w), and in version 2 those of the deep head."""


@dataclass
class StepCache:
    """A batch in [-1, 1], and the outputs of networks that are already updated in this step."""

    batch: Batch | None = None
    source: Tensor = field(default_factory=lambda: torch.zeros(0))
    target: Tensor = field(default_factory=lambda: torch.zeros(0))
    translated: Tensor | None = None
    codes: Sequence[Codes] | None = None


class Sifa(Segmentation):
    """Segmentation of source clips with masks and of target clips (`target_frames`) without labels.

    `net` builds a `SifaSegmenter`, whose `width` scales all other networks. `version` 2 has grey
    images instead of three equal channels, a `deep` segmenter with a discriminator of its own, no
    dropout and no warm-up, whatever `net` sets. The rate and the `l2` of the recipe apply to the
    segmenter of version 1; all other networks have `rate_of_judges` times that rate, and only
    segmenters have `l2` and the `decay` of the recipe. With `tf1_shared_adam_powers` the networks
    beside the segmenter share the powers of beta of Adam, as in the released code, where one
    optimizer of TensorFlow 1 updates them all. `cycle` is the weight of the cycle loss in the
    losses of generator and decoder. `segmenter_share` is the weight of cycle and adversarial losses
    in the loss of the segmenter. `adversarial` is a factor on what deceives the discriminators (1
    as published; with 0 nothing makes one domain look like the other). Images run from -1 to 1.
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
        adversarial: float = 1.0,
        tf1_shared_adam_powers: bool = False,
        cycle: float = 10.0,
        segmenter_share: float = 0.1,
    ) -> None:
        if version not in VERSIONS:
            raise ArmError(f"Sifa: no version {version}; use 1 or 2")
        arguments = VERSIONS[version]
        channels = arguments["num_channels"]
        super().__init__(
            with_arguments(net, arguments), scheme, view, channels, centred=True, monitor=monitor
        )
        self.version, self.rate_of_judges = version, rate_of_judges
        self.adversarial, self.cycle = adversarial, cycle
        self.segmenter_share = segmenter_share
        self.tf1_shared_adam_powers = tf1_shared_adam_powers
        latent, num_classes = self.net.out.in_channels, len(self.classes)
        width, wide = latent // 16, latent // 8
        # In this order: it decides the initial weights.
        self.translator = SifaGenerator(channels, width=width, num_units=num_units)
        self.decoder = SifaDecoder(latent, width=width)
        self.target_judge = PatchDiscriminator(width=wide)
        self.source_judge = PatchDiscriminator(num_outputs=2, width=wide)
        self.mask_judge = PatchDiscriminator(num_classes, width=wide)
        self.networks = NETWORKS
        if version == 2:
            self.deep_judge = PatchDiscriminator(num_classes, width=wide)
            self.networks = (*NETWORKS, "deep_judge")
        self.cache = StepCache()
        self.pools = {"as_target": ImagePool(pool), "as_source": ImagePool(pool)}

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        if "target_frames" not in batch:
            raise ArmError("no target_frames in a batch; give the arm Rows(unlabelled=...)")
        source, target = batch["frames"], batch["target_frames"]
        if source.shape[-2:] != target.shape[-2:]:
            sizes = " and ".join("x".join(map(str, f.shape[-2:])) for f in (source, target))
            raise ArmError(f"Sifa: source and target frames of {sizes} pixels; give one view")
        if self.cache.batch is not batch:
            self.cache = StepCache(batch, source * 2 - 1, target * 2 - 1)
        if network == "translator":
            self.cache.translated = self.cache.codes = None
            return self._generator_loss()
        if network == "net":
            self.cache.codes = None
            return self._segmenter_loss(batch["masks"][:, 0].long())
        with torch.no_grad():
            translated = self._translated()
            codes = self._codes() if network != "target_judge" else ()
        if network == "target_judge":
            fake, real = self.pools["as_target"](translated), self.cache.target
            return _discriminator_loss(network, self.target_judge(real), self.target_judge(fake))
        if network == "decoder":
            return self._decoder_loss(codes)
        if network == "source_judge":
            return self._source_discriminator_loss(codes)
        return self._mask_discriminator_loss(codes, network)

    def adam_settings(self, network: str) -> dict[str, Any]:
        """Adversarial networks have little momentum; only the segmenter has `l2` and `decay`."""
        if network == "net":
            return {}
        settings = {"betas": (0.5, 0.999), "l2": 0.0, "decay": 1.0}
        if not self.tf1_shared_adam_powers:
            return settings
        others = [name for name in self.networks if name != "net"]
        return {**settings, "turn": (others.index(network), len(others))}

    def estimate_statistics(self, batch: Batch) -> None:
        """Of target frames alone: the domain to segment, and the one that translations look like.

        In training, target and translated frames are normalised apart, each by their own batch.
        """
        self._encode(batch["target_frames"] * 2 - 1)

    def lr_factor(self, parameter: str) -> float:
        full = self.version == 1 and parameter.startswith("net.")
        return 1.0 if full else self.rate_of_judges

    def find_problem(self, losses: Mapping[str, float]) -> str:
        """A discriminator that is never wrong while its opponent depends on it."""
        for name in DISCRIMINATOR_LOSSES:
            if name in ("mask_judge", "deep_judge") and not self.mask_weight():
                continue
            if losses.get(name, 1.0) < COLLAPSED:
                return f"{name} collapsed (loss {losses[name]:.1e})"
        return ""

    def buffer_state(self) -> dict[str, Tensor]:
        return {f"{n}.{k}": v for n, p in self.pools.items() for k, v in enumerate(p.images)}

    def load_buffer_state(self, state: Mapping[str, Tensor]) -> None:
        device = next(self.parameters()).device
        for name, pool in self.pools.items():
            count = sum(key.startswith(f"{name}.") for key in state)
            pool.images = [state[f"{name}.{number}"].to(device) for number in range(count)]

    def mask_weight(self) -> float:
        """Weight of the adversarial loss of masks: rises during training, constant in version 2."""
        if self.version == 2:
            return self.segmenter_share
        first, full = WARM_UP
        return self.segmenter_share * min(1.0, max(0.0, (self.progress - first) / (full - first)))

    @torch.no_grad()
    def translate_to_target(self, frames: GreyFrames) -> GreyFrames:
        """Frames of the source in [0, 1] translated to the target."""
        return (self._to_target(frames * 2 - 1).float() + 1) / 2

    @torch.no_grad()
    def translate_and_reconstruct(
        self, frames: GreyFrames, *, source: bool
    ) -> tuple[GreyFrames, GreyFrames]:
        """Frames in [0, 1] translated to the other domain, and reconstructed."""
        directions = [self._to_target, self._to_source]
        translate, reconstruct = directions if source else reversed(directions)
        translated = translate(frames * 2 - 1)
        return (translated.float() + 1) / 2, (reconstruct(translated).float() + 1) / 2

    def _generator_loss(self) -> dict[str, Tensor]:
        source, target = self.cache.source, self.cache.target
        translated = self._to_target(source)
        with torch.no_grad():
            as_source = self._to_source(target)
        cycle = l1_loss(self._to_source(translated).float(), source)
        cycle = cycle + l1_loss(self._to_target(as_source).float(), target)
        adversarial = _squared_error(self.target_judge(translated), real=True)
        parts = {"translator_cycle": cycle, "translator_deceit": adversarial}
        return {**parts, "loss": self.cycle * cycle + self.adversarial * adversarial}

    def _decoder_loss(self, codes: Sequence[Codes]) -> dict[str, Tensor]:
        cycle, as_source = self._reconstruct(codes)
        adversarial = _squared_error(self.source_judge(as_source)[:, :1], real=True)
        parts = {"decoder_cycle": cycle, "decoder_deceit": adversarial}
        return {**parts, "loss": self.cycle * cycle + self.adversarial * adversarial}

    def _segmenter_loss(self, ids: Tensor) -> dict[str, Tensor]:
        translated = self._translated()
        size = (ids.shape[-2], ids.shape[-1])
        codes = [self._encode(images) for images in (translated, self.cache.target)]
        cycle, as_source = self._reconstruct(codes)
        verdict = self.source_judge(as_source)
        logits = self.net.decide(codes[0][0], size).float()
        truth = one_hot(ids, num_classes=len(self.classes))
        parts = {
            "cross_entropy": balanced_cross_entropy(logits, ids),
            "dice": soft_dice(logits.softmax(dim=1), truth),
            "net_cycle": cycle,
            "source_deceit": _squared_error(verdict[:, :1], real=True),
            "source_alike": _squared_error(verdict[:, 1:], real=True),
        }
        verdict = self.mask_judge(self.net.decide(codes[1][0], size))
        parts["mask_deceit"] = _squared_error(verdict, real=True)
        loss = parts["cross_entropy"] + parts["dice"] + self.segmenter_share * self.cycle * cycle
        deceit = self.segmenter_share * (parts["source_deceit"] + parts["source_alike"])
        deceit = deceit + self.mask_weight() * parts["mask_deceit"]
        if self.version == 2:
            deep = self.net.decide_deep(codes[0][1], size).float()
            parts["deep_cross_entropy"] = balanced_cross_entropy(deep, ids)
            parts["deep_dice"] = soft_dice(deep.softmax(dim=1), truth)
            verdict = self.deep_judge(self.net.decide_deep(codes[1][1], size))
            parts["deep_deceit"] = _squared_error(verdict, real=True)
            loss = loss + DEEP_MASK * (parts["deep_cross_entropy"] + parts["deep_dice"])
            deceit = deceit + DEEP_ADVERSARIAL * parts["deep_deceit"]
        return {**parts, "loss": loss + self.adversarial * deceit}

    def _source_discriminator_loss(self, codes: Sequence[Codes]) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.pools["as_source"](self.decoder(codes[1][0], self.cache.target))
            reconstructed = self.decoder(codes[0][0], self._translated())
        verdict = self.source_judge(fake)
        real = self.source_judge(self.cache.source)[:, :1]
        plain = _discriminator_loss("source_judge", real, verdict[:, :1])
        real = self.source_judge(reconstructed)[:, 1:]
        cycle = _discriminator_loss("source_twin", real, verdict[:, 1:])
        return {**plain, **cycle, "loss": plain["loss"] + cycle["loss"]}

    def _mask_discriminator_loss(self, codes: Sequence[Codes], network: str) -> dict[str, Tensor]:
        size = (self.cache.target.shape[-2], self.cache.target.shape[-1])
        deep = network == "deep_judge"
        decide = self.net.decide_deep if deep else self.net.decide
        with torch.no_grad():
            masks = [decide(code[int(deep)], size) for code in codes]
        discriminator = self.get_submodule(network)
        return _discriminator_loss(network, discriminator(masks[0]), discriminator(masks[1]))

    def _reconstruct(self, codes: Sequence[Codes]) -> tuple[Tensor, Tensor]:
        as_source = self.decoder(codes[1][0], self.cache.target)
        reconstructed = self.decoder(codes[0][0], self._translated())
        cycle = l1_loss(reconstructed.float(), self.cache.source)
        return cycle + l1_loss(self._to_target(as_source).float(), self.cache.target), as_source

    def _translated(self) -> Tensor:
        if self.cache.translated is None:
            with torch.no_grad():
                self.cache.translated = self._to_target(self.cache.source)
        return self.cache.translated

    def _codes(self) -> Sequence[Codes]:
        if self.cache.codes is None:
            images = (self._translated(), self.cache.target)
            self.cache.codes = [self._encode(domain) for domain in images]
        return self.cache.codes

    def _to_target(self, images: GreyFrames) -> GreyFrames:
        return self.translator(self._input(images))

    def _to_source(self, images: GreyFrames) -> GreyFrames:
        return self.decoder(self._encode(images)[0], images)

    def _encode(self, images: GreyFrames) -> Codes:
        code = self.net.encode(self._input(images))
        return code if isinstance(code, tuple) else (code,)

    def _input(self, images: GreyFrames) -> Float[Tensor, "N C H W"]:
        repeated = images.expand(-1, self.channels, -1, -1)
        return repeated.contiguous(memory_format=torch.channels_last)


def _squared_error(verdict: Tensor, *, real: bool) -> Tensor:
    """Mean squared distance of a discriminator's output from 1 (real) or 0 (Mao et al. 2017)."""
    return (verdict.float() - float(real)).square().mean()


def _discriminator_loss(name: str, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    loss = 0.5 * (_squared_error(real, real=True) + _squared_error(fake, real=False))
    return {"loss": loss, name: loss}
