"""How far softmax attention concentrates on few keys, by the std of its logits."""
