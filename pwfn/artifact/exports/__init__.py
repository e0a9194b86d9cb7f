"""Give a compressed network other forms: ONNX and safetensors."""
