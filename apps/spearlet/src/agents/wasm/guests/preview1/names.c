// path_create_directory, path_remove_directory, path_unlink_file, path_rename.
#include "guest.h"

static void directories(void) {
  OK(__wasi_path_create_directory(ROOT, "dir"));
  ERRNO(__WASI_ERRNO_EXIST, __wasi_path_create_directory(ROOT, "dir"));
  ERRNO(__WASI_ERRNO_NOENT, __wasi_path_create_directory(ROOT, "none/dir"));
  OK(__wasi_path_create_directory(ROOT, "dir/below/"));
  ERRNO(__WASI_ERRNO_NOTEMPTY, __wasi_path_remove_directory(ROOT, "dir"));
  ERRNO(__WASI_ERRNO_ISDIR, __wasi_path_unlink_file(ROOT, "dir"));
  ERRNO(__WASI_ERRNO_ISDIR, __wasi_path_unlink_file(ROOT, "dir/"));
  OK(__wasi_path_remove_directory(ROOT, "dir/below/"));
  OK(__wasi_path_remove_directory(ROOT, "dir"));
  ERRNO(__WASI_ERRNO_NOENT, __wasi_path_remove_directory(ROOT, "dir"));
  make_file("file");
  ERRNO(__WASI_ERRNO_NOTDIR, __wasi_path_remove_directory(ROOT, "file"));
  ERRNO(__WASI_ERRNO_NOTDIR, __wasi_path_remove_directory(ROOT, "file/"));
  ERRNO(__WASI_ERRNO_NOTDIR, __wasi_path_unlink_file(ROOT, "file/"));
  OK(__wasi_path_unlink_file(ROOT, "file"));
  ERRNO(__WASI_ERRNO_NOENT, __wasi_path_unlink_file(ROOT, "file"));
}

// An open file outlives its name, and the name can be given again.
static void dangling(void) {
  __wasi_fd_t fd = open_with(ROOT, "gone", __WASI_OFLAGS_CREAT, READ_WRITE | SEEK, 0);
  write_text(fd, "still here");
  OK(__wasi_path_unlink_file(ROOT, "gone"));
  make_file("gone");
  __wasi_filesize_t at;
  OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  read_text(fd, "still here");
}

static void renames(void) {
  make_file("source");
  OK(__wasi_path_rename(ROOT, "source", ROOT, "target"));
  ERRNO(__WASI_ERRNO_NOENT, try_open("source", 0, 0, 0));
  OK(try_open("target", 0, 0, 0));
  make_file("source");
  OK(__wasi_path_rename(ROOT, "source", ROOT, "target"));
  OK(__wasi_path_rename(ROOT, "target", ROOT, "nested/target"));
  ERRNO(__WASI_ERRNO_NOENT, __wasi_path_rename(ROOT, "source", ROOT, "target"));

  OK(__wasi_path_create_directory(ROOT, "one"));
  OK(__wasi_path_create_directory(ROOT, "two"));
  OK(__wasi_path_rename(ROOT, "one", ROOT, "two"));
  OK(__wasi_path_rename(ROOT, "two/", ROOT, "one/"));
  OK(__wasi_path_create_directory(ROOT, "two"));
  make_file("two/file");
  ERRNO(__WASI_ERRNO_NOTEMPTY, __wasi_path_rename(ROOT, "one", ROOT, "two"));
  ERRNO(__WASI_ERRNO_NOTDIR, __wasi_path_rename(ROOT, "one", ROOT, "two/file"));
  ERRNO(__WASI_ERRNO_ISDIR, __wasi_path_rename(ROOT, "two/file", ROOT, "one"));
  ERRNO(__WASI_ERRNO_NOTDIR, __wasi_path_rename(ROOT, "two/file", ROOT, "fresh/"));
  ERRNO(__WASI_ERRNO_INVAL, __wasi_path_rename(ROOT, "two", ROOT, "two/inside"));
}

int main(void) {
  directories();
  dangling();
  renames();
}
