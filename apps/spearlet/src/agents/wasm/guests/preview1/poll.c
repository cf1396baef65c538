// poll_oneoff: clocks, descriptors and both; each event says whose it is.
#include "guest.h"

static const uint64_t ms = 1000000;

static uint64_t now(void) {
  __wasi_timestamp_t time;
  OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, &time));
  return time;
}

static __wasi_subscription_t clock_in(uint64_t user, uint32_t id, uint64_t timeout, int absolute) {
  __wasi_subscription_t made = {.userdata = user, .u = {.tag = __WASI_EVENTTYPE_CLOCK}};
  made.u.u.clock.id = id;
  made.u.u.clock.timeout = timeout;
  made.u.u.clock.flags = absolute ? __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME : 0;
  return made;
}

static __wasi_subscription_t ready(uint64_t user, uint8_t type, __wasi_fd_t fd) {
  __wasi_subscription_t made = {.userdata = user, .u = {.tag = type}};
  made.u.u.fd_read.file_descriptor = fd;
  return made;
}

static __wasi_event_t events[8];

static unsigned poll(__wasi_subscription_t *wanted, unsigned count) {
  __wasi_size_t got = 0;
  OK(__wasi_poll_oneoff(wanted, events, count, &got));
  CHECK(got >= 1 && got <= count);
  return got;
}

int main(void) {
  __wasi_size_t got;
  ERRNO(__WASI_ERRNO_INVAL, __wasi_poll_oneoff(NULL, events, 0, &got));

  uint64_t start = now();
  __wasi_subscription_t one[] = {clock_in(7, __WASI_CLOCKID_MONOTONIC, 30 * ms, 0)};
  CHECK(poll(one, 1) == 1);
  CHECK(now() - start >= 30 * ms);
  CHECK(events[0].userdata == 7 && events[0].type == __WASI_EVENTTYPE_CLOCK && !events[0].error);

  // The nearer of two, by the time itself and by the time from now.
  start = now();
  __wasi_subscription_t two[] = {
      clock_in(1, __WASI_CLOCKID_MONOTONIC, start + 20 * ms, 1),
      clock_in(2, __WASI_CLOCKID_REALTIME, 60000 * ms, 0),
  };
  CHECK(poll(two, 2) == 1);
  CHECK(events[0].userdata == 1);
  CHECK(now() - start >= 20 * ms && now() - start < 50000 * ms);
  __wasi_subscription_t past[] = {clock_in(3, __WASI_CLOCKID_MONOTONIC, 1, 1)};
  CHECK(poll(past, 1) == 1);

  // Files and streams are ready at once, long before the clock.
  __wasi_fd_t file = open_with(ROOT, "greeting.txt", 0, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_POLL_FD_READWRITE, 0);
  __wasi_subscription_t mixed[] = {
      clock_in(1, __WASI_CLOCKID_MONOTONIC, 60000 * ms, 0),
      ready(2, __WASI_EVENTTYPE_FD_READ, file),
      ready(3, __WASI_EVENTTYPE_FD_READ, 0),
      ready(4, __WASI_EVENTTYPE_FD_WRITE, 1),
      ready(5, __WASI_EVENTTYPE_FD_READ, 99),
  };
  start = now();
  unsigned count = poll(mixed, 5);
  CHECK(now() - start < 50000 * ms);
  unsigned seen = 0;
  for (unsigned i = 0; i < count; i++) {
    seen |= 1u << events[i].userdata;
    CHECK(events[i].error == (events[i].userdata == 5 ? __WASI_ERRNO_BADF : 0));
  }
  CHECK(seen == (1 << 2 | 1 << 3 | 1 << 4 | 1 << 5));

  __wasi_subscription_t odd[] = {clock_in(6, 9, ms, 0)};
  CHECK(poll(odd, 1) == 1);
  CHECK(events[0].error == __WASI_ERRNO_INVAL);
}
