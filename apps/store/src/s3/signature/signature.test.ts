/** Signature Version 4: the cases that AWS publishes for S3, and AWS's own signer as an oracle (S1). */
import { expect, test } from "bun:test";
import { createHash, createHmac } from "node:crypto";
import * as fc from "fast-check";
import { SignatureV4 } from "@smithy/signature-v4";
import type { RequestHead } from "../../http/listener.ts";
import { S3Error } from "../errors.ts";
import { checkClaim, readClaim } from "./signature.ts";

const accessKeyId = "AKIAIOSFODNN7EXAMPLE";
const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const documented = Date.UTC(2013, 4, 24);
const empty = createHash("sha256").digest("hex");

function verify(head: RequestHead, nowMs: number, key = secret) {
  return checkClaim(head, readClaim(head), key, nowMs);
}

function codeOf(run: () => unknown): string {
  try {
    run();
    return "ok";
  } catch (error) {
    return S3Error.from(error).code;
  }
}

interface Documented {
  method?: string;
  path: string;
  query?: string;
  headers?: Record<string, string>;
  signed: string;
  signature: string;
}

function documentedHead({ method = "GET", path, query = "", ...rest }: Documented): RequestHead {
  const headers = new Headers({
    host: "examplebucket.s3.amazonaws.com",
    "x-amz-content-sha256": empty,
    "x-amz-date": "20130524T000000Z",
    ...rest.headers,
    authorization:
      `AWS4-HMAC-SHA256 Credential=${accessKeyId}/20130524/us-east-1/s3/aws4_request,` +
      `SignedHeaders=${rest.signed},Signature=${rest.signature}`,
  });
  return { method, path, query, headers };
}

// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
const examples: Record<string, Documented> = {
  "GET Object": {
    path: "/test.txt",
    headers: { range: "bytes=0-9" },
    signed: "host;range;x-amz-content-sha256;x-amz-date",
    signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  },
  "PUT Object": {
    method: "PUT",
    path: "/test%24file.text",
    headers: {
      date: "Fri, 24 May 2013 00:00:00 GMT",
      "x-amz-storage-class": "REDUCED_REDUNDANCY",
      "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
    },
    signed: "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
    signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
  },
  "GET Bucket Lifecycle": {
    path: "/",
    query: "lifecycle",
    signed: "host;x-amz-content-sha256;x-amz-date",
    signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
  },
  "GET Bucket (List Objects)": {
    path: "/",
    query: "max-keys=2&prefix=J",
    signed: "host;x-amz-content-sha256;x-amz-date",
    signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
  },
};

test.each(Object.entries(examples))("AWS's example holds: %s", (_, example) => {
  const head = documentedHead(example);
  expect(codeOf(() => verify(head, documented))).toBe("ok");
  expect(codeOf(() => verify({ ...head, method: "DELETE" }, documented))).toBe(
    "SignatureDoesNotMatch",
  );
});

// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
const presigned: RequestHead = {
  method: "GET",
  path: "/test.txt",
  query:
    "X-Amz-Algorithm=AWS4-HMAC-SHA256" +
    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
  headers: new Headers({ host: "examplebucket.s3.amazonaws.com" }),
};

test("AWS's example of a presigned URL holds for its time", () => {
  const at = (seconds: number) => codeOf(() => verify(presigned, documented + seconds * 1_000));
  expect(at(0)).toBe("ok");
  expect(at(86_400)).toBe("ok");
  expect(at(86_401)).toBe("AccessDenied");
  expect(at(-900)).toBe("ok");
  expect(at(-901)).toBe("AccessDenied");
  const longer = { ...presigned, query: presigned.query.replace("86400", "86401") };
  expect(codeOf(() => verify(longer, documented))).toBe("SignatureDoesNotMatch");
});

test("a signature in the header holds for a quarter of an hour", () => {
  const head = documentedHead(examples["GET Object"] as Documented);
  const at = (minutes: number) => codeOf(() => verify(head, documented + minutes * 60_000));
  expect([at(-15), at(15)]).toEqual(["ok", "ok"]);
  expect([at(-15.1), at(15.1)]).toEqual(["RequestTimeTooSkewed", "RequestTimeTooSkewed"]);
});

/** A signer that knows no clock but the one it is told. */
const signer = new SignatureV4({
  credentials: { accessKeyId, secretAccessKey: secret },
  region: "eu-central-1",
  service: "s3",
  uriEscapePath: false,
  applyChecksum: false,
  sha256: class {
    readonly #hash;
    constructor(key?: string | ArrayBuffer | ArrayBufferView) {
      this.#hash =
        key === undefined
          ? createHash("sha256")
          : createHmac("sha256", typeof key === "string" ? key : bytesOf(key));
    }
    update(data: string | ArrayBuffer | ArrayBufferView) {
      this.#hash.update(typeof data === "string" ? data : bytesOf(data));
    }
    digest() {
      return Promise.resolve(new Uint8Array(this.#hash.digest()));
    }
    reset() {
      throw new Error("never asked for");
    }
  },
});

function bytesOf(data: ArrayBuffer | ArrayBufferView): Buffer {
  return ArrayBuffer.isView(data)
    ? Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    : Buffer.from(data);
}

const strictly = (text: string) =>
  encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  );
const word = fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 });
/** A name that the signer, which copies plain objects, does not lose. */
const queryName = word.filter((name) => name !== "__proto__");
const asked = fc.record({
  method: fc.constantFrom("GET", "PUT", "DELETE", "POST"),
  key: fc.array(word, { minLength: 1, maxLength: 4 }).map((parts) => `/${parts.join("/")}`),
  query: fc.dictionary(queryName, fc.string({ unit: "grapheme", maxLength: 12 }), { maxKeys: 4 }),
  meta: fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), fc.stringMatching(/^[!-~][ -~]{0,12}$/), {
    maxKeys: 3,
  }),
  payload: fc.constantFrom("UNSIGNED-PAYLOAD", empty),
  nowMs: fc.integer({ min: Date.UTC(2020, 0, 1), max: Date.UTC(2030, 0, 1) }),
  presign: fc.boolean(),
  /** Whether the client encodes no more than it must. */
  lax: fc.boolean(),
});

type Asked = typeof asked extends fc.Arbitrary<infer T> ? T : never;

/** What AWS's signer makes of a request, as it stands on the wire. */
async function signedHead(given: Asked): Promise<RequestHead> {
  const request = {
    protocol: "http:",
    hostname: "store",
    port: 7720,
    method: given.method,
    path: given.key.split("/").map(strictly).join("/"),
    query: { ...given.query },
    headers: {
      host: "store:7720",
      "X-Amz-Content-Sha256": given.presign ? "UNSIGNED-PAYLOAD" : given.payload,
      ...Object.fromEntries(
        Object.entries(given.meta).map(([name, value]) => [`x-amz-meta-${name}`, value]),
      ),
    },
  };
  const signingDate = new Date(given.nowMs);
  const signed = given.presign
    ? await signer.presign(request, {
        signingDate,
        expiresIn: 60,
        unhoistableHeaders: new Set(Object.keys(given.meta).map((name) => `x-amz-meta-${name}`)),
      })
    : await signer.sign(request, { signingDate });
  const encode = given.lax ? encodeURIComponent : strictly;
  const query = Object.entries(signed.query ?? {})
    .map(([name, value]) => `${encode(name)}=${encode(String(value))}`)
    .join("&");
  return {
    method: given.method,
    path: given.key.split("/").map(encode).join("/"),
    query: given.lax ? query.replaceAll("%20", "+") : query,
    headers: new Headers(signed.headers),
  };
}

test("what AWS's signer signs is taken, and nothing else", async () => {
  await fc.assert(
    fc.asyncProperty(asked, async (given) => {
      const head = await signedHead(given);
      const outcome = (changed: Partial<RequestHead>, key = secret) =>
        codeOf(() => verify({ ...head, ...changed }, given.nowMs, key));
      const withHeader = (name: string, value: string) => {
        const headers = new Headers(head.headers);
        headers.set(name, value);
        return { headers };
      };
      expect(outcome({})).toBe("ok");
      expect(outcome({}, `${secret}x`)).toBe("SignatureDoesNotMatch");
      expect(outcome({ method: "HEAD" })).toBe("SignatureDoesNotMatch");
      expect(outcome({ path: `${head.path}x` })).toBe("SignatureDoesNotMatch");
      expect(outcome({ query: `${head.query}&acl` })).toBe("SignatureDoesNotMatch");
      expect(outcome(withHeader("host", "other"))).toBe("SignatureDoesNotMatch");
      expect(outcome(withHeader("x-amz-meta-unsigned-by-anyone", "x"))).toBe("AccessDenied");
      for (const name of Object.keys(given.meta)) {
        expect(outcome(withHeader(`x-amz-meta-${name}`, "other than it was"))).toBe(
          "SignatureDoesNotMatch",
        );
      }
    }),
    { numRuns: 60 },
  );
});

test.each([
  [{ authorization: "AWS AKIA:sig" }, "InvalidRequest"],
  [{ authorization: "Bearer token" }, "InvalidRequest"],
  [{ authorization: "AWS4-HMAC-SHA256 nonsense" }, "AuthorizationHeaderMalformed"],
  [
    {
      authorization:
        "AWS4-HMAC-SHA256 Credential=a/20130524/us-east-1/ec2/aws4_request,SignedHeaders=host,Signature=00",
    },
    "AuthorizationHeaderMalformed",
  ],
  [{}, "AccessDenied"],
])("the claim %p is refused as %p", (headers, code) => {
  const head = {
    method: "GET",
    path: "/",
    query: "",
    headers: new Headers({
      host: "h",
      "x-amz-content-sha256": empty,
      "x-amz-date": "20130524T000000Z",
      ...headers,
    }),
  };
  expect(codeOf(() => readClaim(head))).toBe(code);
});
