// path_open: flags, kinds, names that are odd, and how many at once.
#include "guest.h"

static void flags(void) {
  ERRNO(__WASI_ERRNO_NOENT, try_open("new", 0, 0, READ_WRITE));
  OK(try_open("new", 0, __WASI_OFLAGS_CREAT, READ_WRITE));
  OK(try_open("new", 0, __WASI_OFLAGS_CREAT, READ_WRITE));
  ERRNO(__WASI_ERRNO_EXIST, try_open("new", 0, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL, READ_WRITE));
  __wasi_fd_t fd = open_with(ROOT, "new", 0, READ_WRITE, 0);
  write_text(fd, "something");
  OK(__wasi_fd_close(fd));
  CHECK(stat_of("new", 0).size == 9);
  OK(try_open("new", 0, __WASI_OFLAGS_TRUNC, READ_WRITE));
  CHECK(stat_of("new", 0).size == 0);
  ERRNO(__WASI_ERRNO_INVAL,
        try_open("dir", 0, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_DIRECTORY, READ_WRITE));
}

static void kinds(void) {
  ERRNO(__WASI_ERRNO_NOTDIR, try_open("new", 0, __WASI_OFLAGS_DIRECTORY, 0));
  ERRNO(__WASI_ERRNO_NOTDIR, try_open("new/", 0, 0, 0));
  ERRNO(__WASI_ERRNO_NOTDIR, try_open("new/below", 0, 0, 0));
  ERRNO(__WASI_ERRNO_ISDIR, try_open("made/", 0, __WASI_OFLAGS_CREAT, 0));
  OK(try_open("nested", 0, __WASI_OFLAGS_DIRECTORY, 0));
  OK(try_open("nested", 0, 0, __WASI_RIGHTS_FD_READ));
  OK(try_open("nested///", 0, 0, 0));
  ERRNO(__WASI_ERRNO_ISDIR, try_open("nested", 0, 0, READ_WRITE));
  __wasi_fd_t file = open_with(ROOT, "new", 0, READ_WRITE, 0);
  __wasi_fd_t fd;
  ERRNO(__WASI_ERRNO_NOTDIR, __wasi_path_open(file, 0, "x", 0, 0, 0, 0, &fd));
  ERRNO(__WASI_ERRNO_BADF, __wasi_path_open(99, 0, "x", 0, 0, 0, 0, &fd));
}

static void names(void) {
  OK(try_open("nested/.//../nested/../nested///./deep.txt", 0, 0, 0));
  OK(try_open(".", 0, __WASI_OFLAGS_DIRECTORY, 0));
  OK(try_open("nested/..", 0, __WASI_OFLAGS_DIRECTORY, 0));
  ERRNO(__WASI_ERRNO_NOENT, try_open("", 0, 0, 0));
  ERRNO(__WASI_ERRNO_NOENT, try_open("missing/../new", 0, 0, 0));
  ERRNO(__WASI_ERRNO_ILSEQ, try_open("\xff\xfe", 0, __WASI_OFLAGS_CREAT, READ_WRITE));
  OK(try_open("sp\xc3\xa9" "ar \xf0\x9f\x97\xa1", 0, __WASI_OFLAGS_CREAT, READ_WRITE));
  char longest[300];
  memset(longest, 'n', sizeof longest);
  longest[255] = 0;
  OK(try_open(longest, 0, __WASI_OFLAGS_CREAT, READ_WRITE));
  longest[255] = 'n';
  longest[256] = 0;
  ERRNO(__WASI_ERRNO_NAMETOOLONG, try_open(longest, 0, __WASI_OFLAGS_CREAT, READ_WRITE));
}

// The bound holds, and everything that was opened can be closed and opened again.
static void many(void) {
  for (int round = 0; round < 2; round++) {
    __wasi_fd_t opened[2000];
    int count = 0;
    __wasi_errno_t error = 0;
    while (count < 2000 && error == 0) {
      error = __wasi_path_open(ROOT, 0, "greeting.txt", 0, __WASI_RIGHTS_FD_READ, 0, 0,
                               &opened[count]);
      if (error == 0) count++;
    }
    CHECK(error == __WASI_ERRNO_MFILE);
    CHECK(count > 900);
    read_text(opened[count - 1], "hello from a file\n");
    while (count > 0) OK(__wasi_fd_close(opened[--count]));
  }
}

int main(void) {
  flags();
  kinds();
  names();
  many();
}
