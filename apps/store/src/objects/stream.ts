/** An object's bytes as the body of an HTTP answer, for every HTTP face of the store. */
import type { Log } from "@spear/shared/log.ts";
import type { OpenObject } from "./objects.ts";

/** The bytes as a stream whose first piece was verified before any header leaves. */
export async function streamOf(
  { body, object }: OpenObject,
  log: Log,
): Promise<ReadableStream<Uint8Array>> {
  let next: IteratorResult<Uint8Array> | undefined = await body.next();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const piece = next ?? (await body.next());
          next = undefined;
          if (piece.done === true) controller.close();
          else controller.enqueue(piece.value);
        } catch (error) {
          log.error({ err: error, objectId: object.id }, "an object broke off while it was read");
          controller.error(error);
        }
      },
      async cancel() {
        await body.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}
