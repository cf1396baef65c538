/* The same through the imports of libs/task/wit/host.wit, spelled as the canonical ABI
 * lowers them: what a component's own bindings would be made of. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(interface, name) \
  __attribute__((import_module("spear:host/" interface "@0.1.0"), import_name(name)))

typedef struct { char *at; uint32_t size; } text;
/* result<T, failure>, T and failure both from the same offset on. */
typedef struct { uint8_t failed; text code, message; uint8_t more[24]; } outcome;
typedef struct { uint8_t failed; int64_t value; uint8_t more[32]; } number_outcome;
typedef struct { uint8_t failed; uint8_t some __attribute__((aligned(4))); text bytes; uint8_t more[32]; } read_outcome;
typedef struct { uint8_t failed; uint8_t info[56] __attribute__((aligned(8))); int32_t reader; } open_outcome;

IMPORT("object", "get") void object_get(const char *, size_t, outcome *);
IMPORT("object", "open") void object_open(const char *, size_t, uint64_t, open_outcome *);
IMPORT("types", "[method]reader.read") void reader_read(int32_t, uint32_t, read_outcome *);
IMPORT("types", "[resource-drop]reader") void reader_drop(int32_t);
IMPORT("keyvalue", "increment") void increment(const char *, size_t, int64_t, number_outcome *);
IMPORT("log", "write") void log_write(int32_t, const char *, size_t, const text *, size_t, outcome *);

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t size, size_t align, size_t wanted) {
  (void)size, (void)align;
  return realloc(old, wanted);
}

#define S(literal) literal, sizeof literal - 1

int main(int argc, char **argv) {
  (void)argc, (void)argv;
  outcome o;
  number_outcome n;
  open_outcome opened;
  read_outcome r;
  object_get(S("corpus/a \"b\".txt"), &o);
  printf("get %s\n", !o.failed && o.code.size == 5 && memcmp(o.code.at, "h\0llo", 5) == 0 ? "ok" : "failed");
  object_get(S("secret/out"), &o);
  printf("denied %.*s\n", (int)o.code.size, o.failed ? o.code.at : "");
  object_open(S("corpus/large"), 3, &opened);
  long total = 0;
  do {
    reader_read(opened.reader, 1 << 20, &r);
    if (!r.failed && r.some) total += r.bytes.size, free(r.bytes.at);
  } while (!r.failed && r.some);
  reader_drop(opened.reader);
  printf("stream %s\n", total == 3 << 20 ? "ok" : "failed");
  increment(S("n"), -2, &n);
  printf("sum %lld\n", n.failed ? 0LL : (long long)n.value);
  text field[2] = {{"part", 4}, {"1", 1}};
  log_write(2, S("line"), field, 1, &o);
  printf("log %s\n", o.failed ? "failed" : "ok");
  return 0;
}
