"""The losses of the thesis as plain functions of tensors; every module but weights needs torch."""
