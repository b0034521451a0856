"""Callbacks for trainers. Each module imports its library, so import only the one you need.

module                            class          for
gradreg.integrations.lightning    CleanWeights   Lightning's `Trainer`
gradreg.integrations.transformers CleanWeights   Hugging Face's `Trainer`
"""
