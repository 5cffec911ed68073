"""LiteStage: latency-aware layer skipping for multi-stage reasoning with small language models."""

__version__ = "0.1.0"
