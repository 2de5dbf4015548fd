// Places of the page, behind the # of its address: what the browser's back and forward go through.

/** The link to a document, at one of its chunks where that is named. */
export function documentPlace(index, documentId, ordinal = null) {
  const parts = [index, documentId, ...(ordinal === null ? [] : [String(ordinal)])];
  return `#/document/${parts.map(encodeURIComponent).join("/")}`;
}

/** The path of a document on the server: its slashes stay, all else is encoded. */
export function documentPath(index, documentId) {
  return `v1/indexes/${encodeURIComponent(index)}/documents/${documentId.split("/").map(encodeURIComponent).join("/")}`;
}

/** The view that an address names and what is shown there; null where it names none. */
export function placeOf(hash) {
  if (hash === "" || hash === "#") return { view: "ask" };
  if (!hash.startsWith("#/")) return null;
  try {
    const [view, ...given] = hash.slice(2).split("/").map(decodeURIComponent);
    if (view === "document" && given.length >= 2) {
      const [index, documentId, ordinal] = given;
      return { view, index, documentId, ordinal: ordinal === undefined ? null : Number(ordinal) };
    }
    return { view: ["people", "kpis"].includes(view) ? view : "ask" };
  } catch {
    return { view: "ask" };
  }
}
