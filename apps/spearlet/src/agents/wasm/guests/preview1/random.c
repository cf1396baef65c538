// random_get: fills exactly what it was given, also much and nothing.
#include "guest.h"

static uint8_t big[300000];

int main(void) {
  OK(__wasi_random_get(big, 0));
  CHECK(big[0] == 0);
  OK(__wasi_random_get(big, sizeof big - 8));
  unsigned zeros = 0;
  for (unsigned i = 0; i < sizeof big - 8; i++) zeros += big[i] == 0;
  CHECK(zeros < sizeof big / 64);
  for (unsigned i = sizeof big - 8; i < sizeof big; i++) CHECK(big[i] == 0);
  ERRNO(__WASI_ERRNO_FAULT, __wasi_random_get((uint8_t *)0xffffff00, 4096));
}
