"""Modules that moved: their old names still import for one version, with a DeprecationWarning."""

from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "rppg.data.bp4d": "rppg.data.layouts.bp4d",
    "rppg.data.buaa_mihr": "rppg.data.layouts.buaa_mihr",
    "rppg.data.cache": "rppg.crops.cache",
    "rppg.data.catalogue": "rppg.data.datasets",
    "rppg.data.cohface": "rppg.data.layouts.cohface",
    "rppg.data.cropfile": "rppg.crops.crop_file",
    "rppg.data.cropkey": "rppg.crops.crop_key",
    "rppg.data.folder": "rppg.data.layouts.folder",
    "rppg.data.ibvp": "rppg.data.layouts.ibvp",
    "rppg.data.manifest": "rppg.data.layouts.manifest",
    "rppg.data.mmpd": "rppg.data.layouts.mmpd",
    "rppg.data.pure": "rppg.data.layouts.pure",
    "rppg.data.scamps": "rppg.data.layouts.scamps",
    "rppg.data.synthetic": "rppg.data.synthetic_dataset",
    "rppg.data.told": "rppg.captured_warnings",
    "rppg.data.ubfc_phys": "rppg.data.layouts.ubfc_phys",
    "rppg.data.ubfc_rppg": "rppg.data.layouts.ubfc_rppg",
    "rppg.data.used": "rppg.data.provenance",
    "rppg.data.vipl_hr": "rppg.data.layouts.vipl_hr",
    "rppg.data.workers": "rppg.processes",
    "rppg.data.writing": "rppg.data.writers",
    "rppg.decompositions": "rppg.export.operators",
    "rppg.estimate": "rppg.estimators.streaming",
    "rppg.evaluation.estimators": "rppg.estimators",
    "rppg.evaluation.export": "rppg.report.result_files",
    "rppg.evaluation.protocol": "rppg.signals.protocol",
    "rppg.evaluation.toolbox": "rppg.signals.rppg_toolbox",
    "rppg.folders": "rppg.cache_folder",
    "rppg.methods.overlap": "rppg.signals.overlap_add",
    "rppg.models.attention": "rppg.models.skin_attention",
    "rppg.models.estimator": "rppg.estimators",
    "rppg.output": "rppg.report.prediction",
    "rppg.peers.estimator": "rppg.estimators.physnet",
    "rppg.peers.loop": "rppg.peers.trainer",
    "rppg.peers.physnet": "rppg.models.physnet",
    "rppg.records": "rppg.types",
    "rppg.report.html": "rppg.report.html_elements",
    "rppg.report.style": "rppg.report.figure_style",
    "rppg.synthetic.courses": "rppg.synthetic.pulse_motion_light",
    "rppg.synthetic.noise": "rppg.synthetic.smooth_noise",
    "rppg.training": "rppg.train",
    "rppg.training.clips": "rppg.train.clips",
    "rppg.training.config": "rppg.train.config",
    "rppg.training.drift": "rppg.train.steady",
    "rppg.training.loop": "rppg.train.fcus",
    "rppg.training.objective": "rppg.train.objective",
    "rppg.training.ranks": "rppg.train.distributed",
    "rppg.training.resume": "rppg.train.resume",
    "rppg.training.stopping": "rppg.train.interrupts",
    "rppg.video.ahead": "rppg.video.prefetch",
    "rppg.video.area": "rppg.video.resize",
    "rppg.video.arrays": "rppg.video.sources.array_file",
    "rppg.video.decode": "rppg.video.decode_video",
    "rppg.video.memory": "rppg.video.sources.in_memory",
    "rppg.video.pictures": "rppg.video.sources.image_sequence",
    "rppg.video.source": "rppg.video.sources.video_file",
    "rppg.video.timed": "rppg.video.sources.timestamped_file",
}


class OldNames(MetaPathFinder):
    """Finds this package's modules by their old names. Append one to `sys.meta_path`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that moved; None for any other."""
        if name not in MOVED:
            return None
        from gradreg.moved_modules import alias  # gradreg imports torch: `rppg --help` doesn't wait

        return alias(name, MOVED[name])
