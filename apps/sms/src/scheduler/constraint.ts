/**
 * Conditions on a node, as `label.zone == eu`, `runtime != docker`,
 * `label.gpu exists`, `arch in x64,arm64`, `version >= 1.2`. Pure.
 */
import { Fault } from "@spear/shared/fault.ts";

const operators = ["==", "!=", ">=", "<=", ">", "<", "in", "exists"] as const;
type Operator = (typeof operators)[number];

export interface Constraint {
  /**
   * `label.NAME`, `runtime`, `runtime.NAME` (its version), `arch`, `os`, `kernel`,
   * `distribution`, `version`, `hostname`, `name` or `node`.
   */
  subject: string;
  operator: Operator;
  /** Empty for `exists`, several for `in`. */
  values: readonly string[];
  /** As it was written. */
  text: string;
}

const subjects =
  /^(label\.[A-Za-z0-9][A-Za-z0-9._/-]*|runtime(\.[a-z]+)?|arch|os|kernel|distribution|version|hostname|name|node)$/;
const shape = /^\s*(\S+)\s+(==|!=|>=|<=|>|<|in|exists)(?:\s+(.+?))?\s*$/;

/** The condition that `text` stands for; throws `invalid_argument` naming `field`. */
export function parseConstraint(text: string, field: string): Constraint {
  const [, subject = "", operator = "", rest] = shape.exec(text) ?? [];
  const help = 'as "label.zone == eu", "arch in x64,arm64", "label.gpu exists" or "version >= 1.2"';
  if (operator === "")
    throw new Fault("invalid_argument", `${field}: "${text}" is not a condition`, { field, help });
  if (!subjects.test(subject)) {
    throw new Fault("invalid_argument", `${field}: "${subject}" is nothing a node has`, {
      field,
      help: "use label.NAME, runtime, runtime.NAME, arch, os, kernel, distribution, version, hostname, name or node",
    });
  }
  if ((operator === "exists") !== (rest === undefined)) {
    throw new Fault(
      "invalid_argument",
      `${field}: "${operator}" ${operator === "exists" ? "takes no value" : "needs a value"}`,
      { field, help },
    );
  }
  const values =
    rest === undefined
      ? []
      : operator === "in"
        ? rest.split(",").map((value) => value.trim())
        : [rest];
  return { subject, operator: operator as Operator, values, text: text.trim() };
}

/** What conditions see of a node: each subject has no, one or several values. */
export type Attributes = (subject: string) => readonly string[];

/** `1.10` > `1.9`: compares number by number, then as text. */
export function compareVersions(a: string, b: string): number {
  const left = a.split(/[.+-]/);
  const right = b.split(/[.+-]/);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const [x = "0", y = "0"] = [left[i], right[i]];
    const difference = Number(x) - Number(y);
    if (Number.isNaN(difference) ? x !== y : difference !== 0) {
      return Number.isNaN(difference) ? (x < y ? -1 : 1) : difference;
    }
  }
  return 0;
}

/** True if the node has it. A node without the subject satisfies only `!=`. */
export function holds(constraint: Constraint, attributes: Attributes): boolean {
  const have = attributes(constraint.subject);
  const [value = ""] = constraint.values;
  switch (constraint.operator) {
    case "exists":
      return have.length > 0;
    case "==":
      return have.includes(value);
    case "!=":
      return !have.includes(value);
    case "in":
      return have.some((one) => constraint.values.includes(one));
    case ">=":
      return have.some((one) => compareVersions(one, value) >= 0);
    case "<=":
      return have.some((one) => compareVersions(one, value) <= 0);
    case ">":
      return have.some((one) => compareVersions(one, value) > 0);
    case "<":
      return have.some((one) => compareVersions(one, value) < 0);
  }
}
