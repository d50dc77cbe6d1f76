"""Several roles on one base model: as LoRA adapters that share its weights, or as full copies of it.

Both classes have one interface, which `modules.model.backbone.Backbone` uses: `add`, `activate`, `named_parameters`, `save`, `load`.

peft's way to switch adapters is not used: its ``set_adapter`` visits every layer and rewrites ``requires_grad``, so that a
forward as policy, a switch to value and a backward would silently lose the policy's gradients. Here the layers read one
`modules.model.adapters.Turn`, and a tensor requires a gradient exactly when its role was added as trainable.
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from modules.config import FRESH, RolloutWeights
from modules.errors import CheckpointError, ConfigError
from modules.memory import merges_by_itself
from modules.model.adapters import BASE, Turn, can_fold, folded, share_turn
from modules.model.cpu_linear import use_onednn
from modules.model.pretrained import load_config, load_model
from modules.runtime.devices import gpu_bytes

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class LoraSettings:
    """Shape of fresh adapters, None for the default. Adapters from a checkpoint keep their rank, scale and targets."""

    rank: int | None = None
    alpha: float | None = None
    dropout: float = 0.0
    targets: str | None = None


class LoraRoles(nn.Module):
    """Roles as adapters on one frozen base.

    Args:
        model: The frozen base.
        settings: For fresh adapters.
        base_name: Written into the adapters' config files, so that plain peft finds the base.
    """

    def __init__(self, model: PreTrainedModel, settings: LoraSettings, base_name: str) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.base_name = base_name
        self._targets = _find_targets(model, settings.targets or FRESH["lora_targets"])
        self._layers_asked_for = _last_names(model, self._targets) if settings.targets else None
        self._peft: list[PeftModel] = []  # in a list, so that the base is not registered twice
        self._configs: dict[str, LoraConfig] = {}
        self._trainable: set[str] = set()
        self._turn = Turn()
        self._layers: list[BaseTunerLayer] = []
        self._parameters_of: dict[str, dict[str, nn.Parameter]] = {}

    def add(self, name: str, *, source: Path | None, copy_of: str | None, trainable: bool) -> None:
        """Add an adapter: from a folder, as a copy of another role, or fresh (its output is 0 at first)."""
        config = self._new_config(source, copy_of)
        with warnings.catch_warnings():
            # peft reads a property that transformers renamed.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            # It sets this for GPT-2's layers by itself, as it should.
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
            if self._peft:
                self._peft[0].add_adapter(name, config)
            else:
                self._peft.append(self._inject(name, config))
        self._configs[name] = config
        use_onednn(self.model)
        layers = [module for module in self.model.modules() if isinstance(module, BaseTunerLayer)]
        self._layers = [share_turn(layer, self._turn) for layer in layers]
        self._parameters_of[name] = self._find_parameters(name)
        if trainable:
            self._trainable.add(name)
        self._require_gradients()
        if source is not None:
            self.load(name, source)
        if copy_of is not None:
            _copy_into(self._parameters_of[name], self._parameters_of[copy_of], f"the role {copy_of}")
        self.activate(name)

    def activate(self, name: str) -> PreTrainedModel:
        """Make a role's adapter the one that forward passes go through; returns the model. No layer is touched."""
        self._turn.role = name
        return self.model

    def output_model(self, name: str) -> PreTrainedModel | None:
        """Return a model whose output layer is the role's without a switch; None where adapters are on that layer."""
        return None if isinstance(self.model.get_output_embeddings(), BaseTunerLayer) else self.model

    @contextmanager
    def folded(self, name: str, weights: RolloutWeights = "auto") -> Iterator[None]:
        """Fold a role's adapter into a copy of the base weights inside the block, which halves the work of a step of sampling.

        In float32 the two ways differ by rounding of 1e-6. In 16 or 4 bits the copy is rounded once more, so ``auto`` folds there
        on a GPU with room for it only, and tokens come from a policy that is a little off the one that is trained.

        Raises:
            ConfigError: ``merged`` is asked for, but the adapter has layers that cannot be folded.
        """
        if name == BASE or not self._is_folded(weights):
            yield
            return
        with folded(self._layers, name):
            self.activate(BASE)
            try:
                yield
            finally:
                self.activate(name)

    def has(self, name: str) -> bool:
        """Return whether a role can be activated."""
        return name == BASE or name in self._parameters_of

    def named_parameters_of(self, name: str) -> dict[str, nn.Parameter]:
        """Return a role's own parameters by the names they have in a file."""
        return self._parameters_of[name]

    def disable_dropout(self) -> None:
        """Switch the adapters' dropout off for good."""
        for layer in self._layers:
            for dropout in getattr(layer, "lora_dropout", {}).values():
                if isinstance(dropout, nn.Dropout):
                    dropout.p = 0.0

    def save(self, name: str, folder: Path) -> None:
        """Write a role as plain peft reads it."""
        folder.mkdir(parents=True, exist_ok=True)
        config = self._configs[name]
        config.inference_mode = True
        config.save_pretrained(str(folder))
        tensors = {key: value.detach().cpu().contiguous() for key, value in self._parameters_of[name].items()}
        save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})

    def load(self, name: str, folder: Path) -> None:
        """Overwrite a role's weights in place with those of a folder."""
        _copy_into(self._parameters_of[name], read_weights(folder / ADAPTER_WEIGHTS), str(folder))

    def _require_gradients(self) -> None:
        """Let the trainable roles require gradients and no other; peft has just set it by the adapter added last."""
        for role, parameters in self._parameters_of.items():
            for parameter in parameters.values():
                parameter.requires_grad_(role in self._trainable)

    def _is_folded(self, weights: RolloutWeights) -> bool:
        bases: list[Any] = [layer.get_base_layer().weight for layer in self._layers]
        if weights == "adapter" or not can_fold(self._layers, self.model.get_input_embeddings().weight):
            if weights == "merged":
                raise ConfigError(
                    "rollout_weights is merged, but this adapter has layers that cannot be merged (embeddings, or an output layer tied to "
                    "them): choose auto or adapter."
                )
            return False
        if weights == "merged" or all(weight.dtype is torch.float32 for weight in bases):
            return True
        num_weights = sum(layer.in_features * layer.out_features for layer in self._layers)  # type: ignore[attr-defined]  # linear ones
        return merges_by_itself(num_weights, gpu_bytes(bases[0].device))

    def _new_config(self, source: Path | None, copy_of: str | None) -> LoraConfig:
        if source is not None:
            config = _read_adapter_config(source)
            self._check_shape(config, source)
        elif copy_of is not None:
            config = LoraConfig(**self._configs[copy_of].to_dict())
        else:
            config = LoraConfig(
                r=self.settings.rank or FRESH["lora_rank"],
                lora_alpha=self.settings.alpha or FRESH["lora_alpha"],  # type: ignore[arg-type]  # peft divides by it
                target_modules=self._targets,
                task_type="CAUSAL_LM",
            )
        config.lora_dropout = self.settings.dropout
        config.inference_mode = False
        config.base_model_name_or_path = self.base_name
        return config

    def _check_shape(self, config: LoraConfig, source: Path) -> None:
        """Refuse an adapter whose shape is not the one asked for: it cannot be changed."""
        found = config.target_modules if isinstance(config.target_modules, set | list) else ()
        names = {name.rsplit(".", 1)[-1] for name in found}
        asked, layers = self.settings, self._layers_asked_for
        pairs: list[tuple[str, Any, Any]] = [("rank", asked.rank, config.r), ("alpha", asked.alpha, config.lora_alpha)]
        if layers and names and names != layers:
            pairs.append(("targets", asked.targets, ",".join(sorted(names))))
        for name, given, own in pairs:
            if not given or given == own:
                continue
            raise ConfigError(
                f"lora_{name} is {given}, but the adapter in {source} was trained with {own}, and an adapter keeps its shape: leave "
                f"lora_{name} out, or choose another checkpoint."
            )

    def _inject(self, name: str, config: LoraConfig) -> PeftModel:
        try:
            injected = get_peft_model(self.model, config, adapter_name=name)
        except ValueError as error:
            raise ConfigError(
                f"No adapter can be put on the layers {self.settings.targets or self._targets!r} ({str(error).splitlines()[0]}): name linear layers "
                "of this model, or choose all-linear."
            ) from error
        assert isinstance(injected, PeftModel)
        return injected

    def _find_parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Return the adapter's tensors under their names in a peft file, which leave out the adapter's own name."""
        found = {}
        for key, parameter in self._peft[0].named_parameters():
            parts = key.split(".")
            for index in range(1, len(parts)):
                if parts[index] == name and parts[index - 1].startswith("lora_"):
                    found[".".join(parts[:index] + parts[index + 1 :])] = parameter
        return found


class FullRoles(nn.Module):
    """Roles as full models: every role has all weights for itself.

    A trainable role keeps float32 weights, because small updates are lost in bfloat16.

    Args:
        base_folder: Where fresh roles are read from.
        dtype: Weights of frozen roles.
        device: Where they are put.
        gradient_checkpointing: Recompute activations in the backward pass.
    """

    def __init__(
        self, base_folder: Path, dtype: torch.dtype, device: torch.device, gradient_checkpointing: bool
    ) -> None:
        super().__init__()
        self.models = nn.ModuleDict()
        self.base_folder, self.dtype, self.device = base_folder, dtype, device
        self.gradient_checkpointing = gradient_checkpointing

    def base_config(self) -> PreTrainedConfig:
        """The pretrained model's configuration."""
        return load_config(self.base_folder)

    def add(self, name: str, *, source: Path | None, copy_of: str | None, trainable: bool) -> None:
        """Add a model: from a folder, as a copy of another role, or the pretrained one."""
        if source is not None and not (source / "config.json").is_file():
            raise _wrong_method(source, "full")
        dtype = torch.float32 if trainable else self.dtype
        model = load_model(source or self.base_folder, dtype=dtype, device=self.device)
        model.requires_grad_(trainable)
        if self.gradient_checkpointing and trainable:
            model.activation_checkpointing_enable()
        self.models[name] = model
        if copy_of is not None:
            _copy_into(self.named_parameters_of(name), self.named_parameters_of(copy_of), f"the role {copy_of}")

    def activate(self, name: str) -> PreTrainedModel:
        """Return the role's model; nothing else has to be switched."""
        model = self.models[name]
        assert isinstance(model, PreTrainedModel)
        return model

    def output_model(self, name: str) -> PreTrainedModel | None:
        """Return the role's model."""
        return self.activate(name)

    @contextmanager
    def folded(self, name: str, weights: RolloutWeights = "auto") -> Iterator[None]:
        """Do nothing: a full model has nothing to fold."""
        yield

    def has(self, name: str) -> bool:
        """Return whether a role can be activated."""
        return name in self.models

    def named_parameters_of(self, name: str) -> dict[str, nn.Parameter]:
        """Return a role's own parameters by name."""
        return dict(self.models[name].named_parameters())

    def disable_dropout(self) -> None:
        """Do nothing: a base model's dropout is always off."""

    def save(self, name: str, folder: Path) -> None:
        """Write a role as transformers reads it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.activate(name).save_pretrained(folder)

    def load(self, name: str, folder: Path) -> None:
        """Overwrite a role's weights in place with those of a folder."""
        tensors: dict[str, Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            if file.name != "head.safetensors":
                tensors |= read_weights(file)
        _copy_into(self.named_parameters_of(name), tensors, str(folder))


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint's safetensors file.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    if not file.is_file():
        raise CheckpointError(
            f"The checkpoint file {file} is missing: the checkpoint is incomplete, choose another one."
        )
    try:
        return load_file(file)
    except SafetensorError as error:
        raise CheckpointError(
            f"The checkpoint file {file} is damaged ({error}): restore it from a copy, or choose another checkpoint."
        ) from error


def _find_targets(model: PreTrainedModel, targets: str) -> str | list[str]:
    """Find the layers to adapt, as peft takes them. Embeddings and the output layer are adapted only if they are named.

    Names of attention layers differ: q_proj, qkv_proj, query_key_value, c_attn. They are found by their parent.
    """
    if targets == "all-linear":
        return targets
    if targets != "attention":
        return [name.strip() for name in targets.split(",")]
    found = {
        ".".join(path.split(".")[-2:])
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and re.search(r"(attn|attention)\.\w+$", path)
    }
    if not found:
        raise ConfigError(
            f"The attention layers of this model ({model.config.model_type}) could not be found by their names: choose "
            "lora_targets all-linear, or name the layers."
        )
    return sorted(found)


def _last_names(model: PreTrainedModel, targets: str | list[str]) -> set[str]:
    """Return the last parts of the names of layers to adapt, by which an adapter's file knows them."""
    if targets != "all-linear":
        return {name.rsplit(".", 1)[-1] for name in targets}
    output = model.get_output_embeddings()
    return {
        path.rsplit(".", 1)[-1]
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not output
    }


def _read_adapter_config(folder: Path) -> LoraConfig:
    if not (folder / ADAPTER_CONFIG).is_file():
        raise _wrong_method(folder, "lora")
    kind = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")).get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"The adapter in {folder} is of type {kind}; only LORA adapters can be used here.")
    config = PeftConfig.from_pretrained(str(folder))
    assert isinstance(config, LoraConfig)
    return config


def _wrong_method(folder: Path, wanted: str) -> CheckpointError:
    other = "full" if wanted == "lora" else "lora"
    return CheckpointError(
        f"The checkpoint folder {folder} holds no {wanted} weights: it is missing, or was trained with method {other}. Choose another "
        f"checkpoint, or method {other}."
    )


@torch.no_grad()
def _copy_into(parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor], origin: str) -> None:
    """Copy tensors into parameters of the same names and shapes; refuse anything missing, foreign or misshapen."""
    missing = sorted(parameters.keys() - tensors.keys())
    foreign = sorted(tensors.keys() - parameters.keys())
    if missing or foreign:
        raise CheckpointError(
            f"The weights of {origin} do not fit this model: {len(missing)} tensors are missing and {len(foreign)} are unknown "
            f"(such as {(missing + foreign)[0]}). Choose a checkpoint of the same base model and adapter layers."
        )
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise CheckpointError(
                f"The tensor {name} of {origin} has the shape {tuple(tensors[name].shape)}, but {tuple(parameter.shape)} is needed: "
                "choose a checkpoint of the same base model and adapter rank."
            )
        parameter.copy_(tensors[name])
