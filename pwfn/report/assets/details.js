// Everything that is known of the one run that is selected.

const exact = (value) => value.toLocaleString("en", { maximumFractionDigits: 20 });
const digits = (n) => (value) => value.toLocaleString("en", { maximumFractionDigits: n });
const significant = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });
const limit = (value) => (Number.isInteger(value) ? exact(value) : significant(value));
const percent = (value) => `${(100 * value).toFixed(1)} %`;

const LAYER_HEADINGS = [
  ["name", "tensor"], ["what", "kind"], ["weights", "weights", exact], ["unique", "values", exact], ["entropy_bits", "entropy bits", digits(3)],
  ["zero_share", "zero", percent], ["l2", "moved", percent], ["sigma_mean", "mean sigma", significant],
];
const CODEBOOK_HEADINGS = [["value", "value", String], ["order", "powers of two", exact], ["count", "weights", exact]];
const ROUND_HEADINGS = [
  ["label", "round"], ["fraction", "fixed", percent], ["trained/top1", "trained top-1 %", (v) => v.toFixed(2)],
  ["clustered/top1", "clustered top-1 %", (v) => v.toFixed(2)], ["entropy_bits", "entropy bits", digits(3)], ["codebook_size", "values", exact],
  ["unique_weights", "unique", exact], ["threshold", "limit, tolerances", limit], ["moved", "moved", exact],
];

/** Puts the details of a run into the page and draws its charts; `canDraw` says whether there is a plotly to do it. */
function showDetails(shared, details, run, canDraw) {
  const place = document.getElementById("run-details");
  if (canDraw) place.querySelectorAll(".chart").forEach((chart) => Plotly.purge(chart));
  place.replaceChildren();
  const one = details[run];
  const note = document.getElementById("run-note");
  note.hidden = one !== null;
  note.textContent = "Left out, to keep this file small: a report of fewer runs has the details of this one.";
  if (one === null) return;
  place.append(document.getElementById("details-template").content.cloneNode(true));
  const slot = (name) => place.querySelector(`[data-slot="${name}"]`);
  const parts = { codebook: one.codebook, weights: one.histogram, layers: one.layers, rounds: one.rounds };
  for (const [name, part] of Object.entries(parts)) {
    slot(`no-${name}`).hidden = part !== null;
    slot(`with-${name}`).hidden = part === null;
  }
  slot("title").textContent = shared.statuses[run];
  fillTerms(slot("facts"), one.facts);
  for (const [name, address] of one.files) slot("files").append(Object.assign(document.createElement("a"), { href: address, textContent: name }), " ");
  if (one.codebook) {
    const { of, value } = one.codebook;
    slot("codebook-summary").textContent = `All ${exact(of)} values as a table` + (value.length < of ? ` (the ${value.length} most frequent)` : "");
    fillTable(slot("codebook-table"), one.codebook, CODEBOOK_HEADINGS, true);
  }
  if (one.layers) {
    const { of, name } = one.layers;
    slot("layers-note").textContent = name.length < of ? `The ${name.length} largest of ${of} tensors.` : `${of} tensors; moved: length of the move over that of the starting weights.`;
    fillTable(slot("layers-table"), one.layers, LAYER_HEADINGS, true);
  }
  if (one.rounds) fillTable(slot("rounds-table"), one.rounds, ROUND_HEADINGS, false);
  fillTerms(slot("repeat"), one.repeat);
  if (canDraw) drawDetails(shared, one);
}

function fillTerms(list, terms) {
  for (const [name, text] of terms) {
    const [term, meaning] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, meaning.textContent] = [name, text];
    list.append(term, meaning);
  }
}

function drawDetails(shared, one) {
  if (one && one.codebook) drawCodebook(shared, one.codebook);
  if (one && one.histogram) drawWeights(shared, one.histogram);
}
