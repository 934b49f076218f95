"""Low-rank adapters beside frozen weights (LoRA), through peft."""

from collections.abc import Iterator

from torch import nn

from raymu.config import AdaptersConfig
from raymu.errors import ConfigInvalid
from raymu.text import one_line
from raymu.training.libraries import import_library


def insert_adapters(model: nn.Module, config: AdaptersConfig, *, head: nn.Module) -> None:
    """Insert adapters into a model, from torch's random state, and freeze all but them and the head.

    Args:
        model: It changes.
        config: Rank, strength and places of the adapters.
        head: The last layers.

    Raises:
        ConfigInvalid: No layer has such a name, or one is of a kind that peft has no adapter for.
    """
    peft = import_library("peft", setting="model.trainable")
    targets = list(config.targets) or list(_linear_layers(model, head))
    if not targets:
        raise ConfigInvalid("model.adapters: the model has no linear layer before its head; name layers in targets")
    try:
        lora = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules=targets)
        peft.inject_adapter_in_model(lora, model)
    except Exception as error:  # peft raises ValueError, TypeError and others
        raise ConfigInvalid(f"model.adapters: cannot be inserted ({one_line(error)}); check targets") from error
    for parameter in head.parameters():
        parameter.requires_grad_(True)


def _linear_layers(model: nn.Module, head: nn.Module) -> Iterator[str]:
    """Yield the names of the linear layers before the head. Attention of torch.nn calls its own by their weights alone."""
    left_out = {id(module) for module in head.modules()}
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            left_out |= {id(part) for part in module.modules()}
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) and id(module) not in left_out:
            yield path
