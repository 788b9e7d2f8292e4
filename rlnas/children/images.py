"""Children that classify images: Zoph & Le (2017), Section 4.1."""

import math
from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlnas.children.base import Deployable, Evaluation, Monitor, Trainer
from rlnas.children.cnn import build_cnn, count_flops, count_parameters
from rlnas.children.cost import latencies
from rlnas.children.memory import require_memory
from rlnas.children.pixels import FromPixels, Upsample, statistics
from rlnas.children.precision import chosen, mixed, products
from rlnas.children.recipes import CNNRecipe
from rlnas.children.resnet import ResNet, build_resnet
from rlnas.children.training import SGD, Run, by_epoch, train
from rlnas.datasets import Images, Train, Validation
from rlnas.errors import UserError
from rlnas.seeds import derive_seed
from rlnas.spaces.cnn import CNNArchitecture

Network = CNNArchitecture | ResNet
EXAMPLES = 64  # that a deployed module is tried on
RESIZE_BATCH = 100  # floats of so few fit the caches


class ImageTrainer(Trainer):
    """Trains convolutional children and scores them by accuracy.

    Training may be in bfloat16 where that is safe, all else is in float32. Tensors are channels-last everywhere.
    """

    recipe: CNNRecipe
    architectures = Network

    def precision(self, architecture: Network) -> str:
        """See `Trainer.precision`."""
        return chosen(self.recipe.precision, self.device)

    def train(
        self,
        architecture: Network,
        data: Train[Images],
        seed: int,
        checkpoint: bytes | None,
        monitor: Monitor,
    ) -> bytes:
        """Train a child; see `Trainer.train`. On one CPU thread the same seed gives the same bytes."""
        if isinstance(architecture, CNNArchitecture):
            batch = min(self.recipe.batch, len(data.content.labels))
            require_memory(architecture, self.shape, batch, self.device, self.precision(architecture))
        torch.manual_seed(derive_seed(seed, "init"))
        model = self._build(architecture)
        images = PreparedImages(data.content, self.recipe, self.device)
        rate = architecture.learning_rate or self.recipe.learning_rate
        run = ImageRun(model, images, self.recipe, rate, self.shape.classes, seed, self.precision(architecture))
        with products("float32"):  # beside autocast's bfloat16
            return train(
                run,
                epochs=self.recipe.epochs,
                keep=self.recipe.snapshots,
                seed=seed,
                checkpoint=checkpoint,
                monitor=monitor,
                time_limit=self.recipe.time_limit,
            )

    def evaluate(self, architecture: Network, snapshots: bytes, data: Validation[Images]) -> Evaluation:
        """Score a child by the best accuracy of its snapshots, to the recipe's power.

        Returns:
            The accuracy of each snapshot in [0, 1], the reward, and the metrics `accuracy` (the best), `parameters`
            and `flops` (multiply-adds of one image).
        """
        model = self._build(architecture)
        images = PreparedImages(data.content, self.recipe, self.device)
        history = []
        for weights in by_epoch(snapshots):
            model.load_state_dict(weights)
            history.append(mean(model, images, self.recipe.batch, _right))
        best = max(history)
        metrics = {
            "accuracy": best,
            "parameters": float(count_parameters(model)),
            "flops": float(count_flops(model, self.shape)),
        }
        return Evaluation(tuple(history), best**self.recipe.reward_exponent, metrics)

    def promise(self, architecture: Network, snapshots: bytes, data: Validation[Images]) -> float:
        """Return how likely the last snapshot finds the right classes; see `Trainer.promise`.

        It is the geometric mean over the images, to the power that makes the reward of the accuracy.
        """
        if self.recipe.rungs_by == "reward":
            return super().promise(architecture, snapshots, data)
        model = self._build(architecture)
        model.load_state_dict(by_epoch(snapshots)[-1])
        loss = mean(model, PreparedImages(data.content, self.recipe, self.device), self.recipe.batch, _loss)
        return math.exp(-loss * self.recipe.reward_exponent) if math.isfinite(loss) else 0.0

    def measure(self, architecture: Network, names: Collection[str]) -> dict[str, float]:
        """Count the weights and multiply-adds of an untrained child, and time it; see `Trainer.measure`."""
        if isinstance(architecture, CNNArchitecture):
            require_memory(architecture, self.shape, 1, self.device, self.precision(architecture))
        model, shape = self._build(architecture).eval(), self.shape

        def call(size: int) -> Tensor:
            images = torch.zeros(size, shape.channels, shape.height, shape.width, device=self.device)
            return model(images.contiguous(memory_format=torch.channels_last))

        counts = {"parameters": float(count_parameters(model)), "flops": float(count_flops(model, shape))}
        return {name: counts[name] for name in counts if name in names} | latencies(names, call, self.device)

    def deployed(self, architecture: Network) -> FromPixels:
        """Return a module from uint8 pixels to logits; see `Trainer.deployed`."""
        model = self._build(architecture).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return FromPixels(model, self.recipe, self.shape).eval()

    def deploy(self, architecture: Network, snapshots: bytes, data: Validation[Images]) -> Deployable:
        """Return the module of the last snapshot, with logits of an evaluation in float32; see `Trainer.deploy`."""
        module = self.deployed(architecture)
        module.model.load_state_dict(by_epoch(snapshots)[-1])
        chosen = torch.arange(EXAMPLES) % len(data.content.labels)
        examples = Images(data.content.pixels[chosen], data.content.labels[chosen])
        with torch.no_grad():
            logits = module.model(PreparedImages(examples, self.recipe, "cpu").centre(torch.arange(EXAMPLES)))
        return Deployable(
            module,
            inputs={"pixels": examples.pixels},
            outputs={"logits": logits},
            batch_axis={"pixels": 0, "logits": 0},
            architecture=architecture,
            recipe=self.recipe,
            shape=self.shape,
        )

    def reference(self, name: str, architecture: CNNArchitecture) -> Network:
        """Return a small ResNet, or the winner with every or no skip connection (Section 4.1); see `Trainer.reference`.

        Raises:
            UserError: it is not known, or a network of one layer has no connections to change.
        """
        if name == "resnet":
            return ResNet()
        if name not in self.recipe.references:
            return super().reference(name, architecture)
        if len(architecture.layers) < 2:
            raise UserError(f"reference: {name} needs layers to connect, the winner has one; allowed: resnet")
        layers = tuple(
            layer.model_copy(update={"inputs": tuple(range(0 if name == "all_skips" else max(i - 1, 0), i))})
            for i, layer in enumerate(architecture.layers)
        )
        return architecture.model_copy(update={"layers": layers})

    def _build(self, architecture: Network) -> nn.Module:
        # Weights are drawn on the CPU, so that they do not depend on the device.
        if isinstance(architecture, ResNet):
            model = build_resnet(architecture, self.shape)
        else:
            model = build_cnn(architecture, self.shape)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = self.recipe.norm_epsilon
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def mean(model: nn.Module, images: "PreparedImages", batch: int, total: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Return what a model's answers come to, as the mean over images.

    Args:
        model: put into evaluation mode.
        images: all of them.
        batch: so many at a time; with that of the training, what could be trained can be evaluated.
        total: of logits [B, classes] and labels [B], the sum over the images.
    """
    model.eval()
    totals = []
    with torch.inference_mode(), products("float32"):
        for chosen in torch.arange(len(images.labels), device=images.labels.device).split(batch):
            totals.append(total(model(images.centre(chosen)), images.labels[chosen]))
    return sum(totals[1:], totals[0]).item() / len(images.labels)


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    """How many images are classified correctly."""
    return (logits.argmax(dim=1) == labels).sum()


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss in nats."""
    return F.cross_entropy(logits, labels, reduction="sum")


class PreparedImages:
    """Images on the device, upsampled once; batches are cut from them by one gather. See `rlnas.children.pixels`.

    Args:
        images: pixels uint8 [N, height, width, channels] and their labels.
        recipe: says which of upsampling, flips and whitening to do.
        device: where to keep them.
    """

    def __init__(self, images: Images, recipe: CNNRecipe, device: str) -> None:
        pixels = images.pixels.to(device)
        self.labels = images.labels.to(device)
        self.flip = recipe.flip
        self.height, self.width = pixels.shape[1:3]
        self.margin = recipe.upsample_by or 0
        upsample = Upsample(self.height, self.width, self.margin).to(device)
        means, scales, enlarged = [], [], []
        for part in pixels.split(RESIZE_BATCH):
            floats = part.permute(0, 3, 1, 2).float()
            mean, scale = statistics(floats, recipe.whitening)
            means.append(mean)
            scales.append(scale)
            if self.margin:
                enlarged.append(upsample(floats).byte().permute(0, 2, 3, 1).contiguous())
        self.mean, self.scale = torch.cat(means), torch.cat(scales)
        self.pixels = torch.cat(enlarged) if self.margin else pixels

    def random(self, chosen: Tensor) -> Tensor:
        """Return float [B, channels, height, width], each image cropped and mirrored at random."""
        size, device = (len(chosen), 1), chosen.device
        top, left = torch.randint(self.margin + 1, (2, *size), device=device)
        columns = torch.arange(self.width, device=device).expand(len(chosen), -1)
        if self.flip:
            columns = torch.where(torch.rand(size, device=device) < 0.5, columns.flip(1), columns)
        return self._cut(chosen, top + torch.arange(self.height, device=device), left + columns)

    def centre(self, chosen: Tensor) -> Tensor:
        """Return float [B, channels, height, width], the middle of each image."""
        rows, columns = (
            torch.arange(side, device=chosen.device).expand(len(chosen), -1) + self.margin // 2
            for side in (self.height, self.width)
        )
        return self._cut(chosen, rows, columns)

    def _cut(self, chosen: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        # A gather of channels-last pixels is a channels-last batch: no copy follows.
        cut = self.pixels[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        return ((cut - self.mean[chosen]) * self.scale[chosen]).permute(0, 3, 1, 2)


class ImageRun(Run):
    """A convolutional child in training, by SGD with Nesterov momentum."""

    def __init__(
        self,
        model: nn.Module,
        images: PreparedImages,
        recipe: CNNRecipe,
        learning_rate: float,
        classes: int,
        seed: int,
        precision: str = "float32",
    ) -> None:
        self.precision = precision
        self.model = model
        self.images = images
        self.recipe = recipe
        self.learning_rate = learning_rate
        self.seed = seed
        self.steps = max(1, len(images.labels) // recipe.batch)
        self.loss_limit = 100 * math.log(max(2, classes))  # a hundred times that of guessing: it does not come back
        self.optimizer = SGD(model.parameters(), learning_rate, recipe.momentum, recipe.weight_decay)

    def start_epoch(self, epoch: int) -> None:
        """Order the images, and remember how far the schedule is."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch))
        self.order = torch.randperm(len(self.images.labels), generator=generator).to(self.images.labels.device)
        self.epoch = epoch
        decayed = self.recipe.decay_epoch is not None and epoch >= self.recipe.decay_epoch
        self.rate = self.learning_rate / (self.recipe.decay if decayed else 1)
        self.optimizer.lr = self.rate

    def step(self, step: int) -> Tensor:
        """Do one update; see `Run.step`."""
        if self.recipe.schedule == "cosine":
            done = (self.epoch + step / self.steps) / self.recipe.epochs
            self.optimizer.lr = self.rate * (1 + math.cos(math.pi * done)) / 2
        chosen = self.order[step * self.recipe.batch : (step + 1) * self.recipe.batch]
        batch, labels = self.images.random(chosen), self.images.labels[chosen]
        with mixed(chosen.device, self.precision):
            loss = F.cross_entropy(self.model(batch), labels)
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        self.optimizer.step()
        return loss.detach() + 0 * norm  # not a number unless the gradient is finite
