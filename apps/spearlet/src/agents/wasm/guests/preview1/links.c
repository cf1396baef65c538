// path_symlink, path_readlink, path_link.
#include "guest.h"

static void symbolic(void) {
  OK(__wasi_path_symlink("greeting.txt", ROOT, "soft"));
  char buffer[64] = "------------------------";
  __wasi_size_t used = 0;
  OK(__wasi_path_readlink(ROOT, "soft", (uint8_t *)buffer, sizeof buffer, &used));
  CHECK(used == 12 && memcmp(buffer, "greeting.txt-", 13) == 0);
  OK(__wasi_path_readlink(ROOT, "soft", (uint8_t *)buffer, 5, &used));
  CHECK(used == 5);
  ERRNO(__WASI_ERRNO_INVAL, __wasi_path_readlink(ROOT, "greeting.txt", (uint8_t *)buffer, 5, &used));
  ERRNO(__WASI_ERRNO_NOENT, __wasi_path_readlink(ROOT, "none", (uint8_t *)buffer, 5, &used));
  ERRNO(__WASI_ERRNO_EXIST, __wasi_path_symlink("x", ROOT, "soft"));
  ERRNO(__WASI_ERRNO_NOENT, __wasi_path_symlink("x", ROOT, "fresh/"));
  ERRNO(__WASI_ERRNO_EXIST, __wasi_path_symlink("x", ROOT, "nested/"));

  CHECK(stat_of("soft", 0).filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
  CHECK(stat_of("soft", FOLLOW).filetype == __WASI_FILETYPE_REGULAR_FILE);
  ERRNO(__WASI_ERRNO_LOOP, try_open("soft", 0, 0, 0));
  __wasi_fd_t fd = open_with(ROOT, "soft", 0, __WASI_RIGHTS_FD_READ, 0);
  read_text(fd, "hello from a file\n");

  OK(__wasi_path_symlink("nested", ROOT, "folder"));
  OK(try_open("folder/deep.txt", 0, 0, 0));
  OK(try_open("folder/", 0, 0, 0));
  ERRNO(__WASI_ERRNO_NOTDIR, try_open("folder", 0, __WASI_OFLAGS_DIRECTORY, 0));
  OK(try_open("folder", FOLLOW, __WASI_OFLAGS_DIRECTORY, 0));

  // What a dangling link names is made through it.
  OK(__wasi_path_symlink("target", ROOT, "dangling"));
  ERRNO(__WASI_ERRNO_NOENT, try_open("dangling", FOLLOW, 0, 0));
  OK(try_open("dangling", FOLLOW, __WASI_OFLAGS_CREAT, READ_WRITE));
  CHECK(stat_of("target", 0).filetype == __WASI_FILETYPE_REGULAR_FILE);

  OK(__wasi_path_symlink("loop", ROOT, "loop"));
  ERRNO(__WASI_ERRNO_LOOP, try_open("loop", FOLLOW, 0, 0));
  ERRNO(__WASI_ERRNO_LOOP, try_open("loop/x", 0, 0, 0));
}

static void hard(void) {
  OK(__wasi_path_link(ROOT, 0, "greeting.txt", ROOT, "hard"));
  __wasi_filestat_t one = stat_of("greeting.txt", 0), other = stat_of("hard", 0);
  CHECK(one.ino == other.ino && one.dev == other.dev && one.nlink == 2);
  OK(__wasi_path_link(ROOT, 0, "greeting.txt", ROOT, "nested/hard"));
  ERRNO(__WASI_ERRNO_EXIST, __wasi_path_link(ROOT, 0, "greeting.txt", ROOT, "hard"));
  ERRNO(__WASI_ERRNO_EXIST, __wasi_path_link(ROOT, 0, "greeting.txt", ROOT, "greeting.txt"));
  ERRNO(__WASI_ERRNO_EXIST, __wasi_path_link(ROOT, 0, "greeting.txt", ROOT, "nested"));
  ERRNO(__WASI_ERRNO_PERM, __wasi_path_link(ROOT, 0, "nested", ROOT, "fresh"));
  ERRNO(__WASI_ERRNO_NOENT, __wasi_path_link(ROOT, 0, "none", ROOT, "fresh"));
  ERRNO(__WASI_ERRNO_NOENT, __wasi_path_link(ROOT, 0, "greeting.txt", ROOT, "fresh/"));
  ERRNO(__WASI_ERRNO_INVAL, __wasi_path_link(ROOT, FOLLOW, "soft", ROOT, "fresh"));
  // A link's own entry, not what it names.
  OK(__wasi_path_link(ROOT, 0, "loop", ROOT, "loop-too"));
  CHECK(stat_of("loop-too", 0).filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
}

int main(void) {
  symbolic();
  hard();
}
