/** Keys and tags come out of a document as they went in, whatever they hold. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { S3Error } from "./errors.ts";
import { elementsOf, parseXml, textOf, xmlResponse } from "./xml.ts";

const keys = (text: string) =>
  elementsOf(parseXml(text, "Delete"), "Object").map((element) => textOf(element, "Key"));

/** Any text that XML can carry in some way. */
const text = fc
  .string({
    unit: fc.constantFrom(...Array.from(" &;<>#x\"'\r\n\tamplgt13AZü€😀]!-")),
    maxLength: 30,
  })
  .filter((value) => value !== "");

const written: Record<string, (value: string) => string> = {
  "by name": (value) =>
    value
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;")
      .replaceAll("\r", "&#13;"),
  "by number": (value) => Array.from(value, (one) => `&#${one.codePointAt(0)};`).join(""),
  "by hex number": (value) =>
    Array.from(value, (one) => `&#x${(one.codePointAt(0) ?? 0).toString(16)};`).join(""),
};

test.each(Object.entries(written))("a key whose letters are written %s is read", (_, write) => {
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 4 }), (all) => {
      const objects = all.map((key) => `<Object><Key>${write(key)}</Key></Object>`).join("");
      expect(keys(`<Delete>${objects}</Delete>`)).toEqual(all);
    }),
  );
});

test("what is answered reads back as it was", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(text, { minLength: 1, maxLength: 4 }), async (all) => {
      const response = xmlResponse("Delete", { Object: all.map((Key) => ({ Key })) });
      expect(keys(await response.text())).toEqual(all);
    }),
  );
});

test("a document may declare nothing, and names have no power", () => {
  for (const document of [
    '<!DOCTYPE Delete [<!ENTITY a "b">]><Delete/>',
    "<__proto__/>",
    "<constructor><prototype/></constructor>",
    "<Delete>",
    "",
  ]) {
    expect(() => parseXml(document, "Delete")).toThrow(S3Error);
  }
});
