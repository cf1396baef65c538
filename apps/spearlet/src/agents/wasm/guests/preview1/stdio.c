// fd_read, fd_write, fd_fdstat_get and fd_filestat_get on the standard streams.
#include "guest.h"
#include <unistd.h>

int main(void) {
  __wasi_fdstat_t status;
  __wasi_filestat_t file;
  __wasi_filesize_t offset;
  for (__wasi_fd_t fd = 0; fd < 3; fd++) {
    OK(__wasi_fd_fdstat_get(fd, &status));
    CHECK(status.fs_rights_base & (fd == 0 ? __WASI_RIGHTS_FD_READ : __WASI_RIGHTS_FD_WRITE));
    OK(__wasi_fd_filestat_get(fd, &file));
    CHECK(!isatty(fd));
    ERRNO(__WASI_ERRNO_SPIPE, __wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &offset));
  }
  char byte;
  __wasi_iovec_t vector = {(uint8_t *)&byte, 1};
  __wasi_ciovec_t out = {(uint8_t *)&byte, 1};
  __wasi_size_t size = 9;
  OK(__wasi_fd_read(0, &vector, 1, &size));
  CHECK(size == 0);
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_write(0, &out, 1, &size));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_read(1, &vector, 1, &size));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_write(99, &out, 1, &size));

  // Several buffers are one write.
  __wasi_ciovec_t parts[3] = {{(uint8_t *)"one ", 4}, {(uint8_t *)"", 0}, {(uint8_t *)"two\n", 4}};
  OK(__wasi_fd_write(1, parts, 3, &size));
  CHECK(size == 8);
  write_text(2, "three\n");
  ERRNO(__WASI_ERRNO_FAULT, __wasi_fd_write(1, (__wasi_ciovec_t *)0xfffffff8, 4, &size));
  __wasi_ciovec_t outside = {(uint8_t *)0xffff0000, 4};
  ERRNO(__WASI_ERRNO_FAULT, __wasi_fd_write(1, &outside, 1, &size));
}
