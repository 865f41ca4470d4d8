"""Train the weights `symbols` of conv4, which come with the package: on symbols, so that every letter is new to them.

    python scripts/train_symbols.py [--out FILE]

The classes are the symbols of the DejaVu typefaces: arrows, mathematical operators, box drawings, and so on. Symbols
that look like a letter of the data set `glyphs` are left out. Ten minutes on two cores; on another processor or with
another version of torch, the weights differ by rounding errors, and so do the numbers that are searched with them.
"""

import argparse
import unicodedata
from pathlib import Path

import numpy as np
import torch
from matplotlib import ft2font

from mdr_tune.backbones.families import family_of
from mdr_tune.data.glyphs.letters import FACES, contours, font_path, shared_letters
from mdr_tune.data.glyphs.render import GlyphRenderer
from mdr_tune.training import TrialSession

SEED = 7
HELD_OUT = 200  # classes of symbols to validate on
TRIAL = {
    "data": {"name": "train_symbols:Symbols"},
    "augmentation": "affine",
    "backbone": "conv4",
    "embedding": {"head": "identity"},
    "loss": {"name": "arcface", "margin": 0, "scale": 16},  # cosine softmax
    "mdr": None,
    "batch": {"size": 128, "images_per_class": 2},
    "optimizer": {"learning_rate": 3e-3, "schedule": "cosine"},
    "epochs": 12,
    "iterations_per_epoch": 100,
}


class Symbols:
    """The data set of symbols, in the form that a sweep file's `data: train_symbols:Symbols` takes."""

    def __init__(self) -> None:
        faces = symbols()
        renderers = [GlyphRenderer(face, SEED) for face in range(len(FACES))]
        drawn = [(label, renderers[face].render(code)) for label, code in enumerate(faces) for face in faces[code]]
        self.labels = np.array([label for label, _ in drawn])
        self.images = np.stack([image for _, image in drawn])[:, None]
        classes = np.random.default_rng(SEED).permutation(len(faces))
        half = HELD_OUT // 2
        self.parts = {"validation": classes[:half], "test": classes[half:HELD_OUT], "train": classes[HELD_OUT:]}

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the images, uint8 (n, 1, 32, 32), and labels of the split `name`."""
        rows = np.isin(self.labels, self.parts[name])
        return self.images[rows], self.labels[rows]


def symbols() -> dict[int, list[int]]:
    """Return the code points of the symbols, each with the indices in `FACES` of the two or more that can draw it."""
    maps = [ft2font.FT2Font(str(font_path(face))).get_charmap() for face in FACES]
    font = ft2font.FT2Font(str(font_path(FACES[0])))
    seen = {contours(font, code) for code in shared_letters()}
    found = {}
    for code in sorted(maps[0]):
        faces = [i for i, known in enumerate(maps) if code in known]
        if (
            unicodedata.category(chr(code)).startswith("S")
            and len(faces) > 1
            and (shape := contours(font, code)) not in seen
        ):
            seen.add(shape)
            found[code] = faces
    return found


def main() -> None:
    """Train, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    packaged = family_of("conv4").packaged_weights("conv4")["symbols"]
    parser.add_argument("--out", type=Path, default=packaged, metavar="FILE", help="default: the file in the package")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    session = TrialSession.from_config(TRIAL)
    for epoch in range(1, session.config.epochs + 1):
        metrics = session.run_epoch()
        print(f"epoch {epoch}: loss {metrics['train/loss']:.3f}, unseen symbols R@1 {metrics['val/recall_at_1']:.1f}")
    torch.save(session.model.backbone.state_dict(), arguments.out)


if __name__ == "__main__":
    main()
