// fd_prestat_get, fd_prestat_dir_name: the directories that the guest was given.
#include "guest.h"

int main(void) {
  __wasi_prestat_t found;
  const char *names[] = {"tree.dir", "/"};
  for (int i = 0; i < 2; i++) {
    OK(__wasi_fd_prestat_get(ROOT + i, &found));
    CHECK(found.tag == __WASI_PREOPENTYPE_DIR);
    CHECK(found.u.dir.pr_name_len == strlen(names[i]));
    char name[16] = "xxxxxxxxxxxxxxx";
    OK(__wasi_fd_prestat_dir_name(ROOT + i, (uint8_t *)name, sizeof name));
    CHECK(memcmp(name, names[i], strlen(names[i])) == 0);
    CHECK(name[strlen(names[i])] == 'x');
    ERRNO(__WASI_ERRNO_NAMETOOLONG, __wasi_fd_prestat_dir_name(ROOT + i, (uint8_t *)name, 0));
  }
  for (int fd = 0; fd < 3; fd++) ERRNO(__WASI_ERRNO_BADF, __wasi_fd_prestat_get(fd, &found));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_prestat_get(ROOT + 2, &found));

  __wasi_fdstat_t status;
  OK(__wasi_fd_fdstat_get(ROOT, &status));
  CHECK(status.fs_filetype == __WASI_FILETYPE_DIRECTORY);
  CHECK(status.fs_flags == 0);
  CHECK((status.fs_rights_base & READ_WRITE) == 0);
  CHECK((status.fs_rights_inheriting & READ_WRITE) == READ_WRITE);

  OK(__wasi_fd_close(ROOT));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_fdstat_get(ROOT, &status));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_close(ROOT));
  OK(__wasi_fd_prestat_get(ROOT + 1, &found));
}
