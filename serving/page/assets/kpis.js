// KPIs as they are now: of each its numbers, a small chart each, drawn anew while one looks.

import { chart } from "./chart.js";
import { make, shown, the } from "./elements.js";
import { ask } from "./server.js";
import { clock } from "./times.js";

const _EVERY_MS = 2000;
const _ROWS = 500;
const _IN_TABLE = 12;
let _names = [];
let _looking = new AbortController();

/** Say which KPIs may be looked at. */
export function offerKpis(names) {
  _names = names;
  the("kpis-drawn").replaceChildren();
  the("kpis-status").textContent = "";
}

/** Look at them, again and again, until `leaveKpis`. */
export async function showKpis() {
  const { signal } = (_looking = new AbortController());
  const places = _names.map((name) => make("section", { "aria-label": name }, make("h2", {}, name)));
  the("kpis-drawn").replaceChildren(...places);
  the("kpis-status").textContent = "Looking…";
  while (!signal.aborted) {
    const said = await Promise.all(_names.map((name, at) => _look(name, places[at], signal)));
    if (signal.aborted) return;
    const wrong = said.filter(Boolean);
    the("kpis-status").textContent = wrong.length ? [...new Set(wrong)].join(" ") : `As of ${clock()}.`;
    await new Promise((go) => setTimeout(go, _EVERY_MS));
  }
}

/** Look no more. */
export function leaveKpis() {
  _looking.abort();
}

async function _look(name, place, signal) {
  try {
    const kpi = await ask(`v1/kpis/${encodeURIComponent(name)}?limit=${_ROWS}`, undefined, signal);
    if (signal.aborted) return "";
    const open = place.querySelector("details")?.open ?? false;
    place.replaceChildren(make("h2", {}, name), ..._drawn(kpi, open));
    return "";
  } catch (error) {
    return signal.aborted ? "" : error.message;
  }
}

function _drawn(kpi, open) {
  if (kpi.rows.length === 0) return [make("p", { class: "quiet" }, "No row yet.")];
  const at = Object.fromEntries(kpi.columns.map((name, place) => [name, place]));
  const others = kpi.key.filter((each) => each !== kpi.time);
  const rows = [...kpi.rows].reverse();
  const charts = kpi.numbers.map((number) => {
    const lines = new Map();
    for (const row of rows) {
      const group = others.map((each) => shown(row[at[each]])).join(", ");
      if (!lines.has(group)) lines.set(group, []);
      if (row[at[number]] !== null) lines.get(group).push([Date.parse(row[at[kpi.time]]), Number(row[at[number]])]);
    }
    return chart(number, lines);
  });
  return [make("div", { class: "charts" }, charts), _table(kpi, open)];
}

function _table(kpi, open) {
  const latest = kpi.rows.slice(0, _IN_TABLE);
  const heads = kpi.columns.map((each) => make("th", { scope: "col" }, each));
  const body = latest.map((row) => make("tr", {}, row.map((each) => make("td", {}, shown(each)))));
  const said = `The latest ${latest.length} of ${kpi.rows.length} rows`;
  const table = make("table", {}, make("caption", {}, said), make("thead", {}, make("tr", {}, heads)), make("tbody", {}, body));
  const scrolled = make("div", { class: "wide-table", tabindex: "0", role: "region", "aria-label": `${kpi.name}: ${said}` }, table);
  return make("details", { open: open ? "" : null }, make("summary", {}, "Rows"), scrolled);
}
