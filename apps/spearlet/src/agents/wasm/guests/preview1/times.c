// path_filestat_get, path_filestat_set_times: of a file, and of a link or behind it.
#include "guest.h"

int main(void) {
  __wasi_filestat_t file = stat_of("greeting.txt", 0);
  CHECK(file.filetype == __WASI_FILETYPE_REGULAR_FILE && file.size == 18);
  CHECK(stat_of("nested", 0).filetype == __WASI_FILETYPE_DIRECTORY);
  CHECK(stat_of(".", 0).ino == stat_of("nested/..", 0).ino);
  CHECK(stat_of("nested/deep.txt", 0).ino != file.ino);
  __wasi_filestat_t found;
  ERRNO(__WASI_ERRNO_NOTDIR, __wasi_path_filestat_get(ROOT, 0, "greeting.txt/", &found));
  ERRNO(__WASI_ERRNO_NOENT, __wasi_path_filestat_get(ROOT, 0, "none", &found));

  OK(__wasi_path_filestat_set_times(ROOT, 0, "greeting.txt", 5, file.mtim - 77,
                                    __WASI_FSTFLAGS_MTIM));
  CHECK(stat_of("greeting.txt", 0).mtim == file.mtim - 77);
  CHECK(stat_of("greeting.txt", 0).atim == file.atim);

  OK(__wasi_path_symlink("greeting.txt", ROOT, "soft"));
  OK(__wasi_path_filestat_set_times(ROOT, 0, "soft", 0, 1234567891, __WASI_FSTFLAGS_MTIM));
  CHECK(stat_of("soft", 0).mtim == 1234567891);
  CHECK(stat_of("greeting.txt", 0).mtim == file.mtim - 77);
  OK(__wasi_path_filestat_set_times(ROOT, FOLLOW, "soft", 0, 42, __WASI_FSTFLAGS_MTIM));
  CHECK(stat_of("greeting.txt", 0).mtim == 42);
  CHECK(stat_of("soft", FOLLOW).mtim == 42);

  OK(__wasi_path_filestat_set_times(ROOT, 0, "greeting.txt", 0, 0, __WASI_FSTFLAGS_MTIM_NOW));
  CHECK(stat_of("greeting.txt", 0).mtim > 42);
  ERRNO(__WASI_ERRNO_INVAL,
        __wasi_path_filestat_set_times(ROOT, 0, "greeting.txt", 1, 1,
                                       __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW));
}
