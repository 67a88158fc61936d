"""Reads Open Inference Protocol requests: into arrays of the right names and types, or a refusal that says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput as Refused
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import RequestedOutput

from tastemaker.errors import InvalidInput
from tastemaker_serving.kserve_tensors import Array, Tensor


class BinaryInput(msgspec.Struct):
    """An input in the JSON part of a binary REST request; without `data`, its bytes follow the JSON part."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class BinaryOutput(msgspec.Struct):
    """An output that such a request asks for."""

    name: str
    parameters: dict[str, Any] = {}


class BinaryRequest(msgspec.Struct):
    """The JSON part of a binary REST request."""

    inputs: list[BinaryInput]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[BinaryOutput] = []


class BinaryDataPlane(DataPlane):  # type: ignore[misc]
    """KServe's own, but tensors that arrive as bytes stay bytes.

    KServe makes lists of Python numbers of them, at ten times the time, and answers 500 to bytes that do not fit.
    """

    def decode_inference_request(self, body: Any, headers: Mapping[str, str], model_name: str) -> InferRequest:
        """The request of a REST call's body: bytes, or JSON that is already parsed.

        Raises:
            Refused: it cannot be read.
        """
        if not isinstance(body, bytes):
            return super().decode_inference_request(body, headers, model_name)
        try:
            return binary_request(body, headers.get("inference-header-content-length"), model_name)
        except InvalidInput as error:
            raise Refused(str(error)) from error


def binary_request(body: bytes, json_length: str | None, model_name: str) -> InferRequest:
    """Parse a body whose first `json_length` bytes are JSON and whose rest are tensors' bytes.

    Raises:
        InvalidInput: it cannot be read.
    """
    if json_length is None or not json_length.isdecimal():
        raise InvalidInput(
            f"header Inference-Header-Content-Length is {json_length!r} on a binary body",
            "Send the length of its JSON part in bytes, or send JSON with Content-Type application/json",
        )
    start = int(json_length)
    try:
        request = msgspec.json.decode(body[:start], type=BinaryRequest)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"the JSON part of the body cannot be read: {error}", "Send {'inputs': [...]}") from error
    raw: list[bytes | None] = []
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size", 0)
        if tensor.data is not None:
            raw.append(None)
            continue
        if not isinstance(size, int) or not 0 <= size <= len(body) - start:
            raise InvalidInput(
                f"tensor {tensor.name!r} has binary_data_size {size!r}, but {len(body) - start} bytes are left",
                "Send as many bytes as the tensors' sizes say",
            )
        raw.append(body[start : start + size])
        start += size
    inputs = [InferInput(one.name, one.shape, one.datatype, one.data) for one in request.inputs]
    outputs = [RequestedOutput(one.name, one.parameters) for one in request.outputs]
    return InferRequest(model_name, inputs, request.id, raw, parameters=request.parameters, request_outputs=outputs)


def arrays_of(request: InferRequest, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """The input tensors by name.

    Raises:
        InvalidInput: one is missing, unknown, of another type, or has too few or too many values.
    """
    given = {one.name: one for one in request.inputs}
    for tensor in tensors:
        if tensor.name not in given:
            raise InvalidInput(
                f"tensor {tensor.name!r} is missing; there are {sorted(given) or 'none'}", f"Send {tensor.wanted()}"
            )
    names = [tensor.name for tensor in tensors]
    for name in given:
        if name not in names:
            raise InvalidInput(f"tensor {name!r} is no input of {request.model_name}", f"Send {', '.join(names)}")
    return {tensor.name: _array(given[tensor.name], tensor) for tensor in tensors}


def wanted_outputs(request: InferRequest, tensors: Sequence[Tensor]) -> list[str]:
    """Names of the outputs that the request asks for, all where it names none.

    Raises:
        InvalidInput: there is no such output.
    """
    names = [tensor.name for tensor in tensors]
    asked = [one.name for one in request.request_outputs or ()]
    for name in asked:
        if name not in names:
            raise InvalidInput(f"tensor {name!r} is no output of {request.model_name}", f"Ask for {', '.join(names)}")
    return asked or names


def _array(sent: InferInput, tensor: Tensor) -> Array:
    if sent.datatype != tensor.datatype:
        raise InvalidInput(
            f"tensor {tensor.name!r} has datatype {sent.datatype}, expected {tensor.datatype}",
            f"Send {tensor.wanted()}",
        )
    try:
        array: Array = sent.as_numpy()
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(
            f"tensor {tensor.name!r} of shape {sent.shape} cannot be read: {error}",
            f"Send as many values as its shape says, as {tensor.wanted()}",
        ) from error
    return array
