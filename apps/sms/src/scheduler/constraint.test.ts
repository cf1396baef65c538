import { Fault } from "@spear/shared/fault.ts";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Attributes, compareVersions, holds, parseConstraint } from "./constraint.ts";

const has: Record<string, readonly string[]> = {
  "label.zone": ["eu"],
  "label.empty": [""],
  runtime: ["process", "wasm"],
  arch: ["x64"],
  os: ["linux 6.1.0-13-amd64"],
  version: ["1.10.0"],
};
const attributes: Attributes = (subject) => has[subject] ?? [];
const satisfied = (text: string) => holds(parseConstraint(text, "c"), attributes);

describe("a condition holds", () => {
  test.each([
    ["label.zone == eu", true],
    ["label.zone == us", false],
    ["label.zone != us", true],
    ["label.zone != eu", false],
    ["label.zone in us,eu", true],
    ["label.zone in us, eu", true],
    ["label.zone in us,asia", false],
    ["label.zone exists", true],
    ["label.empty exists", true],
    ["label.none exists", false],
    ["label.none == eu", false],
    ["label.none != eu", true],
    ["label.none in eu", false],
    ["label.none >= 1", false],
    ["runtime == wasm", true],
    ["runtime != wasm", false],
    ["runtime != docker", true],
    ["runtime in docker,wasm", true],
    ["arch == x64", true],
    ["os == linux 6.1.0-13-amd64", true],
    ["version >= 1.9", true],
    ["version >= 1.10", true],
    ["version > 1.10", false],
    ["version < 1.11", true],
    ["version <= 1.9.9", false],
    ["  version   >=   1.2  ", true],
  ])("%s: %p", (text, expected) => {
    expect(satisfied(text)).toBe(expected);
  });
});

describe("what can't be read names the field", () => {
  test.each([
    "",
    "label.zone",
    "label.zone = eu",
    "label.zone ==",
    "label.zone exists eu",
    "label.zone~eu",
    "label. == eu",
    "colour == red",
    "label.zone in",
  ])("%p", (text) => {
    const parse = () => parseConstraint(text, "spec.constraints.3");
    expect(parse).toThrow(Fault);
    expect(parse).toThrow(/^spec\.constraints\.3: /);
  });

  test("whatever is given, the answer is a condition or invalid_argument", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), (text) => {
        try {
          holds(parseConstraint(text, "c"), attributes);
        } catch (error) {
          expect(Fault.from(error).code).toBe("invalid_argument");
        }
      }),
    );
  });
});

describe("versions", () => {
  test.each([
    ["1.9", "1.10", -1],
    ["1.10", "1.10.0", 0],
    ["2", "1.99.99", 1],
    ["1.0.0-alpha", "1.0.0-beta", -1],
    ["6.1.0-13", "6.1.0-9", 1],
  ])("%s against %s: %d", (a, b, sign) => {
    expect(Math.sign(compareVersions(a, b))).toBe(sign);
    expect(Math.sign(compareVersions(b, a))).toBe(0 - sign);
  });

  const version = fc
    .array(fc.nat(20), { minLength: 1, maxLength: 4 })
    .map((parts) => parts.join("."));

  test("numbers are in a total order", () => {
    fc.assert(
      fc.property(version, version, version, (a, b, c) => {
        expect(Math.sign(compareVersions(a, b))).toBe(0 - Math.sign(compareVersions(b, a)));
        if (compareVersions(a, b) <= 0 && compareVersions(b, c) <= 0)
          expect(compareVersions(a, c)).toBeLessThanOrEqual(0);
      }),
    );
  });

  test("`!=` is what `==` is not, and `>` what `<=` is not where there is a version", () => {
    fc.assert(
      fc.property(version, version, (have, want) => {
        const node: Attributes = () => [have];
        const says = (operator: string) =>
          holds(parseConstraint(`version ${operator} ${want}`, "c"), node);
        expect(says("!=")).toBe(!says("=="));
        expect(says(">")).toBe(!says("<="));
        expect(says("<")).toBe(!says(">="));
      }),
    );
  });
});
