// args_sizes_get, args_get: the program's name and then what was given, byte for byte.
#include "guest.h"

int main(void) {
  __wasi_size_t count = 0, bytes = 0;
  OK(__wasi_args_sizes_get(&count, &bytes));
  CHECK(count == 4);
  uint8_t *list[4];
  uint8_t buffer[256];
  CHECK(bytes <= sizeof buffer);
  OK(__wasi_args_get(list, buffer));
  CHECK(list[0] == buffer);
  CHECK(strlen((char *)list[0]) > 0);
  CHECK(strcmp((char *)list[1], "one") == 0);
  CHECK(strcmp((char *)list[2], "") == 0);
  CHECK(strcmp((char *)list[3], "dre\xc3\xad \"3\"") == 0);
  CHECK(list[3] + strlen((char *)list[3]) + 1 == buffer + bytes);
  ERRNO(__WASI_ERRNO_FAULT, __wasi_args_get((uint8_t **)0xfffffff0, buffer));
}
