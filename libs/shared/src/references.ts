/**
 * References in the strings of a job: `${index}`, `${replica}`, `${param.NAME}` and
 * `${tasks.…}`. Everything else in `${…}` belongs to whoever runs the command, as
 * `${HOME}`; a reference that is meant as it stands is written `$${…}`.
 */
const references = /\$?\$\{((?:index|replica)|(?:param|tasks)\.[^{}]*)\}/g;

/** What a reference stands for; undefined leaves it as it is. */
export type Lookup = (reference: string) => string | undefined;

/** Replaces references; the text of one is never looked at again. */
export function substitute(text: string, lookup: Lookup): string {
  return text.replace(references, (found, reference: string) =>
    found.startsWith("$$") ? found : (lookup(reference) ?? found),
  );
}

/** `$${index}` → `${index}`: done last, when everything else was replaced. */
export function unescaped(text: string): string {
  return text.replace(references, (found) => (found.startsWith("$$") ? found.slice(1) : found));
}

/** A copy of JSON in which every string was replaced; `path` leads to it, joined by dots. */
export function mapStrings(
  value: unknown,
  replace: (text: string, path: string) => unknown,
  path = "",
): unknown {
  if (typeof value === "string") return replace(value, path);
  if (typeof value !== "object" || value === null) return value;
  const below = (key: string | number) => (path === "" ? String(key) : `${path}.${key}`);
  if (Array.isArray(value)) {
    return value.map((item, index) => mapStrings(item, replace, below(index)));
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, mapStrings(item, replace, below(key))]),
  );
}
