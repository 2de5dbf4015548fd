// Documents as they change: a stream of each index, whose events the ticker shows and documents' pages follow.

import { make, the } from "./elements.js";
import { documentPlace } from "./places.js";
import { listen } from "./server.js";
import { clock, secondsSince } from "./times.js";

const _AGAIN_MS = 2000;
const _LATER_MS = 30_000;
const _SHOWN = 60;
const _FOR_EVER = ["forbidden"];
const _heard = new EventTarget();
const _heardOf = new Set();
let _listening = new AbortController();
let _isPaused = false;

/** Call back with each change of an index, `{index, name, change}`. */
export function onChange(call) {
  _heard.addEventListener("change", (event) => call(event.detail));
}

/** Listen to the changes of what is offered, and no more to what was. */
export function follow(offer) {
  stop();
  const told = offer.indexes.filter((each) => each.changes).map((each) => each.name);
  the("pause").hidden = told.length === 0;
  _say(told.length ? "Connecting…" : "The pipelines of these indexes write no changes: `outcomes` of a pipeline's file has them do so.");
  for (const name of told) _follow(name, _listening.signal);
}

/** Listen to nothing. */
export function stop() {
  _listening.abort();
  _heardOf.clear();
  _listening = new AbortController();
  _say("Not listening.");
}

the("pause").addEventListener("click", () => {
  _isPaused = !_isPaused;
  the("pause").setAttribute("aria-pressed", String(_isPaused));
});

async function _follow(index, signal) {
  const path = `v1/changes?index=${encodeURIComponent(index)}`;
  let last = "";
  let isHeard = false;
  while (!signal.aborted) {
    let wait = _AGAIN_MS;
    try {
      for await (const event of listen(path, undefined, last ? { "Last-Event-ID": last } : {}, signal)) {
        last = event.id ?? last;
        // the first thing that comes, a comment, says that the server listens
        if (!isHeard) _hears(index, (isHeard = true));
        if (event.data === "") continue;
        const change = JSON.parse(event.data);
        if (event.name !== "end") _tell(index, event.name, change);
        else if (_FOR_EVER.includes(change.reason)) return _say(`${index}: this key may no longer listen.`);
        else if (change.reason === "gone") last = "";
      }
    } catch (error) {
      if (signal.aborted) return;
      // what changed meanwhile is not known any more: from now on, then
      if (error.status === 410) last = "";
      else if ([401, 403, 404].includes(error.status)) return _say(`${index}: ${error.message}`);
      else if (error.status === 503) wait = _LATER_MS;
      _say(`${index}: ${error.message} It is tried again.`);
    }
    _hears(index, (isHeard = false));
    await new Promise((go) => setTimeout(go, wait));
  }
}

function _hears(index, is) {
  if (is) _heardOf.add(index);
  else _heardOf.delete(index);
  if (is) _say(`Listening to ${[..._heardOf].join(", ")}.`);
}

function _tell(index, name, change) {
  _heard.dispatchEvent(new CustomEvent("change", { detail: { index, name, change } }));
  if (_isPaused) return;
  the("changes").prepend(_line(index, name, change));
  while (the("changes").childElementCount > _SHOWN) the("changes").lastElementChild.remove();
}

function _line(index, name, change) {
  const at = make("span", { class: "quiet" }, `${clock()} `);
  if (name === "cleared") return make("li", {}, at, `all of ${change.table} before ${change.before} is gone`);
  const took = secondsSince(change.committed_ms);
  const seconds = took ? [make("span", { class: "seconds" }, took), " from commit to here"] : ["of a snapshot"];
  const document = make("a", { href: documentPlace(index, change.document_id) }, change.document_id);
  const is = make("span", { class: name === "gone" ? "gone-mark" : null }, name);
  return make("li", {}, at, document, " ", is, ", ", ...seconds);
}

function _say(text) {
  the("changes-status").textContent = text;
}
