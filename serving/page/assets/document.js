// A document's page, which follows its changes.

import { onChange } from "./changes.js";
import { described, make, the } from "./elements.js";
import { documentPath } from "./places.js";
import { ask } from "./server.js";
import { age, clock, secondsSince } from "./times.js";

let _place = null;
let _texts = null;
let _asking = null;

/** Show a document, `{index, documentId, ordinal}`. */
export async function showDocument(place) {
  _place = place;
  _texts = null;
  for (const id of ["document-metadata", "chunks", "document-changes", "document-facts"]) the(id).replaceChildren();
  the("document-index").textContent = place.index;
  the("document-title").textContent = place.documentId;
  the("document").classList.remove("gone");
  await _look("");
  the("chunks").querySelector("[aria-current]")?.scrollIntoView({ block: "center" });
}

/** Follow it no more. */
export function leaveDocument() {
  _place = null;
  _asking?.abort();
}

the("look-again").addEventListener("click", () => _look("Looked again"));

onChange(async ({ index, name, change }) => {
  if (_place === null || index !== _place.index) return;
  if (name === "cleared" && _place.documentId.startsWith(`${change.table}/`)) return _look("Its table was cleared");
  if (change.document_id !== _place.documentId) return;
  const took = secondsSince(change.committed_ms);
  const said = name === "gone" ? "Gone" : "Changed";
  the("document-changes").prepend(make("li", {}, `${clock()} ${said.toLowerCase()}${took && `, ${took} from commit to here`}`));
  if (name === "gone") _gone("It is gone: it was deleted, or isn't for this key any more.");
  else await _look(`${said}${took && ` ${took} ago`}`);
});

async function _look(why) {
  const place = _place;
  if (place === null) return;
  _asking?.abort();
  _asking = new AbortController();
  try {
    _show(await ask(documentPath(place.index, place.documentId), undefined, _asking.signal), why);
  } catch (error) {
    if (error.name === "AbortError" || place !== _place) return;
    if (error.status === 404) _gone(error.message);
    else the("document-status").textContent = error.message;
  }
}

function _show(found, why) {
  const before = _texts;
  _texts = new Map(found.chunks.map((each) => [each.ordinal, each.text]));
  const fresh = before === null ? [] : found.chunks.filter((each) => before.get(each.ordinal) !== each.text);
  the("document").classList.remove("gone");
  const many = fresh.length === 1 ? "1 chunk is another one" : `${fresh.length} chunks are others`;
  the("document-status").textContent = why && `${why}. ${fresh.length ? many : "Its text is the same"}.`;
  the("document-facts").replaceChildren("Committed ", age(found.committed_at), ` at ${found.position || "a position that nobody knows"}.`);
  the("document-metadata").replaceChildren(...described(found.metadata));
  the("chunks").replaceChildren(...found.chunks.map((each) => _chunk(each, fresh.includes(each))));
}

function _chunk({ ordinal, text }, isFresh) {
  const attributes = { class: isFresh ? "fresh" : null, "aria-current": ordinal === _place.ordinal ? "true" : null };
  return make("li", attributes, make("span", { class: "quiet" }, `Chunk ${ordinal}`), make("p", { class: "text" }, text));
}

function _gone(why) {
  the("document-status").textContent = why;
  the("document").classList.add("gone");
}
