"""The contract of `gradreg.testing`: every wrapper passes it, and each of its points can fail."""

import doctest
import importlib
import itertools
import json
import pkgutil
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

import gradreg
import gradreg.testing
from gradreg.testing import CONTRACT, LAWS, check_wrapper, inspect_wrapper

ADAMW = {"AdamW": gradreg.testing.check.OPTIMIZERS["AdamW"]}


def masked(opt, model):
    return gradreg.PostVerificationMask(opt, gradreg.WeakAmplitude(0.0, 4.0, adaptive=0.95))


def smoothed(opt, model):
    return gradreg.PerturbationSmoother(opt, rho=0.05, model=model)


def one_pass(opt, model):
    return gradreg.OnePassSmoother(opt, rho=0.1)


def projected(opt, model):
    opt = gradreg.NullSpaceProjector(opt, model, refresh_every=2)
    with opt.observe_noise():
        model(torch.randn(4, 3, generator=torch.Generator().manual_seed(5)))
    return opt


LEVELS = {
    "mask": (masked, lambda opt, model: gradreg.PostVerificationMask(opt, torch.ones_like)),
    "smooth": (smoothed, lambda opt, model: gradreg.PerturbationSmoother(opt, rho=0.0)),
    "one pass": (one_pass, lambda opt, model: gradreg.OnePassSmoother(opt, rho=0.0)),
    "project": (projected, lambda opt, model: gradreg.NullSpaceProjector(opt, model, strength=0)),
}
NESTINGS = [
    order
    for smoother in ("smooth", "one pass")
    for size in (2, 3)
    for order in itertools.permutations(("mask", smoother, "project"), size)
    if size == 3 or smoother in order or smoother == "smooth"
]


def chain(order, neutral=False):
    def build(opt, model):
        for level in order:
            opt = LEVELS[level][neutral](opt, model)
        return opt

    return build


def verified_loss(wrapper, model, inputs, targets):
    out = model(inputs)
    out, _ = wrapper.verify(out, evidence=(out - targets).detach().abs())
    return (out - targets).square().mean()


def check(order, optimizers=None):
    smooth = "smooth" in order or "one pass" in order
    return check_wrapper(
        chain(order),
        optimizers,
        neutral=chain(order, neutral=True),
        **({"loss": verified_loss} if "mask" in order else {}),
        **({"clean": lambda wrapper: wrapper.unperturbed()} if smooth else {}),
    )


# ---- Our own wrappers pass ----------------------------------------------------------------------


def test_there_are_sixteen_points_each_with_its_question():
    assert len(CONTRACT) == 16
    checks = [*CONTRACT.values(), *LAWS.values()]
    assert all(check.__doc__.splitlines()[0].startswith("Check that ") for check in checks)


@pytest.mark.parametrize("level", LEVELS)
def test_each_wrapper_passes_around_each_optimizer(level):
    assert len(check((level,)).outcomes) == 3 * (len(CONTRACT) + len(LAWS))


@pytest.mark.parametrize("order", NESTINGS, ids=" in ".join)
def test_each_nesting_of_two_and_three_passes(order):
    check(order, ADAMW)


@pytest.mark.slow
@pytest.mark.parametrize("order", NESTINGS, ids=" in ".join)
def test_each_nesting_passes_around_each_optimizer(order):
    check(order)


def projected_with(*, signal=False, **given):
    def build(opt, model):
        opt = gradreg.NullSpaceProjector(opt, model, **given)
        noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(5))
        with opt.observe_noise():
            model(noise)
        if signal:
            with opt.observe_signal():
                model(noise / 10)
        return opt

    return build


SETTINGS = {
    "ASAM": lambda opt, model: gradreg.PerturbationSmoother(opt, 0.2, gradreg.ASAM()),
    "Friendly": lambda opt, model: gradreg.PerturbationSmoother(opt, 0.05, gradreg.Friendly()),
    "Random": lambda opt, model: gradreg.PerturbationSmoother(opt, 0.05, gradreg.Random()),
    "Gaussian": lambda opt, model: gradreg.PerturbationSmoother(opt, 0.02, gradreg.Gaussian(2)),
    "every third step": lambda opt, model: gradreg.PerturbationSmoother(opt, every=3),
    "replayed": lambda opt, model: gradreg.PerturbationSmoother(opt, replay_rng=True),
    "norm outlier": lambda opt, model: gradreg.PostVerificationMask(
        opt, gradient_prior=gradreg.NormOutlier()
    ),
    "sign agreement": lambda opt, model: gradreg.PostVerificationMask(
        opt, gradient_prior=gradreg.SignAgreement()
    ),
    # Without a signal it warns, which a scheduler may not.
    "release": projected_with(mode="release", signal=True),
    "sketch": projected_with(max_size=2, sketch_size=2),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_other_settings_pass(setting):
    check_wrapper(SETTINGS[setting], ADAMW)


def test_a_projected_bias_passes_all_but_freezing_a_weight_without_it():
    build = projected_with(bias=True)
    check_wrapper(build, ADAMW, without=["frozen parameters"])
    # The projection couples the two, so half of a pair can't stay: refused, with the mend.
    with pytest.raises(AssertionError, match=r"20 of 21 passed\n.*frozen.*freeze both"):
        check_wrapper(build, ADAMW)


# ---- Broken wrappers fail at their point, and there alone ---------------------------------------


class Sound(gradreg.OptimizerWrapper):
    """Keeps a count of its own, so that there is something to lose."""

    def __init__(self, optimizer):
        super().__init__(optimizer)
        self.steps = 0

    def after_update(self):
        self.steps += 1

    def get_extra_state(self):
        return {"steps": self.steps}

    def set_extra_state(self, state):
        self.steps = state["steps"]


class Uphill(Sound):
    def before_update(self):
        for p in self.parameters:
            if p.grad is not None:
                p.grad.neg_()


class Silent(Sound):
    def step(self, closure=None, **given):
        super().step(closure, **given)

    step.hooked = True


class Rebinding(Sound):
    def after_update(self):
        for p in self.parameters:
            p.data = p.data.clone()


class Forgetful(Sound):
    """Every second step is half as long, and which one isn't saved."""

    def before_update(self):
        for p in self.parameters:
            if p.grad is not None:
                p.grad.mul_(1 + self.steps % 2)

    def get_extra_state(self):
        return {}

    def set_extra_state(self, state):
        pass


class Unreadable(Sound):
    def get_extra_state(self):
        return {"steps": self.steps, "device": SimpleNamespace(type="cpu")}


class CopiedGroups(Sound):
    @property
    def param_groups(self):
        return [dict(group) for group in self.inner.param_groups]

    @param_groups.setter
    def param_groups(self, groups):
        self.inner.param_groups = groups


class StaleGroups(Sound):
    """Keeps the list that `load_state_dict` replaces, as a plain attribute would."""

    def __init__(self, optimizer):
        super().__init__(optimizer)
        self._groups = optimizer.param_groups

    @property
    def param_groups(self):
        return self._groups

    @param_groups.setter
    def param_groups(self, groups):
        self.inner.param_groups = groups


class LostGroup(Sound):
    def add_param_group(self, param_group):
        self.inner.add_param_group(
            {**param_group, "params": [p.detach().clone() for p in param_group["params"]]}
        )


class SharedCopy(Sound):
    def __deepcopy__(self, memo):
        twin = type(self)(self.inner)
        twin.steps = self.steps
        return twin


class HookedTwice(Sound):
    def register_step_post_hook(self, hook):
        self.inner.register_step_post_hook(hook)
        return self.inner.register_step_post_hook(hook)


class GlobalTwice(Sound):
    """Lets torch run the global hooks in its own step too, as a subclass does by default."""

    def step(self, closure=None, *, scaler=None):
        from torch.optim import optimizer

        for hook in optimizer._global_optimizer_pre_hooks.values():
            hook(self, (closure,), {})
        return super().step(closure, scaler=scaler)

    step.hooked = True


class OwnHooksFirst(Sound):
    """Runs its own pre-hooks outside of the global ones."""

    def __init__(self, optimizer):
        super().__init__(optimizer)
        self.hooks = OrderedDict()

    def register_step_pre_hook(self, hook):
        handle = RemovableHandle(self.hooks)
        self.hooks[handle.id] = hook
        return handle

    def step(self, closure=None, *, scaler=None):
        for hook in self.hooks.values():
            hook(self, (closure,), {})
        return super().step(closure, scaler=scaler)

    step.hooked = True


class DeafToStateHooks(Sound):
    def register_load_state_dict_post_hook(self, hook, prepend=False):
        return Optimizer.register_load_state_dict_post_hook(self, hook, prepend)


class Nameless(Sound):
    def __repr__(self):
        return "an optimizer"


class Unscaled(Sound):
    """Claims to handle a GradScaler itself, and doesn't."""

    _step_supports_amp_scaling = True

    def step(self, closure=None, *, scaler=None, grad_scaler=None):
        return super().step(closure, scaler=scaler)

    step.hooked = True


class Decaying(Sound):
    """Shrinks frozen parameters: those without a gradient, in a step in which others have one."""

    def after_update(self):
        super().after_update()
        if any(p.grad is not None for p in self.parameters):
            for p in self.parameters:
                if not p.requires_grad:
                    p.mul_(0.9)


class Demanding(Sound):
    def gradient_given(self):
        if any(p.grad is not None and p.grad.any() for p in self.parameters):
            raise TypeError("'NoneType' object is not callable")


class Drifting(Sound):
    """Moves parameters when there is no gradient at all."""

    def after_update(self):
        super().after_update()
        if all(p.grad is None for p in self.parameters):
            for p in self.parameters:
                p.mul_(0.9)


def unpicklable(opt, model):
    class Local(Sound):
        pass

    return Local(opt)


BROKEN = [
    ("step", Uphill),
    ("returns the loss", Silent),
    ("data_ptr kept", Rebinding),
    ("save, load, resume", Forgetful),
    ("save, load, resume", Unreadable),
    ("scheduler", CopiedGroups),
    ("scheduler", StaleGroups),
    ("add_param_group", LostGroup),
    ("deepcopy", SharedCopy),
    ("pickle", unpicklable),
    ("local step hooks", HookedTwice),
    ("global step hooks", GlobalTwice),
    ("global step hooks", OwnHooksFirst),
    ("state-dict hooks", DeafToStateHooks),
    ("repr", Nameless),
    ("GradScaler", Unscaled),
    ("frozen parameters", Decaying),
    ("no closure", Demanding),
    ("all gradients None", Drifting),
]


def build_of(broken):
    return (lambda opt, model: broken(opt)) if isinstance(broken, type) else broken


def test_the_sound_one_passes():
    check_wrapper(build_of(Sound), neutral=build_of(Sound))


def test_every_point_has_a_wrapper_that_breaks_it():
    assert {point for point, _ in BROKEN} == set(CONTRACT)


@pytest.mark.parametrize(("point", "broken"), BROKEN, ids=lambda x: getattr(x, "__name__", x))
def test_a_broken_wrapper_fails_its_point_and_no_other(point, broken):
    report = inspect_wrapper(build_of(broken))
    assert {outcome.point for outcome in report.failed} == {point}, str(report)
    assert report.not_offered == ()
    assert all(outcome.reason for outcome in report.failed)


def test_the_list_of_all_failures_is_the_error():
    with pytest.raises(AssertionError, match=r"(?s)45 of 48 passed.*repr.*an optimizer") as raised:
        check_wrapper(build_of(Nameless), without=LAWS.keys() - {"transparency"})
    assert str(raised.value).count("fail: repr") == 3


def test_what_is_not_offered_is_told_apart_and_may_be_left_out():
    class Foreign:  # no torch optimizer
        def __init__(self, optimizer):
            self.inner = optimizer

        def __getattr__(self, name):
            if name.startswith("register") or name in {"add_param_group", "inner"}:
                raise AttributeError(name)
            return getattr(self.inner, name)

        def __repr__(self):
            return f"Foreign({self.inner!r})"

    report = inspect_wrapper(lambda opt, model: Foreign(opt), ADAMW)
    missing = {o.point for o in report.not_offered}
    assert missing == {
        "scheduler",
        "add_param_group",
        "local step hooks",
        "global step hooks",
        "state-dict hooks",
    }
    with pytest.raises(AssertionError, match="not offered: scheduler"):
        check_wrapper(lambda opt, model: Foreign(opt), ADAMW)


def test_an_unknown_name_in_without_is_refused():
    with pytest.raises(ValueError, match=r"without names 'steps': expected some of 'step', "):
        check_wrapper(build_of(Sound), without=["steps"])


def test_the_published_table_says_that_ours_pass():
    path = Path(__file__).parents[3] / "docs" / "results" / "contract.json"
    wrappers = json.loads(path.read_text(encoding="utf-8"))["wrappers"]
    ours = [wrapper for wrapper in wrappers if wrapper["library"] == "gradreg"]
    assert len(ours) == 5
    for wrapper in ours:
        assert wrapper["points"].keys() == CONTRACT.keys()
        assert {r for found in wrapper["points"].values() for r in found.values()} == {"pass"}


def test_the_random_state_is_left_alone():
    before = torch.get_rng_state()
    inspect_wrapper(build_of(Sound), ADAMW)
    assert torch.equal(before, torch.get_rng_state())


class Opaque(Sound):
    """Starts with a step that is not the bare optimizer's."""

    def before_update(self):
        if self.steps == 0:
            self.parameters[0].grad.mul_(1.5)


class OwnState(Sound):
    @property
    def state(self):
        return dict(self.inner.state)

    @state.setter
    def state(self, state):
        self.inner.state = state


class Renaming(Sound):
    """Keeps the base optimizer's state under a name of its own."""

    def state_dict(self):
        state = super().state_dict()
        return {**state, "state": {}, "moments": state["state"]}

    def load_state_dict(self, state_dict):
        super().load_state_dict({**state_dict, "state": state_dict.get("moments", {})})


class Counting(Sound):
    """Touches the moments of a step that is then skipped."""

    def accept(self):
        for state in self.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    value.mul_(0.5)
        return True


class Careless(Sound):
    def evaluate(self, closure):
        with torch.no_grad():
            for p in self.parameters:
                p.add_(0.1)
        loss = closure()
        with torch.no_grad():
            for p in self.parameters:
                p.sub_(0.1)
        return loss


class Eager(Sound):
    def step(self, closure=None, *, scaler=None):
        for p in self.parameters:
            p.data.mul_(0.99)
        return super().step(closure, scaler=scaler)

    step.hooked = True


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        ("transparency", Opaque),
        ("delegation", OwnState),
        ("a bare state loads", Renaming),
        ("skips", Counting),
        ("exceptions", Careless),
        ("initialisation", Eager),
    ],
)
def test_every_law_can_be_broken(law, broken):
    report = inspect_wrapper(build_of(broken), points=LAWS, neutral=build_of(broken))
    assert law in {outcome.point for outcome in report.failed}, str(report)


@pytest.mark.parametrize(
    "name", [m.name for m in pkgutil.walk_packages(gradreg.testing.__path__, "gradreg.testing.")]
)
def test_docstring_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
