"""Train a small VAE on an image set and keep checkpoints to score.

python jobs/train_vae.py --reference mnist --out runs/mnist --epochs 1 --epochs 3 --epochs 10
"""

from __future__ import annotations

from typing import Annotated

import typer

from vae_batch.models.references.reference import open_reference
from vae_batch.models.training.vae import train_vae
from vae_batch.plan.errors import InputError


def main(
    reference: Annotated[
        str, typer.Option(help="digits, mnist, fashion_mnist, cifar10 or a path.")
    ],
    out: Annotated[str, typer.Option(help="Folder of the checkpoints.")],
    epochs: Annotated[list[int], typer.Option(help="Epoch to save after; repeatable.")],
    split: Annotated[str, typer.Option(help="train, test or all.")] = "train",
    value_range: Annotated[str | None, typer.Option(help="Range of float images.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use only the first images.")] = None,
    latent_dim: Annotated[int, typer.Option(help="Dimensions of z.")] = 8,
    beta: Annotated[float, typer.Option(help="Weight of the KL term.")] = 1.0,
    width: Annotated[int, typer.Option(help="Channels of the first layer.")] = 32,
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 2e-3,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and noise.")] = 0,
    layout: Annotated[str, typer.Option(help="pair or single.")] = "pair",
) -> None:
    """Train a small VAE on an image set and keep checkpoints to score."""
    try:
        images = open_reference(reference, split, value_range, limit)
        checkpoints = train_vae(
            images.read(0, len(images)),
            out,
            epochs=epochs,
            latent_dim=latent_dim,
            beta=beta,
            width=width,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            layout=layout,
            on_epoch=_report,
        )
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    for path in checkpoints:
        typer.echo(path)


def _report(epoch: int, nll: float, kl: float) -> None:
    typer.echo(f"epoch {epoch}: nll {nll:.2f} + kl {kl:.2f} nats per image", err=True)


if __name__ == "__main__":
    typer.run(main)
