// A picture in a window of its own: enlarged with wheel, fingers, keys or buttons, all of its views
// at the same place.

const MOST = 40; // times as large

const dialog = document.createElement("dialog");
dialog.className = "enlarged";
const bar = document.createElement("p");
for (const [text, name, act] of [
  ["+", "Larger", () => zoom(1.5)],
  ["−", "Smaller", () => zoom(1 / 1.5)],
  ["Whole", "The whole picture", () => whole()],
  ["Close", "Close", () => dialog.close()],
]) {
  const button = document.createElement("button");
  [button.textContent, button.title, button.onclick] = [text, name, act];
  bar.append(button);
}
dialog.append(bar);
document.body.append(dialog);

let drawings = [];
let size = [1, 1]; // of the picture
let seen = [0, 0, 1, 1]; // left, top, width, height
const place = document.createComment("the picture that is enlarged");

function open(picture) {
  picture.before(place);
  dialog.append(picture);
  drawings = [...picture.querySelectorAll("svg")];
  const { width, height } = drawings[0].viewBox.baseVal;
  size = [width, height];
  dialog.style.setProperty("--aspect", width / height);
  dialog.showModal();
  whole();
}

dialog.onclose = () => {
  whole();
  place.replaceWith(dialog.lastChild);
};

const whole = () => show([0, 0, ...size]);

function show([left, top, width, height]) {
  const inside = (value, most) => Math.min(Math.max(value, 0), most);
  seen = [inside(left, size[0] - width), inside(top, size[1] - height), width, height];
  for (const drawing of drawings) {
    drawing.setAttribute("viewBox", seen.join(" "));
    drawing.style.setProperty("--unit", 1 / drawing.getScreenCTM().a);
  }
}

/** So many times larger, around a point of the picture or the middle. */
function zoom(times, [x, y] = [seen[0] + seen[2] / 2, seen[1] + seen[3] / 2]) {
  const width = Math.min(Math.max(seen[2] / times, size[0] / MOST), size[0]);
  const change = width / seen[2];
  show([x - (x - seen[0]) * change, y - (y - seen[1]) * change, width, seen[3] * change]);
}

/** A place of the screen in pixels of the picture. */
function at(drawing, [x, y]) {
  const point = new DOMPoint(x, y).matrixTransform(drawing.getScreenCTM().inverse());
  return [point.x, point.y];
}

const pointers = new Map(); // those that are down, where they are on the screen

/** Their middle and, of two, their distance. */
function spread() {
  const [a, b = a] = [...pointers.values()];
  return { middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], apart: Math.hypot(a[0] - b[0], a[1] - b[1]) || 1 };
}

dialog.onpointerdown = (event) => {
  const drawing = event.target.closest("svg");
  if (!drawing) return;
  drawing.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
};
dialog.onpointermove = (event) => {
  if (!pointers.has(event.pointerId)) return;
  const drawing = event.target.closest("svg");
  const before = spread();
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  const now = spread();
  zoom(now.apart / before.apart, at(drawing, before.middle));
  const [from, to] = [at(drawing, before.middle), at(drawing, now.middle)];
  show([seen[0] + from[0] - to[0], seen[1] + from[1] - to[1], seen[2], seen[3]]);
};
dialog.onpointerup = dialog.onpointercancel = ({ pointerId }) => pointers.delete(pointerId);
dialog.addEventListener("wheel", (event) => {
  const drawing = event.target.closest("svg");
  if (!drawing) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 500), at(drawing, [event.clientX, event.clientY]));
}, { passive: false });
dialog.onkeydown = ({ key, target }) => {
  if (target.matches("input")) return;
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  if (key === "+" || key === "=") zoom(1.5);
  else if (key === "-") zoom(1 / 1.5);
  else if (key === "0") whole();
  else if (step) show([seen[0] + (step[0] * seen[2]) / 5, seen[1] + (step[1] * seen[3]) / 5, seen[2], seen[3]]);
};

for (const picture of document.querySelectorAll(".picture")) {
  const button = document.createElement("button");
  [button.className, button.textContent] = ["enlarge", "Enlarge"];
  button.onclick = () => open(picture);
  picture.querySelector(".title").append(button);
  picture.querySelector(".views").addEventListener("click", ({ target }) => {
    if (target.closest("svg") && !dialog.open) open(picture);
  });
}
