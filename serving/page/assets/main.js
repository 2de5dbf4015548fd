// The page: which view is shown, what the server offers to the key, and what is said where it refuses.

import { offered } from "./ask.js";
import { follow, stop } from "./changes.js";
import { leaveDocument, showDocument } from "./document.js";
import { the } from "./elements.js";
import { askForKey } from "./key.js";
import { leaveKpis, offerKpis, showKpis } from "./kpis.js";
import { offerPeople } from "./people.js";
import { placeOf } from "./places.js";
import { ask, hasKey, onKey } from "./server.js";

const _VIEWS = ["ask", "document", "people", "kpis"];
const _NOTHING = { name: "Freshet", indexes: [], profiles: null, model: null, kpis: [] };
let _isOffered = false;

function _use(offer) {
  _isOffered = offer !== _NOTHING;
  the("server-name").textContent = offer.name;
  offered(offer);
  offerPeople(offer.profiles);
  document.querySelector("nav [data-view=people]").hidden = offer.profiles === null;
  offerKpis(offer.kpis);
  document.querySelector("nav [data-view=kpis]").hidden = offer.kpis.length === 0;
  if (_isOffered) follow(offer);
  else stop();
}

async function _open() {
  the("problem").textContent = "";
  try {
    _use(await ask("v1/offer"));
  } catch (error) {
    _use(_NOTHING);
    if (error.status === 401) askForKey(hasKey() ? "The server doesn't know this key." : "");
    else the("problem").textContent = error.message;
  }
  _show(false);
}

function _show(moved) {
  const place = placeOf(location.hash);
  if (place === null) return;
  for (const view of _VIEWS) the(view).hidden = view !== place.view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === place.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const named = place.view === "document" ? place.documentId : the(`${place.view}-title`).textContent;
  document.title = `${named} · ${the("server-name").textContent}`;
  leaveDocument();
  leaveKpis();
  if (place.view === "document" && _isOffered) showDocument(place);
  if (place.view === "kpis" && _isOffered) showKpis();
  if (!moved) return;
  window.scrollTo(0, 0);
  the(place.view === "document" ? "document-title" : "main").focus();
}

window.addEventListener("hashchange", () => _show(true));
onKey(_open);
_open();
