"""Argument names are checked before training, without torch, and say what to write instead."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.core.errors import InputError
from harness.train.arguments import check_adapter, check_arguments, check_method

CASES = [
    ("sft", {"learning_rat": 1e-4}, "did you mean 'learning_rate'"),
    ("sft", {"beta": 0.1}, "no argument of SFT"),
    ("dpo", {"packing": True}, "no argument of DPO"),
    ("dpo", {"beta": 0.1}, "write train.method.beta"),
    ("dpo", {"padding_free": True}, "TRL 1.16 switches it off"),
    ("sft", {"seed": 3}, "write train.seed"),
    ("sft", {"output_dir": "x"}, "Ratchet chooses the folder"),
    ("sft", {"trust_remote_code": True}, "code from the hub is never run"),
    ("sft", {"hub_model_id": "a/b"}, "nothing is sent to the hub"),
    ("sft", {"eval_steps": 5}, "through the server"),
    ("sft", {"packing": True, "max_length": None}, "set train.max_length"),
]


@pytest.mark.parametrize(("method", "arguments", "said"), CASES)
def test_argument_that_cannot_be_set(method: str, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as error:
        check_arguments(method, arguments)
    assert said in error.value.one_line()
    assert "\n" not in error.value.one_line()


def test_usual_arguments_pass() -> None:
    usual = {"learning_rate": 2e-4, "num_train_epochs": 1, "max_steps": -1, "max_length": 512, "warmup_steps": 10}
    for method in ("sft", "dpo"):
        check_arguments(method, {**usual, "gradient_accumulation_steps": 4, "lr_scheduler_type": "cosine"})
    check_arguments("sft", {"packing": True, "max_length": 512})


def test_label_smoothing_that_the_loss_would_ignore() -> None:
    ignored = {"type": "dpo", "label_smoothing": 0.1}
    with pytest.raises(InputError, match=r"ignored by loss_type sigmoid.*use loss_type: robust"):
        check_method(ignored, {}, {})
    check_method({**ignored, "loss_type": "robust"}, {}, {})
    check_method({**ignored, "loss_type": ["sft", "robust"]}, {}, {})
    check_method({"type": "dpo", "label_smoothing": 0.0}, {}, {})


def test_dropout_that_dpo_would_switch_off() -> None:
    with pytest.raises(InputError, match="lora_dropout is ignored"):
        check_method({"type": "dpo"}, {}, {"lora_dropout": 0.05})
    check_method({"type": "dpo"}, {"disable_dropout": False}, {"lora_dropout": 0.05})
    check_method({"type": "sft"}, {}, {"lora_dropout": 0.05})


def test_method_and_adapter_names() -> None:
    with pytest.raises(InputError, match="use one of sft, dpo"):
        check_method({"type": "ppo"}, {}, {})
    with pytest.raises(InputError, match="did you mean 'beta'"):
        check_method({"type": "dpo", "betta": 0.2}, {}, {})
    with pytest.raises(InputError, match="did you mean 'lora_alpha'"):
        check_adapter({"type": "lora", "lora_alfa": 16})
    with pytest.raises(InputError, match="use 'lora'"):
        check_adapter({"type": "prefix"})
    check_adapter({"type": "lora", "r": 8, "lora_alpha": 16, "target_modules": "all-linear", "use_rslora": True})


def test_checking_loads_no_torch() -> None:
    """In a fresh interpreter, since this one may have it loaded already."""
    code = (
        "import sys; from harness.train import worker; from harness.train.arguments import check_arguments;"
        "check_arguments('dpo', {'learning_rate': 1});"
        "print([name for name in ('torch', 'transformers', 'trl', 'peft', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
