"""A head of several ReLU layers on top of a body: the network in which deep neural collapse is looked for."""

from torch import nn

from deepcollapse.networks.layers import Classifier
from deepcollapse.networks.mlp import HiddenLayer, mlp
from deepcollapse.networks.resnet import resnet


def relu_head(
    num_classes: int,
    image_shape: tuple[int, ...],
    *,
    width: int,
    depth: int,
    bias: bool,
    activation: str,
    body: str,
    body_width: int,
    body_depth: int,
) -> Classifier:
    """`depth` hidden layers of `width` units and the linear head on the features of a body, `depth` + 1 weights in all.

    The body is the stem; its features enter the head as they are, so that its last layer has a ReLU before the head's
    first weights. `blocks` are the head's hidden layers. `bias` covers all linear maps of the head, without one as in
    the deep unconstrained-features model. The body "mlp" has `body_depth` hidden layers of `body_width` units, the body
    "resnet" three stages of `body_depth` residual blocks from `body_width` channels on (3 and 16 give the body of
    ResNet20). Convolutional bodies raise `ShapeError` for inputs that are no images.

    >>> from deepcollapse.networks import build
    >>> network = build("relu-head", num_classes=10, image_shape=(1, 8, 8), depth=2, width=20)
    >>> [(block.linear.in_features, block.linear.out_features) for block in network.blocks], network.head
    ([(256, 20), (20, 20)], Linear(in_features=20, out_features=10, bias=False))
    """
    if body == "mlp":
        whole = mlp(
            num_classes,
            image_shape,
            width=body_width,
            depth=body_depth,
            batch_norm=True,
            activation="relu",
            bias=True,
        )
    else:
        stages = (body_depth,) * 3
        whole = resnet(num_classes, image_shape, blocks=stages, width=body_width, bottleneck=False, stem="auto")
    widths = [whole.head.in_features] + [width] * depth
    blocks: list[nn.Module] = [HiddenLayer(inputs, width, False, activation, bias) for inputs in widths[:-1]]
    head = nn.Linear(widths[-1], num_classes, bias)
    return Classifier(nn.Sequential(whole.stem, whole.blocks, whole.neck), blocks, nn.Identity(), head)
