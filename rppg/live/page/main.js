// The page: frames go to the process, readings come back.

import { openCamera, openFile, readFrames } from "./camera.js";
import { drawBox, drawRates, drawWave } from "./drawing.js";
import { Session } from "./session.js";

const MOST_WAITING_BYTES = 700_000; // two frames; more would only be late
const RETRY_MS = 2000;
const STALE_MS = 5000; // a rate that is older is no rate of now

const element = (id) => document.getElementById(id);
const video = element("video");
const token = location.hash.slice(1) || "none";
const frame = { width: 0, height: 0 };
let socket = null;
let session = new Session();
let newest = null;
let close = null; // the camera or file
let shownMs = 0; // when the newest reading was shown

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/frames`, ["rppg", token]);
  socket.binaryType = "arraybuffer";
  let opened = false;
  socket.onopen = () => {
    opened = true;
    report("connected");
  };
  socket.onmessage = (event) => show(JSON.parse(event.data));
  socket.onclose = (event) => {
    const why = event.reason ? `: ${event.reason}` : "";
    report(`not connected${why}; open the address that the program printed, while it runs`);
    if (close) blank("not connected", "look whether the program still runs");
    if (opened) setTimeout(connect, RETRY_MS);
  };
}

function report(text) {
  element("connection").textContent = text;
}

async function start(open, isCamera) {
  stop("starting");
  session = new Session();
  try {
    close = [await open()];
  } catch (error) {
    const opened = isCamera ? "the camera" : "the file";
    const failed = `${opened} can't be opened (${error.name}); choose another`;
    blank("no picture", error.name === "NotAllowedError" ? "allow this page to use the camera" : failed);
    return;
  }
  if (socket?.readyState === WebSocket.OPEN) socket.send("reset");
  element("stage").classList.toggle("mirrored", isCamera);
  setRunning(true);
  blank("looking for a face", "");
  close.push(
    readFrames(video, isCamera, (bytes, width, height) => {
      Object.assign(frame, { width, height });
      if (socket?.readyState === WebSocket.OPEN && socket.bufferedAmount < MOST_WAITING_BYTES) {
        socket.send(bytes);
      }
    }),
  );
}

function stop(state) {
  close?.reverse().forEach((each) => each());
  close = null;
  video.pause();
  setRunning(false);
  blank(state, "");
}

function setRunning(running) {
  element("hint").hidden = running;
  element("start").disabled = running;
  element("stop").disabled = !running;
  document.body.classList.toggle("running", running);
}

// Show that there is no rate now; what was measured before stays in the curves.
function blank(state, advice) {
  newest = null;
  shownMs = performance.now();
  showRate(null, 0);
  say("state", state);
  say("missing", "");
  say("advice", advice);
  draw();
}

function showRate(bpm, quality) {
  element("bpm").textContent = bpm === null ? "--" : bpm.toFixed(0);
  element("rate").classList.toggle("reliable", bpm !== null);
  element("meter").value = quality;
  element("quality-value").textContent = newest === null ? "--" : quality.toFixed(2);
}

function show(reading) {
  if (close === null) return;
  newest = reading;
  shownMs = performance.now();
  session.add(reading);
  element("save").disabled = false;
  showRate(reading.reliable ? reading.hr_bpm : null, reading.quality);
  say("state", reading.reason ? `${reading.state}: ${reading.reason}` : reading.state);
  say("missing", reading.state === "measuring" ? `${Math.ceil(reading.missing_s)} s to go` : "");
  say("advice", reading.advice ?? "");
  draw();
}

// Screen readers read what is set, so it is set only when it changes.
function say(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}

function draw() {
  drawBox(element("overlay"), newest, frame);
  drawWave(element("wave"), newest);
  drawRates(element("rates"), session.readings);
}

element("start").addEventListener("click", () => start(() => openCamera(video), true));
element("stop").addEventListener("click", () => stop("stopped"));
video.addEventListener("ended", () => stop("the video has ended"));
element("save").addEventListener("click", () => session.save());
element("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) start(() => openFile(video, file), false);
});
const stage = element("stage");
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    stage.classList.add("dropping");
  });
}
document.addEventListener("dragleave", () => stage.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) start(() => openFile(video, file), false);
});
setInterval(() => {
  if (close === null || performance.now() - shownMs < STALE_MS) return;
  if (socket?.readyState === WebSocket.OPEN) blank("no frames", "look whether the camera is on, and keep this page in front");
}, 1000);
window.addEventListener("hashchange", () => location.reload()); // another token
window.addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
connect();
