// Tables sorted by a column: upwards, downwards, and as they were measured.

const NUMBER = /^[([]?([-+]?\d+(?:\.\d+)?)/; // at a cell's begin: "12.3 ± 0.1", "+0.02 [-1, 1]", "(1.1x ..."
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

const numberIn = (text) => Number(NUMBER.exec(text)?.[1] ?? NaN);

/** By number where any cell begins with one, what has none at the end; else by letters. */
function sorted(rows, cell, direction) {
  if (direction === "none") return rows;
  const sign = direction === "ascending" ? 1 : -1;
  const isNumber = rows.some((row) => !Number.isNaN(numberIn(cell(row))));
  const compare = (a, b) => {
    if (!isNumber) return sign * cell(a).localeCompare(cell(b), undefined, { numeric: true });
    const [x, y] = [numberIn(cell(a)), numberIn(cell(b))];
    return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) : sign * (x - y);
  };
  return rows.toSorted(compare);
}

/** What rows are about stands above the first of them, wherever they come apart. */
function show(body, rows) {
  let above = null;
  const lines = rows.flatMap(({ about, row }) => {
    const isNew = about.textContent !== above;
    above = about.textContent;
    return isNew ? [about.cloneNode(true), row] : [row];
  });
  body.replaceChildren(...lines);
}

for (const table of document.querySelectorAll("table.values")) {
  const [body] = table.tBodies;
  const headers = [...table.tHead.querySelectorAll("th")];
  let about = null;
  const rows = [...body.rows].flatMap((row) => {
    if (!row.classList.contains("about")) return [{ about, row }];
    about = row;
    return [];
  });
  headers.forEach((header, n) => {
    const cell = ({ about, row }) => (n ? row.cells[n - 1] : about).textContent.trim();
    const button = document.createElement("button");
    button.append(...header.childNodes);
    button.onclick = () => {
      const direction = NEXT[header.ariaSort ?? "none"];
      for (const other of headers) other.ariaSort = other === header ? direction : null;
      show(body, sorted(rows, cell, direction));
    };
    header.append(button);
  });
}
