// sock_accept, sock_recv, sock_send, sock_shutdown: nothing is a socket here.
#include "guest.h"

int main(void) {
  uint8_t byte = 0;
  __wasi_iovec_t in = {&byte, 1};
  __wasi_ciovec_t out = {&byte, 1};
  __wasi_size_t size;
  __wasi_roflags_t flags;
  __wasi_fd_t fd;
  for (__wasi_fd_t at = 0; at < 4; at++) {
    ERRNO(__WASI_ERRNO_NOTSOCK, __wasi_sock_accept(at, 0, &fd));
    ERRNO(__WASI_ERRNO_NOTSOCK, __wasi_sock_recv(at, &in, 1, 0, &size, &flags));
    ERRNO(__WASI_ERRNO_NOTSOCK, __wasi_sock_send(at, &out, 1, 0, &size));
    ERRNO(__WASI_ERRNO_NOTSOCK, __wasi_sock_shutdown(at, __WASI_SDFLAGS_WR));
  }
  ERRNO(__WASI_ERRNO_BADF, __wasi_sock_accept(99, 0, &fd));
  ERRNO(__WASI_ERRNO_BADF, __wasi_sock_recv(99, &in, 1, 0, &size, &flags));
  ERRNO(__WASI_ERRNO_BADF, __wasi_sock_send(99, &out, 1, 0, &size));
  ERRNO(__WASI_ERRNO_BADF, __wasi_sock_shutdown(99, __WASI_SDFLAGS_WR));
}
