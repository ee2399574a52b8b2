/**
 * Writes values the way the original services print them in messages (`None`, `True`, `'text'`), because users search for
 * those texts and clients' tests match them.
 */
export function pythonText(value: unknown): string {
  return typeof value === 'string' ? clip(value) : clip(pythonRepresentation(value));
}

export function pythonRepresentation(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string') return quoted(clip(value));
  if (Array.isArray(value)) return clip(`[${value.map(pythonRepresentation).join(', ')}]`);
  if (typeof value === 'object') {
    const items = Object.entries(value).map(([key, item]) => `${quoted(key)}: ${pythonRepresentation(item)}`);
    return clip(`{${items.join(', ')}}`);
  }
  return String(value);
}

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/[\\\n\r\t]/g, (character) => JSON.stringify(character).slice(1, -1));
  return `${quote}${quote === "'" ? escaped.replaceAll("'", "\\'") : escaped}${quote}`;
}

/** A message need not repeat a whole request body. */
const lengthMax = 1000;
const clip = (text: string): string => (text.length > lengthMax ? `${text.slice(0, lengthMax)}…` : text);
