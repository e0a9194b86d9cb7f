// The page: draw a digit or take one of the test images, and see what the network thinks of it.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { load, probabilities } from "./classify.mjs";

const PIXELS = 8; // of a side: what the network was trained on is as coarse
const get = (id) => document.getElementById(id);

function fail(reason) {
  get("model").textContent = `This does not work: ${reason?.message ?? reason}`;
}
addEventListener("error", (event) => fail(event.error));
addEventListener("unhandledrejection", (event) => fail(event.reason));

async function read(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response;
}

const [settings, samples] = await Promise.all(["settings.json", "samples.json"].map(async (name) => (await read(name)).json()));
const bytes = new Uint8Array(await (await read("model.onnx")).arrayBuffer());
const classify = await load(ort, bytes, settings);

const canvas = get("canvas");
const brush = canvas.getContext("2d", { willReadFrequently: true });
const block = canvas.width / PIXELS;

function clear() {
  brush.fillStyle = "black";
  brush.fillRect(0, 0, canvas.width, canvas.height);
  asked++;
  show(null);
}

// The drawing in PIXELS x PIXELS: the mean of each block, in 16 steps.
function coarse() {
  const { data } = brush.getImageData(0, 0, canvas.width, canvas.height);
  return Array.from({ length: PIXELS * PIXELS }, (_, place) => {
    const left = (place % PIXELS) * block;
    const top = Math.floor(place / PIXELS) * block;
    let sum = 0;
    for (let y = top; y < top + block; y++) {
      for (let x = left; x < left + block; x++) sum += data[4 * (y * canvas.width + x)];
    }
    return Math.round((Math.round((sum / (block * block) / 255) * 16) * 255) / 16);
  });
}

function show(logits) {
  get("answer").textContent = logits ? settings.classes[logits.indexOf(Math.max(...logits))] : "";
  get("answer").dataset.logits = JSON.stringify(logits);
  get("bars").replaceChildren(
    ...(logits ? probabilities(logits) : []).map((share, place) => {
      const row = document.createElement("tr");
      const name = document.createElement("th");
      name.textContent = settings.classes[place];
      const bar = document.createElement("meter");
      bar.value = share;
      const cell = document.createElement("td");
      cell.append(bar, ` ${(100 * share).toFixed(1)} %`);
      row.append(name, cell);
      return row;
    }),
  );
}

let asked = 0; // answers to earlier drawings are not shown

async function look() {
  const number = ++asked;
  const logits = await classify(coarse(), PIXELS);
  if (number === asked) show(logits);
}

let last = null; // where the stroke has come to

function draw(event) {
  if (event.buttons === 0) return;
  const { left, top, width } = canvas.getBoundingClientRect();
  const scale = canvas.width / width;
  const here = [(event.clientX - left) * scale, (event.clientY - top) * scale];
  brush.strokeStyle = "white";
  brush.lineWidth = block * 1.1;
  brush.lineCap = "round";
  brush.beginPath();
  brush.moveTo(...(event.type === "pointerdown" || last === null ? here : last));
  brush.lineTo(...here);
  brush.stroke();
  last = here;
}

async function take(sample) {
  sample.pixels.forEach((level, place) => {
    brush.fillStyle = `rgb(${level} ${level} ${level})`;
    brush.fillRect((place % PIXELS) * block, Math.floor(place / PIXELS) * block, block, block);
  });
  await look();
}

samples.forEach((sample, place) => {
  const button = document.createElement("button");
  button.textContent = `image ${place + 1}`;
  button.addEventListener("click", () => take(sample));
  get("samples").append(button);
});
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId); // a stroke may end outside
  draw(event);
});
canvas.addEventListener("pointermove", draw);
canvas.addEventListener("pointerup", look);
get("clear").addEventListener("click", clear);
clear();
get("model").textContent = `${(bytes.length / 1e6).toFixed(2)} MB, ${settings.values} shared values`;
document.documentElement.dataset.ready = "true";
