// The readings of a session, kept in the page alone until they are saved.

const MOST_READINGS = 4 * 3600;

export class Session {
  constructor() {
    this.readings = [];
    this.wave = []; // [timeS, value, reliable], without overlap
  }

  add(reading) {
    const { wave, ...values } = reading;
    const lastS = this.wave.length ? this.wave[this.wave.length - 1][0] : -Infinity;
    wave.time_s.forEach((timeS, index) => {
      if (timeS > lastS + 1e-3) this.wave.push([timeS, wave.value[index], reading.reliable]);
    });
    this.readings.push(values);
    if (this.readings.length > MOST_READINGS) {
      this.readings.shift();
      const firstS = this.readings[0].time_s;
      while (this.wave.length && this.wave[0][0] < firstS) this.wave.shift();
    }
  }

  save() {
    const rates = this.readings.map((r) =>
      [r.time_s, r.hr_bpm ?? "", r.quality, r.reliable, quote(r.state), quote(r.reason ?? "")].join(","),
    );
    download("rates.csv", ["time_s,hr_bpm,quality,reliable,state,reason", ...rates]);
    download("wave.csv", ["time_s,value,reliable", ...this.wave.map((row) => row.join(","))]);
  }
}

function quote(text) {
  return `"${text.replaceAll('"', '""')}"`;
}

function download(name, lines) {
  const url = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
