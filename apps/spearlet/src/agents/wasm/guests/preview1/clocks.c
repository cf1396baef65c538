// clock_res_get, clock_time_get, sched_yield.
#include "guest.h"

int main(void) {
  for (uint32_t id = 0; id < 4; id++) {
    __wasi_timestamp_t step = 0, before = 0, after = 0;
    OK(__wasi_clock_res_get(id, &step));
    CHECK(step > 0);
    OK(__wasi_clock_time_get(id, 1, &before));
    OK(__wasi_sched_yield());
    OK(__wasi_clock_time_get(id, 1, &after));
    if (id != __WASI_CLOCKID_REALTIME) CHECK(after >= before);
  }
  __wasi_timestamp_t now = 0, used = 0;
  OK(__wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 0, &now));
  CHECK(now > 1700000000ull * 1000000000ull);
  OK(__wasi_clock_time_get(__WASI_CLOCKID_PROCESS_CPUTIME_ID, 0, &used));
  CHECK(used < 60ull * 1000000000ull);
  ERRNO(__WASI_ERRNO_INVAL, __wasi_clock_time_get(9, 0, &now));
  ERRNO(__WASI_ERRNO_INVAL, __wasi_clock_res_get(9, &now));
}
