/** Bytes as lines of text. */

/** The lines of a stream, without their ends; one longer than `maxLength` comes in pieces. */
export async function* linesOf(
  stream: AsyncIterable<Uint8Array>,
  maxLength: number,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
    if (rest.length > maxLength) {
      yield rest;
      rest = "";
    }
  }
  if (rest !== "") yield rest;
}
