// Models inside the page: a worker runs them with ONNX Runtime Web, so that the page stays responsive.

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let asked = 0;

export const NOTE = "Pictures stay in this browser: nothing is sent anywhere.";
export const needsToken = () => false;
export const useToken = () => {};

worker.onmessage = ({ data: { id, answer, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error) reject(new Error(error));
  else resolve(answer);
};
worker.onerror = (event) => {
  const error = new Error(`The page's worker ended (${event.message}). Load the page again.`);
  for (const { reject } of waiting.values()) reject(error);
  waiting.clear();
};

function ask(message) {
  const id = ++asked;
  worker.postMessage({ id, ...message });
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

/** The folder's models: {name, task, class_names}. */
export const models = () =>
  ask({ what: "models", device: new URLSearchParams(location.search).get("device") });

/** The instances of one picture, {label, name, score, box, mask}, and what there is to say of it. */
export const predict = (model, picture) =>
  ask({ what: "predict", model: model.name, bitmap: picture.bitmap });
