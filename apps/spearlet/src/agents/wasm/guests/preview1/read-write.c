// fd_read, fd_write, fd_pread, fd_pwrite, fd_seek, fd_tell, fd_close, fd_renumber.
#include "guest.h"

static void offsets(void) {
  __wasi_fd_t fd = open_with(ROOT, "offsets", __WASI_OFLAGS_CREAT, READ_WRITE | SEEK, 0);
  __wasi_filesize_t at = 9;
  OK(__wasi_fd_tell(fd, &at));
  CHECK(at == 0);
  write_text(fd, "0123456789");
  OK(__wasi_fd_tell(fd, &at));
  CHECK(at == 10);
  OK(__wasi_fd_seek(fd, -4, __WASI_WHENCE_CUR, &at));
  CHECK(at == 6);
  read_text(fd, "6789");
  OK(__wasi_fd_seek(fd, -9, __WASI_WHENCE_END, &at));
  CHECK(at == 1);
  OK(__wasi_fd_seek(fd, 3, __WASI_WHENCE_SET, &at));
  read_text(fd, "3456789");
  read_text(fd, "");
  ERRNO(__WASI_ERRNO_INVAL, __wasi_fd_seek(fd, -1, __WASI_WHENCE_SET, &at));
  ERRNO(__WASI_ERRNO_INVAL, __wasi_fd_seek(fd, 0, 7, &at));

  // At a place of one's own; the offset stays.
  __wasi_ciovec_t out[2] = {{(uint8_t *)"ab", 2}, {(uint8_t *)"cd", 2}};
  __wasi_size_t size = 0;
  OK(__wasi_fd_pwrite(fd, out, 2, 4, &size));
  CHECK(size == 4);
  char first[3] = {0}, second[3] = {0};
  __wasi_iovec_t in[2] = {{(uint8_t *)first, 2}, {(uint8_t *)second, 2}};
  OK(__wasi_fd_pread(fd, in, 2, 5, &size));
  CHECK(size == 4 && strcmp(first, "bc") == 0 && strcmp(second, "d8") == 0);
  OK(__wasi_fd_pread(fd, in, 2, 9, &size));
  CHECK(size == 1);
  OK(__wasi_fd_pread(fd, in, 2, 100, &size));
  CHECK(size == 0);
  OK(__wasi_fd_tell(fd, &at));
  CHECK(at == 10);

  // A hole reads as zeros.
  OK(__wasi_fd_seek(fd, 5000, __WASI_WHENCE_SET, &at));
  write_text(fd, "end");
  OK(__wasi_fd_pread(fd, in, 1, 4000, &size));
  CHECK(size == 2 && first[0] == 0 && first[1] == 0);
  OK(__wasi_fd_close(fd));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_tell(fd, &at));
}

static void append(void) {
  __wasi_fd_t fd = open_with(ROOT, "append", __WASI_OFLAGS_CREAT, READ_WRITE | SEEK,
                             __WASI_FDFLAGS_APPEND);
  __wasi_filesize_t at;
  write_text(fd, "one");
  OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  write_text(fd, "two");
  OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  read_text(fd, "onetwo");
  OK(__wasi_fd_close(fd));
}

static void renumber(void) {
  __wasi_fd_t one = open_with(ROOT, "one", __WASI_OFLAGS_CREAT, READ_WRITE | SEEK, 0);
  __wasi_fd_t two = open_with(ROOT, "two", __WASI_OFLAGS_CREAT, READ_WRITE | SEEK, 0);
  __wasi_filesize_t at;
  write_text(one, "first");
  OK(__wasi_fd_renumber(one, two));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_close(one));
  OK(__wasi_fd_seek(two, 0, __WASI_WHENCE_SET, &at));
  read_text(two, "first");
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_renumber(two, one));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_renumber(one, two));
  OK(__wasi_fd_renumber(two, two));
  // A number that became free is given again.
  CHECK(open_with(ROOT, "one", 0, READ_WRITE, 0) == one);
}

static void directories(void) {
  uint8_t byte = 0;
  __wasi_iovec_t in = {&byte, 1};
  __wasi_ciovec_t out = {&byte, 1};
  __wasi_size_t size;
  __wasi_filesize_t at;
  ERRNO(__WASI_ERRNO_ISDIR, __wasi_fd_read(ROOT, &in, 1, &size));
  ERRNO(__WASI_ERRNO_ISDIR, __wasi_fd_pread(ROOT, &in, 1, 0, &size));
  ERRNO(__WASI_ERRNO_ISDIR, __wasi_fd_write(ROOT, &out, 1, &size));
  ERRNO(__WASI_ERRNO_ISDIR, __wasi_fd_pwrite(ROOT, &out, 1, 0, &size));
  ERRNO(__WASI_ERRNO_ISDIR, __wasi_fd_seek(ROOT, 0, __WASI_WHENCE_CUR, &at));
  ERRNO(__WASI_ERRNO_ISDIR, __wasi_fd_tell(ROOT, &at));
  ERRNO(__WASI_ERRNO_ISDIR, __wasi_fd_allocate(ROOT, 0, 1));
  ERRNO(__WASI_ERRNO_ISDIR, __wasi_fd_filestat_set_size(ROOT, 0));
}

int main(void) {
  offsets();
  append();
  renumber();
  directories();
}
