// What the reader does, and what then has to be drawn again.

/** Puts a text into the clipboard; a page from disk is not let at it by every browser in the same way. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

(async function start() {
  const { shared, details } = JSON.parse(document.getElementById("data").textContent);
  const nonce = document.currentScript ? document.currentScript.nonce : "";
  const table = document.getElementById("table");
  const rows = [...table.tBodies[0].rows].sort((a, b) => a.dataset.run - b.dataset.run);
  const all = rows.map((_, run) => run);
  const state = { visible: all, selected: shared.best, group: shared.groups.length ? shared.groups[0][0] : null, metric: "clustered/top1" };
  const columnNames = [["run", "name"], ...shared.keys.map((key) => [key.toLowerCase()]), ["status"]];
  columnNames.find((names) => names.includes("entropy_bits"))?.push("bits");  // as people type it
  const values = all.map((run) => [shared.names[run], ...shared.values[run], rows[run].cells[rows[run].cells.length - 1].textContent]);
  [...table.tHead.rows[0].cells].forEach((cell, i) => columnNames[i].push(cell.textContent.trim().toLowerCase()));
  const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()).join(" ").toLowerCase());
  let canDraw = false;

  makeSortable(table, (row, column) => values[row.dataset.run][column]);

  function drawShared() {
    const note = !state.visible.some((run) => details[run] && details[run].rounds) ? "No run that is shown has finished a round." : "";
    document.getElementById("curves-note").textContent = note;
    document.getElementById("curves").hidden = note !== "";
    if (!canDraw) return;
    if (!document.getElementById("comparison").hidden) {
      drawPareto(shared, "pareto-bits", "entropy_bits", state, select);
      drawPareto(shared, "pareto-file", "file_mb", state, select);
    }
    if (!note) drawCurves(shared, details, state, select);
  }

  function select(run) {
    state.selected = Number(run);
    document.getElementById("run").value = String(state.selected);
    rows.forEach((row, i) => {
      row.classList.toggle("selected", i === state.selected);
      row.querySelector(".pick").setAttribute("aria-pressed", String(i === state.selected));
    });
    document.getElementById("copy").disabled = commandOf(state.selected) === null;
    document.getElementById("copied").textContent = "";
    showDetails(shared, details, state.selected, canDraw);
    drawShared();
  }

  function commandOf(run) {
    const found = details[run] && details[run].repeat.find(([name]) => name === "command");
    return found && found[1] !== "not recorded" ? found[1] : null;
  }

  async function copy() {
    const command = commandOf(state.selected);
    document.getElementById("copied").textContent = (await copyText(command)) ? `Copied: ${command}` : `This browser does not copy: ${command}`;
  }

  function filter() {
    const words = document.getElementById("filter").value.split(/\s+/).filter(Boolean);
    const isShown = (run) => words.every((word) => meets(word, columnNames, { values: values[run], text: texts[run] }));
    state.visible = all.filter(isShown);
    rows.forEach((row, run) => (row.hidden = !state.visible.includes(run)));
    document.getElementById("count").textContent = words.length ? `${state.visible.length} of ${all.length} shown` : "";
    drawShared();
  }

  function redraw() {
    drawShared();
    if (canDraw) drawDetails(shared, details[state.selected]);
  }

  function fill(id, options, chosen, change) {
    const place = document.getElementById(id);
    options.forEach(([value, text]) => place.add(new Option(text, value, value === chosen, value === chosen)));
    place.addEventListener("change", () => change(place.value));
  }

  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (column === 0) return;
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !heading.hidden });
    box.addEventListener("change", () => [heading, ...rows.map((row) => row.cells[column])].forEach((cell) => (cell.hidden = !box.checked)));
    label.append(box, heading.textContent.trim());
    document.getElementById("columns").append(label);
  });
  fill("group", [...shared.groups, ["", "nothing"]], state.group === null ? "" : state.group, (value) => {
    state.group = value === "" ? null : Number(value);
    drawShared();
  });
  fill("metric", shared.metrics, state.metric, (value) => {
    state.metric = value;
    drawShared();
  });
  document.getElementById("run").addEventListener("change", (event) => select(event.target.value));
  document.getElementById("copy").addEventListener("click", copy);
  document.getElementById("filter").addEventListener("input", filter);
  rows.forEach((row, run) => row.querySelector(".pick").addEventListener("click", () => select(run)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  for (const [event, paper] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(event, () => {
      document.documentElement.classList.toggle("paper", paper);
      redraw();
    });
  }

  select(state.selected);
  canDraw = await loadPlotly(nonce);
  if (!canDraw) {
    document.querySelectorAll(".chart").forEach((chart) => (chart.textContent = "This browser is too old for the charts: it needs Chrome 80, Firefox 113, Safari 16.4 or newer."));
  }
  redraw();
  document.documentElement.dataset.ready = "true";
})();
