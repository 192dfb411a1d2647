"""Export: one subnet as files of several formats, precisions and devices, each with its own sidecar and its own comparison of outputs."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from nat_deploy.errors import InputError, NatDeployError
from nat_deploy.export import (
    ENGINE_FORMATS,
    EngineReport,
    ExportReport,
    OnStep,
    check_engine_can_be_built,
    check_format,
    engine_device,
    export_engine,
    export_subnet,
    find_format,
)
from nat_deploy.files import writing_error
from nat_deploy.onnx_graphs import Int8Form, Precision
from nat_deploy.profiling import open_device
from nat_deploy.spaces.subnet_file import SubnetFile, load_subnet

_ENGINE_SUFFIX = ".engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What all files of a call share; `export_subnet` and `export_engine` say what each means."""

    weights: Path | None = None
    calibrate: str | Path | None = None
    max_drop: float = 1.0
    int8_form: Int8Form = "onnxruntime"
    qat_epochs: int = 0
    preprocessing: bool = False
    batch_size: int | None = None
    compute_capabilities: tuple[str, ...] = ()
    cache_dir: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One file to be made; `device` builds it, by default the format's own."""

    format: str = "onnx"
    precision: Precision = "fp32"
    device: str | None = None

    @property
    def is_engine(self) -> bool:
        return self.format in ENGINE_FORMATS

    @property
    def suffix(self) -> str:
        return _ENGINE_SUFFIX if self.is_engine else find_format(self.format).suffixes[0]

    @property
    def name(self) -> str:
        """For people and for file names: what tells it from the others of a call."""
        place = self.device or ("gpu" if self.format == "trt" else self.format)
        return f"{place}.{self.precision}" if self.is_engine else self.precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What became of a variant: a report, or the error that says why there is no file."""

    variant: Variant
    file: Path
    report: ExportReport | EngineReport | None = None
    error: NatDeployError | None = None


def export_files(
    subnet: Path,
    out: Path | None = None,
    *,
    formats: Sequence[str] = ("onnx",),
    precisions: Sequence[Precision] = ("fp32",),
    devices: Sequence[str] = (),
    options: ExportOptions | None = None,
    on_step: OnStep | None = None,
) -> tuple[Exported, ...]:
    """Every combination of formats, precisions and, for engines, devices. One that fails does not stop the others.

    Args:
        subnet: A `subnet.json`.
        out: The file, where one is asked for; a folder, where several are. By default beside the subnet.
        devices: That build a TensorRT engine each; by default this machine's GPU.

    Returns:
        One per combination, in order. A file that is alone is named after the subnet; several also after what tells them apart, as
        `subnet.int8.onnx` or `subnet.jetson.fp16.engine`.

    Raises:
        NatDeployError: The one file that was asked for cannot be made, or what is wrong is wrong for all of several.
    """
    options, on_step = options or ExportOptions(), on_step or _ignore
    for format in formats:
        check_format(format)
    if options.qat_epochs and "int8" not in precisions:
        raise InputError(
            f"--qat-epochs goes with --precision int8, but {', '.join(precisions)} came; add it, or leave the epochs out"
        )
    variants = _variants(formats, precisions, devices)
    files = _places(subnet, out, variants)
    content = load_subnet(subnet)
    with tempfile.TemporaryDirectory(prefix="natdeploy-") as folder:
        exporter = _Exporter(content, options, Path(folder), on_step)
        if len(variants) == 1:
            return (Exported(variant=variants[0], file=files[0], report=exporter.export(variants[0], files[0], on_step)),)
        return tuple(exporter.tried(variant, file) for variant, file in zip(variants, files, strict=True))


def _variants(formats: Sequence[str], precisions: Sequence[Precision], devices: Sequence[str]) -> list[Variant]:
    """Each once, engines for every device."""
    found: dict[Variant, None] = {}
    for format, precision in product(formats, precisions):
        for device in (devices or (None,)) if format in ENGINE_FORMATS else (None,):
            found[Variant(format=format, precision=precision, device=device)] = None
    if not found:
        raise ValueError("at least one format and one precision must be given")
    return list(found)


def _places(subnet: Path, out: Path | None, variants: Sequence[Variant]) -> list[Path]:
    if len(variants) == 1:
        return [out or subnet.with_suffix(variants[0].suffix)]
    if out is not None and (out.is_file() or out.suffix in {variant.suffix for variant in variants}):
        raise InputError(
            f"'{out}' must be a folder, because {len(variants)} files are asked for, but it is a file or named like one; "
            "give a folder with --out"
        )
    folder = out or subnet.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_error(folder, error) from error
    return [folder / f"{subnet.stem}.{variant.name}{variant.suffix}" for variant in variants]


class _Exporter:
    """Makes files one after the other; engines of the same precision are built from one ONNX model."""

    def __init__(self, subnet: SubnetFile, options: ExportOptions, folder: Path, on_step: OnStep) -> None:
        self._subnet, self._options, self._folder, self._on_step = subnet, options, folder, on_step
        self._models: dict[Precision, ExportReport | NatDeployError] = {}

    def tried(self, variant: Variant, file: Path) -> Exported:
        def on_step(step: str, done: int, total: int) -> None:
            self._on_step(f"{file.name}: {step}", done, total)

        try:
            return Exported(variant=variant, file=file, report=self.export(variant, file, on_step))
        except NatDeployError as error:
            return Exported(variant=variant, file=file, error=error)

    def export(self, variant: Variant, file: Path, on_step: OnStep) -> ExportReport | EngineReport:
        if not variant.is_engine:
            return self._to_model(file, variant.format, variant.precision, self._options.int8_form, on_step)
        device = engine_device(variant.format, variant.device)
        transport = open_device(device)
        check_engine_can_be_built(variant.format, device, transport)
        model = self._model_for_engines(variant.precision, on_step)
        on_step(f"building the engine on {device.name}", 0, 1)
        report = export_engine(
            model,
            file,
            format=variant.format,
            device=device,
            precision=variant.precision,
            batch_size=self._options.batch_size,
            compute_capabilities=self._options.compute_capabilities,
            transport=transport,
        )
        on_step(f"building the engine on {device.name}", 1, 1)
        return report

    def _model_for_engines(self, precision: Precision, on_step: OnStep) -> ExportReport:
        if precision not in self._models:
            path = self._folder / f"{precision}.onnx"
            try:
                self._models[precision] = self._to_model(path, "onnx", precision, "tensorrt", on_step)
            except NatDeployError as error:
                self._models[precision] = error
        found = self._models[precision]
        if isinstance(found, NatDeployError):
            raise found
        return found

    def _to_model(self, file: Path, format: str, precision: Precision, form: Int8Form, on_step: OnStep) -> ExportReport:
        options = self._options
        return export_subnet(
            self._subnet,
            file,
            format=format,
            precision=precision,
            weights=options.weights,
            calibrate=options.calibrate,
            max_drop=options.max_drop,
            int8_form=form,
            qat_epochs=options.qat_epochs if precision == "int8" else 0,
            preprocessing=options.preprocessing,
            cache_dir=options.cache_dir,
            on_step=on_step,
        )


def _ignore(step: str, done: int, total: int) -> None: ...
