// Run the model of this folder on its test images in Node, and print the logits as JSON: node node.mjs
import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-web/wasm";
import { load } from "./classify.mjs";

const read = (name) => readFile(new URL(name, import.meta.url));
const [settings, samples] = (await Promise.all(["settings.json", "samples.json"].map(read))).map((text) => JSON.parse(text));
const classify = await load(ort, new Uint8Array(await read("model.onnx")), settings);
const found = [];
for (const { pixels } of samples) found.push(await classify(pixels, 8));
console.log(JSON.stringify(found));
