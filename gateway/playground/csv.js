// Answers as a file that spreadsheets and data frames read.

// How a text begins that spreadsheets run as a formula.
const FORMULA = /^[=+\-@\t\r\n]/;

/** Offers rows, each an object with the same names, as a file. */
export function download(name, rows) {
  const lines = [Object.keys(rows[0]), ...rows.map(Object.values)];
  const text = lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** What others wrote must not run: an apostrophe before it makes it text. Numbers stay numbers. */
function cell(value) {
  let text = typeof value === "object" && value !== null ? JSON.stringify(value) : `${value ?? ""}`;
  if (typeof value === "string" && FORMULA.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
