"""The shapes of the network's parameters, which are checked without torch."""

import pytest

from underpaint.codec.reconstruct.network import BackwardNetwork
from underpaint.codec.reconstruct.network_shape import NetworkShape


@pytest.mark.parametrize(
    "shape",
    [
        NetworkShape(classes=256, layers=6),
        NetworkShape(
            5,
            3,
            coarse_width=7,
            coarse_hidden=4,
            coarse_depth=1,
            fine_width=9,
            fine_hidden=11,
            fine_depth=3,
            shared=2,
        ),
    ],
)
def test_the_parameters_are_those_of_the_network(shape: NetworkShape) -> None:
    state = BackwardNetwork(shape).state_dict()
    assert shape.parameters() == {name: tuple(tensor.shape) for name, tensor in state.items()}
