"""The classic example of a VAE: learn handwritten digits, draw new ones, and walk from one to another.

Run: make digits   (or `python docs/examples/digits/run.py`; needs the examples extra)
It trains on scikit-learn's bundled 8x8 digits and writes drawn.png and walk.png beside itself. The same versions of
the libraries on the same machine give the same pictures.
"""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from vaegis.service.artifact import load_artifact
from vaegis.service.contract import Contract
from vaegis.service.generation import DEFAULT_TEMPERATURE, Generator
from vaegis.service.runtime import Session, open_session
from vaegis.training.cli import main as vaegis_train

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[2] / "build" / "digits"
SIDE = 8
LARGEST = 16  # grey levels are 0 to 16
SHOWN = 8  # digits in a row and in a column of a panel
STEPS = 12  # of a walk
WALKS = ((0, 6), (1, 4), (3, 8), (5, 9), (7, 2))  # from one digit to another
SEED = 7

Images = NDArray[np.float64]  # (n, 64), grey levels 0 to 16


@dataclass(frozen=True, slots=True)
class Decoder:
    """The generator graph of a model, and the prior that it holds.

    Attributes:
        session: The graph.
        exemplars: Centres of the prior's kernels, shape (m, latent_dim).
        width: Width of the kernels, shape (latent_dim,).
        degrees_of_freedom: Of the kernels.
    """

    session: Session
    exemplars: NDArray[np.float32]
    width: NDArray[np.float32]
    degrees_of_freedom: float

    def means(self, exemplar: NDArray[np.int64], latent_noise: NDArray[np.float32]) -> Images:
        """Return the mean of every pixel at z = exemplars[exemplar] + width * latent_noise."""
        inputs = {"exemplar": exemplar, "latent_noise": latent_noise.astype(np.float32)}
        location: Images = self.session.run(["location"], inputs)[0]
        return location

    def drawn_means(self, count: int, random: np.random.Generator) -> Images:
        """Draw z as docs/artifact-format.md says and the service does, and return the mean of every pixel."""
        exemplar = random.integers(len(self.exemplars), size=count)
        normal = random.standard_normal((count, len(self.width)))
        chi_square = random.chisquare(self.degrees_of_freedom, (count, 1))
        noise = normal / np.sqrt(chi_square / self.degrees_of_freedom)
        return self.means(exemplar, DEFAULT_TEMPERATURE * noise)

    def walk(self, start: int, end: int, steps: int) -> Images:
        """Return the mean of every pixel on the straight line from one exemplar to another."""
        share = np.linspace(0.0, 1.0, steps)[:, None]
        # The graph takes an exemplar and a distance from it in widths.
        distance = (self.exemplars[end] - self.exemplars[start]) / self.width
        return self.means(np.full(steps, start), share * distance)


def main() -> int:
    """Train, draw, walk, and write the pictures."""
    digits = load_digits()
    names = [f"pixel_{row}_{column}" for row in range(SIDE) for column in range(SIDE)]
    BUILD.mkdir(parents=True, exist_ok=True)
    data, model = BUILD / "digits.parquet", BUILD / "digits.onnx"
    pq.write_table(pa.table(dict(zip(names, digits.data.astype(np.int64).T, strict=True))), data)
    failed = vaegis_train([str(data), "--output", str(model), "--config", str(HERE / "train.toml")])
    if failed:
        return failed
    contract = load_artifact(model).contract
    decoder = open_decoder(contract)
    write_drawn(contract, decoder, digits.data, HERE / "drawn.png")
    write_walk(decoder, digits.data, digits.target, HERE / "walk.png")
    print(f"wrote {HERE / 'drawn.png'} and {HERE / 'walk.png'}")
    return 0


def open_decoder(contract: Contract) -> Decoder:
    """Open the generator graph, and read the prior off its constants: the graph computes exemplar + width * noise."""
    model = base64.b64decode(contract.generator.model)
    graph = onnx.load_from_string(model).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    step = next(node for node in graph.node if node.op_type == "Mul" and "latent_noise" in node.input)
    width = next(constants[name] for name in step.input if name in constants).reshape(-1)
    shape = (contract.generator.exemplars, contract.generator.latent_dim)
    exemplars = next(constant for constant in constants.values() if constant.shape == shape)
    decoder = Decoder(open_session(model), exemplars, width, contract.generator.degrees_of_freedom)
    ends = decoder.means(np.array([0, 1]), np.zeros((2, len(width)), dtype=np.float32))
    if not np.allclose(decoder.walk(0, 1, 2), ends, atol=1e-3):
        raise ValueError("expected a walk to end at the other exemplar: the constants read are not the prior's")
    return decoder


def write_drawn(contract: Contract, decoder: Decoder, data: Images, path: Path) -> None:
    """Show data, decoded draws, the data nearest to these, and whole generated records."""
    count = SHOWN * SHOWN
    random = np.random.default_rng(SEED)
    real = data[random.choice(len(data), count, replace=False)]
    means = decoder.drawn_means(count, random)
    records = Generator(contract).draw(count, SEED)
    sampled = np.array([[record[name] for name in contract.columns.names] for record in records], dtype=np.float64)
    panels = {
        "digits of the data": real,
        "new digits: the mean of every pixel": means,
        "the data nearest to each of these": data[nearest(means, data)],
        "generated records, noise and all": sampled,
    }
    apart = [np.median(distance_to_nearest(images, data)) for images in (means, real)]
    print("grey levels from the nearest digit of the data, root mean square over pixels, median: ", end="")
    print(f"new digits {apart[0]:.2f}, digits of the data {apart[1]:.2f}")
    figure, axes = plt.subplots(2, 2, figsize=(7.5, 7.9), layout="constrained")
    for axis, (title, images) in zip(axes.flat, panels.items(), strict=True):
        show(axis, tiled(images, SHOWN), title)
    save(figure, path)


def write_walk(decoder: Decoder, data: Images, labels: NDArray[np.int64], path: Path) -> None:
    """Show straight lines in latent space, each between the most typical exemplars of two digits."""
    everyone = np.arange(len(decoder.exemplars))
    decoded = decoder.means(everyone, np.zeros(decoder.exemplars.shape, dtype=np.float32))
    label = labels[nearest(decoded, data)]
    typical = [most_typical(decoded, label == digit) for digit in range(10)]
    rows = [decoder.walk(typical[start], typical[end], STEPS) for start, end in WALKS]
    figure, axis = plt.subplots(figsize=(9, 3.9), layout="constrained")
    show(axis, tiled(np.concatenate(rows), STEPS), "between two exemplars, the mean of every pixel")
    save(figure, path)


def nearest(images: Images, data: Images) -> NDArray[np.int64]:
    """Return the position in ``data`` of the image nearest to each of ``images``."""
    squared = (images**2).sum(1)[:, None] - 2.0 * images @ data.T + (data**2).sum(1)
    return squared.argmin(axis=1)


def distance_to_nearest(images: Images, data: Images) -> NDArray[np.float64]:
    """Return how far each image is from the nearest other one in ``data``, root mean square over pixels."""
    squared = ((images[:, None] - data) ** 2).mean(axis=2)
    return np.sqrt(np.where(squared > 0.0, squared, np.inf).min(axis=1))


def most_typical(images: Images, chosen: NDArray[np.bool_]) -> int:
    """Return the position of the chosen image that lies nearest to the mean of all chosen ones."""
    distance = ((images - images[chosen].mean(axis=0)) ** 2).sum(axis=1)
    return int(np.where(chosen, distance, np.inf).argmin())


def tiled(images: Images, columns: int) -> Images:
    """Return one picture of many, row by row, with a pixel between neighbours."""
    framed = np.pad(images.reshape(-1, columns, SIDE, SIDE), ((0, 0), (0, 0), (1, 1), (1, 1)))
    return framed.swapaxes(1, 2).reshape(-1, columns * (SIDE + 2))


def show(axis: plt.Axes, picture: Images, title: str) -> None:
    """Draw one picture, 0 white and 16 black."""
    axis.imshow(picture, cmap="gray_r", vmin=0, vmax=LARGEST, interpolation="nearest")
    axis.set_title(title, fontsize=10)
    axis.axis("off")


def save(figure: plt.Figure, path: Path) -> None:
    """Write a figure, without the date and versions that would make each run's file differ."""
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
