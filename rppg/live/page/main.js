// The page: frames go to the process, readings come back.

import { openCamera, openFile, readFrames } from "./camera.js";
import { drawBox, drawRates, drawWave } from "./drawing.js";
import { Session } from "./session.js";

const MOST_WAITING_BYTES = 700_000; // two frames; more would only be late
const RETRY_MS = 2000;

const element = (id) => document.getElementById(id);
const video = element("video");
const token = location.hash.slice(1);
const frame = { width: 0, height: 0 };
let socket = null;
let session = new Session();
let newest = null;
let close = null; // the camera or file

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
    if (opened) setTimeout(connect, RETRY_MS);
  };
}

function report(text) {
  element("connection").textContent = text;
}

async function start(open, isCamera) {
  stop();
  session = new Session();
  newest = null;
  try {
    close = [await open()];
  } catch (error) {
    element("state").textContent = "no picture";
    element("advice").textContent =
      error.name === "NotAllowedError"
        ? "allow this page to use the camera"
        : `${isCamera ? "the camera" : "the file"} can't be opened (${error.name}); choose another`;
    return;
  }
  if (socket?.readyState === WebSocket.OPEN) socket.send("reset");
  element("stage").classList.toggle("mirrored", isCamera);
  element("hint").hidden = true;
  element("stop").disabled = false;
  element("state").textContent = "looking for a face";
  element("advice").textContent = "";
  close.push(
    readFrames(video, isCamera, (bytes, width, height) => {
      Object.assign(frame, { width, height });
      if (socket?.readyState === WebSocket.OPEN && socket.bufferedAmount < MOST_WAITING_BYTES) {
        socket.send(bytes);
      }
    }),
  );
}

function stop() {
  close?.reverse().forEach((each) => each());
  close = null;
  video.pause();
  element("stop").disabled = true;
}

function show(reading) {
  if (close === null) return;
  newest = reading;
  session.add(reading);
  element("save").disabled = false;
  element("bpm").textContent = reading.reliable ? reading.hr_bpm.toFixed(0) : "--";
  element("rate").classList.toggle("reliable", reading.reliable);
  element("meter").value = reading.quality;
  element("quality-value").textContent = reading.quality.toFixed(2);
  say("state", reading.reason ? `${reading.state}: ${reading.reason}` : reading.state);
  element("missing").textContent =
    reading.state === "measuring" ? `${Math.ceil(reading.missing_s)} s to go` : "";
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
element("stop").addEventListener("click", stop);
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
window.addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
connect();
