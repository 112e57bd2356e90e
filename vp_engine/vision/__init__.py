"""The vision network: tensors in, tensors out; it never sees a file format."""
