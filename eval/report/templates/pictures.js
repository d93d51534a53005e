// Instances of a picture, switched on and off by the list below it, and shown by pointing there.
// Lines and names keep their width on the screen, however large the picture is.

for (const view of document.querySelectorAll(".view")) {
  const switches = [...view.querySelectorAll(".switches input")];
  const instances = switches.map((_, n) => [...view.querySelectorAll(`[data-instance="${n}"]`)]);
  const all = document.createElement("input");

  const mark = (n, name, on) => instances[n].forEach(({ classList }) => classList.toggle(name, on));
  const update = () => {
    switches.forEach(({ checked }, n) => mark(n, "off", !checked));
    const on = switches.filter(({ checked }) => checked).length;
    all.checked = on === switches.length;
    all.indeterminate = on > 0 && on < switches.length;
  };

  switches.forEach((box, n) => {
    box.onchange = update;
    const label = box.closest("label");
    label.onpointerenter = () => mark(n, "pointed", true);
    label.onpointerleave = () => mark(n, "pointed", false);
  });
  if (switches.length > 1) {
    all.type = "checkbox";
    all.onchange = () => {
      for (const box of switches) box.checked = all.checked;
      update();
    };
    const caption = view.querySelector("figcaption");
    const label = document.createElement("label");
    label.append(all, ...caption.childNodes);
    caption.append(label);
  }
  update(); // a browser may remember switches of a page that is loaded again
}

/** Pixels of the picture in one of the screen, for style.css. */
function fit(drawing) {
  const { a } = drawing.getScreenCTM() ?? { a: 0 };
  if (a > 0) drawing.style.setProperty("--unit", 1 / a);
}

const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => fit(target)));
document.querySelectorAll(".view svg").forEach((drawing) => sizes.observe(drawing));
