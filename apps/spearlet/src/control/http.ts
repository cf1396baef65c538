/** The node's health over REST. */
import { Elysia, t } from "elysia";
import { Health, type Examine } from "./schema.ts";

export function healthRoutes(examine: Examine) {
  return new Elysia().model({ Health }).get("/v1/health", () => examine(), {
    response: t.Ref(Health),
    detail: { operationId: "getNodeHealth", summary: "What works on the node.", tags: ["node"] },
  });
}
