from .benchmarking import Latency as Latency
from .benchmarking import benchmark as benchmark
from .onnx import export_onnx as export_onnx
from .parity import Drift as Drift
from .parity import ExportReport as ExportReport
from .running import run_exported as run_exported
from .saved_model import export_saved_model as export_saved_model
from .tflite import export_tflite as export_tflite
