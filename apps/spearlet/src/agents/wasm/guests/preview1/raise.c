// proc_raise: what is ignored by default is; what can't be done says so.
#include "guest.h"

__attribute__((import_module("wasi_snapshot_preview1"), import_name("proc_raise"))) int32_t
proc_raise(int32_t signal);

enum { NONE = 0, CHLD = 16, STOP = 18, WINCH = 27 };

int main(void) {
  ERRNO(__WASI_ERRNO_SUCCESS, proc_raise(NONE));
  ERRNO(__WASI_ERRNO_SUCCESS, proc_raise(CHLD));
  ERRNO(__WASI_ERRNO_SUCCESS, proc_raise(WINCH));
  ERRNO(__WASI_ERRNO_NOTSUP, proc_raise(STOP));
  ERRNO(__WASI_ERRNO_INVAL, proc_raise(77));
}
