// The charts. Layouts come from Python; here they get their data, and the colors of light, dark or paper.

const SMALL = matchMedia("(pointer: coarse), (max-width: 40rem)").matches; // a finger on a chart is about to scroll the page
// buttons by name, because plotly has others, and one of them sends the chart to a server
const BUTTONS = [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]];
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: SMALL ? false : "hover", modeBarButtons: BUTTONS, plotlyServerURL: "" };

/** plotly.js lies in the page in compressed form. Says false where the browser cannot unpack it. */
async function loadPlotly(nonce) {
  if (typeof DecompressionStream === "undefined") return false;
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.nonce = nonce;
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  return typeof Plotly !== "undefined";
}

/** plotly reads its texts as a kind of HTML; a run's name is to stay what it is. */
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function isDark() {
  return !document.documentElement.classList.contains("paper") && matchMedia("(prefers-color-scheme: dark)").matches;
}

function themed(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function draw(shared, id, traces, more = {}) {
  const layout = structuredClone(shared.charts[id]);
  const axis = { gridcolor: themed("grid"), linecolor: themed("soft"), tickcolor: themed("soft") };
  for (const name of ["xaxis", "yaxis"]) {
    Object.assign(layout[name], axis, more[name]);
    if (more.titles && more.titles[name]) layout[name].title = { text: plain(more.titles[name]) };
  }
  const narrow = document.getElementById(id).clientWidth < 480;
  layout.font = { ...layout.font, color: themed("ink"), size: narrow ? 11 : layout.font.size };
  Object.assign(layout.modebar, { color: themed("soft"), activecolor: themed("ink") });
  layout.hoverlabel = { ...layout.hoverlabel, bgcolor: themed("paper"), bordercolor: themed("soft"), font: { color: themed("ink") } };
  layout.dragmode = SMALL ? false : "zoom";
  layout.showlegend = traces.filter((trace) => trace.showlegend !== false).length > 1;
  Plotly.react(id, traces, layout, CONFIG);
  document.querySelector(`#${id} .modebar`)?.setAttribute("aria-label", "Tools of this chart");
}

/** Runs in groups: [label, color, shape, runs], one for each value of the key they are told apart by. */
function grouped(shared, runs, group) {
  const palette = shared.colors[isDark() ? "dark" : "light"];
  if (group === null) return [["", palette[0], shared.shapes[0], runs]];
  const label = (run) => shared.texts[run][group];
  // of all runs, so that a filter changes no color
  const labels = [...new Set(shared.names.map((_, run) => label(run)))].sort((a, b) => compare(a, b, false));
  return labels
    .map((one, i) => [`${shared.groups.find(([column]) => column === group)[1]} = ${one || "none"}`, palette[i], shared.shapes[i], runs.filter((run) => label(run) === one)])
    .filter(([, , , members]) => members.length);
}

function describe(shared, run) {
  const column = (key) => shared.keys.indexOf(key);
  const figure = (key, digits, unit) => {
    const value = shared.values[run][column(key)];
    return value === null ? [] : [`${value.toLocaleString("en", { maximumFractionDigits: digits })} ${unit}`];
  };
  const given = shared.texts[run].flatMap((text, i) => (text ? [`${shared.keys[i]} = ${text}`] : [])).slice(0, 12);
  const figures = [
    ...figure("top1", 2, "% top-1"),
    ...figure("entropy_bits", 3, "bits per weight (entropy)"),
    ...figure("codebook_size", 0, "values"),
    ...figure("file_mb", 3, "MB"),
  ];
  return [`<b>${plain(shared.names[run])}</b>`, ...figures, ...given.map(plain)].join("<br>");
}

/** Those that no other run beats: no one has both less of `x` and more of `y`. */
function front(points) {
  let best = -Infinity;
  return [...points].sort((a, b) => a.x - b.x || b.y - a.y).filter((point) => point.y > best && ((best = point.y), true));
}

function drawPareto(shared, id, key, state, pick) {
  const x = shared.keys.indexOf(key);
  const y = shared.keys.indexOf("top1");
  const points = state.visible
    .filter((run) => shared.statuses[run] === "finished" && shared.values[run][x] !== null && shared.values[run][y] !== null)
    .map((run) => ({ run, x: shared.values[run][x], y: shared.values[run][y] }));
  const best = front(points);
  const of = (list) => ({ x: list.map((p) => p.x), y: list.map((p) => p.y) });
  const line = { ...of(best), mode: "lines", line: { shape: "hv", dash: "dot", color: themed("soft"), width: 1.5 }, hoverinfo: "skip", showlegend: false };
  const ring = points.filter((p) => p.run === state.selected);
  const marked = { ...of(ring), mode: "markers", marker: { symbol: "circle-open", size: 20, color: themed("ink"), line: { width: 2 } }, hoverinfo: "skip", showlegend: false };
  const traces = grouped(shared, points.map((p) => p.run), state.group).map(([name, color, symbol, runs]) => {
    const own = points.filter((p) => runs.includes(p.run));
    return {
      ...of(own), name: plain(name), mode: "markers", customdata: own.map((p) => p.run), text: own.map((p) => describe(shared, p.run)), hoverinfo: "text",
      marker: { color, symbol, size: 11, line: { width: 1, color: themed("paper") } },
    };
  });
  draw(shared, id, [line, marked, ...traces]);
  const place = document.getElementById(id);
  place.removeAllListeners("plotly_click");
  place.on("plotly_click", (event) => pick(event.points[0].customdata));
}

function drawCurves(shared, details, state, pick) {
  const runs = state.visible.filter((run) => details[run] && details[run].rounds);
  const [metric, title] = shared.metrics.find(([key]) => key === state.metric);
  const curve = (run) => ({ x: details[run].rounds.label.map((_, index) => index + 1), y: details[run].rounds[metric] });
  const traces = grouped(shared, runs, state.group).flatMap(([name, color, symbol, members]) =>
    members.map((run, i) => ({
      ...curve(run), name: plain(name), legendgroup: name, showlegend: i === 0 && state.group !== null, mode: "lines+markers",
      customdata: Array(details[run].rounds.fraction.length).fill(run),
      text: details[run].rounds[metric].map((value, round) => `round ${details[run].rounds.label[round]}: ${value === null ? "missing" : significant(value)}<br>${describe(shared, run)}`), hoverinfo: "text",
      line: { color, width: run === state.selected ? 3.5 : 1.5 }, marker: { symbol, size: run === state.selected ? 10 : 6 },
      opacity: run === state.selected || runs.length < 4 ? 1 : 0.65,
    })),
  );
  traces.sort((a, b) => (a.customdata[0] === state.selected) - (b.customdata[0] === state.selected));
  const before = shared.pretrained[state.selected];
  if (metric.endsWith("/top1") && before !== null && runs.includes(state.selected)) {
    const { x } = curve(state.selected);
    const ends = [x[0], x[x.length - 1]];
    traces.push({ x: ends, y: [before, before], mode: "lines", showlegend: false, text: Array(2).fill(`pretrained: ${before.toFixed(2)} %`), hoverinfo: "text", line: { dash: "dash", color: themed("soft"), width: 1.5 }, customdata: Array(2).fill(state.selected) });
  }
  const longest = Math.max(1, ...runs.map((run) => details[run].rounds.label.length));
  draw(shared, "curves", traces, { titles: { yaxis: title }, xaxis: { dtick: Math.ceil(longest / 12), range: [0.7, longest + 0.3] } });
  const place = document.getElementById("curves");
  place.removeAllListeners("plotly_click");
  place.on("plotly_click", (event) => pick(event.points[0].customdata));
}

const ORDERS = ["zero", "one power of two", "a sum of two", "a sum of three", "a sum of four"];

/** Zero and some values to both sides of it, evenly spaced, in three digits. */
function ticksOf(values) {
  const wide = document.getElementById("codebook").clientWidth;
  const step = Math.max(1, Math.ceil(values.length / (wide / 70)));
  const middle = values.findIndex((value) => value >= 0);
  const chosen = values.filter((_, i) => (i - middle) % step === 0);
  return { tickmode: "array", tickvals: chosen.map(String), ticktext: chosen.map((v) => significant(v).replace("-", "\u2212")), tickangle: 0 };
}

function drawCodebook(shared, codebook) {
  const palette = shared.colors[isDark() ? "dark" : "light"];
  const names = codebook.value.map(String);
  const bars = { type: "bar", x: names, y: codebook.count, marker: { color: themed("grid") }, width: 0.35, hoverinfo: "skip", showlegend: false };
  const markers = [...new Set(codebook.order)].sort().map((order) => {
    const own = [...names.keys()].filter((i) => codebook.order[i] === order);
    const text = own.map((i) => `${names[i]}<br>${ORDERS[order] ?? "no such sum"}<br>${codebook.count[i].toLocaleString("en")} weights`);
    return {
      x: own.map((i) => names[i]), y: own.map((i) => codebook.count[i]), name: ORDERS[order] ?? "no such sum", mode: "markers", text, hoverinfo: "text",
      marker: { color: palette[order ?? 7], symbol: shared.shapes[order ?? 7], size: 8 },
    };
  });
  draw(shared, "codebook", [bars, ...markers], { xaxis: { categoryorder: "array", categoryarray: names, ...ticksOf(codebook.value) } });
}

function drawWeights(shared, histogram) {
  const palette = shared.colors[isDark() ? "dark" : "light"];
  const place = (value) => Math.asinh(value / histogram.width);
  const end = place(histogram.reach);
  const width = (2 * end) / histogram.before.length;
  const edge = (i) => histogram.width * Math.sinh(i * width - end);
  const x = histogram.before.map((_, i) => (i + 0.5) * width - end);
  const text = histogram.before.map((n, i) => `before: ${n.toLocaleString("en")} weights<br>from ${edge(i).toPrecision(3)} to ${edge(i + 1).toPrecision(3)}`);
  const before = { type: "bar", name: "before", x, y: histogram.before, width, marker: { color: palette[0], line: { width: 0 } }, opacity: 0.5, text, textposition: "none", hoverinfo: "text" };
  const places = histogram.values.map(place);
  const stems = {
    x: places.flatMap((p) => [p, p, null]), y: histogram.counts.flatMap((n) => [0.5, n, null]), mode: "lines", hoverinfo: "skip", showlegend: false,
    line: { color: palette[1], width: 1.2 },
  };
  const shown = histogram.distinct > histogram.values.length ? ` (the ${histogram.values.length} most frequent of ${histogram.distinct} values)` : "";
  const after = {
    name: `after${shown}`, x: places, y: histogram.counts, mode: "markers", marker: { color: palette[1], symbol: "diamond", size: 6 }, hoverinfo: "text",
    text: histogram.values.map((value, i) => `after: ${histogram.counts[i].toLocaleString("en")} weights<br>at ${value}`),
  };
  const middle = histogram.ticks.indexOf(0);
  const step = document.getElementById("weights").clientWidth < 480 ? 2 : 1;
  const kept = (_, i) => (i - middle) % step === 0;
  const xaxis = { tickmode: "array", tickvals: histogram.ticks.filter(kept).map(place), ticktext: histogram.labels.filter(kept), range: [-end, end] };
  draw(shared, "weights", [before, stems, after], { xaxis, yaxis: { rangemode: "normal" } });
}
