"""The figures of the chapter on layer normalization."""

from torch import Tensor

from vitlab.figures import BLUE, ORANGE, new_axes


def show_steps(steps: dict[str, Tensor]) -> None:
    """Draw what becomes of one token, step by step, as bars on one scale.

    Args:
        steps: title -> (d,), the token after that step.
    """
    axes = new_axes(1, len(steps), height=2.4, sharey=True)
    for ax, (title, token) in zip(axes, steps.items(), strict=True):
        bars = ax.bar(range(1, len(token) + 1), token, color=ORANGE)
        ax.bar_label(bars, [f"{number:.2f}".replace("-", "−") for number in token], fontsize=8, padding=2)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_title(title, fontsize=10)
        ax.set_xticks(range(1, len(token) + 1))
        ax.margins(y=0.15)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_xlabel("feature", fontsize=9)


def show_plane(pictures: dict[str, Tensor]) -> None:
    """Draw points of a plane, the first of them in orange, in pictures of one scale.

    Args:
        pictures: title -> (N, 2), the points' coordinates.
    """
    axes = new_axes(1, len(pictures), height=3, sharex=True, sharey=True)
    for ax, (title, points) in zip(axes, pictures.items(), strict=True):
        ax.scatter(*points.T, s=12, color=BLUE)
        ax.scatter(*points[0], s=60, color=ORANGE)
        ax.set_aspect("equal")
        ax.set_title(title, fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)


def show_epsilon(before: Tensor, after: dict[str, Tensor], smallest: float) -> None:
    """Draw the deviation of a token after the normalization against that before it.

    Args:
        before: (N,), σ.
        after: the name of an ε -> (N,).
        smallest: the σ to mark, that of the smallest token which a model normalizes.
    """
    (ax,) = new_axes(height=2.8)
    for (name, deviations), style in zip(after.items(), ("-", "--", ":"), strict=False):
        ax.semilogx(before, deviations, style, color=BLUE, label=name)
    ax.axvline(smallest, color=ORANGE, label="smallest token of vit-cifar10")
    ax.set_xlabel("deviation of the token, $\\sigma$", fontsize=10)
    ax.set_ylabel("deviation of $\\hat{x}$", fontsize=10)
    ax.legend(fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def show_sizes(sizes: dict[str, Tensor]) -> None:
    """Draw how large the tokens are before each block: the median, within the range of all.

    Args:
        sizes: name -> (L + 1, N), the deviations of all tokens after 0, 1, ... L blocks.
    """
    (ax,) = new_axes(height=2.8)
    for (name, deviations), colour in zip(sizes.items(), (ORANGE, BLUE, "black"), strict=False):
        blocks = range(len(deviations))
        ax.semilogy(blocks, deviations.median(dim=1).values, "o-", color=colour, label=name)
        ax.fill_between(blocks, deviations.amin(dim=1), deviations.amax(dim=1), color=colour, alpha=0.2, linewidth=0)
    ax.set_xlabel("after block", fontsize=10)
    ax.set_ylabel("deviation of a token, $\\sigma$", fontsize=10)
    ax.legend(fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def show_losses(with_norm: dict[str, list[float]], without: dict[str, list[float]]) -> None:
    """Draw the loss of trainings with and without LN, step by step.

    Args:
        with_norm, without: the name of a learning rate -> the loss of each step.
    """
    (ax,) = new_axes(height=2.8)
    for curves, colour, words in ((with_norm, BLUE, "with LN"), (without, ORANGE, "without LN")):
        for (rate, losses), style in zip(curves.items(), ("-", "--"), strict=True):
            ax.plot(losses, style, color=colour, linewidth=1.2, label=f"{words}, rate {rate}")
    ax.set_xlabel("step", fontsize=10)
    ax.set_ylabel("loss", fontsize=10)
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
