// COCO's compressed run lengths: runs of 0 and 1 in turns, down the columns, in letters of 6 bits.

/** The lengths; from the third on a letter group holds the difference to the one two before. */
export function lengths(counts) {
  const found = [];
  for (let at = 0; at < counts.length; ) {
    let [value, shift, letter] = [0, 0, 0];
    do {
      letter = counts.charCodeAt(at++) - 48;
      value |= (letter & 31) << shift;
      shift += 5;
    } while (letter & 32);
    if (letter & 16 && shift < 32) value |= -1 << shift; // a negative number
    found.push(found.length > 2 ? value + found.at(-2) : value);
  }
  return found;
}

/** The mask around its foreground: {left, top, width, height, data of 0 and 1}. */
export function cropFromRuns({ size: [height, width], counts }) {
  const runs = [];
  let [start, left, right, top, bottom] = [0, width, 0, height, 0];
  lengths(counts).forEach((length, i) => {
    if (i % 2 && length) {
      runs.push([start, length]);
      const end = start + length - 1;
      const [first, last] = [Math.floor(start / height), Math.floor(end / height)];
      [left, right] = [Math.min(left, first), Math.max(right, last + 1)];
      // a run over the end of a column has the bottom of it and the top of the next one
      top = Math.min(top, first === last ? start % height : 0);
      bottom = Math.max(bottom, first === last ? (end % height) + 1 : height);
    }
    start += length;
  });
  if (!runs.length) return { left: 0, top: 0, width: 0, height: 0, data: new Uint8Array(0) };
  const crop = { left, top, width: right - left, height: bottom - top };
  const data = new Uint8Array(crop.width * crop.height);
  for (const [first, length] of runs) {
    for (let at = first; at < first + length; at++) {
      data[((at % height) - top) * crop.width + Math.floor(at / height) - left] = 1;
    }
  }
  return { ...crop, data };
}
