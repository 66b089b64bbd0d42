"""Geometry: points go there and back, two maps in a row are one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairloom.geometry import Geometry

sides = st.integers(1, 3000)
shares = st.floats(0, 0.45)


@st.composite
def maps(draw: st.DrawFn, source: tuple[int, int] | None = None) -> Geometry:
    width, height = source or (draw(sides), draw(sides))
    canvas = draw(sides), draw(sides)
    crop = (width * draw(shares), height * draw(shares), width * (1 - draw(shares)), height * (1 - draw(shares)))
    box = (canvas[0] * draw(shares), canvas[1] * draw(shares), canvas[0] * (1 - draw(shares)), canvas[1] * (1 - draw(shares)))
    return Geometry(width, height, crop, *canvas, box)


@given(maps(), st.floats(0, 3000), st.floats(0, 3000))
def test_a_point_goes_there_and_back(geometry: Geometry, x: float, y: float) -> None:
    assert geometry.to_source(*geometry.to_canvas(x, y)) == pytest.approx((x, y), rel=1e-6, abs=1e-4)


@given(st.data())
def test_two_maps_in_a_row_are_one(data: st.DataObject) -> None:
    first = data.draw(maps())
    second = data.draw(maps((first.width, first.height)))
    both = first.then(second)
    point = data.draw(st.tuples(st.floats(0, 3000), st.floats(0, 3000)))
    assert both.to_canvas(*point) == pytest.approx(second.to_canvas(*first.to_canvas(*point)), rel=1e-5, abs=1e-2)
    assert 0 <= both.lost < 1 and 0 <= both.padded < 1


def test_what_cannot_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="can't follow"):
        Geometry.identity(4, 4).then(Geometry.identity(5, 4))
