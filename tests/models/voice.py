"""Writes a tiny voice for sherpa-onnx: every letter is a tone of its own pitch. No quality is meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RATE = 16_000
LETTER_SAMPLES = 800
LETTERS = "_^$ abcdefghijklmnopqrstuvwxyz.,!?'-"


def write_voice(folder: Path, speakers: int = 3, names: Sequence[str] = ()) -> Path:
    """A VITS model's folder; a letter lasts 50 ms at speed 1, and speakers differ in loudness."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokens.txt").write_text("".join(f"{letter} {index}\n" for index, letter in enumerate(LETTERS)))
    scalars = ("noise_scale", "length_scale", "noise_scale_w")
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.INT64, [1, "L"]),
        helper.make_tensor_value_info("x_length", TensorProto.INT64, [1]),
        *(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in scalars),
        helper.make_tensor_value_info("sid", TensorProto.INT64, [1]),
    ]
    constants = [
        numpy_helper.from_array(np.array([float(LETTER_SAMPLES)], np.float32), "letter"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array([1, 1, -1], np.int64), "flat"),
        numpy_helper.from_array(np.array([2], np.int64), "last"),
        numpy_helper.from_array(np.array([0.01], np.float32), "quiet"),
        numpy_helper.from_array(np.array([1.0], np.float32), "one_float"),
    ]
    nodes = [
        helper.make_node("Mul", ["letter", "length_scale"], ["samples_float"]),
        helper.make_node("Cast", ["samples_float"], ["samples"], to=TensorProto.INT64),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Concat", ["shape", "samples"], ["wide"], axis=0),
        helper.make_node("Cast", ["x"], ["letters"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["letters", "last"], ["columns"]),
        helper.make_node("Expand", ["columns", "wide"], ["held"]),
        helper.make_node("Reshape", ["held", "flat"], ["line"]),
        helper.make_node("CumSum", ["line", "last_axis"], ["phase"]),
        helper.make_node("Mul", ["phase", "quiet"], ["slow"]),
        helper.make_node("Sin", ["slow"], ["tone"]),
        helper.make_node("Cast", ["sid"], ["speaker"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["speaker", "one_float"], ["louder"]),
        helper.make_node("Div", ["tone", "louder"], ["y"]),
    ]
    constants.append(numpy_helper.from_array(np.array(2, np.int64), "last_axis"))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "N"])
    graph = helper.make_graph(nodes, "voice", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = {
        "model_type": "vits", "comment": "tests", "language": "English",
        "frontend": "characters", "add_blank": 0, "n_speakers": speakers, "sample_rate": RATE,
        "punctuation": ". , ! ?", "use_eos_bos": 0,
        "bos_id": 1, "eos_id": 2, "blank_id": 0, "pad_id": 0,
    }  # fmt: skip
    if names:
        facts["speaker_names"] = ",".join(names)
    helper.set_model_props(model, {name: str(value) for name, value in facts.items()})
    onnx.save(model, folder / "model.onnx")
    return folder
