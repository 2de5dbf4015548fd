// Passages as they are listed, and an answer whose marks lead to them.

import { described, make } from "./elements.js";
import { documentPlace } from "./places.js";
import { age } from "./times.js";

const _CUT = /(\[\d{1,4}\])/;

/** A passage, of a context's citations. */
export function passage(cited, several) {
  const where = documentPlace(cited.index, cited.document_id, cited.ordinal);
  const chunks = cited.ordinals.length > 1 ? `chunks ${cited.ordinals.join(", ")}` : `chunk ${cited.ordinal}`;
  const facts = [
    several && make("span", {}, cited.index),
    make("span", {}, `score ${cited.score.toFixed(3)}`),
    cited.cosine === null ? null : make("span", {}, `cosine ${cited.cosine.toFixed(3)}`),
    make("span", {}, chunks),
    make("span", {}, "committed ", age(cited.committed_at)),
  ];
  const metadata = Object.keys(cited.metadata).length > 0;
  return make(
    "li",
    { class: "passage", "data-mark": cited.mark },
    make("h3", {}, make("span", { class: "mark" }, `[${cited.mark}]`), make("a", { href: where }, cited.document_id)),
    make("p", { class: "facts" }, facts),
    make("p", { class: "text" }, cited.text),
    metadata && make("details", {}, make("summary", {}, "Metadata"), make("dl", {}, described(cited.metadata))),
  );
}

/** An answer's text, whose marks of passages are links to their chunks. */
export function withLinks(text, citations) {
  const cited = new Map(citations.map((each) => [`[${each.mark}]`, each]));
  return text.split(_CUT).map((part) => {
    const found = cited.get(part);
    if (found === undefined) return document.createTextNode(part);
    const where = documentPlace(found.index, found.document_id, found.ordinal);
    const named = `passage ${found.mark}: ${found.document_id}`;
    return make("a", { href: where, "data-mark": found.mark, "aria-label": named, title: found.document_id }, part);
  });
}

/** How fresh each index is, of `as_of`. */
export function freshness(asOf, several) {
  return Object.entries(asOf).flatMap(([name, fresh]) => {
    const index = several ? `${name}: ` : "Freshness: ";
    const stale = fresh.stale ? ["; no job writes any more, since ", age(fresh.stale_since)] : [];
    const until =
      fresh.committed_at === null ? ["nobody can tell how fresh it is"] : ["all is in it that was committed until ", age(fresh.committed_at)];
    return [make("span", {}, index, ...until, ...stale, ". ")];
  });
}
