"""Train the weights `symbols` of conv4, which come with the package: on symbols, so that every letter is new to them.

    python scripts/train_symbols.py [--out FILE]

The classes are the symbols of the DejaVu typefaces: arrows, mathematical operators, box drawings, and so on. Symbols
that look like a letter of the data set `glyphs` are left out. The loss is the cross-entropy of cosines. Five minutes on
one core. On another processor or with another version of torch, the weights differ by rounding errors.
"""

import argparse
import unicodedata
from pathlib import Path

import numpy as np
import torch
from matplotlib import ft2font
from torch import nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, normalize

from mdr_tune.backbones import Backbone, build_backbone
from mdr_tune.backbones.families import family_of
from mdr_tune.data.glyphs.letters import FACES, contours, font_path, shared_letters
from mdr_tune.data.glyphs.render import GlyphRenderer

SEED = 7  # of the rendering; that of the training is 0
STEPS, BATCH, LEARNING_RATE, COSINE_SCALE = 1200, 128, 3e-3, 16


def symbols() -> dict[int, list[int]]:
    """Return the code points of the symbols, each with the indices in `FACES` of the two or more that can draw it."""
    maps = [ft2font.FT2Font(str(font_path(face))).get_charmap() for face in FACES]
    font = ft2font.FT2Font(str(font_path(FACES[0])))
    seen = {contours(font, code) for code in shared_letters()}
    found = {}
    for code in sorted(maps[0]):
        faces = [i for i, known in enumerate(maps) if code in known]
        if unicodedata.category(chr(code)).startswith("S") and len(faces) > 1:
            shape = contours(font, code)
            if shape not in seen:
                seen.add(shape)
                found[code] = faces
    return found


def rendered() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images of all symbols, uint8 (n, 1, 32, 32), and their labels (n,)."""
    faces = symbols()
    renderers = [GlyphRenderer(face, SEED) for face in range(len(FACES))]
    drawn = [(label, renderers[face].render(code)) for label, code in enumerate(faces) for face in faces[code]]
    images = torch.from_numpy(np.stack([image for _, image in drawn]))[:, None]
    return images, torch.tensor([label for label, _ in drawn])


def moved(images: torch.Tensor) -> torch.Tensor:
    """Return normalised `images` (n, 1, 32, 32), each rotated, scaled, sheared, shifted and made noisy at random."""
    n = len(images)
    angle, scale = (torch.rand(n) - 0.5) * 0.35, torch.exp((torch.rand(n) - 0.5) * 0.3)
    shear, shift_x = (torch.rand(n) - 0.5) * 0.2, (torch.rand(n) - 0.5) * 0.2
    first = torch.stack([scale * angle.cos(), -scale * angle.sin() + shear, shift_x], 1)
    second = torch.stack([scale * angle.sin(), scale * angle.cos(), (torch.rand(n) - 0.5) * 0.2], 1)
    grid = affine_grid(torch.stack([first, second], 1), list(images.shape), align_corners=False)
    images = grid_sample(images, grid, padding_mode="border", align_corners=False)
    return images + torch.randn_like(images) * torch.rand(n, 1, 1, 1) * 0.15


def train() -> Backbone:
    """Return a conv4 that was trained to tell the symbols apart."""
    images, labels = rendered()
    torch.manual_seed(0)
    backbone = build_backbone("conv4")
    classes = nn.Parameter(torch.randn(int(labels.max()) + 1, backbone.feature_size) * 0.05)
    optimizer = torch.optim.AdamW([*backbone.parameters(), classes], lr=LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    for step in range(1, STEPS + 1):
        drawn = torch.randint(len(images), (BATCH,))
        features = normalize(backbone(moved(backbone.normalize(images[drawn]))))
        loss = cross_entropy(COSINE_SCALE * features @ normalize(classes).T, labels[drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {STEPS}: loss {loss.item():.3f}", flush=True)
    return backbone


def main() -> None:
    """Train, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    packaged = family_of("conv4").packaged_weights("conv4")["symbols"]
    parser.add_argument("--out", type=Path, default=packaged, metavar="FILE", help="default: the file in the package")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.save(train().state_dict(), arguments.out)


if __name__ == "__main__":
    main()
