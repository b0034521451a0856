"""The evidence in single precision: rounding decides nothing."""

import pytest
import torch

from rppg.verification import Evidence, References, judge


@pytest.mark.parametrize("low_hz", [0.5, 0.6, 0.675])
def test_single_precision_gives_the_evidence_of_double(low_hz: float) -> None:
    generator = torch.Generator().manual_seed(0)
    traces = 1e-3 * torch.randn(4, 8, 300, dtype=torch.float64, generator=generator)

    def evidence(dtype: torch.dtype) -> Evidence:
        x = traces.to(dtype)
        references = References(x[:, :2], x[:, 2:4], torch.ones_like(x[:, :2, 0]))
        return judge(x[:, 4], references, 30.0, regions=x[:, 4:], low_hz=low_hz)

    single, double = evidence(torch.float32), evidence(torch.float64)
    for name in ("share", "agreement", "light", "motion"):
        found, expected = getattr(single, name).double(), getattr(double, name)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
