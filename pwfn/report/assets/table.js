// Tables that can be sorted by every column, and the filter of the table of runs.

/** Numbers by size, text by its order in the alphabet with its numbers by size; what is missing comes last either way. */
function compare(a, b, down) {
  const none = (value) => value === null || value === undefined || value === "";
  if (none(a) || none(b)) return none(a) - none(b);
  const both = typeof a === "number" && typeof b === "number";
  const order = both ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return down ? -order : order;
}

/** Lets a click on a heading sort the rows; `valueOf(row, column)` is what they are sorted by. */
function makeSortable(table, valueOf) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.setAttribute("aria-sort", "none");
    heading.querySelector("button").addEventListener("click", () => {
      const numbers = heading.classList.contains("number");
      const before = heading.getAttribute("aria-sort");
      // figures with the largest first, as that is what is looked for; text from A
      const down = before === "none" ? numbers : before === "ascending";
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const rows = [...body.rows];
      rows.sort((a, b) => compare(valueOf(a, column), valueOf(b, column), down));
      body.append(...rows);
    });
  });
}

const CONDITION = /^([^<>=!]+)(<=|>=|!=|=|<|>)(.+)$/;

/** What a word of the filter asks of a run: `columns` are names, `run` has a value for each and the text of its row. */
function meets(word, columns, run) {
  const parts = CONDITION.exec(word);
  if (parts) {
    const [, name, sign, wanted] = parts;
    const asked = columnsNamed(name.toLowerCase(), columns);
    if (asked.length) return asked.some((column) => holds(run.values[column], sign, wanted));
  }
  return run.text.includes(word.toLowerCase());
}

/** The columns of this very name; if there are none, those whose last part it is, or else those that hold it. */
function columnsNamed(name, columns) {
  const all = [...columns.keys()];
  const tests = [(c) => c === name, (c) => c.endsWith(`.${name}`), (c) => c.includes(name)];
  for (const test of tests) {
    const found = all.filter((index) => columns[index].some(test));
    if (found.length) return found;
  }
  return [];
}

function holds(value, sign, wanted) {
  const missing = value === null || value === undefined || value === "";
  const number = Number(wanted);
  const numbers = typeof value === "number" && !Number.isNaN(number);
  if (sign === "=" || sign === "!=") {
    const text = String(missing ? "" : value).toLowerCase();
    const same = numbers ? value === number : text === wanted.toLowerCase() || text.startsWith(`${wanted.toLowerCase()} `);
    return same === (sign === "=");
  }
  if (!numbers) return false;
  return { "<": value < number, ">": value > number, "<=": value <= number, ">=": value >= number }[sign];
}

/** A table from columns of plain values: `headings` are [key, text, show] with `show(value)` for what is read. */
function fillTable(table, columns, headings, sortable) {
  const head = table.createTHead().insertRow();
  for (const [key, text] of headings) {
    const heading = document.createElement("th");
    heading.scope = "col";
    if (columns[key].some((value) => typeof value === "number")) heading.className = "number";
    const label = document.createElement(sortable ? "button" : "span");
    label.textContent = text;
    if (sortable) Object.assign(label, { type: "button", className: "sort" });
    heading.append(label);
    head.append(heading);
  }
  const body = table.createTBody();
  columns[headings[0][0]].forEach((_, index) => {
    const row = body.insertRow();
    row.dataset.index = index;
    headings.forEach(([key, , show], column) => {
      const cell = column === 0 ? document.createElement("th") : document.createElement("td");
      if (column === 0) cell.scope = "row";
      const value = columns[key][index];
      if (head.cells[column].className) cell.className = "number";
      cell.textContent = value === null ? "" : (show || String)(value);
      row.append(cell);
    });
  });
  if (sortable) makeSortable(table, (row, column) => columns[headings[column][0]][Number(row.dataset.index)]);
}
