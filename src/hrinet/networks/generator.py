"""The generator: a fully convolutional autoencoder that mixes its small feature maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrinet.errors import RequestError
from hrinet.networks import mixing as mixing_rule
from hrinet.networks.blocks import NEGATIVE_SLOPE, initialise
from hrinet.networks.decoder import Decoder
from hrinet.networks.encoder import Encoder
from hrinet.networks.options import Mixing, check_network_options, depth_of, mixed_channels
from hrinet.networks.padding import crop_to, pad_to_multiple


class Generator(nn.Module):
    """Encoder, mixing of its low-level feature maps, decoder (thesis 3.1.2, Fig. 3-2).

    Between encoder and decoder stand the bottlenecks, 1x1 convolutions "where the number of
    channels decreases dramatically": from the wide maps of EN5, EN6, EN7 to the 16, 8, 8 channels
    of Table 3-2 (16, 8, 4 for 512). They hang off the trunk, which goes on at full width, so that
    EN6 and EN7 deliver what EN5's 16 channels do not already hold. With ``mixing="one"`` there is
    only the N/16 x N/16 x 16 map and no deeper block, as in AE and ACAI.

    Input: two batches of shape (batch, channel, row, column), intensities in [0, 1].
    Output: the same shape, not clipped.

    Parameters, gray, width 16: 2 250 881 with three sizes (2 245 757 for 512), 1 049 713 with one.
    An interpolation takes 2.8e9 multiply-adds at 256 x 256 and 11.3e9 at 512 x 512 (2.7e9 and
    10.9e9 with one size).

    Attributes:
        multiple: 64 with three sizes, 16 with one; :meth:`encode` wants sides that are multiples
            of it, :meth:`forward`, :meth:`interpolate` and :meth:`reconstruct` pad and crop.
    """

    def __init__(
        self,
        *,
        mixing: Mixing = "three",
        size: int = 256,
        in_channels: int = 1,
        width: int = 16,
        rng: torch.Generator | None = None,
    ) -> None:
        """Build with random weights.

        Args:
            mixing: sizes of feature map that are mixed.
            size: side of the training images, pixels; it sets the channels of the smallest map
                (Table 3-2) and nothing else, so that any other size still runs.
            in_channels: 1 (gray) or 3 (RGB).
            width: channels of EN1. The thesis gives none; 16 is ACAI's.
            rng: source of the weights; torch's global one if None.

        Raises:
            RequestError: an option is out of range.
        """
        super().__init__()
        check_network_options(in_channels=in_channels, size=size, width=width)
        self.in_channels = in_channels
        channels = mixed_channels(mixing, size)
        self.encoder = Encoder(in_channels=in_channels, width=width, depth=depth_of(mixing))
        wide = self.encoder.widths[-len(channels) :]
        self.bottlenecks = nn.ModuleList(
            nn.Conv2d(before, after, 1) for before, after in zip(wide, channels, strict=True)
        )
        self.decoder = Decoder(
            out_channels=in_channels, widths=self.encoder.widths, mixed_channels=channels
        )
        self.multiple = self.encoder.multiple
        initialise(self, rng)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps that are mixed, largest first.

        Args:
            x: shape (batch, channel, N, M), [0, 1]; N and M multiples of ``multiple``.

        Returns:
            (batch, 16, N/16, M/16) and, with three sizes, (batch, 8, N/32, M/32) and
            (batch, 8 or 4, N/64, M/64); after activation, as in thesis Table 3-3.

        Raises:
            RequestError: the shape is another.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise RequestError(
                f"The images have shape {tuple(x.shape)}; expected (batch, {self.in_channels}, "
                "row, column)."
            )
        if any(side % self.multiple for side in x.shape[-2:]):
            raise RequestError(
                f"The images are {x.shape[-2]} x {x.shape[-1]} pixels; both must be multiples of "
                f"{self.multiple} (see pad_to_multiple)."
            )
        wide = self.encoder(x)
        return tuple(
            functional.leaky_relu(bottleneck(features), NEGATIVE_SLOPE)
            for bottleneck, features in zip(self.bottlenecks, wide, strict=True)
        )

    def mix(
        self, first: tuple[Tensor, ...], second: tuple[Tensor, ...], a: Tensor
    ) -> tuple[Tensor, ...]:
        """Mix two encodings; see :func:`hrinet.networks.mixing.mix` for the rule."""
        return mixing_rule.mix(first, second, a)

    def decode(self, maps: tuple[Tensor, ...]) -> Tensor:
        """The image of mixed maps.

        Args:
            maps: as from :meth:`encode` or :meth:`mix`, or sampled, of the same shapes.

        Returns:
            Shape (batch, channel, N, M), not clipped.
        """
        image: Tensor = self.decoder(maps)
        return image

    def forward(self, x1: Tensor, x2: Tensor, a: Tensor) -> Tensor:
        """Interpolate, a position a pair.

        Args:
            x1: shape (batch, channel, row, column), [0, 1]; any sides of 1 pixel or more.
            x2: the same shape.
            a: shape (batch,); see :mod:`hrinet.networks.mixing` for which end is which.

        Returns:
            Shape of ``x1``, not clipped.
        """
        maps = self.mix(self._encode_padded(x1), self._encode_padded(x2), a)
        return crop_to(self.decode(maps), x1.shape[-2], x1.shape[-1])

    def interpolate(self, x1: Tensor, x2: Tensor, a: Tensor) -> Tensor:
        """Interpolate, several positions a pair, encoding each image once.

        Args:
            x1: shape (batch, channel, row, column), [0, 1].
            x2: the same shape.
            a: shape (batch, position).

        Returns:
            Shape (batch, position, channel, row, column), not clipped.

        Raises:
            RequestError: ``a`` has another shape.
        """
        if a.ndim != 2 or a.shape[0] != x1.shape[0]:
            raise RequestError(f"a has shape {tuple(a.shape)}; expected ({x1.shape[0]}, position).")
        positions = a.shape[1]
        # (batch, c, r, k) -> (batch * position, c, r, k), the positions of a pair in a row
        first = tuple(m.repeat_interleave(positions, 0) for m in self._encode_padded(x1))
        second = tuple(m.repeat_interleave(positions, 0) for m in self._encode_padded(x2))
        images = self.decode(self.mix(first, second, a.flatten()))
        cropped = crop_to(images, x1.shape[-2], x1.shape[-1])
        return cropped.reshape(*a.shape, *x1.shape[1:])  # (batch, position, c, row, column)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode and decode: what a = 1 gives for x1 = ``x``, whatever x2 is.

        Args:
            x: shape (batch, channel, row, column), [0, 1]; any sides of 1 pixel or more.

        Returns:
            Shape of ``x``, not clipped.
        """
        return crop_to(self.decode(self._encode_padded(x)), x.shape[-2], x.shape[-1])

    def encoder_features_en4(self, x: Tensor) -> Tensor:
        """The map at the end of EN4; see :meth:`hrinet.networks.encoder.Encoder.features_en4`."""
        return self.encoder.features_en4(x)

    def _encode_padded(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.encode(pad_to_multiple(x, self.multiple))
