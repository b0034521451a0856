"""The list of datasets that a SPEC can name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rppg.data.layouts import (
    bp4d,
    buaa_mihr,
    cohface,
    folder,
    ibvp,
    manifest,
    mmpd,
    pure,
    scamps,
    ubfc_phys,
    ubfc_rppg,
    vipl_hr,
)
from rppg.types import Recording


@dataclass(frozen=True)
class Dataset:
    """A dataset as downloaded.

    Attributes:
        title: its name in the literature.
        layout: its files under the path of a SPEC; drawn in full in `rppg.data.layouts`.
        recordings: a function that lists the recordings under a path.
        filters: keys of the metadata that a SPEC can filter by.
        note: anything else that users should know.
    """

    title: str
    layout: str
    recordings: Callable[[Path], list[Recording]]
    filters: tuple[str, ...] = ()
    note: str = ""


DATASETS: Mapping[str, Dataset] = {
    "ubfc-rppg": Dataset(
        "UBFC-rPPG",
        "subjectN/{vid.avi,ground_truth.txt}, or N-gt/{vid.avi,gtdump.xmp}",
        ubfc_rppg.recordings,
    ),
    "pure": Dataset("PURE", "01-01/{01-01/Image*.png,01-01.json}", pure.recordings, ("motion",)),
    "cohface": Dataset("COHFACE", "S/K/{data.avi,data.hdf5}", cohface.recordings, ("light",)),
    "mmpd": Dataset(
        "MMPD",
        "subjectN/pN_K.mat",
        mmpd.recordings,
        tuple(mmpd.KEYS.values()),
        "a file of the full release is read as a whole, 2 to 4 GB; in the mini release the whole "
        "frame is the face",
    ),
    "vipl-hr": Dataset(
        "VIPL-HR",
        "pN/vM/sourceK/{video.avi,wave.csv,gt_HR.csv,time.txt}, or V2: N/{videoK.avi,gt.csv}",
        vipl_hr.recordings,
        ("scenario", "camera"),
        "V2 has a heart rate per video and no wave",
    ),
    "ubfc-phys": Dataset(
        "UBFC-Phys", "sN/{vid_sN_TM.avi,bvp_sN_TM.csv}", ubfc_phys.recordings, ("task",)
    ),
    "scamps": Dataset(
        "SCAMPS",
        "P*.mat, or {Train,Val,Test}/P*.mat",
        scamps.recordings,
        note="splits of its own, in folders or in a CSV file; in frames below 100 pixels the whole "
        "frame is the face",
    ),
    "ibvp": Dataset("iBVP", "pNN_x/{pNN_x_rgb/*.bmp,pNN_x_bvp.csv}", ibvp.recordings, ("session",)),
    "buaa-mihr": Dataset(
        "BUAA-MIHR",
        "Sub NN/Lux X/{luxX_ABC.avi,*PPGData.mat}",
        buaa_mihr.recordings,
        ("light",),
        "of several videos, the first, and those with a ground truth of their name",
    ),
    "bp4d": Dataset(
        "BP4D+",
        "{2D+3D/F001.zip,Physiology/F001/T1/BP_mmHg.txt}, or 2D+3D/F001/T1/*.jpg",
        bp4d.recordings,
        ("task", "gender"),
    ),
    "manifest": Dataset(
        "a CSV manifest",
        "a file with columns video,ground_truth,subject[,format,fps,frame_times,start_s]; paths "
        "relative to it",
        manifest.recordings,
        note="every other column is metadata to filter by",
    ),
    "folder": Dataset(
        "a folder of videos", "any, searched recursively", folder.recordings, note="no ground truth"
    ),
}
