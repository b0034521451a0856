// Frames of a camera or a file: raw pixels with their own times. Compression would erase the pulse.

const LARGEST = { width: 320, height: 240 };
const HEADER_BYTES = 16;
const SETTLE_MS = 2000; // a camera's automatic exposure is right by then

export async function openCamera(video) {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: false,
    video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, facingMode: "user" },
  });
  video.srcObject = stream;
  video.removeAttribute("src");
  await video.play();
  const [track] = stream.getVideoTracks();
  setTimeout(() => lock(track), SETTLE_MS);
  return () => stream.getTracks().forEach((each) => each.stop());
}

export async function openFile(video, file) {
  const url = URL.createObjectURL(file);
  video.srcObject = null;
  video.src = url;
  await video.play();
  return () => {
    video.removeAttribute("src");
    video.load();
    URL.revokeObjectURL(url);
  };
}

// Hold exposure and white balance, where browser and camera can: their changes are larger than a pulse.
async function lock(track) {
  const can = track.getCapabilities?.() ?? {};
  const held = {};
  for (const name of ["exposureMode", "whiteBalanceMode"]) {
    if (can[name]?.includes("manual")) held[name] = "manual";
  }
  if (Object.keys(held).length === 0 || track.readyState !== "live") return;
  try {
    await track.applyConstraints({ advanced: [held] });
  } catch (error) {
    console.info("exposure stays automatic:", error.name);
  }
}

// Call onFrame(bytes, timeS, width, height) for each frame, until the function returned is called.
export function readFrames(video, isCamera, onFrame) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  let handle = 0;
  let stopped = false;
  let lastS = -1;

  function take(now, metadata) {
    if (stopped) return;
    request();
    const { videoWidth, videoHeight } = video;
    if (videoWidth === 0 || video.paused) return;
    const timeS = isCamera ? (metadata?.captureTime ?? now) / 1000 : (metadata?.mediaTime ?? video.currentTime);
    if (timeS === lastS) return;
    lastS = timeS;
    const scale = Math.min(1, LARGEST.width / videoWidth, LARGEST.height / videoHeight);
    const width = Math.max(1, Math.round(videoWidth * scale));
    const height = Math.max(1, Math.round(videoHeight * scale));
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    context.drawImage(video, 0, 0, width, height);
    onFrame(pack(context.getImageData(0, 0, width, height), timeS), width, height);
  }

  // Browsers without this call give no frame's own time.
  const own = "requestVideoFrameCallback" in HTMLVideoElement.prototype;
  function request() {
    handle = own ? video.requestVideoFrameCallback(take) : requestAnimationFrame((now) => take(now));
  }
  request();
  return () => {
    stopped = true;
    if (own) video.cancelVideoFrameCallback(handle);
    else cancelAnimationFrame(handle);
  };
}

// The layout is that of rppg/live/frame_message.py.
function pack(image, timeS) {
  const bytes = new Uint8Array(HEADER_BYTES + image.data.length);
  const header = new DataView(bytes.buffer);
  bytes.set([0x52, 0x50, 0x47, 0x31]);
  header.setUint16(4, image.width, true);
  header.setUint16(6, image.height, true);
  header.setFloat64(8, timeS, true);
  bytes.set(image.data, HEADER_BYTES);
  return bytes;
}
