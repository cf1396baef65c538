/**
 * Checking input against a TypeBox schema. The first thing that is wrong is
 * named by its path; unknown fields are refused where the schema closes an object.
 */
import type { Static, TSchema } from "@sinclair/typebox";
import { TypeCompiler, type TypeCheck, type ValueError } from "@sinclair/typebox/compiler";
import { Fault, type FieldError, maxFieldErrors } from "./fault.ts";

const compiled = new WeakMap<TSchema, TypeCheck<TSchema>>();

function checker(schema: TSchema): TypeCheck<TSchema> {
  let check = compiled.get(schema);
  if (check === undefined) {
    check = TypeCompiler.Compile(schema);
    compiled.set(schema, check);
  }
  return check;
}

/** `/resources/cpu` → `spec.resources.cpu`. */
function fieldOf(root: string, pointer: string): string {
  const path = pointer
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  return [root, ...path].filter((part) => part !== "").join(".");
}

/** The most telling of the errors: the deepest, and of those the first. */
function telling(errors: Iterable<ValueError>): ValueError | undefined {
  let best: ValueError | undefined;
  const depth = (error: ValueError) => error.path.split("/").length;
  for (const error of errors) {
    const inner = error.errors.map((iterator) => telling(iterator)).filter((e) => e !== undefined);
    for (const candidate of [error, ...inner]) {
      if (best === undefined || depth(candidate) > depth(best)) best = candidate;
    }
  }
  return best;
}

/** What a union takes, in words. A string with a format stands for another of its types. */
function choices(rules: readonly TSchema[]): string {
  const literals = rules.flatMap((rule) => ("const" in rule ? [String(rule["const"])] : []));
  if (literals.length === rules.length) return `must be one of ${literals.join(", ")}`;
  const types = rules
    .filter((rule) => rule["format"] === undefined)
    .map((rule) => String(rule["type"]));
  return `expected ${[...new Set(types)].join(" or ")}`;
}

/** What is wrong at one place, in words. */
function saying(error: ValueError | undefined): string {
  const rule = error?.schema as { errorMessage?: string; anyOf?: TSchema[] } | undefined;
  if (rule?.errorMessage !== undefined) return rule.errorMessage;
  if (rule?.anyOf !== undefined) return choices(rule.anyOf);
  const message = error?.message.toLowerCase() ?? "not valid";
  return message === "unexpected property" ? "unknown field" : message;
}

/** Errors looked at for all that is wrong with a value. */
const maxLooked = 10_000;

/** What is wrong, place by place: of a place and one within it only the inner. */
function everywhere(errors: Iterable<ValueError>, root: string): FieldError[] {
  const first = new Map<string, ValueError>();
  let looked = 0;
  for (const error of errors) {
    if (++looked > maxLooked) break;
    if (!first.has(error.path)) first.set(error.path, error);
  }
  const outer = new Set<string>();
  for (const path of first.keys()) {
    for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1))
      outer.add(path.slice(0, at));
  }
  return [...first]
    .filter(([path]) => !outer.has(path))
    .slice(0, maxFieldErrors)
    .map(([path, error]) => ({ field: fieldOf(root, path), message: saying(error) }));
}

/** `invalid_argument` for what is wrong with `value`. */
export function faultOf(schema: TSchema, value: unknown, root: string): Fault {
  const error = telling(checker(schema).Errors(value));
  const field = fieldOf(root, error?.path ?? "");
  const errors = everywhere(checker(schema).Errors(value), root);
  return new Fault("invalid_argument", `${field === "" ? "value" : field}: ${saying(error)}`, {
    ...(field === "" ? {} : { field }),
    ...(errors.length > 1 ? { errors } : {}),
  });
}

/** `value` as the schema's type; else `invalid_argument`. */
export function check<S extends TSchema>(schema: S, value: unknown, root = ""): Static<S> {
  if (checker(schema).Check(value)) return value;
  throw faultOf(schema, value, root);
}
