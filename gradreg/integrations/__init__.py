"""Callbacks for trainers; each module imports its library, so import the one you need.

module                            class          for
gradreg.integrations.lightning    CleanWeights   Lightning's `Trainer`
gradreg.integrations.transformers CleanWeights   Hugging Face's `Trainer`
"""
