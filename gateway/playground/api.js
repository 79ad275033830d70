// The gateway's calls: JSON, event streams, and errors as one type.

const KEY = "api-key";

export const UNREACHABLE = 0;
export const BROKEN_OFF = -1;

/** What went wrong with a call; `status` is HTTP's, or one of the two above. */
export class ApiError extends Error {
  constructor(message, { status = UNREACHABLE, code = "", requestId = "", retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, requestId, retryAfter });
  }
}

/** The API key: kept for this tab only. */
export const apiKey = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** The full address of a call; relative to the page, so that a prefix in front of it stays. */
export function addressOf(path) {
  return new URL(path, document.baseURI).href;
}

export async function getJson(path) {
  return (await call(path, {})).json();
}

/**
 * Posts a request and yields `{event, data}` as they come, up to the `done` event.
 * `signal` breaks it off.
 */
export async function* streamEvents(path, body, signal) {
  const response = await call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new ApiError("The connection was closed.", { status: BROKEN_OFF });
      const blocks = (buffer + value).split("\n\n");
      buffer = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event?.event === "error") {
          throw new ApiError(event.data.error, { status: BROKEN_OFF, code: event.data.code });
        }
        if (event) yield event;
        if (event?.event === "done") return;
      }
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiError) throw error;
    throw new ApiError("The connection was lost.", { status: BROKEN_OFF });
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function call(path, options) {
  const headers = { Accept: "application/json, text/event-stream", ...options.headers };
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get()}`;
  let response;
  try {
    response = await fetch(addressOf(path), { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError("Is it running, and is this machine connected to it?");
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function errorOf(response) {
  const body = await response.json().catch(() => ({}));
  return new ApiError(body.error ?? `The server answered ${response.status} without a reason.`, {
    status: response.status,
    code: body.code ?? "",
    requestId: body.request_id ?? response.headers.get("X-Request-ID") ?? "",
    retryAfter: seconds(response.headers.get("Retry-After")),
  });
}

/** Retry-After is a number of seconds or a date. */
function seconds(header) {
  if (header === null) return null;
  if (/^\d+$/.test(header)) return Number(header);
  const wait = (Date.parse(header) - Date.now()) / 1000;
  return Number.isNaN(wait) ? null : Math.max(0, Math.ceil(wait));
}

function parse(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5));
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}
