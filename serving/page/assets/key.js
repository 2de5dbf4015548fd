// The dialog in which a key is typed.

import { the } from "./elements.js";
import { hasKey, useKey } from "./server.js";

/** Ask for a key, and say why. */
export function askForKey(why) {
  the("key-problem").textContent = why;
  the("key").value = "";
  the("key-forget").hidden = !hasKey();
  if (!the("key-dialog").open) the("key-dialog").showModal();
  the("key").focus();
}

the("key-button").addEventListener("click", () => askForKey(""));
the("key-cancel").addEventListener("click", () => the("key-dialog").close());
the("key-forget").addEventListener("click", () => _use(""));
the("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  _use(the("key").value.trim());
});

function _use(key) {
  try {
    useKey(key, the("keep").checked);
  } catch (error) {
    the("key-problem").textContent = error.message;
    return;
  }
  the("key").value = "";
  the("key-dialog").close();
}
