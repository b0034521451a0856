// The face's box, the wave, and the rates over time, in the colours of the page.

const SHOWN_S = 300;
const LOW_BPM = 40;
const HIGH_BPM = 180;
const TICKS_BPM = [60, 90, 120, 150];

function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.lineJoin = "round";
  return { context, width, height };
}

function colour(name) {
  const probe = document.createElement("span");
  probe.style.setProperty("color", `var(--${name})`);
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

export function drawBox(canvas, reading, frame) {
  const { context, width, height } = prepare(canvas);
  if (!reading?.box || !frame.width) return;
  const scale = Math.min(width / frame.width, height / frame.height);
  const left = (width - frame.width * scale) / 2;
  const top = (height - frame.height * scale) / 2;
  const [x, y, w, h] = reading.box.map((side) => side * scale);
  context.strokeStyle = reading.reliable ? "#57d98a" : "#ffffff";
  context.lineWidth = 3;
  context.strokeRect(left + x, top + y, w, h);
}

export function drawWave(canvas, reading) {
  const { context, width, height } = prepare(canvas);
  context.strokeStyle = colour("line");
  context.beginPath();
  context.moveTo(0, height / 2);
  context.lineTo(width, height / 2);
  context.stroke();
  const values = reading?.wave?.value ?? [];
  if (values.length < 2) return;
  context.strokeStyle = colour(reading.reliable ? "accent" : "faint");
  context.lineWidth = 2;
  context.beginPath();
  values.forEach((value, index) => {
    const x = (index / (values.length - 1)) * width;
    context.lineTo(x, height / 2 - (value / 3) * (height / 2));
  });
  context.stroke();
}

export function drawRates(canvas, readings) {
  const { context, width, height } = prepare(canvas);
  const at = (bpm) => height - ((bpm - LOW_BPM) / (HIGH_BPM - LOW_BPM)) * height;
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = colour("faint");
  context.strokeStyle = colour("line");
  for (const bpm of TICKS_BPM) {
    context.beginPath();
    context.moveTo(28, at(bpm));
    context.lineTo(width, at(bpm));
    context.stroke();
    context.fillText(String(bpm), 0, at(bpm) + 4);
  }
  if (readings.length === 0) return;
  const endS = readings[readings.length - 1].time_s;
  context.fillStyle = colour("accent");
  for (const reading of readings) {
    const age = endS - reading.time_s;
    if (!reading.reliable || age > SHOWN_S) continue;
    const x = width - 4 - (age / SHOWN_S) * (width - 36);
    context.beginPath();
    context.arc(x, at(reading.hr_bpm), 2.5, 0, 2 * Math.PI);
    context.fill();
  }
}
