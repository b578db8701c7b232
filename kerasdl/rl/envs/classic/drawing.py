"""Canvas of simple pictures: lines, boxes and dots in the coordinates of an environment, smoothed."""

from PIL import Image, ImageDraw

COLOURS = {
    **{"white": "#ffffff", "black": "#1f2937", "grey": "#9ca3af", "light": "#e5e7eb", "blue": "#2563eb"},
    **{"orange": "#ea580c", "green": "#16a34a", "red": "#dc2626", "yellow": "#facc15", "ice": "#bfdbfe"},
}
FACTOR = 3  # drawn larger and made smaller, which smooths edges

Point = tuple[float, float]


class Canvas:
    """White picture on which an environment is drawn in its own coordinates, y pointing upwards."""

    def __init__(self, width: int, height: int, across: Point, upwards: Point) -> None:
        """Makes a canvas of width and height in pixels that shows x and y between the bounds."""
        self._size, self._across, self._upwards = (width, height), across, upwards
        self._image = Image.new("RGB", (width * FACTOR, height * FACTOR), COLOURS["white"])
        self._pen = ImageDraw.Draw(self._image)

    def line(self, points: list[Point], colour: str, width: int = 2) -> None:
        """Draws a line through points, of a width in pixels."""
        self._pen.line([self._at(point) for point in points], COLOURS[colour], width * FACTOR, joint="curve")

    def box(self, low: Point, high: Point, colour: str) -> None:
        """Fills the rectangle between two corners."""
        (left, bottom), (right, top) = self._at(low), self._at(high)
        self._pen.rectangle((left, top, right, bottom), COLOURS[colour])

    def dot(self, centre: Point, radius: float, colour: str) -> None:
        """Fills a circle of a radius in pixels."""
        x, y = self._at(centre)
        reach = radius * FACTOR
        self._pen.ellipse((x - reach, y - reach, x + reach, y + reach), COLOURS[colour])

    @property
    def picture(self) -> Image.Image:
        """The picture in its own size."""
        return self._image.resize(self._size, Image.Resampling.BOX)

    def _at(self, point: Point) -> Point:
        shares = [
            (value - low) / (high - low)
            for value, (low, high) in zip(point, (self._across, self._upwards), strict=True)
        ]
        return shares[0] * self._image.width, (1 - shares[1]) * self._image.height
