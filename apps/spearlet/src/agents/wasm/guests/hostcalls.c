/* Makes one hostcall of each kind and prints what came of it. */
#include "spear.h"

static void said(const char *what, int ok) { printf("%s %s\n", what, ok ? "ok" : spear_error()); }

int main(void) {
  unsigned char *bytes;
  size_t size;
  char text[64];
  long long sum = 0;
  said("get", spear_object_get("corpus/a \"b\".txt", &bytes, &size) == 0 && size == 5 &&
                  memcmp(bytes, "h\0llo", 5) == 0);
  said("put", spear_object_put("corpus/out", "x\0y", 3) == 0);
  said("denied", spear_object_put("secret/out", "x", 1) == 0);
  int in = spear_open("corpus/large", 3), out = spear_create("corpus/copy");
  long total = 0, got;
  static char buffer[1 << 20];
  while ((got = spear_read(in, buffer, sizeof buffer)) > 0) {
    total += got;
    if (spear_write(out, buffer, (size_t)got) != 0) break;
  }
  said("copy", got == 0 && total == 3 << 20 && spear_finish(out) == 0);
  said("closed", spear_read(in, buffer, 1) >= 0);
  said("log", spear_log("warn", "line\nof \\ \"log\"") == 0);
  said("config", spear_config("A", text, sizeof text) == 4 && strcmp(text, "v\n\"1") == 0);
  said("set", spear_kv_set("k", "v", 1, 0) == 1);
  said("value", spear_kv_get("k", &bytes, &size) == 1 && size == 1);
  said("sum", spear_kv_increment("n", -2, &sum) == 0 && sum == -2);
  said("child", spear_submit("{\"mock\":{}}", text, sizeof text) == 0 && strcmp(text, "task_1") == 0);
  said("wait", spear_wait(text, 10, text, sizeof text) == 0 && strcmp(text, "succeeded") == 0);
  spear_reply bad = spear_call("no.such", "{", NULL, 0);
  said("bad", !bad.failed);
  return 0;
}
