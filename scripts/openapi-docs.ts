/** docs/openapi/*.json: the OpenAPI document of each program, from its own routes. */
import type { OpenApi } from "@spear/shared/http/openapi.ts";
import { silentLog } from "@spear/shared/log.ts";
import { Metrics } from "@spear/shared/metrics.ts";
import { smsHttp, type SmsServices } from "@spear/sms/sms.ts";
import { spearletHttp, type SpearletServices } from "@spear/spearlet/spearlet.ts";
import { storeApp, type StoreServices } from "@spear/store/app.ts";

/** Stands for services: making routes calls none of them. */
function uncalled<T>(): T {
  const target: Record<string | symbol, unknown> = {
    log: silentLog,
    metrics: new Metrics("docs", "0"),
  };
  return new Proxy(target, { get: (_, name) => target[name] ?? uncalled<unknown>() }) as T;
}

/** Program → its document. */
export async function openApiDocuments(): Promise<Record<string, OpenApi>> {
  const programs = {
    sms: smsHttp(uncalled<SmsServices>(), () => Promise.resolve({})),
    spearlet: spearletHttp(uncalled<SpearletServices>(), () => ({})),
    store: storeApp(uncalled<StoreServices>()),
  };
  const documents = await Promise.all(
    Object.entries(programs).map(async ([program, app]) => {
      const response = await app.handle(new Request("http://localhost/openapi.json"));
      return [program, (await response.json()) as OpenApi] as const;
    }),
  );
  return Object.fromEntries(documents);
}
