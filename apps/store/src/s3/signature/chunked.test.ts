/** Bodies in signed chunks: the examples that AWS publishes, in any pieces, and every way to break them. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { S3Error } from "../errors.ts";
import { signingKey } from "./canonical.ts";
import { decodeChunked, type ChunkedOptions } from "./chunked.ts";

const signerOf = (seed: string) => ({
  key: signingKey("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1"),
  time: "20130524T000000Z",
  scope: "20130524/us-east-1/s3/aws4_request",
  seed,
});

const data = Buffer.alloc(66_560, "a");
const chunk = (bytes: Buffer, signature: string) =>
  Buffer.concat([
    Buffer.from(`${bytes.length.toString(16)};chunk-signature=${signature}\r\n`),
    bytes,
    Buffer.from("\r\n"),
  ]);

// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
const signed = {
  options: (): ChunkedOptions => ({
    signer: signerOf("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"),
    trailers: undefined,
  }),
  body: Buffer.concat([
    chunk(
      data.subarray(0, 65_536),
      "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    ),
    chunk(
      data.subarray(65_536),
      "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    ),
    chunk(Buffer.alloc(0), "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
  ]),
};

// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
const trailed = {
  options: (): ChunkedOptions => ({
    signer: signerOf("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"),
    trailers: new Map<string, string>(),
  }),
  body: Buffer.concat([
    chunk(
      data.subarray(0, 65_536),
      "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    ),
    chunk(
      data.subarray(65_536),
      "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    ),
    Buffer.from(
      "0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
        "x-amz-checksum-crc32c:sOO8/Q==\n" +
        "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
    ),
  ]),
};

/** Pieces of a body that was cut at these places. */
async function* cut(body: Buffer, places: readonly number[]) {
  let from = 0;
  for (const place of [...new Set(places), body.length].toSorted((a, b) => a - b)) {
    if (place > from) yield body.subarray(from, place);
    from = Math.max(from, place);
  }
}

async function decoded(body: Buffer, options: ChunkedOptions, places: readonly number[] = []) {
  const pieces: Uint8Array[] = [];
  for await (const piece of decodeChunked(cut(body, places), options)) pieces.push(piece);
  return Buffer.concat(pieces);
}

const codeOf = (body: Buffer, options: ChunkedOptions) =>
  decoded(body, options).then(
    () => "ok",
    (error: unknown) => S3Error.from(error).code,
  );

test("AWS's examples hold however the body is cut", async () => {
  const places = fc.array(fc.integer({ min: 0, max: signed.body.length }), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(places, async (at) => {
      expect((await decoded(signed.body, signed.options(), at)).equals(data)).toBe(true);
      const options = trailed.options();
      expect((await decoded(trailed.body, options, at)).equals(data)).toBe(true);
      expect(options.trailers).toEqual(new Map([["x-amz-checksum-crc32c", "sOO8/Q=="]]));
    }),
    { numRuns: 15 },
  );
});

test("whatever byte of the examples is changed or lost, they no longer hold", async () => {
  for (const { body, options } of [signed, trailed]) {
    const at = fc.integer({ min: 0, max: body.length - 5 });
    await fc.assert(
      fc.asyncProperty(at, async (index) => {
        const changed = Buffer.from(body);
        changed[index] = (changed[index] ?? 0) ^ 1;
        expect(await codeOf(changed, options())).not.toBe("ok");
        const shorter = body.subarray(0, index);
        expect(await codeOf(Buffer.from(shorter), options())).not.toBe("ok");
      }),
      {
        numRuns: 25,
        // Sizes, signatures, ends of lines and trailers: what chance would seldom meet.
        examples: [0, 5, 6, 70, 90, 65_625, 65_627, 66_700, body.length - 100].map((i) => [i]),
      },
    );
  }
});

test.each([
  ["an unsigned chunk where they are signed", "3\r\nabc\r\n0\r\n\r\n", "SignatureDoesNotMatch"],
  ["no size", ";x\r\n", "InvalidRequest"],
  ["a line without end", "1".repeat(5_000), "InvalidRequest"],
  ["nothing", "", "IncompleteBody"],
])("%s is refused", async (_, body, code) => {
  expect(await codeOf(Buffer.from(body), signed.options())).toBe(code);
});

test("chunks without signatures carry trailers, and only where they may", async () => {
  const body = Buffer.from("3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n");
  const trailers = new Map<string, string>();
  expect((await decoded(body, { signer: undefined, trailers })).toString()).toBe("abc");
  expect(trailers.get("x-amz-checksum-crc32")).toBe("NSRBwg==");
  expect(await codeOf(body, { signer: undefined, trailers: undefined })).toBe(
    "MalformedTrailerError",
  );
  const longer = Buffer.from("3\r\nabcd\r\n0\r\n\r\n");
  expect(await codeOf(longer, { signer: undefined, trailers })).toBe("InvalidRequest");
});
