"""Video: decoding with timestamps, face detection, tracking, and crops that follow the face."""

from rppg.types import Frame, Video, VideoInfo
from rppg.video.blazeface import Face, detect
from rppg.video.crop import read_crops
from rppg.video.decode_video import probe, read_frames
from rppg.video.encode import roundtrip, write_video
from rppg.video.encoding import CODECS, Encoding
from rppg.video.sources.video_file import VideoFile
from rppg.video.transcode import transcode

__all__ = [
    "CODECS",
    "Encoding",
    "Face",
    "Frame",
    "Video",
    "VideoFile",
    "VideoInfo",
    "detect",
    "probe",
    "read_crops",
    "read_frames",
    "roundtrip",
    "transcode",
    "write_video",
]
