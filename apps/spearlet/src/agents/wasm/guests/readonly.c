// Every call that would change something below a read-only directory is refused.
#include "preview1/guest.h"

int main(void) {
  __wasi_fd_t fd = open_with(ROOT, "greeting.txt", 0, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_FILESTAT_SET_TIMES, 0);
  read_text(fd, "hello from a file\n");
  ERRNO(__WASI_ERRNO_ROFS, __wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM_NOW));
  OK(try_open("greeting.txt", 0, __WASI_OFLAGS_CREAT, __WASI_RIGHTS_FD_READ));
  ERRNO(__WASI_ERRNO_ROFS, try_open("greeting.txt", 0, 0, READ_WRITE));
  ERRNO(__WASI_ERRNO_ROFS, try_open("greeting.txt", 0, __WASI_OFLAGS_TRUNC, 0));
  ERRNO(__WASI_ERRNO_ROFS, try_open("fresh", 0, __WASI_OFLAGS_CREAT, __WASI_RIGHTS_FD_READ));
  ERRNO(__WASI_ERRNO_ROFS, try_open("fresh", 0, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL, 0));
  ERRNO(__WASI_ERRNO_ROFS, __wasi_path_create_directory(ROOT, "fresh"));
  ERRNO(__WASI_ERRNO_ROFS, __wasi_path_remove_directory(ROOT, "nested"));
  ERRNO(__WASI_ERRNO_ROFS, __wasi_path_unlink_file(ROOT, "greeting.txt"));
  ERRNO(__WASI_ERRNO_ROFS, __wasi_path_symlink("x", ROOT, "fresh"));
  ERRNO(__WASI_ERRNO_ROFS, __wasi_path_link(ROOT, 0, "greeting.txt", ROOT + 1, "fresh"));
  ERRNO(__WASI_ERRNO_ROFS, __wasi_path_link(ROOT + 1, 0, "own.txt", ROOT, "fresh"));
  ERRNO(__WASI_ERRNO_ROFS, __wasi_path_rename(ROOT, "greeting.txt", ROOT + 1, "fresh"));
  ERRNO(__WASI_ERRNO_ROFS, __wasi_path_rename(ROOT + 1, "own.txt", ROOT, "fresh"));
  ERRNO(__WASI_ERRNO_ROFS,
        __wasi_path_filestat_set_times(ROOT, 0, "greeting.txt", 0, 0, __WASI_FSTFLAGS_MTIM_NOW));
  __wasi_fd_t nested = open_with(ROOT, "nested", __WASI_OFLAGS_DIRECTORY, ALL_RIGHTS & ~__WASI_RIGHTS_FD_WRITE, 0);
  ERRNO(__WASI_ERRNO_ROFS, __wasi_path_unlink_file(nested, "deep.txt"));
}
