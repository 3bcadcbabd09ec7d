"""What this machine is good at: device, number format, memory layout."""

import warnings

import torch


def resolve_device(device: str, fallback: bool = False) -> torch.device:
    """Return the torch device for the parameter `device`.

    Parameters
    ----------
    device : str
        "auto" takes CUDA where there is one, else the CPU; or any torch device name.
    fallback : bool, default=False
        Use the CPU, with a warning, where the named device is missing: for models that were
        trained elsewhere.
    """
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
    return resolved


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the autocast dtype for the parameter `precision`, None for plain float32.

    "auto" is bfloat16 where the hardware multiplies it natively: elsewhere it is emulated and
    slower than float32.
    """
    if precision == "float32":
        return None
    if precision == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else None


def autocast(dtype: torch.dtype | None, device: torch.device) -> torch.autocast:
    """Autocast context for a dtype from `autocast_dtype`."""
    return torch.autocast(
        device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None, cache_enabled=True
    )
