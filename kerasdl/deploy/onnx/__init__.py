"""ONNX files: exporter, quantizer, rewrites, runtime. Imports export."""
