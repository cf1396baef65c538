// What the preview1 guests share: checks that say what went wrong and where, and
// short forms of the calls with a path. Each guest exits with 0 or 1.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

#define FAIL(...)                                     \
  do {                                                \
    fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);   \
    fprintf(stderr, __VA_ARGS__);                     \
    fprintf(stderr, "\n");                            \
    exit(1);                                          \
  } while (0)

#define CHECK(condition) \
  do {                   \
    if (!(condition)) FAIL("not so: %s", #condition); \
  } while (0)

// The call answers with this error code.
#define ERRNO(expected, call)                                              \
  do {                                                                     \
    int got_ = (call);                                                     \
    if (got_ != (expected)) FAIL("%s gave %d, not %s", #call, got_, #expected); \
  } while (0)

#define OK(call) ERRNO(__WASI_ERRNO_SUCCESS, call)

#define READ_WRITE (__WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_WRITE)
#define SEEK (__WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL)
#define ALL_RIGHTS ((__wasi_rights_t)0x1fffffff)
#define FOLLOW __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW

// The first directory that the guest was given.
enum { ROOT = 3 };

static inline __wasi_fd_t open_with(__wasi_fd_t dir, const char *path, __wasi_oflags_t oflags,
                                    __wasi_rights_t rights, __wasi_fdflags_t flags) {
  __wasi_fd_t fd = 0;
  OK(__wasi_path_open(dir, FOLLOW, path, oflags, rights, ALL_RIGHTS, flags, &fd));
  CHECK(fd > 2);
  return fd;
}

static inline __wasi_errno_t try_open(const char *path, __wasi_lookupflags_t lookup,
                                      __wasi_oflags_t oflags, __wasi_rights_t rights) {
  __wasi_fd_t fd = 0;
  __wasi_errno_t error = __wasi_path_open(ROOT, lookup, path, oflags, rights, 0, 0, &fd);
  if (error == 0) OK(__wasi_fd_close(fd));
  return error;
}

// A new empty file.
static inline void make_file(const char *path) {
  OK(__wasi_fd_close(open_with(ROOT, path, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL, READ_WRITE, 0)));
}

static inline void write_text(__wasi_fd_t fd, const char *text) {
  __wasi_ciovec_t vector = {(const uint8_t *)text, strlen(text)};
  __wasi_size_t written = 0;
  OK(__wasi_fd_write(fd, &vector, 1, &written));
  CHECK(written == strlen(text));
}

// Reads at the present offset and compares.
static inline void read_text(__wasi_fd_t fd, const char *expected) {
  char buffer[256] = {0};
  __wasi_iovec_t vector = {(uint8_t *)buffer, sizeof buffer - 1};
  __wasi_size_t got = 0;
  OK(__wasi_fd_read(fd, &vector, 1, &got));
  CHECK(got == strlen(expected));
  if (memcmp(buffer, expected, got) != 0) FAIL("read \"%s\", not \"%s\"", buffer, expected);
}

static inline __wasi_filestat_t stat_of(const char *path, __wasi_lookupflags_t lookup) {
  __wasi_filestat_t found;
  OK(__wasi_path_filestat_get(ROOT, lookup, path, &found));
  return found;
}
