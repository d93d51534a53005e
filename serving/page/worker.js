// Runs the folder's models: WebGPU where there is one, else WASM, with threads where the folder is
// served with the headers that they need.

import { instancesFromOutputs, placedOnCanvas } from "./maskrt.js";

const MOST_THREADS = 8;

const opened = new Map(); // sessions by model
let page = null;
let ort = null;
let device = "wasm";
let last = Promise.resolve(); // one at a time

onmessage = ({ data }) => {
  last = last.then(() => answered(data));
};

async function answered(request) {
  const { id } = request;
  try {
    postMessage({ id, answer: await { models, predict }[request.what](request) });
  } catch (err) {
    postMessage({ id, error: err.message ?? String(err) });
  }
}

async function models({ device: wanted }) {
  page = JSON.parse(await (await fetched("page.json")).text());
  device = await chosen(wanted);
  return page.models.map(({ name, contract: { task, class_names } }) => ({ name, task, class_names }));
}

/**
 * "webgpu" or "wasm"; ?device=NAME in the page's address asks for one. A WebGPU that the processor
 * only plays is far slower than WASM, and taken where it is asked for.
 */
async function chosen(wanted) {
  if (wanted === "wasm" || !navigator.gpu) return "wasm";
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  return adapter && (wanted === "webgpu" || !adapter.info?.isFallbackAdapter) ? "webgpu" : "wasm";
}

async function predict({ model, bitmap }) {
  const entry = page.models.find(({ name }) => name === model);
  if (!opened.has(model)) opened.set(model, await open(entry));
  const { session, provider } = opened.get(model);
  const start = performance.now();
  const hw = [bitmap.height, bitmap.width];
  const { canvases, sizes, valid } = placedOnCanvas(pixels(bitmap), hw, entry.contract);
  const [images, imageSizes] = entry.contract.inputs;
  const results = await session.run({
    [images.name]: new ort.Tensor("uint8", canvases, images.shape),
    [imageSizes.name]: new ort.Tensor("int32", sizes, imageSizes.shape),
  });
  const outputs = Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data]));
  const instances = instancesFromOutputs(outputs, entry.contract, hw, valid);
  return { instances, words: `${Math.round(performance.now() - start)} ms, ${provider}` };
}

function pixels(bitmap) {
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
}

async function open(entry) {
  ort ??= await runtime();
  const bytes = new Uint8Array(await (await fetched(entry.file)).arrayBuffer());
  const { session, provider } = await created(bytes, entry.file);
  const names = ({ inputs, outputs }) => [...inputs, ...outputs].map(({ name }) => name);
  const found = [...session.inputNames, ...session.outputNames];
  const missing = names(entry.contract).filter((name) => !found.includes(name));
  if (missing.length || found.length !== names(entry.contract).length) {
    throw new Error(
      `${entry.file}: a graph with ${found.join(", ")}; expected ${names(entry.contract).join(", ")}, ` +
        "as maskrt exports it. Write the folder again with maskrt page.",
    );
  }
  return { session, provider };
}

async function created(bytes, file) {
  const threads = ort.env.wasm.numThreads;
  const wasm = `WASM, ${threads} thread${threads > 1 ? "s" : ""}`;
  const create = (name) => ort.InferenceSession.create(bytes, { executionProviders: [name] });
  if (device === "webgpu") {
    const session = await create("webgpu").catch(() => null); // then as without one
    if (session) return { session, provider: "WebGPU" };
  }
  try {
    return { session: await create("wasm"), provider: wasm };
  } catch (err) {
    throw new Error(
      `${file}: ONNX Runtime does not open it (${String(err.message ?? err).slice(0, 200)}); expected ` +
        "a graph of maskrt's. Write the folder again with maskrt page.",
    );
  }
}

/** ONNX Runtime Web, each file of it what its hash says. */
async function runtime() {
  const { folder, [device]: files } = page.runtime;
  const [script, binary] = await Promise.all(
    [files.script, files.binary].map(({ name, integrity }) => fetched(folder + name, integrity)),
  );
  const code = new Blob([await script.text()], { type: "text/javascript" });
  const module = await import(URL.createObjectURL(code));
  module.env.logLevel = "error"; // else it lists what it runs on the processor
  module.env.wasm.wasmBinary = await binary.arrayBuffer();
  module.env.wasm.numThreads = self.crossOriginIsolated
    ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS)
    : 1;
  return module;
}

async function fetched(address, integrity = "") {
  let answer = null;
  try {
    answer = await fetch(address, { integrity });
  } catch {
    // no connection, or not the file that the hash is of
  }
  if (answer?.ok) return answer;
  throw new Error(
    `${address}: ${answer ? `answers ${answer.status}` : "not to be had, or changed"}; expected a ` +
      "file of this page. Serve the whole folder, or look at the connection.",
  );
}
