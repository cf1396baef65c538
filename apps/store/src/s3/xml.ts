/** XML in and out. A document from outside may have no document type, and so no entities of its own. */
import { XMLBuilder, XMLParser } from "fast-xml-parser";
import { S3Error } from "./errors.ts";

const parser = new XMLParser({
  ignoreAttributes: true,
  ignoreDeclaration: true,
  removeNSPrefix: true,
  parseTagValue: false,
  // A key may begin with a space.
  trimValues: false,
  // Numeric references are among these.
  htmlEntities: true,
  isArray: (name) => ["Grant", "Object", "Part", "Tag"].includes(name),
});
const builder = new XMLBuilder({ ignoreAttributes: false, attributeNamePrefix: "@" });
const namespace = "http://s3.amazonaws.com/doc/2006-03-01/";

/** An element that has elements. */
export type Element = Readonly<Record<string, unknown>>;

/** The root of a document. Errors: `MalformedXML`. */
export function parseXml(text: string, root: string): Element {
  try {
    if (!/<!DOCTYPE/i.test(text)) {
      const document = parser.parse(text, true) as Element;
      const found = document[root];
      if (typeof found === "object" && found !== null) return found as Element;
      if (found === "") return {};
    }
  } catch {
    // Told below.
  }
  throw malformedXml();
}

export function malformedXml(): S3Error {
  return new S3Error(
    "MalformedXML",
    "The XML you provided was not well-formed or did not validate against our published schema.",
  );
}

/** A child that has elements; one that is empty has none. Errors: `MalformedXML`. */
export function childOf(element: Element, name: string): Element {
  const found = element[name];
  if (typeof found === "object" && found !== null) return found as Element;
  if (typeof found === "string" && found.trim() === "") return {};
  throw malformedXml();
}

/** The elements of a name that may be repeated. Errors: `MalformedXML`. */
export function elementsOf(element: Element, name: string): readonly Element[] {
  const found = element[name] ?? [];
  if (Array.isArray(found) && found.every((one) => typeof one === "object" && one !== null)) {
    return found as Element[];
  }
  throw malformedXml();
}

/** The text of a child; undefined if there is none. */
export function textOf(element: Element, name: string): string | undefined {
  const found = element[name];
  return typeof found === "string" ? found : undefined;
}

export interface Fields {
  readonly [name: string]: Content;
}
type Content = string | number | boolean | undefined | Fields | readonly Content[];

/** Control characters, which XML can only name; also the one that a parser would change. */
// oxlint-disable-next-line no-control-regex
const unprintable = /[\u0001-\u0008\u000b-\u001f]/g;

/** An answer in XML. What is undefined is left out. */
export function xmlResponse(
  root: string,
  content: Fields | "",
  { status = 200, headers = {} }: { status?: number; headers?: Record<string, string> } = {},
): Response {
  const fields = content === "" ? {} : content;
  const element = root === "Error" ? fields : { "@xmlns": namespace, ...fields };
  const document = builder.build({ [root]: element });
  const text = `<?xml version="1.0" encoding="UTF-8"?>\n${document}`.replaceAll(
    unprintable,
    (letter) => `&#x${letter.charCodeAt(0).toString(16)};`,
  );
  return new Response(text, {
    status,
    headers: {
      "content-type": "application/xml",
      "content-length": String(Buffer.byteLength(text)),
      ...headers,
    },
  });
}
