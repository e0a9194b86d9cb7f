// What the page and Node share: images to tensors as pwfn makes them, and a model that is run on them.

// Resize a gray image of `from` x `from` pixels (0 to 255) to `to` x `to`, as Pillow's bilinear filter does when it enlarges:
// rows first, and each pass is rounded to whole levels.
export function enlarge(pixels, from, to) {
  const weights = Array.from({ length: to }, (_, place) => {
    const center = ((place + 0.5) * from) / to - 0.5;
    const below = Math.floor(center);
    const share = center - below;
    const inside = (index) => Math.min(Math.max(index, 0), from - 1);
    return [inside(below), inside(below + 1), share];
  });
  const pass = (read, width, height) => {
    const out = new Float32Array(width * height);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [first, second, share] = weights[x];
        out[y * width + x] = Math.floor(read(first, y) * (1 - share) + read(second, y) * share + 0.5);
      }
    }
    return out;
  };
  const wide = pass((x, y) => pixels[y * from + x], to, from);
  const turned = pass((y, x) => wide[y * to + x], to, to); // [x][y]
  return Float32Array.from({ length: to * to }, (_, place) => turned[(place % to) * to + Math.floor(place / to)]);
}

// Return the network's input for `from` x `from` pixels, normalized as settings.json says.
export function tensor(pixels, from, settings) {
  const { size, mean, std } = settings;
  return enlarge(pixels, from, size).map((level) => (level / 255 - mean) / std);
}

// Load a model: a path in Node, an address or bytes in a browser. One thread: more would need isolated pages.
// ONNX Runtime looks the weights up once, when the session starts.
export async function load(ort, model, settings) {
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  return async (pixels, from) => {
    const images = new ort.Tensor("float32", tensor(pixels, from, settings), [1, 1, settings.size, settings.size]);
    const { logits } = await session.run({ images });
    return Array.from(logits.data);
  };
}

export function probabilities(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}
