/* Reads an object again and again, or once as a stream; prints how long that took in
 * milliseconds and how much it was.
 *     hostcalls get OBJECT COUNT [fresh]     hostcalls stream OBJECT */
#include <time.h>

#include "spear.h"

int main(int argc, char **argv) {
  struct timespec from, to;
  unsigned char *bytes;
  size_t size;
  long long total = 0;
  if (argc < 3) return 2;
  clock_gettime(CLOCK_MONOTONIC, &from);
  if (strcmp(argv[1], "get") == 0) {
    for (long left = atol(argv[3]); left > 0; left--) {
      /* With a call between, nothing that was read is given again. */
      if (argc > 4 && spear_done(spear_call("task.self", "{}", NULL, 0)) != 0) return 1;
      if (spear_object_get(argv[2], &bytes, &size) != 0) return 1;
      total += (long long)size;
      free(bytes);
    }
  } else {
    static unsigned char buffer[1 << 20];
    int stream = spear_open(argv[2], 0);
    long got;
    while ((got = spear_read(stream, buffer, sizeof buffer)) > 0) total += got;
    if (got < 0) return 1;
  }
  clock_gettime(CLOCK_MONOTONIC, &to);
  printf("%.3f %lld\n",
         (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6, total);
  return 0;
}
