// fd_advise, fd_allocate, fd_datasync, fd_sync, fd_filestat_get,
// fd_filestat_set_size, fd_filestat_set_times.
#include "guest.h"

static __wasi_filestat_t status(__wasi_fd_t fd) {
  __wasi_filestat_t found;
  OK(__wasi_fd_filestat_get(fd, &found));
  return found;
}

int main(void) {
  __wasi_fd_t fd = open_with(ROOT, "file", __WASI_OFLAGS_CREAT, ALL_RIGHTS, 0);
  __wasi_filestat_t found = status(fd);
  CHECK(found.filetype == __WASI_FILETYPE_REGULAR_FILE);
  CHECK(found.size == 0 && found.nlink == 1 && found.ino != 0);

  OK(__wasi_fd_filestat_set_size(fd, 100));
  CHECK(status(fd).size == 100);
  OK(__wasi_fd_filestat_set_size(fd, 40));
  CHECK(status(fd).size == 40);

  OK(__wasi_fd_allocate(fd, 0, 20));
  CHECK(status(fd).size == 40);
  OK(__wasi_fd_allocate(fd, 30, 70));
  CHECK(status(fd).size == 100);
  ERRNO(__WASI_ERRNO_INVAL, __wasi_fd_allocate(fd, 0, 0));

  for (int advice = 0; advice < 6; advice++) OK(__wasi_fd_advise(fd, 10, 50, advice));
  ERRNO(__WASI_ERRNO_INVAL, __wasi_fd_advise(fd, 10, 50, 6));
  OK(__wasi_fd_datasync(fd));
  OK(__wasi_fd_sync(fd));
  CHECK(status(fd).size == 100);

  // Exact to the nanosecond, each time by itself.
  found = status(fd);
  OK(__wasi_fd_filestat_set_times(fd, 1, found.mtim - 123, __WASI_FSTFLAGS_MTIM));
  CHECK(status(fd).mtim == found.mtim - 123);
  CHECK(status(fd).atim == found.atim);
  OK(__wasi_fd_filestat_set_times(fd, 1000000007, 1, __WASI_FSTFLAGS_ATIM));
  CHECK(status(fd).atim == 1000000007);
  OK(__wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_ATIM_NOW | __WASI_FSTFLAGS_MTIM_NOW));
  CHECK(status(fd).atim > 1000000007);
  CHECK(status(fd).mtim >= found.mtim);
  ERRNO(__WASI_ERRNO_INVAL, __wasi_fd_filestat_set_times(
                                fd, 1, 1, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW));
  ERRNO(__WASI_ERRNO_INVAL, __wasi_fd_filestat_set_times(
                                fd, 1, 1, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW));
  OK(__wasi_fd_close(fd));

  OK(__wasi_fd_filestat_get(ROOT, &found));
  CHECK(found.filetype == __WASI_FILETYPE_DIRECTORY);
  OK(__wasi_fd_sync(ROOT));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_filestat_get(77, &found));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_sync(77));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_datasync(77));
}
