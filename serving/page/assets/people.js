// A person's profile: what is known, and the records and links that it is made of. It stays out of the address.

import { described, make, the } from "./elements.js";
import { graph } from "./graph.js";
import { ask } from "./server.js";

const _RECORD = "record";
const _ID = "the profile's id";

/** Say by what profiles may be asked for. */
export function offerPeople(profiles) {
  const kinds = profiles === null ? [] : [...new Set([...profiles.types, _RECORD, _ID])];
  the("known-by").replaceChildren(...kinds.map((each) => make("option", { value: each }, each)));
  the("person").replaceChildren();
  the("people-status").textContent = "";
}

the("people-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  the("person").replaceChildren();
  the("people-status").textContent = "Looking…";
  const [kind, value] = [the("known-by").value, the("known-as").value.trim()];
  const known = value.split("/").map(encodeURIComponent).join("/");
  const path = kind === _ID ? encodeURIComponent(value) : `${encodeURIComponent(kind)}/${known}`;
  try {
    _show(await ask(`v1/profiles/${path}?explain=true`));
  } catch (error) {
    the("people-status").textContent = error.message;
  }
});

function _show(profile) {
  const { records, history } = profile.made_of;
  const many = `${records.length} records, ${profile.identifiers.length} identifiers that link them`;
  the("people-status").textContent = `Found: ${many}.`;
  const { svg, drawn } = graph(profile, `The records of this profile and the identifiers that they have: ${many}. The table below says the same.`);
  const rest = drawn < records.length && make("p", { class: "quiet" }, `${drawn} of ${records.length} records are drawn.`);
  the("person").replaceChildren(
    make("h2", {}, `Profile ${profile.profile_id}`),
    make("dl", {}, described(profile.values)),
    make("h2", {}, "What it is made of"),
    svg,
    make("p", { class: "quiet" }, "Dashed: an identifier that links nothing, as it is too common, or another rule says so."),
    ...[rest].filter(Boolean),
    _table(records),
    ...(history.length ? [make("h2", {}, "What happened to it"), make("ol", {}, history.map(_happening))] : []),
  );
}

function _table(records) {
  const rows = records.map((each) => {
    const named = each.identifiers.map(({ type, value }) => `${type} ${value}`).join(", ");
    return make("tr", {}, make("th", { scope: "row" }, each.record), make("td", {}, each.table), make("td", {}, named || "—"));
  });
  const heads = ["Record", "Table", "Identifiers"].map((each) => make("th", { scope: "col" }, each));
  return make("table", {}, make("caption", {}, "Records"), make("thead", {}, make("tr", {}, heads)), make("tbody", {}, rows));
}

function _happening(each) {
  const at = new Date(each.time_ms).toISOString();
  return make("li", {}, `${each.kind}: ${each.reason} `, make("span", { class: "quiet" }, `${at}, by ${each.record}`));
}
