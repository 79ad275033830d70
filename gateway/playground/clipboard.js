// Copying, as far as the browser lets a page.

/** Copies text, and says whether that worked: without https it may not. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
