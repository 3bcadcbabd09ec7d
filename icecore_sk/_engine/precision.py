"""What this machine is good at: device, number format, memory layout."""

import warnings

import torch


def resolve_devices(device: str | list[str]) -> list[torch.device]:
    """Return the torch devices for the parameter `device`, of which a list may name several."""
    if isinstance(device, str):
        return [resolve_device(device)]
    check_names(device)
    devices = [resolve_device(name) for name in device]
    if len({one.type for one in devices}) > 1:
        raise ValueError(
            f"device={device!r} names devices of several kinds; expected CUDA devices only. Leave "
            "'cpu' out."
        )
    numbers = [one.index or 0 for one in devices if one.type == "cuda"]
    if len(set(numbers)) < len(numbers):
        raise ValueError(
            f"device={device!r} names a CUDA device twice; expected each once: two processes on "
            "one GPU are no faster than one."
        )
    if len(devices) > 1 and not torch.distributed.is_available():
        raise ValueError(
            f"device={device!r} needs torch.distributed, which this build of torch lacks. Pass "
            f"device={device[0]!r}."
        )
    return devices


def check_names(device: list) -> None:
    if not device or not all(isinstance(name, str) and name != "auto" for name in device):
        raise ValueError(
            f"device={device!r} must name at least one device, each as 'cpu', 'cuda' or 'cuda:N'; "
            "for several GPUs pass device=['cuda:0', 'cuda:1'], or else device='auto'."
        )


def resolve_device(device: str | list[str], fallback: bool = False) -> torch.device:
    """Return the torch device for the parameter `device`.

    Parameters
    ----------
    device : str or list of str
        "auto" takes CUDA where there is one, else the CPU; or any torch device name. Of a list the
        first counts.
    fallback : bool, default=False
        Use the CPU, with a warning, where the named device is missing: for models that were
        trained elsewhere.
    """
    if not isinstance(device, str):
        check_names(device)
        device = device[0]
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is no device name; expected 'auto', 'cpu', 'cuda' or 'cuda:N'."
        ) from error
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(
            f"device={device!r} is not supported; expected 'auto', 'cpu', 'cuda' or 'cuda:N'. "
            "Pass device='cpu'."
        )
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if resolved.type == "cuda" and (resolved.index or 0) >= n_devices:
        message = f"device={device!r}, but this machine has {n_devices} usable CUDA device(s)."
        if not fallback:
            raise ValueError(f"{message} Pass device='auto' or device='cpu'.")
        warnings.warn(
            f"{message} Using the CPU; set_params(device='auto') silences this.",
            UserWarning,
            stacklevel=3,
        )
        return torch.device("cpu")
    # "cpu:0" is the CPU too, and who compares names must not take it for something else.
    return torch.device("cpu") if resolved.type == "cpu" else resolved


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the autocast dtype for the parameter `precision`, None for plain float32.

    "auto" is bfloat16 where the hardware multiplies it natively: elsewhere it is emulated and
    slower than float32.
    """
    if precision == "float32":
        return None
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if precision == "bfloat16" and not native:
        warnings.warn(
            f"precision='bfloat16', but this {device.type.upper()} does not multiply bfloat16: it "
            "is emulated, up to a hundred times slower than float32. "
            "set_params(precision='auto') takes float32 here.",
            UserWarning,
            stacklevel=2,
        )
        return torch.bfloat16
    return torch.bfloat16 if native else None


def autocast(dtype: torch.dtype | None, device: torch.device) -> torch.autocast:
    """Autocast context for a dtype from `autocast_dtype`."""
    return torch.autocast(
        device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None, cache_enabled=True
    )
