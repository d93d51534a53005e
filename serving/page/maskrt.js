// Pictures to canvases and a graph's outputs to instances: what maskrt does in runtime/pictures and
// runtime/results, number for number. Arithmetic that is float32 there is rounded to it here.

const f32 = Math.fround;

/** Height and width of a picture once scaled for the canvas; see scaled_size_hw in preprocess.py. */
export function scaledSize([height, width], rule, [canvasHeight, canvasWidth]) {
  const multiple = rule.multiple_px;
  const beforeFlooring = (side) =>
    multiple === 1 ? side : side - (side % multiple) + multiple - 0.01;
  const scales = [
    rule.long_side_px / Math.max(height, width),
    beforeFlooring(canvasHeight) / height,
    beforeFlooring(canvasWidth) / width,
  ];
  if (rule.short_side_px > 0) scales.push(rule.short_side_px / Math.min(height, width));
  const scale = Math.min(...scales);
  const side = (px, limit) => {
    if (multiple === 1) return Math.min(Math.max(Math.floor(px + 0.5), 1), limit);
    return Math.min(Math.max(Math.floor((px + 1e-6) / multiple), 1) * multiple, limit);
  };
  return [side(height * scale, canvasHeight), side(width * scale, canvasWidth)];
}

/** The graph's inputs for one picture: canvases (B, H, W, 3) uint8 RGB and valid sizes (B, 2). */
export function placedOnCanvas(rgba, hw, contract) {
  const valid = scaledSize(hw, contract.resize, contract.canvas_hw);
  const [height, width] = contract.canvas_hw;
  const canvases = new Uint8Array(contract.batch * height * width * 3);
  const sizes = new Int32Array(contract.batch * 2).fill(1); // 1 x 1: a slot that is not used
  sizes.set(valid);
  resize(rgba, hw, valid, canvases, width * 3);
  return { canvases, sizes, valid };
}

/** OpenCV's INTER_LINEAR for uint8: RGBA in, RGB out, `stride` values from row to row. */
export function resize(rgba, [height, width], [newHeight, newWidth], out, stride) {
  const rows = taps(height, newHeight);
  const columns = clamped(taps(width, newWidth), width);
  if (height === 2 * newHeight && width === 2 * newWidth) {
    return halve(rgba, width, [newHeight, newWidth], out, stride);
  }
  const across = new Map(); // a source row once scaled across, as it is needed twice
  for (let y = 0; y < newHeight; y++) {
    const first = Math.max(rows.at[y], 0);
    const second = Math.min(rows.at[y] + 1, height - 1);
    for (const row of across.keys()) if (row < first) across.delete(row);
    for (const row of [first, second]) {
      if (!across.has(row)) across.set(row, scaledRow(rgba, row, width, columns));
    }
    const [upper, lower] = [across.get(first), across.get(second)];
    const [a, b] = [rows.here[y], rows.next[y]];
    for (let i = 0; i < newWidth * 3; i++) {
      const sum = ((a * (upper[i] >> 4)) >> 16) + ((b * (lower[i] >> 4)) >> 16);
      out[y * stride + i] = Math.min((sum + 2) >> 2, 255);
    }
  }
}

/** Per new pixel the pixel before its centre, and the weights of it and of the next one in 2048ths. */
function taps(from, to) {
  const scale = 1 / (to / from);
  const [at, here, next] = [0, 0, 0].map(() => new Int32Array(to));
  for (let i = 0; i < to; i++) {
    const centre = f32((i + 0.5) * scale - 0.5);
    const way = f32(centre - Math.floor(centre));
    at[i] = Math.floor(centre);
    here[i] = roundHalfEven(f32(1 - way) * 2048);
    next[i] = roundHalfEven(way * 2048);
  }
  return { at, here, next };
}

/** Outside the picture its first and last pixel alone; rows are repeated instead, as OpenCV does. */
function clamped({ at, here, next }, length) {
  at.forEach((cell, i) => {
    if (cell >= 0 && cell < length - 1) return;
    [at[i], here[i], next[i]] = [Math.min(Math.max(cell, 0), length - 1), 2048, 0];
  });
  return { at, here, next };
}

function roundHalfEven(value) {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}

function scaledRow(rgba, row, width, { at, here, next }) {
  const out = new Int32Array(at.length * 3);
  for (let x = 0; x < at.length; x++) {
    const left = (row * width + at[x]) * 4;
    const right = at[x] + 1 < width ? left + 4 : left;
    for (let c = 0; c < 3; c++) {
      out[x * 3 + c] = rgba[left + c] * here[x] + rgba[right + c] * next[x];
    }
  }
  return out;
}

/** At exactly half the size OpenCV takes the mean of four pixels instead. */
function halve(rgba, width, [newHeight, newWidth], out, stride) {
  for (let y = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++) {
      for (let c = 0; c < 3; c++) {
        const i = (2 * y * width + 2 * x) * 4 + c;
        const below = i + width * 4;
        out[y * stride + x * 3 + c] = (rgba[i] + rgba[i + 4] + rgba[below] + rgba[below + 4] + 2) >> 2;
      }
    }
  }
}

/**
 * The instances of the first slot, in the picture's own pixels; see results/postprocess.py.
 * `outputs` has typed arrays by name. A mask is its crop: {left, top, width, height, data of 0 and 1}.
 */
export function instancesFromOutputs(outputs, contract, hw, valid) {
  requireFinite(outputs, contract);
  const proposes = contract.task === "proposals";
  const frames = outputs[proposes ? "windows" : "boxes"];
  const [x, y] = [f32(hw[1] / valid[1]), f32(hw[0] / valid[0])];
  const found = [];
  for (let i = 0; i < outputs.counts[0]; i++) {
    let box = [...frames.subarray(4 * i, 4 * i + 4)].map((px, k) => f32(px * (k % 2 ? y : x)));
    if (!proposes) box = box.map((px, k) => Math.min(Math.max(px, 0), hw[k % 2 ? 0 : 1]));
    if (!proposes && !(box[2] > box[0] && box[3] > box[1])) continue;
    const mask = outputs.masks ? pastedSlot(outputs.masks, i, contract, box, hw) : null;
    const own = proposes ? foregroundBox(mask) : box;
    if (own === null) continue;
    const label = proposes ? 0 : outputs.labels[i];
    found.push({ label, name: contract.class_names[label], score: outputs.scores[i], box: own, mask });
  }
  return found;
}

function requireFinite(outputs, contract) {
  for (const [name, values] of Object.entries(outputs)) {
    if (values instanceof Float32Array && !values.every(Number.isFinite)) {
      throw new Error(
        `${contract.variant}: output '${name}' holds NaN or infinity; expected finite numbers. ` +
          "Export the checkpoint again, in FP32 where this is FP16.",
      );
    }
  }
}

function pastedSlot(masks, slot, contract, frame, hw) {
  const side = contract.outputs.find((spec) => spec.name === "masks").shape.at(-1);
  const map = masks.subarray(slot * side * side, (slot + 1) * side * side);
  const finer = upsampled(map, side, contract.mask_upsampling);
  return pasted(finer, side * contract.mask_upsampling, frame, hw, contract.mask_threshold);
}

/** A map made `factor` times finer as logits; see results/mask_upsampling.py. */
export function upsampled(map, side, factor) {
  if (factor === 1) return map;
  const [least, greatest] = [2 ** -126, 1 - 2 ** -24];
  const logits = map.map((p) => {
    const kept = Math.min(Math.max(p, least), greatest);
    return f32(f32(Math.log(kept)) - f32(Math.log1p(-kept)));
  });
  const wider = stretched(logits, side, side, factor, 1); // (side, factor * side)
  const finer = stretched(wider, side, side * factor, factor, side * factor);
  return finer.map((value) => f32(1 / f32(f32(Math.exp(-value)) + 1)));
}

/** Bilinear along the axis whose neighbours lie `step` apart; edges are clamped. */
function stretched(values, rows, columns, factor, step) {
  const along = step === 1;
  const length = along ? columns : rows;
  const out = new Float32Array(values.length * factor);
  for (let i = 0; i < values.length; i++) {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const place = along ? column : row;
    const before = f32(values[i] - values[place > 0 ? i - step : i]);
    const after = f32(values[place + 1 < length ? i + step : i] - values[i]);
    for (let phase = 0; phase < factor; phase++) {
      const way = f32((phase + 0.5) / factor - 0.5);
      const to = along
        ? row * columns * factor + column * factor + phase
        : (row * factor + phase) * columns + column;
      out[to] = f32(f32((way > 0 ? after : before) * way) + values[i]);
    }
  }
  return out;
}

/** A (side, side) map of probabilities resampled into its box of the picture; see masks.paste_one. */
export function pasted(map, side, box, [height, width], threshold) {
  const least = f32(threshold);
  const [rows, columns] = spans(map, side, side, (value) => value >= least);
  const down = axis(box[1], box[3], height, side, rows, threshold);
  const right = axis(box[0], box[2], width, side, columns, threshold);
  const crop = { left: right.first, top: down.first, width: right.at.length, height: down.at.length };
  if (!crop.width || !crop.height) return { ...crop, width: 0, height: 0, data: new Uint8Array(0) };
  const value = (row, column) =>
    row < 0 || column < 0 || row >= side || column >= side ? 0 : map[row * side + column];
  const data = new Uint8Array(crop.width * crop.height);
  const line = new Float32Array(columns[1] - columns[0] + 2); // with a neighbour at each end
  for (let y = 0; y < crop.height; y++) {
    const row = rows[0] - 1 + down.at[y];
    for (let k = 0; k < line.length; k++) {
      const here = value(row, columns[0] - 1 + k);
      line[k] = f32(f32(f32(value(row + 1, columns[0] - 1 + k) - here) * down.way[y]) + here);
    }
    for (let x = 0; x < crop.width; x++) {
      const here = line[right.at[x]];
      const between = f32(f32(f32(line[right.at[x] + 1] - here) * right.way[x]) + here);
      data[y * crop.width + x] = between >= least ? 1 : 0;
    }
  }
  return { ...crop, data };
}

/** First and one after the last row and column with a value that is set; [0, 0] where none is. */
function spans(values, height, width, isSet) {
  const [rows, columns] = [[height, 0], [width, 0]];
  for (let i = 0; i < height * width; i++) {
    if (!isSet(values[i])) continue;
    const [row, column] = [Math.floor(i / width), i % width];
    [rows[0], rows[1]] = [Math.min(rows[0], row), Math.max(rows[1], row + 1)];
    [columns[0], columns[1]] = [Math.min(columns[0], column), Math.max(columns[1], column + 1)];
  }
  return rows[1] ? [rows, columns] : [[0, 0], [0, 0]];
}

/** The first pixel that can reach the threshold; per pixel its cell in the span, the way onwards. */
function axis(low, high, length, cells, [start, stop], threshold) {
  if (!(high > low) || start === stop) return { first: 0, at: [], way: [] };
  const pixel = (u) => Math.min(Math.max(low + ((u + 0.5) / cells) * (high - low), 0), length);
  const first = Math.floor(pixel(Math.max(start - 1, threshold - 1)));
  const last = Math.ceil(pixel(Math.min(stop, cells - threshold)));
  const count = Math.max(last - first, 0);
  const [at, way] = [new Int32Array(count), new Float32Array(count)];
  for (let i = 0; i < count; i++) {
    const u = ((first + i + (0.5 - low)) / (high - low)) * cells - 0.5;
    const inSpan = Math.min(Math.max(u + 1 - start, 0), stop - start + 1);
    at[i] = Math.min(Math.floor(inSpan), stop - start);
    way[i] = inSpan - at[i];
  }
  return { first, at, way };
}

function foregroundBox({ left, top, width, height, data }) {
  const [rows, columns] = spans(data, height, width, Boolean);
  if (!rows[1]) return null;
  return [left + columns[0], top + rows[0], left + columns[1], top + rows[1]];
}
