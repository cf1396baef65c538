// No path, no link and no rename leads out of the directory that was given.
#include "guest.h"

static void refused(const char *path) {
  __wasi_filestat_t found;
  ERRNO(__WASI_ERRNO_PERM, try_open(path, FOLLOW, 0, 0));
  ERRNO(__WASI_ERRNO_PERM, try_open(path, FOLLOW, __WASI_OFLAGS_CREAT, READ_WRITE));
  ERRNO(__WASI_ERRNO_PERM, __wasi_path_filestat_get(ROOT, FOLLOW, path, &found));
}

static void parents(void) {
  const char *paths[] = {"..",           "../",         "../x",       "nested/../..",
                         "nested/../../etc/passwd",     "/",          "/etc/passwd",
                         "./../../../../../../proc/self/environ"};
  for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
    refused(paths[i]);
    ERRNO(__WASI_ERRNO_PERM, __wasi_path_create_directory(ROOT, paths[i]));
    ERRNO(__WASI_ERRNO_PERM, __wasi_path_remove_directory(ROOT, paths[i]));
    ERRNO(__WASI_ERRNO_PERM, __wasi_path_unlink_file(ROOT, paths[i]));
    ERRNO(__WASI_ERRNO_PERM, __wasi_path_rename(ROOT, "greeting.txt", ROOT, paths[i]));
    ERRNO(__WASI_ERRNO_PERM, __wasi_path_rename(ROOT, paths[i], ROOT, "stolen"));
    ERRNO(__WASI_ERRNO_PERM, __wasi_path_link(ROOT, 0, paths[i], ROOT, "stolen"));
    ERRNO(__WASI_ERRNO_PERM, __wasi_path_symlink("x", ROOT, paths[i]));
  }
}

static void links(void) {
  ERRNO(__WASI_ERRNO_PERM, __wasi_path_symlink("/etc/passwd", ROOT, "absolute"));
  ERRNO(__WASI_ERRNO_PERM, __wasi_path_symlink("/", ROOT, "absolute"));
  OK(__wasi_path_symlink("..", ROOT, "up"));
  OK(__wasi_path_symlink("../../..", ROOT, "nested/far"));
  OK(__wasi_path_symlink("nested/../../x", ROOT, "around"));
  OK(__wasi_path_symlink("up/up", ROOT, "twice"));
  refused("up");
  refused("up/");
  refused("up/tmp/x");
  refused("nested/far");
  refused("nested/far/etc/passwd");
  refused("around");
  refused("twice/x");
  ERRNO(__WASI_ERRNO_PERM, __wasi_path_create_directory(ROOT, "up/made"));
  ERRNO(__WASI_ERRNO_PERM, __wasi_path_rename(ROOT, "greeting.txt", ROOT, "up/stolen"));
  // The last part is not followed unless asked, and a link that stays inside is fine.
  ERRNO(__WASI_ERRNO_LOOP, try_open("up", 0, 0, 0));
  OK(__wasi_path_symlink("../greeting.txt", ROOT, "nested/inside"));
  OK(try_open("nested/inside", FOLLOW, 0, 0));
  OK(__wasi_path_symlink("nested", ROOT, "shortcut"));
  OK(try_open("shortcut/../greeting.txt", FOLLOW, 0, 0));
  OK(try_open("shortcut/inside", FOLLOW, 0, 0));
}

// A directory that is moved while it is open takes its parent along.
static void moved(void) {
  OK(__wasi_path_create_directory(ROOT, "outer"));
  OK(__wasi_path_create_directory(ROOT, "outer/inner"));
  __wasi_fd_t inner = open_with(ROOT, "outer/inner", __WASI_OFLAGS_DIRECTORY,
                                ALL_RIGHTS & ~__WASI_RIGHTS_FD_WRITE, 0);
  OK(__wasi_path_rename(ROOT, "outer/inner", ROOT, "inner"));
  __wasi_fd_t fd;
  ERRNO(__WASI_ERRNO_PERM, __wasi_path_open(inner, FOLLOW, "../greeting.txt", 0, 0, 0, 0, &fd));
}

int main(void) {
  parents();
  links();
  moved();
}
