/**
 * Strings of messages as they were sent, or not at all: by itself the decoder takes
 * what is not UTF-8 for U+FFFD, and so one name for another.
 */
import type { ServiceDefinition } from "@grpc/grpc-js";
import { BinaryReader } from "@bufbuild/protobuf/wire";

class StrictReader extends BinaryReader {
  override string(): string {
    return super.string(true);
  }
}

/** The definition with requests that are refused unless all their strings are UTF-8. */
export function strictRequests<D extends ServiceDefinition>(definition: D): D {
  const methods = Object.entries(definition).map(([name, method]) => [
    name,
    {
      ...method,
      // Generated decoders take a reader where they take bytes; their definitions don't say so.
      requestDeserialize: (bytes: Buffer): unknown =>
        method.requestDeserialize(new StrictReader(bytes) as unknown as Buffer),
    },
  ]);
  return Object.fromEntries(methods) as D;
}
