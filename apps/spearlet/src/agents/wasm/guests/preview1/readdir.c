// fd_readdir: every entry once, from any cookie, in buffers of any size.
#include "guest.h"

enum { FILES = 300 };
static uint8_t buffer[4096];

// Reads on from a cookie; counts the whole entries and remembers where to go on.
static unsigned read_some(__wasi_fd_t dir, size_t size, uint64_t *cookie, int *end,
                          unsigned *seen_dots) {
  __wasi_size_t used = 0;
  OK(__wasi_fd_readdir(dir, buffer, size, *cookie, &used));
  CHECK(used <= size);
  *end = used < size;
  unsigned count = 0;
  for (size_t at = 0; at + sizeof(__wasi_dirent_t) <= used;) {
    __wasi_dirent_t entry;
    memcpy(&entry, buffer + at, sizeof entry);
    at += sizeof entry + entry.d_namlen;
    if (at > used) break;
    const char *name = (char *)buffer + at - entry.d_namlen;
    if (name[0] == '.') {
      *seen_dots += 1;
      CHECK(entry.d_type == __WASI_FILETYPE_DIRECTORY);
    } else {
      CHECK(entry.d_type == __WASI_FILETYPE_REGULAR_FILE);
    }
    CHECK(entry.d_ino != 0);
    *cookie = entry.d_next;
    count += 1;
  }
  return count;
}

static void read_all(__wasi_fd_t dir, size_t size, unsigned files) {
  uint64_t cookie = 0;
  int end = 0;
  unsigned dots = 0, total = 0;
  while (!end) {
    unsigned count = read_some(dir, size, &cookie, &end, &dots);
    CHECK(count > 0 || end);
    total += count;
  }
  CHECK(dots == 2);
  CHECK(total == files + 2);
}

int main(void) {
  OK(__wasi_path_create_directory(ROOT, "many"));
  __wasi_fd_t dir = open_with(ROOT, "many", __WASI_OFLAGS_DIRECTORY,
                              ALL_RIGHTS & ~__WASI_RIGHTS_FD_WRITE, 0);
  read_all(dir, sizeof buffer, 0);
  for (int i = 0; i < FILES; i++) {
    char name[32];
    snprintf(name, sizeof name, "many/file-%d", i);
    make_file(name);
  }
  read_all(dir, sizeof buffer, FILES);
  read_all(dir, 100, FILES);
  // A buffer without room for one entry is filled all the same.
  __wasi_size_t used = 0;
  OK(__wasi_fd_readdir(dir, buffer, 10, 0, &used));
  CHECK(used == 10);

  __wasi_fd_t file = open_with(ROOT, "many/file-0", 0, ALL_RIGHTS, 0);
  ERRNO(__WASI_ERRNO_NOTDIR, __wasi_fd_readdir(file, buffer, 100, 0, &used));
  ERRNO(__WASI_ERRNO_BADF, __wasi_fd_readdir(99, buffer, 100, 0, &used));
}
