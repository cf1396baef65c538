// environ_sizes_get, environ_get: what was given and nothing of the host's.
#include "guest.h"

int main(void) {
  __wasi_size_t count = 0, bytes = 0;
  OK(__wasi_environ_sizes_get(&count, &bytes));
  CHECK(count == 3);
  uint8_t *list[3];
  uint8_t buffer[128];
  CHECK(bytes <= sizeof buffer);
  OK(__wasi_environ_get(list, buffer));
  CHECK(getenv("PATH") == NULL);
  CHECK(getenv("HOME") == NULL);
  CHECK(strcmp(getenv("LANGUAGE"), "c") == 0);
  CHECK(strcmp(getenv("EMPTY"), "") == 0);
  CHECK(strcmp(getenv("SIGN"), "a=b") == 0);
}
