// fd_fdstat_get, fd_fdstat_set_flags, fd_fdstat_set_rights: rights only get fewer.
#include "guest.h"

static __wasi_fdstat_t status(__wasi_fd_t fd) {
  __wasi_fdstat_t found;
  OK(__wasi_fd_fdstat_get(fd, &found));
  return found;
}

static void flags(void) {
  __wasi_fd_t fd = open_with(ROOT, "flags", __WASI_OFLAGS_CREAT, ALL_RIGHTS,
                             __WASI_FDFLAGS_APPEND | __WASI_FDFLAGS_SYNC);
  CHECK(status(fd).fs_flags == (__WASI_FDFLAGS_APPEND | __WASI_FDFLAGS_SYNC));
  CHECK(status(fd).fs_filetype == __WASI_FILETYPE_REGULAR_FILE);
  __wasi_filesize_t at;
  write_text(fd, "aa");
  OK(__wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_SYNC));
  OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  write_text(fd, "b");
  OK(__wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_SYNC | __WASI_FDFLAGS_APPEND));
  write_text(fd, "c");
  OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  read_text(fd, "bac");
  ERRNO(__WASI_ERRNO_NOTSUP, __wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_DSYNC));
  ERRNO(__WASI_ERRNO_INVAL, __wasi_fd_fdstat_set_flags(fd, 0x100));
  OK(__wasi_fd_close(fd));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_fdstat_set_flags(fd, 0));
}

static void files(void) {
  __wasi_fd_t fd = open_with(ROOT, "file", __WASI_OFLAGS_CREAT, ALL_RIGHTS, 0);
  __wasi_rights_t all = status(fd).fs_rights_base;
  CHECK((all & READ_WRITE) == READ_WRITE);
  OK(__wasi_fd_fdstat_set_rights(fd, all, 0));
  OK(__wasi_fd_fdstat_set_rights(fd, all & ~READ_WRITE & ~__WASI_RIGHTS_FD_SYNC, 0));
  char byte = 0;
  __wasi_iovec_t in = {(uint8_t *)&byte, 1};
  __wasi_ciovec_t out = {(uint8_t *)&byte, 1};
  __wasi_size_t size;
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_read(fd, &in, 1, &size));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_write(fd, &out, 1, &size));
  ERRNO(__WASI_ERRNO_NOTCAPABLE, __wasi_fd_sync(fd));
  ERRNO(__WASI_ERRNO_NOTCAPABLE, __wasi_fd_fdstat_set_rights(fd, all, 0));
  OK(__wasi_fd_close(fd));

  // Opened for one, it can't do the other.
  fd = open_with(ROOT, "file", 0, __WASI_RIGHTS_FD_READ, 0);
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_write(fd, &out, 1, &size));
  ERRNO(__WASI_ERRNO_NOTCAPABLE, __wasi_fd_filestat_set_size(fd, 0));
  OK(__wasi_fd_close(fd));
  fd = open_with(ROOT, "file", 0, __WASI_RIGHTS_FD_WRITE, 0);
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_read(fd, &in, 1, &size));
  OK(__wasi_fd_close(fd));
}

static void directories(void) {
  __wasi_fd_t dir = open_with(ROOT, "nested", __WASI_OFLAGS_DIRECTORY,
                              ALL_RIGHTS & ~__WASI_RIGHTS_FD_WRITE, 0);
  __wasi_fdstat_t found = status(dir);
  CHECK((found.fs_rights_base & __WASI_RIGHTS_FD_SEEK) == 0);
  __wasi_rights_t fewer = found.fs_rights_base & ~__WASI_RIGHTS_PATH_FILESTAT_SET_SIZE &
                          ~__WASI_RIGHTS_PATH_CREATE_FILE & ~__WASI_RIGHTS_PATH_UNLINK_FILE;
  __wasi_rights_t heirs = found.fs_rights_inheriting & ~__WASI_RIGHTS_FD_WRITE;
  OK(__wasi_fd_fdstat_set_rights(dir, fewer, heirs));
  __wasi_fd_t fd;
  ERRNO(__WASI_ERRNO_NOTCAPABLE,
        __wasi_path_open(dir, 0, "deep.txt", __WASI_OFLAGS_TRUNC, 0, 0, 0, &fd));
  ERRNO(__WASI_ERRNO_NOTCAPABLE,
        __wasi_path_open(dir, 0, "new", __WASI_OFLAGS_CREAT, 0, 0, 0, &fd));
  ERRNO(__WASI_ERRNO_NOTCAPABLE, __wasi_path_unlink_file(dir, "deep.txt"));
  fd = open_with(dir, "deep.txt", 0, READ_WRITE, 0);
  CHECK(status(fd).fs_rights_base == __WASI_RIGHTS_FD_READ);
  read_text(fd, "deep\n");
}

int main(void) {
  flags();
  files();
  directories();
}
