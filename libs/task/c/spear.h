/*
 * Hostcalls for WASI guests in C: what a task may ask of its node, if its spec grants it.
 * Link it by including it; it needs nothing but the C library.
 *
 *     unsigned char *bytes; size_t size;
 *     if (spear_object_get("corpus/part-1.txt", &bytes, &size) != 0)
 *       fprintf(stderr, "%s\n", spear_error());
 *     free(bytes);
 *
 * Functions return 0, or a count, and -1 if the call was refused or failed: then
 * spear_error() says why, as "permission_denied: …". What they allocate is the caller's.
 *
 * Beneath lies one call for all: spear_call("object.stat", "{\"object\":\"a/b\"}", …),
 * with parameters and results as JSON and bytes beside them. docs/hostcalls.md lists them.
 *
 * ABI of the import module "spear_host":
 *   call(name, name_len, params, params_len, bytes, bytes_len, sizes[2]) -> 0 or 1
 *     makes a call; sizes gets the lengths of its JSON and its bytes; 1: the JSON is a problem
 *   take(json, bytes) -> 0
 *     copies both to where there is room for them
 */
#ifndef SPEAR_H
#define SPEAR_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEAR_IMPORT(name) __attribute__((import_module("spear_host"), import_name(name)))

SPEAR_IMPORT("call")
int spear_host_call(const char *name, size_t name_len, const char *params, size_t params_len,
                    const void *bytes, size_t bytes_len, uint32_t sizes[2]);
SPEAR_IMPORT("take") int spear_host_take(char *json, unsigned char *bytes);

/* What a call gave; free with spear_free. */
typedef struct {
  int failed;
  /* Ends with a NUL that json_len does not count. */
  char *json;
  size_t json_len;
  unsigned char *bytes;
  size_t bytes_len;
} spear_reply;

static inline void spear_free(spear_reply *reply) {
  free(reply->json);
  free(reply->bytes);
  reply->json = NULL;
  reply->bytes = NULL;
}

static char spear_last_error[512];

/* Why the last call that failed did. */
static inline const char *spear_error(void) { return spear_last_error; }

/* The value behind "name": in JSON that the node made; NULL if it is not there. */
static inline const char *spear_field(const char *json, const char *name) {
  size_t length = strlen(name);
  for (const char *at = json; (at = strchr(at, '"')) != NULL; at++) {
    if (strncmp(at + 1, name, length) == 0 && at[length + 1] == '"' && at[length + 2] == ':')
      return at + length + 3;
  }
  return NULL;
}

/* A number of the result; `otherwise` if it is not there. */
static inline long long spear_number(const char *json, const char *name, long long otherwise) {
  const char *at = spear_field(json, name);
  return at == NULL ? otherwise : strtoll(at, NULL, 10);
}

/* A text of the result, cut to `size`; its length, or -1 if it is not there. */
static inline long spear_text(const char *json, const char *name, char *out, size_t size) {
  const char *at = spear_field(json, name);
  size_t length = 0;
  if (at == NULL || *at++ != '"' || size == 0) return -1;
  for (; *at != '"' && *at != 0 && length + 4 < size; at++) {
    if (*at != '\\') {
      out[length++] = *at;
      continue;
    }
    at++;
    if (*at != 'u') {
      const char *escape = strchr("n\nt\tr\rb\bf\f", *at);
      out[length++] = escape == NULL ? *at : escape[1];
      continue;
    }
    char digits[5] = {0};
    memcpy(digits, at + 1, 4);
    unsigned long code = strtoul(digits, NULL, 16);
    at += 4;
    /* The node escapes control characters only; what is larger is written as it is. */
    if (code < 0x80) out[length++] = (char)code;
  }
  out[length] = 0;
  return (long)length;
}

/* Makes any call; `params` is JSON. Look at `failed`. */
static inline spear_reply spear_call(const char *name, const char *params, const void *bytes,
                                     size_t size) {
  spear_reply reply = {0};
  uint32_t sizes[2];
  reply.failed = spear_host_call(name, strlen(name), params, strlen(params), bytes, size, sizes);
  reply.json_len = sizes[0];
  reply.bytes_len = sizes[1];
  reply.json = malloc(reply.json_len + 1);
  reply.bytes = malloc(reply.bytes_len + 1);
  if (reply.json == NULL || reply.bytes == NULL) abort();
  spear_host_take(reply.json, reply.bytes);
  reply.json[reply.json_len] = 0;
  reply.bytes[reply.bytes_len] = 0;
  if (reply.failed) {
    char code[64] = "", detail[400] = "";
    spear_text(reply.json, "code", code, sizeof code);
    spear_text(reply.json, "detail", detail, sizeof detail);
    snprintf(spear_last_error, sizeof spear_last_error, "%s: %s", code, detail);
  }
  return reply;
}

/* Parameters that grow; `{"name":"value",…}`. */
typedef struct {
  char *text;
  size_t length, room;
} spear_params;

static inline void spear_append(spear_params *params, const char *text, size_t length) {
  if (params->length + length + 1 > params->room) {
    params->room = (params->length + length + 1) * 2;
    params->text = realloc(params->text, params->room);
    if (params->text == NULL) abort();
  }
  memcpy(params->text + params->length, text, length);
  params->length += length;
  params->text[params->length] = 0;
}

static inline void spear_name(spear_params *params, const char *name) {
  spear_append(params, params->length == 0 ? "{\"" : ",\"", 2);
  spear_append(params, name, strlen(name));
  spear_append(params, "\":", 2);
}

static inline void spear_add_text(spear_params *params, const char *name, const char *value) {
  spear_name(params, name);
  spear_append(params, "\"", 1);
  for (; *value != 0; value++) {
    char escaped[8];
    int length = (unsigned char)*value < 0x20 ? snprintf(escaped, sizeof escaped, "\\u%04x", *value)
                 : *value == '"' || *value == '\\' ? snprintf(escaped, sizeof escaped, "\\%c", *value)
                                                   : snprintf(escaped, sizeof escaped, "%c", *value);
    spear_append(params, escaped, (size_t)length);
  }
  spear_append(params, "\"", 1);
}

static inline void spear_add_json(spear_params *params, const char *name, const char *json) {
  spear_name(params, name);
  spear_append(params, json, strlen(json));
}

static inline void spear_add_number(spear_params *params, const char *name, long long value) {
  char text[24];
  snprintf(text, sizeof text, "%lld", value);
  spear_add_json(params, name, text);
}

/* Makes a call with these parameters, which are freed. */
static inline spear_reply spear_send(const char *name, spear_params *params, const void *bytes,
                                     size_t size) {
  spear_append(params, params->length == 0 ? "{}" : "}", params->length == 0 ? 2 : 1);
  spear_reply reply = spear_call(name, params->text, bytes, size);
  free(params->text);
  return reply;
}

static inline int spear_done(spear_reply reply) {
  spear_free(&reply);
  return reply.failed ? -1 : 0;
}

/* All bytes of an object, at most 8 MiB; free(*bytes). Grant: object.read. */
static inline int spear_object_get(const char *object, unsigned char **bytes, size_t *size) {
  spear_params params = {0};
  spear_add_text(&params, "object", object);
  spear_reply reply = spear_send("object.get", &params, NULL, 0);
  *bytes = reply.failed ? NULL : reply.bytes;
  *size = reply.bytes_len;
  if (!reply.failed) reply.bytes = NULL;
  return spear_done(reply);
}

/* Stores bytes as an object, whole or not at all. Grant: object.write. */
static inline int spear_object_put(const char *object, const void *bytes, size_t size) {
  spear_params params = {0};
  spear_add_text(&params, "object", object);
  return spear_done(spear_send("object.put", &params, bytes, size));
}

/* Opens an object to be read from an offset on; a stream, or -1. Grant: object.read. */
static inline int spear_open(const char *object, long long offset) {
  spear_params params = {0};
  spear_add_text(&params, "object", object);
  spear_add_number(&params, "offset", offset);
  spear_reply reply = spear_send("stream.open", &params, NULL, 0);
  int stream = reply.failed ? -1 : (int)spear_number(reply.json, "stream", -1);
  spear_free(&reply);
  return stream;
}

/* Opens an object to be written; spear_finish makes it visible. Grant: object.write. */
static inline int spear_create(const char *object) {
  spear_params params = {0};
  spear_add_text(&params, "object", object);
  spear_reply reply = spear_send("stream.create", &params, NULL, 0);
  int stream = reply.failed ? -1 : (int)spear_number(reply.json, "stream", -1);
  spear_free(&reply);
  return stream;
}

/* The next bytes of a stream: how many, 0 at its end, -1 if that failed. */
static inline long spear_read(int stream, void *buffer, size_t size) {
  spear_params params = {0};
  spear_add_number(&params, "stream", stream);
  spear_add_number(&params, "maxBytes", (long long)size);
  spear_reply reply = spear_send("stream.read", &params, NULL, 0);
  if (!reply.failed) memcpy(buffer, reply.bytes, reply.bytes_len);
  long got = reply.failed ? -1 : (long)reply.bytes_len;
  spear_free(&reply);
  return got;
}

/* Adds bytes to a stream, at most 8 MiB at once. */
static inline int spear_write(int stream, const void *bytes, size_t size) {
  spear_params params = {0};
  spear_add_number(&params, "stream", stream);
  return spear_done(spear_send("stream.write", &params, bytes, size));
}

/* Makes what was written visible. */
static inline int spear_finish(int stream) {
  spear_params params = {0};
  spear_add_number(&params, "stream", stream);
  return spear_done(spear_send("stream.finish", &params, NULL, 0));
}

/* Drops a stream; what was written is not stored. */
static inline int spear_close(int stream) {
  spear_params params = {0};
  spear_add_number(&params, "stream", stream);
  return spear_done(spear_send("stream.close", &params, NULL, 0));
}

/* A line in the task's log; level is "debug", "info", "warn" or "error". Grant: log. */
static inline int spear_log(const char *level, const char *message) {
  spear_params params = {0};
  spear_add_text(&params, "level", level);
  spear_add_text(&params, "message", message);
  return spear_done(spear_send("log.write", &params, NULL, 0));
}

/* A variable or secret of the spec, cut to `size`; its length, -1 if there is none. Grant: config. */
static inline long spear_config(const char *name, char *out, size_t size) {
  spear_params params = {0};
  spear_add_text(&params, "name", name);
  spear_reply reply = spear_send("config.get", &params, NULL, 0);
  long length = reply.failed ? -1 : spear_text(reply.json, "value", out, size);
  spear_free(&reply);
  return length;
}

/* A value of the job; free(*bytes). Its version, 0 if there is none, -1. Grant: keyvalue.read. */
static inline long long spear_kv_get(const char *key, unsigned char **bytes, size_t *size) {
  spear_params params = {0};
  spear_add_text(&params, "key", key);
  spear_reply reply = spear_send("keyvalue.get", &params, NULL, 0);
  long long version = reply.failed ? -1 : spear_number(reply.json, "version", -1);
  *bytes = version > 0 ? reply.bytes : NULL;
  *size = reply.bytes_len;
  if (version > 0) reply.bytes = NULL;
  spear_free(&reply);
  return version;
}

/* Writes a value, only over `if_version` unless that is -1. Its version, or -1. Grant: keyvalue.write. */
static inline long long spear_kv_set(const char *key, const void *bytes, size_t size,
                                     long long if_version) {
  spear_params params = {0};
  spear_add_text(&params, "key", key);
  if (if_version >= 0) spear_add_number(&params, "ifVersion", if_version);
  spear_reply reply = spear_send("keyvalue.set", &params, bytes, size);
  long long version = reply.failed ? -1 : spear_number(reply.json, "version", -1);
  spear_free(&reply);
  return version;
}

/* Adds to a whole number of the job, which starts at 0. 0 and the sum, or -1. Grant: keyvalue.write. */
static inline int spear_kv_increment(const char *key, long long by, long long *sum) {
  spear_params params = {0};
  spear_add_text(&params, "key", key);
  spear_add_number(&params, "by", by);
  spear_reply reply = spear_send("keyvalue.increment", &params, NULL, 0);
  if (!reply.failed) *sum = spear_number(reply.json, "value", 0);
  return spear_done(reply);
}

/* Submits a child, its spec in JSON; its id goes to `id`. Grant: task.submit. */
static inline int spear_submit(const char *spec, char *id, size_t size) {
  spear_params params = {0};
  spear_add_json(&params, "spec", spec);
  spear_reply reply = spear_send("task.submit", &params, NULL, 0);
  if (!reply.failed) spear_text(reply.json, "taskId", id, size);
  return spear_done(reply);
}

/* Waits for a child to end, at most 60,000 ms; its state goes to `state`. Grant: task.submit. */
static inline int spear_wait(const char *id, int timeout_ms, char *state, size_t size) {
  spear_params params = {0};
  spear_add_text(&params, "taskId", id);
  spear_add_number(&params, "timeoutMs", timeout_ms);
  spear_reply reply = spear_send("task.wait", &params, NULL, 0);
  if (!reply.failed) spear_text(reply.json, "state", state, size);
  return spear_done(reply);
}

#endif
