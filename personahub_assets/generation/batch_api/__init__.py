"""Requests that are submitted as files and answered later, by a batch API or by `vllm run-batch`."""
