/** Every operation that the programs offer: gRPC methods from the descriptors, REST from OpenAPI. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { descriptors } from "@spear/shared/grpc/descriptors.ts";
import type { OpenApi } from "@spear/shared/http/openapi.ts";

export const programs = ["sms", "spearlet", "store"] as const;
export type ProgramName = (typeof programs)[number];

/** The committed document; `bun run check` holds it to the running code. */
export function readOpenApi(program: ProgramName): OpenApi {
  const path = join(import.meta.dir, `../../docs/openapi/${program}.json`);
  return JSON.parse(readFileSync(path, "utf8")) as OpenApi;
}

/** As `GET /v1/tasks/{id}`. */
export function restOperations(program: ProgramName): string[] {
  return Object.entries(readOpenApi(program).paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
  );
}

/** As `TaskService/SubmitTask`. */
export function grpcMethods(program: ProgramName): string[] {
  return [...descriptors.files]
    .filter(({ proto }) => proto.package === `spear.${program}.v1`)
    .flatMap(({ services }) => services)
    .flatMap((service) => service.methods.map((method) => `${service.name}/${method.name}`));
}

/** Which sides of a method are streams. */
export function streams(
  program: ProgramName,
  method: string,
): { client: boolean; server: boolean } {
  const [service = "", name] = method.split("/");
  const kind = descriptors
    .getService(`spear.${program}.v1.${service}`)
    ?.methods.find((each) => each.name === name)?.methodKind;
  return {
    client: kind === "client_streaming" || kind === "bidi_streaming",
    server: kind === "server_streaming" || kind === "bidi_streaming",
  };
}
