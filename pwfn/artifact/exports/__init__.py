"""Give a compressed network other forms: ONNX, Core ML and safetensors."""
