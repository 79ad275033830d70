// Answers as a file that spreadsheets and data frames read.

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

function cell(value) {
  const text = typeof value === "object" && value !== null ? JSON.stringify(value) : `${value ?? ""}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
