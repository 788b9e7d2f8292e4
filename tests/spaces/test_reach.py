"""How far a network sees, worked out by hand."""

import pytest

from rlnas.spaces.cnn import CNNArchitecture, Layer
from rlnas.spaces.reach import receptive_field


def conv(height, width, *inputs, **fields):
    return Layer(filter_height=height, filter_width=width, filters=4, inputs=inputs, **fields)


@pytest.mark.parametrize(
    ("layers", "pools", "pixels"),
    [
        ([conv(3, 5)], (), 3 * 5),
        ([conv(3, 5), conv(3, 1, 0)], (), 5 * 5),
        ([conv(7, 1), conv(1, 7)], (), 7 * 7),  # side by side: each number is the largest
        ([conv(3, 3), conv(3, 3, 0), conv(1, 1, 0, 1)], (), 5 * 5),
        ([conv(3, 3, stride_height=2), conv(3, 3, 0)], (), (3 + 2 * 2) * 5),
        ([conv(3, 3), conv(3, 3, 0)], (0,), (3 + 1 + 2 * 2) ** 2),
        ([conv(3, 3), conv(3, 3, 0)], (1,), (5 + 1) ** 2),  # a pool before the classifier
        ([Layer(type="max_pool", size=3, stride=2), conv(3, 3, 0)], (), (3 + 2 * 2) ** 2),
        ([conv(3, 3), conv(3, 1, 0, type="separable_convolution")], (), 5 * 3),
        ([conv(3, 3), conv(3, 1, 0, type="dilated_convolution")], (), 7 * 3),
        ([Layer(type="batch_norm"), Layer(type="dropout", rate=0.5, inputs=(0,))], (), 1),
    ],
)
def test_a_network_sees_as_far_as_its_longest_way(layers, pools, pixels):
    assert receptive_field(CNNArchitecture(layers=tuple(layers), pool_after=pools)) == pixels
