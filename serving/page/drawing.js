// A picture with instances on a canvas, as runtime/results/drawing.py draws them: the best on top,
// equal classes in equal colours; proposals, which have no class, each in its own.

const TINT = 0.45;
const GOLDEN_TURN = 0.618034;
const SIDES = [1400, 2048]; // the canvas's longer side: small pictures grow, large ones shrink

/** Red, green and blue, 0 to 255: hue by golden turns, saturation 0.8. */
export function colour(key) {
  const hue = ((key * GOLDEN_TURN) % 1) * 6;
  const channel = (n) => {
    const k = (n + hue) % 6;
    return Math.round(255 * (1 - 0.8 * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}

export class Drawing {
  constructor(canvas) {
    this.canvas = canvas;
    this.tints = new Map(); // instance -> its mask as a small picture
  }

  /** Another picture: an ImageBitmap. */
  show(bitmap) {
    this.bitmap = bitmap;
    const longer = Math.max(bitmap.width, bitmap.height);
    this.scale = Math.min(Math.max(longer, SIDES[0]), SIDES[1]) / longer;
    this.canvas.width = Math.max(1, Math.round(bitmap.width * this.scale));
    this.canvas.height = Math.max(1, Math.round(bitmap.height * this.scale));
    this.canvas.style.setProperty("--aspect", bitmap.width / bitmap.height);
    this.tints.clear();
  }

  /** Draw these instances, best first; `chosen` is one of them or null. */
  draw(instances, chosen) {
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(this.bitmap, 0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    const order = instances.filter((one) => one !== chosen).reverse();
    if (chosen) order.push(chosen);
    for (const one of order) this.tint(context, one, one === chosen);
    for (const one of order) this.box(context, one, one === chosen);
  }

  tint(context, one, isChosen) {
    if (!one.mask?.data.length) return;
    if (!this.tints.has(one)) this.tints.set(one, tinted(one.mask, colour(one.colour)));
    context.globalAlpha = isChosen ? 0.75 : TINT;
    context.imageSmoothingEnabled = false; // a mask has no half pixels
    context.drawImage(this.tints.get(one), one.mask.left, one.mask.top);
    context.globalAlpha = 1;
    context.imageSmoothingEnabled = true;
  }

  box(context, one, isChosen) {
    const shown = this.canvas.clientWidth || this.canvas.width;
    const unit = this.canvas.width / shown / this.scale; // one pixel of the screen
    const [x0, y0, x1, y1] = one.box;
    context.lineWidth = (isChosen ? 4 : 2) * unit;
    context.strokeStyle = `rgb(${colour(one.colour)})`;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }

  /** The instance at a pixel of the picture: of those whose mask, or else box, holds it the smallest. */
  at(instances, x, y) {
    const size = ({ box: [x0, y0, x1, y1] }) => (x1 - x0) * (y1 - y0);
    const under = instances.filter((one) => (one.mask ? isInMask(one.mask, x, y) : isInBox(one.box, x, y)));
    return under.reduce((best, one) => (best && size(best) <= size(one) ? best : one), null);
  }

  /** A pointer's place in pixels of the picture. */
  place(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - left) / width) * this.bitmap.width,
      ((event.clientY - top) / height) * this.bitmap.height,
    ];
  }
}

const isInBox = ([x0, y0, x1, y1], x, y) => x >= x0 && x < x1 && y >= y0 && y < y1;

function isInMask({ left, top, width, height, data }, x, y) {
  const [column, row] = [Math.floor(x) - left, Math.floor(y) - top];
  return column >= 0 && row >= 0 && column < width && row < height && data[row * width + column] === 1;
}

function tinted({ width, height, data }, [red, green, blue]) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  data.forEach((isSet, i) => image.data.set([red, green, blue, 255 * isSet], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
