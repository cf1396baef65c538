/** An object's bytes as the body of an HTTP answer, for every HTTP face of the store. */
import type { Log } from "@spear/shared/log.ts";
import type { OpenObject } from "./objects.ts";

/**
 * The bytes, whose first piece was verified before any header leaves. A piece is
 * good until the next is asked for. What fails is logged here.
 */
export async function streamOf(
  { body, object }: OpenObject,
  log: Log,
): Promise<AsyncIterableIterator<Buffer>> {
  let first: IteratorResult<Buffer> | undefined = await body.next();
  const stream: AsyncIterableIterator<Buffer> = {
    async next() {
      try {
        return first ?? (await body.next());
      } catch (error) {
        log.error({ err: error, objectId: object.id }, "an object broke off while it was read");
        throw error;
      } finally {
        first = undefined;
      }
    },
    // A generator that was never asked for anything would not hear of its end.
    return: () => body.return(undefined),
    [Symbol.asyncIterator]: () => stream,
  };
  return stream;
}
