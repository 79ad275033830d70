// A request as a command for the shell.

import { addressOf, apiKey } from "./api.js";
import { copyText } from "./clipboard.js";
import { fromTemplate } from "./format.js";

/** The command that sends the request; the API key is named, never written out. */
export function curlCommand(path, body) {
  const lines = [
    `curl -s ${quoted(addressOf(path))}`,
    "-H 'Content-Type: application/json'",
    ...(apiKey.get() ? ['-H "Authorization: Bearer $PERSONA_API_KEY"'] : []),
    `-d ${quoted(JSON.stringify(body))}`,
  ];
  return lines.join(" \\\n  ");
}

/** Shows the command, with a button that copies it. */
export function showCurl(place, path, body) {
  const box = fromTemplate("curl-template");
  const code = box.querySelector("code");
  const copied = box.querySelector(".copied");
  code.textContent = curlCommand(path, body);
  box.querySelector(".copy").addEventListener("click", async () => {
    copied.textContent = "";
    copied.textContent = (await copy(code)) ? "Copied" : "Selected: copy it with Ctrl+C";
  });
  box.open = place.querySelector("details")?.open ?? false;
  place.replaceChildren(box);
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Copies an element's text; without the clipboard's permission, selects it. */
async function copy(code) {
  if (await copyText(code.textContent)) return true;
  // Browsers have no clipboard on plain http from another machine, but they have this.
  getSelection().selectAllChildren(code);
  return document.execCommand("copy");
}
