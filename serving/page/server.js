// Models behind the page: `maskrt serve` runs them, and the picture is sent to it.

import { cropFromRuns } from "./runs.js";

const MOST = 200; // instances that are asked for; the page shows fewer

let token = "";

export const NOTE = "Pictures go to this server and are not kept.";

/** Whether an error means that the service asks for its token. */
export const needsToken = (error) => error.status === 401;

export function useToken(text) {
  token = text.trim();
}

/** The models that are served: {name, task, class_names}. */
export async function models() {
  return await asked("models", {});
}

/** The instances of one picture, {label, name, score, box, mask}, and what there is to say of it. */
export async function predict(model, picture) {
  const query = new URLSearchParams({ model: model.name, score: 0, most: MOST, masks: "rle" });
  const start = performance.now();
  const found = await asked(`predict?${query}`, { method: "POST", body: picture.file });
  const instances = found.instances.map((one) => ({ ...one, mask: one.mask && cropFromRuns(one.mask) }));
  return { instances, words: `${Math.round(performance.now() - start)} ms` };
}

async function asked(address, options) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(address, { ...options, headers });
  } catch {
    throw new Error("The server does not answer; expected maskrt serve. Start it again.");
  }
  const body = await answer.json().catch(() => ({ error: `The server answers ${answer.status}.` }));
  if (answer.ok) return body;
  throw Object.assign(new Error(body.error), { status: answer.status });
}
