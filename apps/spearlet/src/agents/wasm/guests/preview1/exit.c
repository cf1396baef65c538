// proc_exit: the exact code, and nothing runs behind it.
#include "guest.h"

int main(void) {
  printf("before\n");
  fflush(stdout);
  __wasi_proc_exit(42);
}
