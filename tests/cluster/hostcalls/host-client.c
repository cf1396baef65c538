/* Sends one hostcall over SPEAR_HOST_SOCKET with SPEAR_HOST_TOKEN and prints the
 * answer's status and body: for places where there is nothing but a static program.
 *     host-client object.stat '{"object":"corpus/a.txt"}' */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv) {
  const char *path = getenv("SPEAR_HOST_SOCKET"), *token = getenv("SPEAR_HOST_TOKEN");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (argc != 3 || path == NULL || token == NULL || strlen(path) >= sizeof address.sun_path) return 2;
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    perror("connect");
    return 1;
  }
  dprintf(fd,
          "POST /v1/%s HTTP/1.1\r\nhost: host\r\nauthorization: Bearer %s\r\n"
          "content-length: %zu\r\nconnection: close\r\n\r\n%s",
          argv[1], token, strlen(argv[2]), argv[2]);
  static char answer[1 << 16];
  size_t size = 0;
  for (ssize_t got; size < sizeof answer - 1 && (got = read(fd, answer + size, sizeof answer - 1 - size)) > 0;)
    size += (size_t)got;
  char *body = strstr(answer, "\r\n\r\n");
  if (body == NULL) return 1;
  printf("%.3s %s\n", answer + 9, body + 4);
  return 0;
}
