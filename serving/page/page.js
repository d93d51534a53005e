// The page: a picture chosen, dropped or pasted, and two sides that show what models find in it.
// Where the models are, behind the page or inside it, is another script's: server.js or folder.js.

import { Pane } from "./pane.js";

const source = await import(`./${document.documentElement.dataset.models}.js`);
const element = (id) => document.getElementById(id);
export const panes = [];

function tell(error) {
  element("problem").textContent = error ? error.message : "";
  element("token").hidden = !(error && source.needsToken(error));
}

async function start() {
  try {
    const models = await source.models();
    panes.splice(0, panes.length, new Pane(models, source.predict, { first: true }));
    if (models.length > 1) panes.push(new Pane(models, source.predict, { first: false }));
    element("panes").replaceChildren(...panes.map((pane) => pane.element));
    if (panes[1]) panes[1].select.value = models[1].name;
    limit();
    element("note").textContent = source.NOTE;
    tell(null);
    const named = new URLSearchParams(location.search).get("picture");
    if (named) await open(named);
  } catch (error) {
    tell(error);
  }
}

/** A picture by its address on this site, as ?picture=ADDRESS in the page's own. */
async function open(address) {
  const url = new URL(address, location.href);
  const answer = url.origin === location.origin ? await fetch(url) : null;
  if (answer?.ok) return take(await answer.blob(), url.pathname.split("/").at(-1));
  tell(new Error(`${address}: no picture there; expected one on this site. Correct the address.`));
}

async function take(file, name = file?.name || "picture") {
  if (!file) return;
  const options = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  try {
    const bitmap = await createImageBitmap(file, options);
    tell(null);
    await Promise.all(panes.map((pane) => pane.ask({ file, bitmap })));
  } catch {
    tell(new Error(
      `${name}: this browser reads no picture from it (${file.size} bytes); expected JPEG, PNG, WebP ` +
        "or the like. Open it in a viewer, or save it again as PNG.",
    ));
  }
}

function limit() {
  const score = Number(element("score").value);
  const most = Math.max(1, Math.round(Number(element("most").value)) || 1);
  element("least").textContent = score.toFixed(2);
  for (const pane of panes) pane.update({ score, most });
}

element("score").oninput = element("most").oninput = limit;
element("file").onchange = ({ target }) => {
  take(target.files[0]);
  target.value = ""; // so that the same file may be chosen again
};
element("token").onsubmit = (event) => {
  event.preventDefault();
  source.useToken(event.target.querySelector("input").value);
  start();
};
document.onpaste = ({ clipboardData }) => take(clipboardData.files[0]);
document.ondragover = (event) => {
  event.preventDefault();
  element("drop").classList.add("over");
};
document.ondragleave = () => element("drop").classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  element("drop").classList.remove("over");
  take(event.dataTransfer.files[0]);
};
onresize = () => panes.forEach((pane) => pane.choose(null));

await start();
