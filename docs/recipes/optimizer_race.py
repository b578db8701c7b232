"""Optimizers in a race on a ravine, a saddle and Rosenbrock's valley: `python docs/recipes/optimizer_race.py`.

Five seconds, in NumPy; the picture is docs/pictures/optimizer_race.png. Adaptive rates leave a saddle first, momentum
is the best along Rosenbrock's valley, and no optimizer wins on all three.
"""

from kerasdl.foundations import optimizers

STEPS = 300


def main(path: str | None = None) -> dict[str, dict[str, float]]:
    """Prints the value that each optimizer reaches on each surface, and returns them; draws them if a path is given."""
    found = {}
    for surface, (function, _, _) in optimizers.SURFACES.items():
        ends = {name: float(function(points[-1])) for name, points in optimizers.race(surface, steps=STEPS).items()}
        found[surface] = ends
        print(
            surface,
            *(f"{name} {value:.3g}" for name, value in sorted(ends.items(), key=lambda end: end[1])),
            sep="\n  ",
        )
    if path is not None:
        optimizers.draw_race(path, steps=STEPS)
    return found


if __name__ == "__main__":
    main("optimizer_race.png")
